"""Decoding: numpy, the C kernels on each path, and torch give the very bytes that were encoded."""

from __future__ import annotations

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor

import codec_cases as cases
import numpy as np
import pytest
import torch
from codec_back_ends import BACK_ENDS, build_kernels, make_decoder
from codec_samples import Block, Sample

from kdn.codec import Decoder, EncodingError, ProfileMissing
from kdn.codec.elements import rounded
from kdn.codec.rotation import rotation_tables
from kdn.errors import CorruptPayload


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build_kernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(params=BACK_ENDS)
def decoder(request: pytest.FixtureRequest, library: ctypes.CDLL) -> Decoder:
    return make_decoder(request.param, library)


@pytest.mark.parametrize("dtype", cases.LOSSY_DTYPES)
@pytest.mark.parametrize("pairing", ["neox", "interleaved"])
def test_uniform_blocks_decode_in_every_element_type(
    decoder: Decoder, dtype: str, pairing: str
) -> None:
    rope = cases.rope_of(12, pairing)
    sample = cases.uniform_sample(1, dtype, 37, rope=rope, raw_tokens=4)
    assert bytes(decoder.decode(sample.bytes())) == sample.decoded


@pytest.mark.parametrize(
    ("tokens", "heads", "dims", "raw_tokens"),
    [(1, 1, 2, 0), (2, 1, 2, 1), (5, 1, 33, 4), (3, 16, 2, 1), (64, 1, 32, 0), (9, 3, 64, 4)],
)
def test_uniform_blocks_decode_in_every_shape(
    decoder: Decoder, tokens: int, heads: int, dims: int, raw_tokens: int
) -> None:
    sample = cases.uniform_sample(
        2, "bf16", tokens, heads=heads, dims=dims, rope=cases.rope_of(2), raw_tokens=raw_tokens
    )
    assert bytes(decoder.decode(sample.bytes())) == sample.decoded


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("tokens", [1, 50])
def test_exact_blocks_decode_bit_for_bit(decoder: Decoder, dtype: str, tokens: int) -> None:
    sample = cases.exact_sample(3, dtype, tokens)
    assert bytes(decoder.decode(sample.bytes())) == sample.decoded


@pytest.mark.parametrize("dtype", cases.LOSSY_DTYPES)
@pytest.mark.parametrize("raw_tokens", [0, 2])
def test_transform_blocks_decode_with_their_profile(
    decoder: Decoder, dtype: str, raw_tokens: int
) -> None:
    sample, profile = cases.transform_sample(4, dtype, 29, cases.rope_of(16), raw_tokens)
    decoder._profiles = {profile.hash: profile}
    assert bytes(decoder.decode(sample.bytes())) == sample.decoded


@pytest.mark.parametrize("shift", [0, 1, 5, 8])
def test_coarse_rows_of_a_basis_count_in_steps(decoder: Decoder, shift: int) -> None:
    sample, profile = cases.transform_sample(5, "bf16", 33, cases.rope_of(16), shift=shift)
    marked = np.frombuffer(sample.blocks[-1].data, np.uint8, 60, 16)
    assert 4 <= np.count_nonzero(marked & 0x80) < np.count_nonzero(marked)
    decoder._profiles = {profile.hash: profile}
    assert bytes(decoder.decode(sample.bytes())) == sample.decoded


@pytest.mark.parametrize("most", [1, 3000, 32768])
def test_means_of_a_transform_may_have_any_size(decoder: Decoder, most: int) -> None:
    sample, profile = cases.transform_sample(7, "f32", 3, None, most_mean=most)
    decoder._profiles = {profile.hash: profile}
    assert bytes(decoder.decode(sample.bytes())) == sample.decoded


@pytest.mark.parametrize(
    ("place", "value", "field"), [(15, 9, "shift"), (16, 0x80, "class"), (17, 0xC6, "class")]
)
def test_marks_that_mean_nothing_are_refused(
    decoder: Decoder, place: int, value: int, field: str
) -> None:
    sample, profile = cases.transform_sample(6, "bf16", 8, None)
    block = sample.blocks[-1]
    data = bytearray(block.data)
    data[place] = value
    sample.blocks[-1] = Block(3, 1, block.first_layer, bytes(data), block.decoded, 2, 0)
    decoder._profiles = {profile.hash: profile}
    with pytest.raises(EncodingError, match=field):
        decoder.decode(sample.bytes())


