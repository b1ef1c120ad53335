"""Objects that the tests of decoding share: each block kind in each element type."""

from __future__ import annotations

import ctypes
import ctypes.util
import pathlib

import numpy as np
from codec_samples import (
    Block,
    PlaneFacts,
    Sample,
    exact_block,
    laplacian,
    make_profile,
    profile_hash,
    random_bits,
    raw_block,
    transform_block,
    uniform_block,
)

from kdn.codec import Profile
from kdn.layouts import DTYPE_BYTES, AttentionGroup, LatentGroup, Layout
from kdn.rope import RoPE

LOSSY_DTYPES = ("bf16", "f16", "f32", "f8e4m3", "f8e5m2")
DTYPES = (*LOSSY_DTYPES, "i8")


def rope_of(dims: int, pairing: str = "neox") -> RoPE:
    return RoPE(10000.0, dims, pairing=pairing)


def uniform_sample(
    seed: int,
    dtype: str,
    tokens: int,
    *,
    heads: int = 2,
    dims: int = 20,
    rope: RoPE | None = None,
    raw_tokens: int = 0,
    first_token: int = 0,
) -> Sample:
    """Two layers, each plane in a uniform block."""
    rng = np.random.default_rng(seed)
    layout = Layout(dtype, (AttentionGroup((0, 1), heads, dims, 0, rope),))
    sample = Sample(layout, tokens, codec=2, first_token=first_token)
    for layer in (0, 1):
        for plane in (0, 1):
            facts = PlaneFacts(dtype, heads, dims, rope if plane == 0 else None, 0, first_token)
            channels = heads * dims
            sample.blocks.append(
                uniform_block(
                    plane,
                    layer,
                    facts,
                    laplacian(rng, tokens - raw_tokens, channels),
                    rng.integers(-400, 400, channels),
                    0.0625 * (1 + layer),
                    raw=random_bits(rng, dtype, channels * raw_tokens),
                    raw_tokens=raw_tokens,
                )
            )
    return sample


def exact_sample(seed: int, dtype: str, tokens: int, heads: int = 2, dims: int = 20) -> Sample:
    """One layer, both planes exact; the values are as wide as a plane's, NaN among them."""
    rng = np.random.default_rng(seed)
    layout = Layout(dtype, (AttentionGroup((3,), heads, dims),))
    sample = Sample(layout, tokens, codec=1)
    facts = PlaneFacts(dtype, heads, dims)
    for plane in (0, 1):
        stored = random_bits(rng, dtype, tokens * heads * dims)
        sample.blocks.append(exact_block(plane, 0, facts, stored, tables=1 + plane))
    return sample


def basis_of(rng: np.random.Generator, first: int, layers: int, plane: int, channels: int) -> dict:
    return {
        "first": first,
        "layers": layers,
        "plane": plane,
        "matrix": rng.integers(-9000, 9001, (70, channels)),
        "scales": (rng.uniform(0.5, 2, channels) / 32768).astype(np.float32),
        "means": rng.standard_normal(channels).astype(np.float32),
    }


