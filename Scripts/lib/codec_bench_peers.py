"""Codecs of others, as their papers have them, on planes `[layer, head, token, dim]` of f32.

Each gives what it decodes to and the bits per element that it takes, side information counted and
containers not. Where a paper leaves a choice, it is made in the peer's favour and said here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]
Coded = tuple[Floats, float]
Peer = Callable[[Floats, Floats], tuple[Floats, Floats, float]]

# KIVI's paper groups by 32 with an f16 scale and zero; 64 takes half the side information.
KIVI_GROUP = 64
CACHEGEN_GROUP = 10
TURBO_BITS = 4


def fp8(keys: Floats, values: Floats) -> tuple[Floats, Floats, float]:
    """A cast to e4m3 without scales, as engines' fp8 caches are by default."""
    return _cast(keys), _cast(values), 8.0


def _cast(plane: Floats) -> Floats:
    cast = torch.from_numpy(plane).clamp(-448, 448).to(torch.float8_e4m3fn)
    result: Floats = cast.float().numpy()
    return result


def kivi(bits: int, keys: Floats, values: Floats) -> tuple[Floats, Floats, float]:
    """KIVI: keys by channel over groups of tokens, values by token over channels, asymmetric.

    Its window of recent tokens in 16 bits is left out: it serves tokens still being written.
    """
    tokens = keys.shape[2]
    if tokens % KIVI_GROUP or values.shape[3] % KIVI_GROUP:
        raise ValueError(f"{tokens} tokens of {values.shape[3]} are no groups of {KIVI_GROUP}")
    by_channel = _ranged(keys.swapaxes(2, 3), bits).swapaxes(2, 3)
    return by_channel, _ranged(values, bits), bits + 32 / KIVI_GROUP


def _ranged(plane: Floats, bits: int) -> Floats:
    """Least and largest of each group of the last axis kept in f16, even steps between."""
    groups = plane.reshape(*plane.shape[:-1], -1, KIVI_GROUP)
    least = groups.min(-1, keepdims=True)
    step = (groups.max(-1, keepdims=True) - least) / (2**bits - 1)
    least, step = (part.astype(np.float16).astype(np.float32) for part in (least, step))
    step = np.maximum(step, 1e-7)
    steps = np.clip(np.round((groups - least) / step), 0, 2**bits - 1)
    return (least + steps * step).reshape(plane.shape).astype(np.float32)


def cachegen(scale: float, keys: Floats, values: Floats) -> tuple[Floats, Floats, float]:
    """CacheGen: differences to each tenth token, bins wider by thirds of the layers.

    Anchors in 8 bits by channel. Bins are .5, 1 and 1.5 of the differences' spread, times `scale`.
    Bits are the entropy of each layer's and channel's symbols in this very document: what its
    arithmetic coder would reach with perfect tables that cost nothing.
    """
    decoded, bits = zip(*(_delta_coded(plane, scale) for plane in (keys, values)), strict=True)
    return decoded[0], decoded[1], sum(bits) / 2


def _delta_coded(plane: Floats, scale: float) -> Coded:
    layers, _, tokens, _ = plane.shape
    first = np.arange(tokens) // CACHEGEN_GROUP * CACHEGEN_GROUP
    is_anchor = first == np.arange(tokens)
    anchors = plane[:, :, is_anchor]
    step = np.maximum(np.abs(anchors).max(axis=2, keepdims=True), 1e-7) / 127
    kept = np.round(anchors / step) * step
    guess = kept[:, :, np.arange(tokens) // CACHEGEN_GROUP]
    rest = (plane - guess)[:, :, ~is_anchor]
    bins = scale * np.array([0.5, 1.0, 1.5])[np.arange(layers) * 3 // layers]
    width = (bins * rest.std(axis=(1, 2, 3)))[:, None, None, None].astype(np.float32)
    symbols = np.round(rest / width).astype(np.int32)
    decoded = guess.copy()
    decoded[:, :, ~is_anchor] += symbols * width
    share = is_anchor.mean()
    bits = _entropy(np.round(anchors / step).astype(np.int32)) * share
    bits += _entropy(symbols) * (1 - share) + 16 / tokens
    return decoded.astype(np.float32), bits


def _entropy(symbols: npt.NDArray[np.int32]) -> float:
    """Bits per symbol, with a table per layer, head and dim, over its tokens."""
    rows = np.sort(symbols.swapaxes(2, 3).reshape(-1, symbols.shape[2]), axis=1)
    count = rows.shape[1]
    starts = np.ones(rows.shape, dtype=bool)
    starts[:, 1:] = rows[:, 1:] != rows[:, :-1]
    places = np.flatnonzero(starts.ravel())
    runs = np.diff(np.append(places, rows.size)).astype(np.float64)
    return float((runs * np.log2(count / runs)).sum() / rows.size)


def turbo(keys: Floats, values: Floats) -> tuple[Floats, Floats, float]:
    """TurboQuant: each vector's norm in f16, its direction rotated at random, then the scalar
    quantiser that is best for the normal distribution, in 4 bits."""
    bits = TURBO_BITS + 16 / keys.shape[3]
    return _turned(keys), _turned(values), bits


def _turned(plane: Floats) -> Floats:
    dims = plane.shape[3]
    rotation = _rotation(dims)
    norms = np.linalg.norm(plane, axis=-1, keepdims=True)
    norms = norms.astype(np.float16).astype(np.float32)
    directions = plane / np.maximum(norms, 1e-7) @ rotation * math.sqrt(dims)
    levels = _levels(2**TURBO_BITS)
    edges = (levels[1:] + levels[:-1]) / 2
    found = levels[np.searchsorted(edges, directions)]
    return (found @ rotation.T * norms / math.sqrt(dims)).astype(np.float32)


@functools.cache
def _rotation(dims: int) -> Floats:
    matrix = np.random.default_rng(0).standard_normal((dims, dims))
    result: Floats = np.linalg.qr(matrix)[0].astype(np.float32)
    return result


@functools.cache
def _levels(count: int) -> Floats:
    """Lloyd's levels for the normal distribution, from its quantiles."""
    samples = np.sqrt(2) * torch.erfinv(torch.linspace(-1, 1, 200_003)[1:-1].double()).numpy()
    levels = np.quantile(samples, (np.arange(count) + 0.5) / count)
    for _ in range(300):
        nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, samples)
        levels = np.bincount(nearest, samples, count) / np.bincount(nearest, minlength=count)
    result: Floats = levels.astype(np.float32)
    return result


PEERS: dict[str, Peer] = {
    "fp8 e4m3": fp8,
    "KIVI-4": functools.partial(kivi, 4),
    "KIVI-2": functools.partial(kivi, 2),
    "CacheGen, fine": functools.partial(cachegen, 0.5),
    "CacheGen": functools.partial(cachegen, 1.0),
    "TurboQuant-4": turbo,
}
