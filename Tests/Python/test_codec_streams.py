"""Streams: layers come out as soon as their bytes are there, however these are cut."""

from __future__ import annotations

import codec_cases as cases
import numpy as np
import pytest

from kdn.codec import DecodedPlane, Decoder, EncodingError, ProfileMissing
from kdn.codec.header import read_header
from kdn.errors import CorruptPayload, FieldError


def fed(decoder: Decoder, data: bytes, size: int) -> list[DecodedPlane]:
    stream = decoder.stream()
    planes: list[DecodedPlane] = []
    for start in range(0, len(data), size):
        planes += stream.feed(data[start : start + size])
    stream.finish()
    return planes


@pytest.mark.parametrize("size", [1, 7, 113, 1000, 10**6])
@pytest.mark.parametrize("device", [None, "cpu"])
def test_any_cut_gives_the_same_planes(size: int, device: str | None) -> None:
    sample = cases.uniform_sample(1, "bf16", 13, rope=cases.rope_of(8), raw_tokens=2)
    planes = fed(Decoder(back_end="numpy", device=device), sample.bytes(), size)
    assert b"".join(plane.bytes().tobytes() for plane in planes) == sample.decoded


def test_a_layer_is_there_before_the_next_ones_bytes() -> None:
    sample = cases.uniform_sample(2, "bf16", 13)
    data = sample.bytes()
    entries = read_header(data).entries
    stream = Decoder(back_end="numpy").stream()
    before = stream.feed(data[: entries[1].end])
    assert [(plane.layer, plane.shape.plane) for plane in before] == [(0, 0), (0, 1)]
    assert stream.feed(data[entries[1].end : entries[2].end - 1]) == []
    after = stream.feed(data[entries[2].end - 1 :])
    assert [(plane.layer, plane.shape.plane) for plane in after] == [(1, 0), (1, 1)]


def test_layers_of_a_transform_come_together() -> None:
    sample, profile = cases.transform_sample(3, "bf16", 13, None)
    decoder = Decoder({profile.hash: profile}, "numpy")
    planes = fed(decoder, sample.bytes(), 50)
    assert [(plane.layer, plane.shape.plane) for plane in planes] == [
        (0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (2, 1)
    ]  # fmt: skip
    assert all(plane.shape.byte_count == len(plane.bytes()) for plane in planes)


def test_one_layer_can_be_had_alone() -> None:
    sample, profile = cases.transform_sample(4, "bf16", 13, None)
    decoder = Decoder({profile.hash: profile}, "numpy")
    planes = decoder.decode_layer(sample.bytes(), 2)
    assert [(plane.layer, plane.shape.plane) for plane in planes] == [(2, 0), (2, 1)]
    end = len(sample.decoded)
    joined = b"".join(plane.bytes().tobytes() for plane in planes)
    assert joined == sample.decoded[end - len(joined) :]


def test_layers_that_need_no_profile_decode_without_the_one_that_is_named() -> None:
    sample, profile = cases.transform_sample(5, "bf16", 13, None)
    decoder = Decoder(back_end="numpy")
    with pytest.raises(ProfileMissing):
        decoder.decode_layer(sample.bytes(), 0)
    fallen_back = cases.uniform_sample(5, "bf16", 13)
    fallen_back.profile = profile.hash
    assert bytes(decoder.decode(fallen_back.bytes())) == fallen_back.decoded


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(FieldError, match="layer_index"):
        Decoder(back_end="numpy").decode_layer(cases.raw_sample().bytes(), 1)


@pytest.mark.parametrize("device", [None, "cpu"])
def test_several_objects_decode_in_one_go(device: str | None) -> None:
    transformed, profile = cases.transform_sample(11, "bf16", 13, None)
    samples = [
        cases.uniform_sample(11, "bf16", 9, rope=cases.rope_of(8), raw_tokens=1),
        cases.exact_sample(11, "f32", 13),
        transformed,
        cases.raw_sample(),
    ]
    decoder = Decoder({profile.hash: profile}, "numpy", device=device)
    found = decoder.planes_of_each([sample.bytes() for sample in samples])
    for planes, sample in zip(found, samples, strict=True):
        planes.sort(key=lambda plane: plane.shape.offset)
        assert b"".join(plane.bytes().tobytes() for plane in planes) == sample.decoded


def test_decoding_goes_to_the_callers_memory() -> None:
    sample = cases.uniform_sample(6, "bf16", 13)
    room = np.zeros(len(sample.decoded) + 5, np.uint8)
    size = Decoder(back_end="numpy").decode_into(sample.bytes(), room)
    assert room[:size].tobytes() == sample.decoded and not room[size:].any()
    with pytest.raises(EncodingError, match="buffer"):
        Decoder(back_end="numpy").decode_into(sample.bytes(), room[:-6])


def test_an_object_that_ends_too_early_is_refused_at_its_end() -> None:
    data = cases.uniform_sample(7, "bf16", 13).bytes()
    stream = Decoder(back_end="numpy").stream()
    stream.feed(data[:-1])
    with pytest.raises(EncodingError, match="length"):
        stream.finish()


def test_an_object_of_another_length_than_announced_is_refused() -> None:
    data = cases.uniform_sample(8, "bf16", 13).bytes()
    with pytest.raises(EncodingError, match="length"):
        Decoder(back_end="numpy").stream(length=len(data) + 1).feed(data)


def test_a_wrong_sum_of_the_whole_is_found_at_the_end() -> None:
    sample = cases.uniform_sample(9, "bf16", 13)
    data = bytearray(sample.bytes())
    data[32] ^= 1
    from test_codec_container import resealed

    stream = Decoder(back_end="numpy").stream()
    planes = stream.feed(resealed(data))
    assert len(planes) == 4
    with pytest.raises(CorruptPayload):
        stream.finish()
