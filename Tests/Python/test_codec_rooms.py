"""Planes that are decoded to where they are wanted, their heads apart or not."""

from __future__ import annotations

import codec_cases as cases
import numpy as np
import pytest
from codec_back_ends import PATHS, build_kernels, make_decoder
from codec_samples import Sample

from kdn.codec import Decoder
from kdn.codec.container import Header, PlaneShape
from kdn.codec.header import read_header
from kdn.codec.profile import Profile
from kdn.codec.rooms import OneRoom, PlaneRooms
from kdn.errors import CorruptPayload, FieldError

TOKENS = 13
# Tokens of the memory before and behind those that are decoded.
BEFORE, BEHIND = 3, 2
FILLING = 0xA5


class Places:
    """Memory for more tokens than an object has, as an engine's tensors are."""

    def __init__(self, tokens: int, alike: bool = True) -> None:
        self.tokens = tokens
        self.alike = alike
        self.whole: dict[int, np.ndarray] = {}

    def __call__(self, shape: PlaneShape) -> np.ndarray:
        row = shape.byte_count // shape.heads
        token = row // self.tokens
        behind = BEHIND if self.alike else BEHIND + len(self.whole) % 3
        size = (shape.heads, row + (BEFORE + behind) * token)
        self.whole[shape.offset] = whole = np.full(size, FILLING, np.uint8)
        return whole[:, BEFORE * token : BEFORE * token + row]

    def bytes(self, header: Header) -> bytes:
        """What stands in the places; fails where something else was written."""
        found = b""
        for shape in (shape for layer in header.planes for shape in layer):
            whole = self.whole[shape.offset]
            row = shape.byte_count // shape.heads
            start = BEFORE * (row // self.tokens)
            assert (whole[:, :start] == FILLING).all()
            assert (whole[:, start + row :] == FILLING).all()
            found += whole[:, start : start + row].tobytes()
        return found


def samples() -> dict[str, tuple[Sample, Profile | None]]:
    transform, profile = cases.transform_sample(3, "bf16", TOKENS, cases.rope_of(8))
    return {
        "uniform": (cases.uniform_sample(1, "bf16", TOKENS, rope=cases.rope_of(8)), None),
        "raw tokens": (cases.uniform_sample(2, "bf16", TOKENS, raw_tokens=2), None),
        "exact": (cases.exact_sample(4, "bf16", TOKENS), None),
        "transform": (transform, profile),
        "raw": (cases.raw_sample(tokens=TOKENS), None),
        "zstd and lz4": (cases.packed_sample(TOKENS), None),
    }


SAMPLES = samples()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return build_kernels(tmp_path_factory.mktemp("kernels"))


def decoder_of(name: str) -> Decoder:
    profile = SAMPLES[name][1]
    return Decoder({} if profile is None else {profile.hash: profile}, "numpy")


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("back_end", ["numpy", *PATHS])
@pytest.mark.parametrize("name", SAMPLES)
def test_planes_go_to_their_places_and_nowhere_else(
    library, name: str, back_end: str, alike: bool
) -> None:
    sample = SAMPLES[name][0]
    data = sample.bytes()
    header = read_header(data)
    places = Places(TOKENS, alike)
    rooms = PlaneRooms.found(header, places)
    assert rooms is not None
    decoder = decoder_of(name)
    decoder.host = make_decoder(back_end, library).host
    stream = decoder.stream(length=len(data), gives_planes=False)
    stream.attach(data)
    stream.decode_to(rooms)
    assert stream.arrived(len(data)) == []
    stream.finish()
    assert places.bytes(header) == sample.decoded


@pytest.mark.parametrize("name", SAMPLES)
def test_planes_that_are_given_out_are_those_of_the_places(name: str) -> None:
    sample = SAMPLES[name][0]
    data = sample.bytes()
    header = read_header(data)
    rooms = PlaneRooms.found(header, Places(TOKENS))
    stream = decoder_of(name).stream()
    stream.attach(data)
    stream.decode_to(rooms)
    planes = sorted(stream.arrived(len(data)), key=lambda plane: plane.shape.offset)
    stream.finish()
    assert b"".join(plane.bytes().tobytes() for plane in planes) == sample.decoded


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_byte_that_is_decoded_wrongly_spoils_the_object(name: str, apart: bool) -> None:
    sample = SAMPLES[name][0]
    data = sample.bytes()
    header = read_header(data)
    decoder = decoder_of(name)
    decode = decoder.host.decode

    def slip(jobs, rooms) -> list[int | None]:
        found = decode(jobs, rooms)
        rooms.of(jobs[-1].shapes)[-1][-1, -1] ^= 1
        return found

    decoder.host.decode = slip
    memory = np.zeros(header.raw_bytes, np.uint8)
    stream = decoder.stream(gives_planes=False)
    stream.attach(data)
    stream.decode_to(PlaneRooms.found(header, Places(TOKENS)) if apart else OneRoom(memory))
    with pytest.raises(CorruptPayload):
        stream.arrived(len(data))


def test_one_place_that_is_missing_leaves_all_to_one_room() -> None:
    header = read_header(SAMPLES["uniform"][0].bytes())
    last = header.planes[-1][-1].offset
    places = Places(TOKENS)
    assert PlaneRooms.found(header, lambda s: None if s.offset == last else places(s)) is None


def spoilt(shape: PlaneShape, how: str) -> np.ndarray:
    row = shape.byte_count // shape.heads
    if how == "short":
        return np.zeros((shape.heads, row - 1), np.uint8)
    if how == "heads":
        return np.zeros((shape.heads + 1, row), np.uint8)
    if how == "kind":
        return np.zeros((shape.heads, row), np.int8)
    if how == "apart":
        return np.zeros((shape.heads, row + 1), np.uint8)[:, :row]
    if how == "every second":
        return np.zeros((shape.heads, 2 * row), np.uint8)[:, ::2]
    if how == "upon each other":
        row_only = np.zeros(row, np.uint8)
        return np.lib.stride_tricks.as_strided(row_only, (shape.heads, row), (0, 1))
    found = np.zeros((shape.heads, row), np.uint8)
    found.flags.writeable = False
    return found


@pytest.mark.parametrize(
    "how", ["short", "heads", "kind", "apart", "every second", "upon each other", "read-only"]
)
def test_places_that_do_not_fit_are_refused(how: str) -> None:
    header = read_header(SAMPLES["uniform"][0].bytes())
    assert header.planes[0][0].heads > 1
    with pytest.raises(FieldError, match="planes"):
        PlaneRooms.found(header, lambda shape: spoilt(shape, how))
