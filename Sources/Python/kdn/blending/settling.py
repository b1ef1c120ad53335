"""Settling: what text in front does, on average, to the KV of a text that was computed alone.

KV computed alone differs from KV computed behind other text. A good part of the difference can be
told from the KV itself and from how far the token is from the start of its text, whatever the text
in front says. A settling is the linear map that tells it, one for each layer and KV head, learnt
once for a model: `[k, v, where] -> [dk, dv]`, keys without their rotation. What it gives is added
to chunks when they are stored, so that a blend costs nothing more when it is asked for.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kdn.blending.rotation import frequencies, movable
from kdn.errors import FieldError
from kdn.rope import RoPE

# A token's distance from the start of its text counts by the range it is in: [0, 4), [4, 16), ...
BOUNDS = (4, 16, 48, 128, 256)
# Tokens before this one are not settled: they are attention sinks, and left out of blends.
FIRST_TOKEN = 1
LAYERS_MAX = 1024
HEADS_MAX = 1024
DIM_MAX = 1024

_MAGIC = b"KDNS"
_VERSION = 1
_HEADER = struct.Struct("<4sHHI")
_LAYER = struct.Struct("<IHH")


@dataclass(frozen=True)
class LayerSettling:
    """One layer's maps: float32 `[kvHeads, 2 * headDim + ranges, 2 * headDim]`."""

    number: int
    weights: torch.Tensor

    @property
    def kv_heads(self) -> int:
        """Heads of K and of V."""
        return self.weights.shape[0]

    @property
    def head_dim(self) -> int:
        """Elements of a head's key."""
        return self.weights.shape[2] // 2


@dataclass(frozen=True)
class Settling:
    """The maps of all layers of a model."""

    layers: tuple[LayerSettling, ...]

    @functools.cached_property
    def name(self) -> bytes:
        """SHA-256 of the encoding: what COMPOSE is asked for."""
        return hashlib.sha256(self.encoded()).digest()

    def encoded(self) -> bytes:
        """Header; then for each layer its number, heads, head dim and weights, little-endian."""
        parts = [_HEADER.pack(_MAGIC, _VERSION, len(BOUNDS), len(self.layers))]
        parts.append(struct.pack(f"<{len(BOUNDS)}I", *BOUNDS))
        for layer in self.layers:
            parts.append(_LAYER.pack(layer.number, layer.kv_heads, layer.head_dim))
            parts.append(layer.weights.to(torch.float32).contiguous().numpy().tobytes())
        return b"".join(parts)

    @classmethod
    def decoded(cls, data: bytes) -> Settling:
        """Raises FieldError naming `magic`, `version`, `bounds`, `layerCount`, `layer`, `kvHeads`,
        `headDim`, `weights` (not all finite) or `length`.
        """
        if len(data) < _HEADER.size + 4 * len(BOUNDS):
            raise FieldError("length", len(data), f"at least {_HEADER.size + 4 * len(BOUNDS)}")
        magic, version, bounds, count = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise FieldError("magic", magic.hex(), _MAGIC.hex())
        if version != _VERSION:
            raise FieldError("version", version, _VERSION)
        if bounds != len(BOUNDS):
            raise FieldError("bounds", bounds, len(BOUNDS))
        found = struct.unpack_from(f"<{len(BOUNDS)}I", data, _HEADER.size)
        if found != BOUNDS:
            raise FieldError("bounds", str(found), str(BOUNDS))
        _check("layerCount", count, LAYERS_MAX)
        offset = _HEADER.size + 4 * len(BOUNDS)
        layers: list[LayerSettling] = []
        for _ in range(count):
            layer, offset = _decoded_layer(data, offset)
            if layers and layer.number <= layers[-1].number:
                raise FieldError("layer", layer.number, f"above {layers[-1].number}")
            layers.append(layer)
        if offset != len(data):
            raise FieldError("length", len(data), offset)
        return cls(tuple(layers))

    def layer(self, number: int, kv_heads: int, head_dim: int) -> LayerSettling:
        """The maps of a layer; raises FieldError naming `settling` if they are for other KV."""
        for layer in self.layers:
            if (layer.number, layer.kv_heads, layer.head_dim) == (number, kv_heads, head_dim):
                return layer
        raise FieldError(
            "settling", f"layer {number} of {kv_heads} heads, {head_dim} elements",
            "a layer of the model that it was learnt for",
        )


