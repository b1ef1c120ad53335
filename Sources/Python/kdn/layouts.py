"""Layouts: the shape and numeric form of a model's KV, and how many bytes a part of it takes."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Union

from kdn.errors import FieldError
from kdn.keys import Part
from kdn.rope import RoPE, decode_rope

DTYPE_BYTES = {"bf16": 2, "f16": 2, "f32": 4, "f8e4m3": 1, "f8e5m2": 1, "i8": 1}
DTYPES = tuple(DTYPE_BYTES)
GROUPS_MAX = 64
LAYERS_PER_GROUP_MAX = 1024
LAYER_NUMBER_MAX = 4095

_MAGIC = b"KDNL"
_VERSION = 1
_HEAD = struct.Struct("<4sBBH")
_GROUP = struct.Struct("<BBH")
_PAIR = struct.Struct("<HH")
_U32 = struct.Struct("<I")


def _require(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise FieldError(field, value, f"{least} to {most}")


def _checked_layers(layers: tuple[int, ...]) -> tuple[int, ...]:
    _require("layerCount", len(layers), 1, LAYERS_PER_GROUP_MAX)
    for layer in layers:
        _require("layers", layer, 0, LAYER_NUMBER_MAX)
    if any(after <= before for before, after in zip(layers, layers[1:])):
        raise FieldError("layers", layers[:8], "strictly ascending")
    return layers


@dataclass(frozen=True)
class AttentionGroup:
    """Layers with a key and a value plane of `kv_heads` heads of `head_dim` numbers each."""

    layers: tuple[int, ...]
    kv_heads: int
    head_dim: int
    sliding_window: int = 0
    rope: RoPE | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", _checked_layers(tuple(self.layers)))
        _require("kvHeads", self.kv_heads, 1, 1024)
        _require("headDim", self.head_dim, 1, 4096)
        _require("slidingWindow", self.sliding_window, 0, 0xFFFFFFFF)
        if self.rope is not None:
            self.rope.check_dims(self.head_dim)

    def _encode(self) -> bytes:
        return _encode_group(1, self, _PAIR.pack(self.kv_heads, self.head_dim))

    def _layer_bytes_per_token(self, item_bytes: int, heads: int) -> int:
        return 2 * heads * self.head_dim * item_bytes


@dataclass(frozen=True)
class LatentGroup:
    """Layers with one latent vector per token (MLA): `rank` numbers, then `rope_dim` rotated."""

    layers: tuple[int, ...]
    rank: int
    rope_dim: int
    sliding_window: int = 0
    rope: RoPE | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", _checked_layers(tuple(self.layers)))
        _require("rank", self.rank, 1, 16384)
        _require("ropeDim", self.rope_dim, 0, 4096)
        _require("slidingWindow", self.sliding_window, 0, 0xFFFFFFFF)
        if self.rope is not None:
            self.rope.check_dims(self.rope_dim)

    def _encode(self) -> bytes:
        return _encode_group(2, self, _PAIR.pack(self.rank, self.rope_dim))

    def _layer_bytes_per_token(self, item_bytes: int, heads: int) -> int:
        return (self.rank + self.rope_dim) * item_bytes


@dataclass(frozen=True)
class OpaqueGroup:
    """Layers of which only the size per token is known."""

    layers: tuple[int, ...]
    bytes_per_token: int
    sliding_window: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", _checked_layers(tuple(self.layers)))
        _require("bytesPerToken", self.bytes_per_token, 1, 16777216)
        _require("slidingWindow", self.sliding_window, 0, 0xFFFFFFFF)

    @property
    def rope(self) -> None:
        """Opaque layers have no rotation that anyone but their writer knows."""
        return None

    def _encode(self) -> bytes:
        return _encode_group(3, self, _U32.pack(self.bytes_per_token))

    def _layer_bytes_per_token(self, item_bytes: int, heads: int) -> int:
        return self.bytes_per_token


Group = Union[AttentionGroup, LatentGroup, OpaqueGroup]


def _encode_group(kind: int, group: Group, shape: bytes) -> bytes:
    layers = group.layers
    parts = [
        _GROUP.pack(kind, 0 if group.rope is None else 1, len(layers)),
        struct.pack(f"<{len(layers)}H", *layers),
        shape,
        _U32.pack(group.sliding_window),
    ]
    if group.rope is not None:
        parts.append(group.rope.encode())
    return b"".join(parts)


@dataclass(frozen=True)
class Layout:
    """The KV of a model: element type, and groups of layers ordered by their first layer."""

    dtype: str
    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        if self.dtype not in DTYPE_BYTES:
            raise FieldError("dtype", self.dtype, f"one of {', '.join(DTYPES)}")
        _require("groupCount", len(self.groups), 1, GROUPS_MAX)
        firsts = [group.layers[0] for group in self.groups]
        seen: set[int] = set()
        for group in self.groups:
            repeated = seen.intersection(group.layers)
            if repeated:
                raise FieldError("layers", min(repeated), "in exactly one group")
            seen.update(group.layers)
        if firsts != sorted(firsts):
            raise FieldError("groups", firsts, "ordered by their first layer")

    def __hash__(self) -> int:
        return hash(self.id)

    def encode(self) -> bytes:
        """The canonical encoding, which the id is taken from."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        head = _HEAD.pack(_MAGIC, _VERSION, DTYPES.index(self.dtype) + 1, len(self.groups))
        return head + b"".join(group._encode() for group in self.groups)

    @cached_property
    def id(self) -> bytes:
        """The first 16 bytes of the SHA-256 of the canonical encoding."""
        return hashlib.sha256(self._encoded).digest()[:16]

    @property
    def layer_count(self) -> int:
        """How many layers the groups list together."""
        return sum(len(group.layers) for group in self.groups)

    def whole(self) -> Part:
        """The part that holds every layer and head.

        Raises FieldError if attention groups differ in heads: one part cannot hold them all.
        """
        heads = {group.kv_heads for group in self.groups if isinstance(group, AttentionGroup)}
        if len(heads) > 1:
            raise FieldError("kvHeads", sorted(heads), "the same in every group")
        first = min(group.layers[0] for group in self.groups)
        top = max(group.layers[-1] for group in self.groups)
        return Part(first, top + 1 - first, 0, max(heads, default=1))

    def layers_of(self, part: Part) -> Iterator[tuple[int, Group]]:
        """Layers of `part` in payload order, each with its group."""
        span = range(part.first_layer, part.first_layer + part.layer_count)
        owned = ((layer, group) for group in self.groups for layer in group.layers)
        return iter(sorted((pair for pair in owned if pair[0] in span), key=lambda pair: pair[0]))

    def bytes_per_token(self, part: Part | None = None) -> int:
        """Bytes of one token, over all layers and heads or over those of `part`.

        Raises FieldError if the part holds no layer or names heads that do not exist.
        """
        item_bytes = DTYPE_BYTES[self.dtype]
        if part is None:
            return sum(
                len(group.layers)
                * group._layer_bytes_per_token(item_bytes, getattr(group, "kv_heads", 1))
                for group in self.groups
            )
        chosen = list(self.layers_of(part))
        self._check_part(part, [group for _, group in chosen])
        return sum(
            group._layer_bytes_per_token(item_bytes, part.kv_head_count) for _, group in chosen
        )

    def layer_ranges(self, part: Part, token_count: int) -> list[tuple[int, int, int]]:
        """(layer, byte offset, byte length) of each layer in an object of `part`."""
        item_bytes = DTYPE_BYTES[self.dtype]
        chosen = list(self.layers_of(part))
        self._check_part(part, [group for _, group in chosen])
        rows: list[tuple[int, int, int]] = []
        offset = 0
        for layer, group in chosen:
            length = token_count * group._layer_bytes_per_token(item_bytes, part.kv_head_count)
            rows.append((layer, offset, length))
            offset += length
        return rows

    def _check_part(self, part: Part, groups: list[Group]) -> None:
        if not groups:
            raise FieldError("firstLayer", part.first_layer, "a range that holds a layer")
        heads = [group.kv_heads for group in groups if isinstance(group, AttentionGroup)]
        limit = min(heads, default=1)
        if part.first_kv_head >= limit:
            raise FieldError("firstKVHead", part.first_kv_head, f"below {limit}")
        if part.first_kv_head + part.kv_head_count > limit:
            raise FieldError("kvHeadCount", part.kv_head_count, f"within {limit} heads")

    @staticmethod
    def decode(data: bytes) -> Layout:
        """The layout of a canonical encoding; raises FieldError naming the field at fault."""
        reader = _Reader(data)
        magic, version, dtype, group_count = reader.take(_HEAD)
        if magic != _MAGIC:
            raise FieldError("magic", magic, _MAGIC)
        _require("version", version, _VERSION, _VERSION)
        _require("dtype", dtype, 1, len(DTYPES))
        _require("groupCount", group_count, 1, GROUPS_MAX)
        groups = tuple(_decode_group(reader) for _ in range(group_count))
        if reader.offset != len(data):
            raise FieldError("length", len(data), reader.offset)
        return Layout(DTYPES[dtype - 1], groups)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def take(self, shape: struct.Struct) -> tuple[Any, ...]:
        if self.offset + shape.size > len(self.data):
            raise FieldError("length", len(self.data), f"at least {self.offset + shape.size}")
        values = shape.unpack_from(self.data, self.offset)
        self.offset += shape.size
        return values


def _decode_group(reader: _Reader) -> Group:
    kind, has_rope, layer_count = reader.take(_GROUP)
    _require("kind", kind, 1, 3)
    _require("hasRoPE", has_rope, 0, 0 if kind == 3 else 1)
    _require("layerCount", layer_count, 1, LAYERS_PER_GROUP_MAX)
    layers = _checked_layers(reader.take(struct.Struct(f"<{layer_count}H")))
    shape = reader.take(_U32 if kind == 3 else _PAIR)
    (window,) = reader.take(_U32)
    rope = decode_rope(reader.take) if has_rope else None
    if kind == 1:
        return AttentionGroup(layers, shape[0], shape[1], window, rope)
    if kind == 2:
        return LatentGroup(layers, shape[0], shape[1], window, rope)
    return OpaqueGroup(layers, shape[0], window)