def test_a_coefficient_that_is_too_large_for_a_coarse_row_is_refused(decoder: Decoder) -> None:
    sample, profile = cases.transform_sample(8, "bf16", 8, None)
    block = sample.blocks[-1]
    data = bytearray(block.data)
    # The escapes are of columns that are not coarse: now all are.
    for place in range(16, 16 + 60):
        data[place] |= 0x80 if data[place] else 0
    assert int.from_bytes(data[8:12], "little") > 0
    sample.blocks[-1] = Block(3, 1, block.first_layer, bytes(data), block.decoded, 2, 0)
    decoder._profiles = {profile.hash: profile}
    with pytest.raises(EncodingError, match="coefficient"):
        decoder.decode(sample.bytes())


def test_a_transform_passes_over_layers_of_other_groups(decoder: Decoder) -> None:
    sample, profile = cases.transform_sample(
        5, "bf16", 17, cases.rope_of(16), raw_tokens=1, between=True
    )
    decoder._profiles = {profile.hash: profile}
    assert bytes(decoder.decode(sample.bytes())) == sample.decoded


def test_threads_that_meet_a_basis_first_at_once_decode_alike(library: ctypes.CDLL) -> None:
    sample, profile = cases.transform_sample(5, "bf16", 40, cases.rope_of(8))
    data, threads = sample.bytes(), 8
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(40):
            decoder = make_decoder("kernels", library)
            decoder._profiles = {profile.hash: profile}
            start = threading.Barrier(threads)

            def decode(decoder: Decoder = decoder, start: threading.Barrier = start) -> bytes:
                start.wait()
                return bytes(decoder.decode(data))

            found = [pool.submit(decode) for _ in range(threads)]
            assert {one.result() for one in found} == {sample.decoded}


def test_raw_blocks_decode(decoder: Decoder) -> None:
    sample = cases.raw_sample()
    assert bytes(decoder.decode(sample.bytes())) == sample.decoded


def test_opaque_objects_decode_with_zstd_and_lz4(decoder: Decoder) -> None:
    stored = b"seventeen bytes, " * 999
    for kind, codec, packed in ((4, 16, cases.zstd(stored)), (5, 17, cases.lz4(stored))):
        sample = Sample(None, codec=codec)
        sample.blocks.append(Block(kind, 3, 0, packed, stored, 0))
        assert bytes(decoder.decode(sample.bytes())) == stored


def test_a_missing_profile_has_an_error_of_its_own(decoder: Decoder) -> None:
    sample, profile = cases.transform_sample(6, "bf16", 8, None)
    with pytest.raises(ProfileMissing) as caught:
        decoder.decode(sample.bytes())
    assert caught.value.profile == profile.hash


def test_a_profile_of_another_layout_is_refused(decoder: Decoder) -> None:
    sample, profile = cases.transform_sample(6, "bf16", 8, None)
    _, other = cases.transform_sample(6, "bf16", 8, cases.rope_of(16))
    decoder._profiles = {profile.hash: other}
    with pytest.raises(EncodingError, match="layoutID"):
        decoder.decode(sample.bytes())


def test_sums_that_may_leave_32_bits_are_refused(decoder: Decoder) -> None:
    sample, profile = cases.transform_sample(8, "bf16", 8, None)
    block = sample.blocks[-1]
    # An escape of a coded coefficient, larger than any sum may grow from.
    data = bytearray(block.data)
    place = _escapes_at(block)
    data[place : place + 2] = (32767).to_bytes(2, "little")
    basis = profile.bases[-1]
    assert 32767 * int(basis.column_sums[-1]) >= 1 << 31
    sample.blocks[-1] = Block(3, 1, block.first_layer, bytes(data), block.decoded, 2, 0)
    decoder._profiles = {profile.hash: profile}
    with pytest.raises(EncodingError, match="coefficient"):
        decoder.decode(sample.bytes())