def settled(
    layer: LayerSettling, rope: RoPE | None, keys: Any, values: Any, first: int
) -> tuple[Any, Any]:
    """K and V `[kvHeads, tokens, headDim]` as they would be behind other text, on average.

    `first` is the index of their first token in its text, which stands at position 0. float32
    arithmetic, rounded once to the type that was given.
    """
    places = range(first, first + keys.shape[1])
    raw, plain = turned(keys.float(), rope, places, -1), values.float()
    change = features(raw, plain, first) @ layer.weights.to(keys.device)
    kept = max(0, FIRST_TOKEN - first)
    change[:, :kept] = 0
    moved = turned(raw + change[..., : layer.head_dim], rope, places, 1)
    # Turned there and back they would not be the same to the bit.
    moved[:, :kept] = keys[:, :kept].float()
    return moved.to(keys.dtype), (plain + change[..., layer.head_dim :]).to(values.dtype)


def features(raw: torch.Tensor, values: torch.Tensor, first: int) -> torch.Tensor:
    """What the map takes: `[kvHeads, tokens, 2 * headDim + ranges]`, of unrotated keys."""
    places = torch.arange(first, first + raw.shape[1], device=raw.device)
    bounds = torch.tensor(BOUNDS, device=raw.device)
    ranges = torch.bucketize(places, bounds, right=True)
    where = torch.nn.functional.one_hot(ranges, len(BOUNDS) + 1).to(raw.dtype)
    return torch.cat([raw, values, where.expand(raw.shape[0], -1, -1)], dim=-1)


def turned(keys: torch.Tensor, rope: RoPE | None, places: Sequence[int], sign: int) -> torch.Tensor:
    """Float keys `[…, tokens, dim]`, each turned by its place in positions, or back (`sign` -1)."""
    if rope is None:
        return keys
    movable(rope)
    turns = torch.tensor(frequencies(rope), dtype=torch.float64)
    angles = sign * torch.tensor(list(places), dtype=torch.float64)[:, None] * turns
    cosines, sines = (part.to(keys) for part in (angles.cos(), angles.sin()))
    result = keys.clone()
    part = result[..., : rope.rotary_dims]
    if rope.pairing == "neox":
        low, high = part.chunk(2, dim=-1)
    else:
        low, high = part[..., 0::2], part[..., 1::2]
    found = low * cosines - high * sines, low * sines + high * cosines
    low.copy_(found[0])
    high.copy_(found[1])
    return result


def settled_hash(chunk: bytes, settling: bytes) -> bytes:
    """Names the form of a document's chunk that a settling made of it."""
    return hashlib.sha256(b"kdn/1/settled" + settling + chunk).digest()


def _decoded_layer(data: bytes, offset: int) -> tuple[LayerSettling, int]:
    if len(data) - offset < _LAYER.size:
        raise FieldError("length", len(data), f"at least {offset + _LAYER.size}")
    number, heads, dim = _LAYER.unpack_from(data, offset)
    _check("layer", number, LAYERS_MAX - 1, least=0)
    _check("kvHeads", heads, HEADS_MAX)
    _check("headDim", dim, DIM_MAX)
    offset += _LAYER.size
    shape = (heads, 2 * dim + len(BOUNDS) + 1, 2 * dim)
    size = 4 * shape[0] * shape[1] * shape[2]
    if len(data) - offset < size:
        raise FieldError("length", len(data), f"at least {offset + size}")
    weights = torch.frombuffer(bytearray(data[offset : offset + size]), dtype=torch.float32)
    if not bool(torch.isfinite(weights).all()):
        raise FieldError("weights", "not finite", "finite numbers")
    return LayerSettling(number, weights.view(shape)), offset + size


def _check(field: str, value: int, most: int, least: int = 1) -> None:
    if not least <= value <= most:
        raise FieldError(field, value, f"{least} to {most}")