def transform_sample(
    seed: int,
    dtype: str,
    tokens: int,
    rope: RoPE | None,
    raw_tokens: int = 0,
    *,
    between: bool = False,
    shift: int = 6,
    most_mean: int = 400,
) -> tuple[Sample, Profile]:
    """Three layers of which two are transformed; `between`, a latent one lies among them.

    With a shift of 6 some values of coarse rows are cut to what a byte holds.
    """
    rng = np.random.default_rng(seed)
    heads, dims, channels = 3, 16, 48
    numbers = (0, 2, 3) if between else (0, 1, 2)
    groups: list[AttentionGroup | LatentGroup] = [AttentionGroup(numbers, heads, dims, 0, rope)]
    if between:
        groups.append(LatentGroup((1,), 24, 8, 0, rope_of(8, "interleaved")))
    layout = Layout(dtype, tuple(groups))
    first_token = 0 if raw_tokens else 512
    attention = [index for index in range(len(numbers) + between) if index != 1 or not between]
    last_two = attention[1]
    bases = [basis_of(rng, last_two, 2, plane, 2 * channels) for plane in (0, 1)]
    widths = [(index, plane, channels) for index in attention for plane in (0, 1)]
    if between:
        widths.append((1, 2, 32))
    weights = [
        (index, plane, rng.uniform(0.5, 2, width).astype(np.float32))
        for index, plane, width in sorted(widths)
    ]
    data = make_profile(layout, 2, weights, bases)
    sample = Sample(layout, tokens, codec=4, first_token=first_token, profile=profile_hash(data))
    by_plane = {(index, plane): values for index, plane, values in weights}

    def facts(plane: int) -> PlaneFacts:
        return PlaneFacts(dtype, heads, dims, rope if plane == 0 else None, 0, first_token)

    for plane in (0, 1):
        sample.blocks.append(
            uniform_block(
                plane, 0, facts(plane), laplacian(rng, tokens, channels),
                rng.integers(-400, 400, channels), 0.25,
                weights=by_plane[0, plane] if plane == 0 else None,
            )
        )  # fmt: skip
    if between:
        latent = PlaneFacts(dtype, 1, 32, rope_of(8, "interleaved"), 24, first_token)
        sample.blocks.append(
            uniform_block(
                2, 1, latent, laplacian(rng, tokens, 32), rng.integers(-400, 400, 32), 0.25
            )
        )
    for plane in (0, 1):
        raw = [random_bits(rng, dtype, channels * raw_tokens) for _ in (0, 1)]
        sample.blocks.append(
            transform_block(
                plane, last_two, [facts(plane)] * 2,
                laplacian(rng, tokens - raw_tokens, 61 - plane, 700),
                rng.integers(-most_mean, most_mean, 61 - plane), 0.25, bases[plane],
                raw=raw, raw_tokens=raw_tokens, shift=shift,
            )
        )  # fmt: skip
    sample.raw = b"whatever was stored"
    _profiles[sample.profile] = data
    return sample, Profile(data)


_profiles: dict[bytes, bytes] = {}


def profile_bytes_of(sample: Sample) -> bytes:
    """The bytes of the profile that a sample names."""
    return _profiles[sample.profile]


def raw_sample(dtype: str = "bf16", tokens: int = 5) -> Sample:
    rng = np.random.default_rng(7)
    layout = Layout(dtype, (AttentionGroup((0,), 2, 8),))
    sample = Sample(layout, tokens, codec=1)
    for plane in (0, 1):
        stored = rng.integers(0, 256, tokens * 16 * DTYPE_BYTES[dtype], np.uint8).tobytes()
        sample.blocks.append(raw_block(plane, 0, stored))
    return sample


def _library(name: str, file: str) -> ctypes.CDLL:
    return ctypes.CDLL(ctypes.util.find_library(name) or str(pathlib.Path(file)))


def packed_sample(tokens: int) -> Sample:
    """Planes of two heads, one zstd, the other lz4."""
    layout = Layout("bf16", (AttentionGroup((0,), 2, 8),))
    sample = Sample(layout, tokens, codec=16)
    for plane, (kind, pack) in enumerate(((4, zstd), (5, lz4))):
        stored = bytes(range(plane, 32 + plane)) * tokens
        sample.blocks.append(Block(kind, plane, 0, pack(stored), stored))
    return sample


def zstd(data: bytes) -> bytes:
    library = _library("zstd", "libzstd.so.1")
    library.ZSTD_compressBound.restype = library.ZSTD_compress.restype = ctypes.c_size_t
    room = ctypes.create_string_buffer(library.ZSTD_compressBound(ctypes.c_size_t(len(data))))
    size = library.ZSTD_compress(
        room, ctypes.c_size_t(len(room)), data, ctypes.c_size_t(len(data)), 1
    )
    return room.raw[:size]


def lz4(data: bytes) -> bytes:
    library = _library("lz4", "liblz4.so.1")
    room = ctypes.create_string_buffer(library.LZ4_compressBound(len(data)))
    size = library.LZ4_compress_default(data, room, len(data), len(room))
    return room.raw[:size]
