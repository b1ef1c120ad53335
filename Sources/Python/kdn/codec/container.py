"""Encoded objects: the header that describes them and the index of their blocks, fully checked."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from functools import cached_property

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


@dataclass(frozen=True, slots=True)
class Entry:
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
        return _known_planes(self.layout, self.part, self.token_count)

    @property
    def class_name(self) -> str:
        """The class that was asked for; single blocks may have fallen back to a finer one."""
        return CLASSES[self.codec]

    @cached_property
    def _coverage(self) -> dict[tuple[int, int, int], tuple[list[int], list[PlaneShape]]]:
        return {}

    def layers_of(self, entry: Entry) -> list[int]:
        """Indices of the layers that a block holds: those of its first one's group from it on."""
        return self._covered(entry)[0]

    def covered(self, entry: Entry) -> list[PlaneShape]:
        """The planes that a block holds, layer by layer."""
        return self._covered(entry)[1]

    def _covered(self, entry: Entry) -> tuple[list[int], list[PlaneShape]]:
        place = (entry.first_layer, entry.layer_count, entry.plane)
        known = self._coverage.get(place)
        if known is None:
            layers = self._layers_of(entry)
            shapes = [
                shape
                for index in layers
                for shape in self.planes[index]
                if entry.plane == shape.plane
            ]
            known = self._coverage[place] = layers, shapes
        return known

    def _layers_of(self, entry: Entry) -> list[int]:
        first = [shape for row in self.planes[entry.first_layer :][:1] for shape in row]
        found: list[int] = []
        for index in range(entry.first_layer, len(self.planes)):
            if len(found) == entry.layer_count:
                break
            shape = self.planes[index][0]
            if shape.group_index == first[0].group_index:
                found.append(index)
        return found

    def decoded_bytes(self, entry: Entry) -> int:
        """How many bytes a block decodes to."""
        if entry.plane == OBJECT:
            return self.raw_bytes
        return sum(shape.byte_count for shape in self.covered(entry))


@functools.lru_cache(maxsize=16)
def _known_planes(
    layout: Layout, part: Part, tokens: int
) -> tuple[tuple[PlaneShape, ...], ...]:
    """The planes of objects that are alike, of which an engine reads many."""
    return planes_of(layout, part, tokens)


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