def test_streams_that_end_wrongly_are_refused(decoder: Decoder) -> None:
    sample = cases.uniform_sample(9, "bf16", 21)
    block = sample.blocks[0]
    whole = bytearray(block.data)
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    fewer = bytearray(whole[:-2])
    fewer[4:8] = (int.from_bytes(whole[4:8], "little") - 1).to_bytes(4, "little")
    more = whole + b"\1\0"
    more[4:8] = (int.from_bytes(whole[4:8], "little") + 1).to_bytes(4, "little")
    for data in (flipped, fewer, more):
        sample.blocks[0] = Block(2, 0, 0, bytes(data), block.decoded)
        with pytest.raises((EncodingError, CorruptPayload)):
            decoder.decode(sample.bytes())


def test_a_wrong_result_is_found_by_its_checksum(decoder: Decoder) -> None:
    sample = cases.uniform_sample(10, "bf16", 21)
    block = sample.blocks[1]
    other = bytes([block.decoded[0] ^ 1]) + block.decoded[1:]
    sample.blocks[1] = Block(2, 1, 0, block.data, other)
    with pytest.raises(CorruptPayload):
        decoder.decode(sample.bytes())


def test_planes_come_as_tensors_of_the_layouts_type() -> None:
    sample = cases.uniform_sample(11, "bf16", 21, rope=cases.rope_of(4))
    planes = list(Decoder(device="cpu").planes(sample.bytes()))
    numbers = [(plane.layer, plane.shape.plane) for plane in planes]
    assert numbers == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(plane.tensor.dtype == torch.bfloat16 for plane in planes)
    assert all(plane.tensor.shape == (2, 21, 20) for plane in planes)


def test_rotation_tables_are_the_rounded_cosines_and_sines() -> None:
    cosines, sines = rotation_tables((1.0, 0.37, 1e-4, 0.0), 123456, 500)
    angles = np.arange(123456, 123956)[:, None] * np.array([1.0, 0.37, 1e-4, 0.0])
    assert (cosines == np.cos(angles).astype(np.float32)).mean() > 0.9999
    assert np.abs(sines - np.sin(angles)).max() < 1e-7


def test_rotation_tables_are_the_kernels_bit_for_bit(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(5)
    frequencies = np.concatenate([10.0 ** -rng.uniform(0, 8, 40), [1.0, 0.0, -0.5, 1000.0]])
    for first in (0, 4096, 1 << 20):
        cosines = np.empty((300, len(frequencies)), np.float32)
        sines = np.empty_like(cosines)
        result = library.kdn_rope_table(
            ctypes.c_void_p(frequencies.ctypes.data),
            ctypes.c_uint64(len(frequencies)),
            ctypes.c_uint64(first),
            ctypes.c_uint64(300),
            ctypes.c_void_p(cosines.ctypes.data),
            ctypes.c_void_p(sines.ctypes.data),
        )
        assert result == 0
        mine = rotation_tables(tuple(frequencies.tolist()), first, 300)
        assert mine[0].tobytes() == cosines.tobytes()
        assert mine[1].tobytes() == sines.tobytes()


@pytest.mark.parametrize("dtype", cases.LOSSY_DTYPES)
def test_rounding_is_torchs(dtype: str) -> None:
    from kdn.codec.tensors import _bits, _rounded

    rng = np.random.default_rng(1)
    values = rng.integers(0, 1 << 32, 300_000, dtype=np.uint32).view(np.float32)
    edges = [448, 464, 463.9, 57344, 61440, 61439, np.inf, -np.inf, np.nan, 0.0, -0.0, 65520]
    halves = np.arange(-3000, 3000) / 16
    with np.errstate(all="ignore"):
        near = rng.standard_normal(100_000) * 10.0 ** rng.uniform(-9, 6, 100_000)
        values = np.concatenate([values, edges, halves, near]).astype(np.float32)
    with np.errstate(all="ignore"):
        mine = rounded(values, dtype)
    theirs = _bits(_rounded(torch.from_numpy(values), dtype)).numpy()
    assert mine.tobytes() == theirs.tobytes()


def _escapes_at(block: Block) -> int:
    """Where a block's escapes begin: before the states and the words, padded to 8."""
    words, count = (int.from_bytes(block.data[at : at + 4], "little") for at in (4, 8))
    assert count >= 1
    return len(block.data) - 2 * words - 128 - -(-2 * count // 8) * 8
