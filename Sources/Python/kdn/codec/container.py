"""Encoded objects: the header that describes them and the index of their blocks, fully checked."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import xxhash

from kdn.keys import Part
from kdn.layouts import (
    DTYPE_BYTES,
    AttentionGroup,
    Group,
    LatentGroup,
    Layout,
)

MAGIC = b"KDNE"
VERSION = 1
HEADER_BYTES_MAX = 16 << 20
BLOCKS_MAX = 8192
RAW_BYTES_MAX = 1 << 40
LAYOUT_BYTES_MAX = 512 << 10
TOKENS_MAX = 1 << 16
POSITION_MAX = 1 << 40

FIXED = struct.Struct("<4sHBBIIQQQ16s8sQII32s")
ENTRY = struct.Struct("<BBHHHQQQQQ")
_U64 = struct.Struct("<Q")
_PART = struct.Struct("<HHHH")

RAW, EXACT, UNIFORM, TRANSFORM, ZSTD, LZ4 = range(6)
KEYS, VALUES, LAYER, OBJECT = range(4)
CLASSES = {1: "exact", 2: "high", 3: "balanced", 4: "small", 5: "archive", 16: "zstd", 17: "lz4"}
LOSSLESS = frozenset((1, 16, 17))


def checksum(data: bytes | bytearray | memoryview) -> int:
    """XXH3-64 with seed 0, as everywhere in KDN."""
    return int(xxhash.xxh3_64_intdigest(data))


def padded(length: int) -> int:
    """The length rounded up to 8."""
    return -(-length // 8) * 8


class Entry(NamedTuple):
    """One block: what it holds and where its bytes are."""

    kind: int
    plane: int
    first_layer: int
    layer_count: int
    raw_tokens: int
    offset: int
    byte_count: int
    encoded_checksum: int
    decoded_checksum: int

    @property
    def end(self) -> int:
        """The offset after the block's last byte, padding not counted."""
        return self.offset + self.byte_count


@dataclass(frozen=True)
class PlaneShape:
    """One plane of a layer in an object: what it is made of and where it lies among raw bytes."""

    layer: int
    group_index: int
    group: Group
    plane: int
    heads: int
    head_dim: int
    offset: int
    byte_count: int

    @property
    def channels(self) -> int:
        """Numbers per token; bytes per token in an opaque group."""
        return self.heads * self.head_dim

    @property
    def rotated(self) -> bool:
        """Whether lossy blocks hold the plane before its rotation."""
        rope = self.group.rope
        return rope is not None and rope.keys == "after" and self.plane != VALUES

    @property
    def rotated_from(self) -> int:
        """The first rotated number within a head."""
        return self.group.rank if isinstance(self.group, LatentGroup) else 0


@dataclass(frozen=True)
class Header:
    """All that an encoded object says before its first block."""

    codec: int
    header_bytes: int
    raw_bytes: int
    raw_checksum: int
    decoded_checksum: int
    layout_id: bytes
    part: Part | None
    first_token: int
    token_count: int
    layout: Layout | None
    profile: bytes
    frequencies: tuple[tuple[float, ...], ...]
    entries: tuple[Entry, ...]

    @cached_property
    def object_bytes(self) -> int:
        """The length of the whole encoded object."""
        return self.entries[-1].end

    @cached_property
    def planes(self) -> tuple[tuple[PlaneShape, ...], ...]:
        """The planes of each layer of the part, in payload order; () for an opaque object."""
        if self.layout is None or self.part is None:
            return ()
        return known_planes(self.layout, self.part, self.token_count)

    @property
    def class_name(self) -> str:
        """The class that was asked for; single blocks may have fallen back to a finer one."""
        return CLASSES[self.codec]

    def layers_of(self, entry: Entry) -> tuple[int, ...]:
        """Indices of the layers that a block holds: those of its first one's group from it on."""
        return self._coverage(entry).layers

    def covered(self, entry: Entry) -> tuple[PlaneShape, ...]:
        """The planes that a block holds, layer by layer; all but their places are alike."""
        return self._coverage(entry).shapes

    def channels_of(self, entry: Entry) -> int:
        """Numbers per token, over all planes of a block."""
        return self._coverage(entry).channels

    def decoded_bytes(self, entry: Entry) -> int:
        """How many bytes a block decodes to."""
        return self.raw_bytes if entry.plane == OBJECT else self._coverage(entry).byte_count

    def _coverage(self, entry: Entry) -> Coverage:
        if self.layout is None or self.part is None:
            return Coverage((), (), 0, 0)
        place = entry.first_layer, entry.layer_count, entry.plane
        return known_coverage(self.layout, self.part, self.token_count, *place)


class Coverage(NamedTuple):
    """What a block holds: see Header.layers_of and the like."""

    layers: tuple[int, ...]
    shapes: tuple[PlaneShape, ...]
    channels: int
    byte_count: int


@functools.lru_cache(maxsize=16)
def known_planes(
    layout: Layout, part: Part, tokens: int
) -> tuple[tuple[PlaneShape, ...], ...]:
    """The planes of objects that are alike, of which an engine reads many."""
    return planes_of(layout, part, tokens)


@functools.lru_cache(maxsize=1024)
def known_coverage(
    layout: Layout, part: Part, tokens: int, first_layer: int, layer_count: int, plane: int
) -> Coverage:
    """What blocks of objects that are alike hold."""
    planes = known_planes(layout, part, tokens)
    layers: list[int] = []
    for index in range(first_layer, len(planes)):
        if len(layers) == layer_count:
            break
        if planes[index][0].group_index == planes[first_layer][0].group_index:
            layers.append(index)
    shapes = tuple(shape for index in layers for shape in planes[index] if shape.plane == plane)
    channels, size = sum(s.channels for s in shapes), sum(s.byte_count for s in shapes)
    return Coverage(tuple(layers), shapes, channels, size)


def planes_of(layout: Layout, part: Part, tokens: int) -> tuple[tuple[PlaneShape, ...], ...]:
    """The planes of each layer of `part`, with their places in an object of `tokens` tokens."""
    item_bytes = DTYPE_BYTES[layout.dtype]
    rows: list[tuple[PlaneShape, ...]] = []
    offset = 0
    for layer, group in layout.layers_of(part):
        index = layout.groups.index(group)
        row: list[PlaneShape] = []
        for plane, heads, dims, size in _plane_kinds(group, part, item_bytes):
            length = heads * dims * size * tokens
            row.append(PlaneShape(layer, index, group, plane, heads, dims, offset, length))
            offset += length
        rows.append(tuple(row))
    return tuple(rows)


def _plane_kinds(group: Group, part: Part, item_bytes: int) -> list[tuple[int, int, int, int]]:
    if isinstance(group, AttentionGroup):
        shape = (part.kv_head_count, group.head_dim, item_bytes)
        return [(KEYS, *shape), (VALUES, *shape)]
    if isinstance(group, LatentGroup):
        return [(LAYER, 1, group.rank + group.rope_dim, item_bytes)]
    return [(LAYER, 1, group.bytes_per_token, 1)]
