"""Golden vectors: what the daemon's encoder wrote decodes here to the very bytes it stands for."""

from __future__ import annotations

import ctypes

import pytest
from codec_back_ends import BACK_ENDS, build_kernels, make_decoder
from conftest import load_vectors

from kdn.codec import Profiles, read_header
from kdn.codec.container import checksum

VECTORS = load_vectors("codecs.json")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build_kernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module")
def profiles() -> Profiles:
    found = Profiles()
    for row in VECTORS["profiles"]:
        assert found.add(bytes.fromhex(row["hex"])).hash.hex() == row["hash"]
    return found


@pytest.mark.parametrize("back_end", BACK_ENDS)
@pytest.mark.parametrize("row", VECTORS["objects"], ids=lambda row: row["name"])
def test_an_object_of_the_vectors_decodes_to_its_bytes(
    row: dict, back_end: str, library: ctypes.CDLL, profiles: Profiles
) -> None:
    encoded, decoded = bytes.fromhex(row["hex"]), bytes.fromhex(row["decoded"])
    decoder = make_decoder(back_end, library)
    decoder._profiles = profiles
    assert bytes(decoder.decode(encoded)) == decoded
    layers = len(read_header(encoded).planes)
    if layers:
        planes = [p for index in range(layers) for p in decoder.decode_layer(encoded, index)]
        assert b"".join(plane.bytes().tobytes() for plane in planes) == decoded


@pytest.mark.parametrize("row", VECTORS["objects"], ids=lambda row: row["name"])
def test_a_header_of_the_vectors_says_what_the_object_is(row: dict) -> None:
    header = read_header(bytes.fromhex(row["hex"]))
    decoded = bytes.fromhex(row["decoded"])
    assert header.class_name == row["class"]
    assert (header.profile.hex() if any(header.profile) else None) == row["profile"]
    assert header.raw_checksum == row["rawChecksum"]
    assert header.decoded_checksum == checksum(decoded)
    assert header.raw_bytes == len(decoded)
