"""Containers and profiles: bytes that cannot be are refused by name, whatever they say."""

from __future__ import annotations

import copy
import functools
import pathlib
import struct

import codec_cases as cases
import numpy as np
import pytest
from codec_samples import Block, Sample, checksum, make_profile
from hypothesis import given, settings
from hypothesis import strategies as st

from kdn.codec import Decoder, EncodingError, Profile, ProfileMissing, Profiles, read_header
from kdn.codec.header import header_length
from kdn.errors import CorruptPayload, KDNError
from kdn.layouts import AttentionGroup, Layout

REFUSALS = (EncodingError, CorruptPayload, ProfileMissing)


def resealed(data: bytes | bytearray) -> bytes:
    """With the header's checksum made right again."""
    length = header_length(data)
    assert length is not None
    head = bytes(data[: length - 8])
    return head + struct.pack("<Q", checksum(head)) + bytes(data[length:])


def patched(data: bytes, offset: int, value: bytes) -> bytes:
    """Other bytes at an offset of the header, whose checksum is right."""
    return resealed(data[:offset] + value + data[offset + len(value) :])


def index_at(sample: Sample) -> int:
    layout = b"" if sample.layout is None else sample.layout.encode()
    return 112 + -(-len(layout) // 8) * 8 + len(sample.frequencies())


def test_a_header_says_what_the_object_is() -> None:
    sample = cases.uniform_sample(1, "bf16", 21, rope=cases.rope_of(4), first_token=512)
    header = read_header(sample.bytes())
    assert (header.codec, header.class_name, header.token_count) == (2, "high", 21)
    assert header.first_token == 512
    assert header.layout == sample.layout and header.part == sample.the_part
    assert header.raw_bytes == len(sample.decoded)
    assert header.object_bytes == len(sample.bytes())
    assert [(entry.first_layer, entry.plane) for entry in header.entries] == [
        (0, 0), (0, 1), (1, 0), (1, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("offset", "value", "field"),
    [
        (0, b"KDNX", "magic"),
        (4, b"\2\0", "version"),
        (6, b"\6", "class"),
        (7, b"\1", "reserved"),
        (12, b"\0\0\0\0", "blockCount"),
        (12, b"\1\0\0\0", "headerBytes"),
        (16, b"\1\0\0\0\0\0\0\0", "rawByteCount"),
        (40, bytes(16), "layoutID"),
        (56, b"\7\0", "part.firstLayer"),
        (62, b"\7\0", "part.kvHeadCount"),
        (64, b"\xff" * 8, "firstToken"),
        (72, b"\0\0\0\0", "tokenCount"),
        (76, b"\xff\xff\0\0", "layoutBytes"),
        (112, b"KDNZ", "layout.magic"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(offset: int, value: bytes, field: str) -> None:
    data = cases.uniform_sample(2, "bf16", 9).bytes()
    with pytest.raises(EncodingError) as caught:
        read_header(patched(data, offset, value))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("offset", "value", "field"),
    [
        (0, b"\6", "block.kind"),
        (1, b"\4", "block.plane"),
        (1, b"\1", "block.firstLayerIndex"),
        (1, b"\2", "block.plane"),
        (2, b"\1\0", "block.firstLayerIndex"),
        (4, b"\0\0", "block.layerCount"),
        (4, b"\2\0", "block.layerCount"),
        (4, b"\3\0", "block.layerCount"),
        (6, b"\x0a\0", "block.rawTokens"),
        (8, b"\1\0\0\0\0\0\0\0", "block.offset"),
        (16, b"\0\0\0\0\0\0\0\0", "block.byteCount"),
        (40, b"\1", "block.reserved"),
    ],
)
def test_a_wrong_index_is_refused_by_its_field(offset: int, value: bytes, field: str) -> None:
    sample = cases.uniform_sample(3, "bf16", 9)
    data = patched(sample.bytes(), index_at(sample) + offset, value)
    with pytest.raises(EncodingError) as caught:
        read_header(data)
    assert caught.value.field == field


def test_planes_that_no_block_covers_are_refused() -> None:
    sample = cases.raw_sample()
    whole = len(sample.decoded)
    del sample.blocks[1]
    assert len(sample.decoded) == whole
    with pytest.raises(EncodingError, match="blocks"):
        read_header(sample.bytes())


@pytest.mark.parametrize("cut", [0, 1, 111, 112, 300, -1])
def test_a_cut_object_is_refused(cut: int) -> None:
    data = cases.uniform_sample(4, "bf16", 9).bytes()
    with pytest.raises(EncodingError):
        Decoder(back_end="numpy").decode(data[:cut])


def test_bytes_behind_the_last_block_are_refused() -> None:
    data = cases.uniform_sample(4, "bf16", 9).bytes()
    with pytest.raises(EncodingError, match="length"):
        Decoder(back_end="numpy").decode(data + b"\0")


def test_every_flipped_byte_is_noticed() -> None:
    data = cases.exact_sample(5, "bf16", 3, heads=1, dims=4).bytes()
    decoder = Decoder(back_end="numpy")
    decoder.decode(data)
    for place in range(len(data)):
        wrong = bytearray(data)
        wrong[place] ^= 0x55
        with pytest.raises(REFUSALS):
            decoder.decode(wrong)


@functools.cache
def made() -> tuple[tuple[Sample, ...], Profile]:
    sample, profile = cases.transform_sample(6, "bf16", 9, cases.rope_of(16))
    uniform = cases.uniform_sample(6, "bf16", 9, raw_tokens=1, rope=cases.rope_of(8))
    return (uniform, cases.exact_sample(6, "f32", 9), sample), profile


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_blocks_with_right_checksums_and_wrong_bytes_never_do_harm(data: st.DataObject) -> None:
    """Whoever writes blocks also writes their checksums: what they say is checked all the same."""
    samples, profile = made()
    sample = copy.copy(data.draw(st.sampled_from(samples)))
    sample.blocks = list(sample.blocks)
    number = data.draw(st.integers(0, len(sample.blocks) - 1))
    block = sample.blocks[number]
    wrong = bytearray(block.data)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(wrong) - 1) | st.integers(0, min(40, len(wrong) - 1)))
        wrong[place] = data.draw(st.integers(0, 255))
    length = data.draw(st.just(len(wrong)) | st.integers(1, len(wrong)))
    sample.blocks[number] = Block(
        block.kind, block.plane, block.first_layer, bytes(wrong[:length]), block.decoded,
        block.layer_count, block.raw_tokens,
    )  # fmt: skip
    for back_end in ("numpy", "auto"):
        try:
            found = bytes(Decoder({profile.hash: profile}, back_end).decode(sample.bytes()))
        except REFUSALS:
            continue
        assert found == sample.decoded


def test_a_decoder_refuses_what_is_larger_than_its_limit() -> None:
    data = cases.raw_sample().bytes()
    with pytest.raises(EncodingError, match="rawByteCount"):
        Decoder(back_end="numpy", bytes_max=10).decode(data)


def layout() -> Layout:
    return Layout("bf16", (AttentionGroup((0, 1), 2, 4),))


def profile_bytes() -> bytes:
    rng = np.random.default_rng(1)
    weights = [
        (layer, plane, rng.uniform(1, 2, 8).astype(np.float32))
        for layer in (0, 1)
        for plane in (0, 1)
    ]
    basis = cases.basis_of(rng, 0, 2, 0, 16)
    basis["matrix"] = basis["matrix"][:16]
    return make_profile(layout(), 2, weights, [basis])


def test_every_flipped_byte_of_a_profile_is_noticed() -> None:
    data = profile_bytes()
    assert Profile(data).bases[0].rank == 16
    for place in range(len(data)):
        wrong = bytearray(data)
        wrong[place] ^= 0x10
        with pytest.raises(EncodingError):
            Profile(wrong)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_a_profile_with_a_right_checksum_is_whole_or_refused(
    place: int, value: int, cut: bool
) -> None:
    data = bytearray(profile_bytes())
    place %= len(data) - 8
    if cut:
        del data[place:-8]
    else:
        data[place] = value
    data[-8:] = struct.pack("<Q", checksum(bytes(data[:-8])))
    try:
        found = Profile(data)
    except EncodingError:
        return
    assert all(len(row.weights) == 8 for row in found.statistics.values())
    assert all(np.isfinite(basis.scales).all() for basis in found.bases)


def test_profiles_are_kept_in_a_folder_by_their_hash(tmp_path: pathlib.Path) -> None:
    data = profile_bytes()
    name = Profile(data).hash
    asked: list[bytes] = []

    def fetch(wanted: bytes) -> bytes:
        asked.append(wanted)
        return data

    assert Profiles(tmp_path, fetch).get(name).hash == name
    assert Profiles(tmp_path, fetch).get(name).hash == name
    assert asked == [name]
    (tmp_path / name.hex()).write_bytes(data[:-1])
    assert Profiles(tmp_path, fetch).get(name).hash == name
    assert asked == [name, name]


def test_profiles_of_another_hash_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(KDNError, match="hash"):
        Profiles(tmp_path, lambda wanted: profile_bytes()).get(bytes(32))
    assert list(tmp_path.iterdir()) == []


def test_profiles_that_nobody_has_are_missing() -> None:
    with pytest.raises(ProfileMissing):
        Profiles(None, lambda wanted: None).get(bytes(32))


def test_profiles_leave_memory_beyond_its_limit() -> None:
    data = profile_bytes()
    held = Profiles(bytes_max=len(data))
    first = held.add(data)
    other = bytearray(data)
    other[40] ^= 1
    other[-8:] = struct.pack("<Q", checksum(bytes(other[:-8])))
    second = held.add(other)
    assert held.get(second.hash) is second
    with pytest.raises(ProfileMissing):
        held.get(first.hash)
