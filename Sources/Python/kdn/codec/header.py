"""Reads the header of an encoded object: everything that it says is checked before it is used."""

from __future__ import annotations

import functools
import math
import struct
from typing import Any

from kdn.codec.container import (
    BLOCKS_MAX,
    CLASSES,
    ENTRY,
    EXACT,
    FIXED,
    HEADER_BYTES_MAX,
    KEYS,
    LAYOUT_BYTES_MAX,
    LOSSLESS,
    LZ4,
    MAGIC,
    OBJECT,
    POSITION_MAX,
    RAW,
    RAW_BYTES_MAX,
    TOKENS_MAX,
    TRANSFORM,
    UNIFORM,
    VERSION,
    ZSTD,
    Entry,
    Header,
    checksum,
    known_coverage,
    known_planes,
    padded,
)
from kdn.codec.errors import EncodingError, require
from kdn.errors import FieldError
from kdn.keys import Part
from kdn.layouts import Layout, OpaqueGroup

_U64 = struct.Struct("<Q")
_PART = struct.Struct("<HHHH")


def rotated_groups(layout: Layout) -> list[int]:
    """Indices of the groups whose frequencies a header lists."""
    return [
        index
        for index, group in enumerate(layout.groups)
        if group.rope is not None and group.rope.keys == "after"
    ]


def header_length(data: bytes | bytearray | memoryview) -> int | None:
    """How many bytes the header takes, None while too few have come to say."""
    if len(data) < FIXED.size:
        return None
    return int(_fixed(data)[4])


def _fixed(data: bytes | bytearray | memoryview) -> tuple[Any, ...]:
    if len(data) < FIXED.size:
        raise EncodingError("length", len(data), f"at least {FIXED.size}")
    fields = FIXED.unpack_from(data)
    if fields[0] != MAGIC:
        raise EncodingError("magic", fields[0], MAGIC)
    require("version", fields[1], VERSION, VERSION)
    if fields[2] not in CLASSES:
        raise EncodingError("class", fields[2], f"one of {', '.join(map(str, CLASSES))}")
    require("reserved", fields[3], 0, 0)
    require("headerBytes", fields[4], FIXED.size + ENTRY.size + 8, HEADER_BYTES_MAX)
    require("headerBytes", fields[4] % 8, 0, 0)
    require("blockCount", fields[5], 1, BLOCKS_MAX)
    return fields


def read_header(data: bytes | bytearray | memoryview) -> Header:
    """The header of the encoded bytes that begin with `data`; all of it must be there.

    Raises EncodingError naming the first field that is not as it must be.
    """
    fields = _fixed(data)
    header_bytes, block_count = fields[4], fields[5]
    if len(data) < header_bytes:
        raise EncodingError("length", len(data), f"at least {header_bytes}")
    view = memoryview(data)[:header_bytes]
    (stated,) = _U64.unpack_from(view, header_bytes - 8)
    if checksum(view[: header_bytes - 8]) != stated:
        raise EncodingError("headerChecksum", stated, "that of the header's bytes")
    raw_bytes = require("rawByteCount", fields[6], 1, RAW_BYTES_MAX)
    layout_bytes = require("layoutBytes", fields[13], 0, LAYOUT_BYTES_MAX)
    layout = _read_layout(view, fields, layout_bytes)
    offset = FIXED.size + padded(layout_bytes)
    frequencies: tuple[tuple[float, ...], ...] = ()
    if layout is not None:
        frequencies, offset = _read_frequencies(view, layout, offset)
    index_end = offset + block_count * ENTRY.size
    require("headerBytes", header_bytes, index_end + 8, index_end + 8)
    part, token_bytes = _read_part(view, layout)
    header = Header(
        codec=fields[2],
        header_bytes=header_bytes,
        raw_bytes=raw_bytes,
        raw_checksum=fields[7],
        decoded_checksum=fields[8],
        layout_id=fields[9],
        part=part,
        first_token=require("firstToken", fields[11], 0, POSITION_MAX),
        token_count=fields[12],
        layout=layout,
        profile=fields[14],
        frequencies=frequencies,
        entries=tuple(_read_entries(view, offset, block_count)),
    )
    _check_header(header, token_bytes)
    return header


def _read_layout(view: memoryview, fields: tuple[Any, ...], length: int) -> Layout | None:
    if length == 0:
        for name, at, size in (("layoutID", 40, 16), ("part", 56, 8), ("profile", 80, 32)):
            if any(view[at : at + size]):
                raise EncodingError(name, bytes(view[at : at + size]).hex(), "zero without layout")
        require("firstToken", fields[11], 0, 0)
        require("tokenCount", fields[12], 0, 0)
        return None
    require("tokenCount", fields[12], 1, TOKENS_MAX)
    if FIXED.size + padded(length) > len(view):
        raise EncodingError("layoutBytes", length, "inside the header")
    try:
        layout = _known_layout(bytes(view[FIXED.size : FIXED.size + length]))
    except FieldError as error:
        raise EncodingError(f"layout.{error.field}", error.value, error.limit) from error
    if layout.id != bytes(view[40:56]):
        raise EncodingError("layoutID", bytes(view[40:56]).hex(), layout.id.hex())
    _require_zero(view, FIXED.size + length, FIXED.size + padded(length))
    return layout


@functools.lru_cache(maxsize=16)
def _known_layout(encoded: bytes) -> Layout:
    """The layout of its bytes: an engine reads many objects of few."""
    return Layout.decode(encoded)


def _read_part(view: memoryview, layout: Layout | None) -> tuple[Part | None, int]:
    """The part, and how many bytes a token of it takes."""
    if layout is None:
        return None, 0
    try:
        return _known_part(layout, bytes(view[56:64]))
    except FieldError as error:
        raise EncodingError(f"part.{error.field}", error.value, error.limit) from error


@functools.lru_cache(maxsize=16)
def _known_part(layout: Layout, encoded: bytes) -> tuple[Part, int]:
    part = Part(*_PART.unpack(encoded))
    return part, layout.bytes_per_token(part)


def _read_frequencies(
    view: memoryview, layout: Layout, offset: int
) -> tuple[tuple[tuple[float, ...], ...], int]:
    """Those of each group, and where they end."""
    groups = rotated_groups(layout)
    ropes = [layout.groups[index].rope for index in groups]
    counts = tuple(0 if rope is None else rope.rotary_dims // 2 for rope in ropes)
    end = offset + 8 * sum(counts)
    if end > len(view):
        raise EncodingError("headerBytes", len(view), f"at least {end}")
    found = _known_frequencies(bytes(view[offset:end]), counts)
    rows: list[tuple[float, ...]] = [()] * len(layout.groups)
    for index, row in zip(groups, found):
        rows[index] = row
    return tuple(rows), end


@functools.lru_cache(maxsize=16)
def _known_frequencies(encoded: bytes, counts: tuple[int, ...]) -> tuple[tuple[float, ...], ...]:
    """So many of each group, one after the other."""
    rows: list[tuple[float, ...]] = []
    offset = 0
    for count in counts:
        row = struct.unpack_from(f"<{count}d", encoded, offset)
        for frequency in row:
            if not (math.isfinite(frequency) and abs(frequency) <= 1e6):
                raise EncodingError("frequency", frequency, "finite, at most 1e6")
        rows.append(row)
        offset += 8 * count
    return tuple(rows)


def _read_entries(view: memoryview, offset: int, count: int) -> list[Entry]:
    entries: list[Entry] = []
    place = len(view)
    for row in ENTRY.iter_unpack(view[offset : offset + count * ENTRY.size]):
        require("block.kind", row[0], RAW, LZ4)
        require("block.plane", row[1], KEYS, OBJECT)
        require("block.layerCount", row[3], 0 if row[1] == OBJECT else 1, 4096)
        require("block.byteCount", row[6], 1, RAW_BYTES_MAX)
        require("block.offset", row[5], place, place)
        require("block.reserved", row[9], 0, 0)
        entries.append(Entry._make(row[:9]))
        place = padded(row[5] + row[6])
    return entries


def _check_header(header: Header, token_bytes: int) -> None:
    if header.codec in LOSSLESS and header.raw_checksum != header.decoded_checksum:
        raise EncodingError("decodedChecksum", header.decoded_checksum, header.raw_checksum)
    layout, part, tokens = header.layout, header.part, header.token_count
    if layout is None or part is None:
        _check_opaque(header)
        return
    expected = token_bytes * tokens
    require("rawByteCount", header.raw_bytes, expected, expected)
    _check_blocks(layout, part, tokens, tuple(entry[:5] for entry in header.entries))
    for entry in header.entries:
        if entry.kind == RAW:
            size = header.decoded_bytes(entry)
            require("block.byteCount", entry.byte_count, size, size)


@functools.lru_cache(maxsize=16)
def _check_blocks(
    layout: Layout, part: Part, tokens: int, blocks: tuple[tuple[int, ...], ...]
) -> None:
    """Checks what blocks say that they hold: the first fields of their entries.

    Those of objects that are alike mostly say the same.
    """
    planes = known_planes(layout, part, tokens)
    uncovered = {(index, shape.plane) for index, row in enumerate(planes) for shape in row}
    before = (-1, -1)
    for kind, plane, first, count, raw_tokens in blocks:
        if (first, plane) <= before:
            raise EncodingError("block.firstLayerIndex", first, "in order")
        before = (first, plane)
        held = known_coverage(layout, part, tokens, first, count, plane)
        if len(held.layers) != count:
            raise EncodingError("block.layerCount", count, f"{len(held.layers)} in the group")
        lossy = kind in (UNIFORM, TRANSFORM)
        require("block.rawTokens", raw_tokens, 0, tokens - 1 if lossy else 0)
        for index in held.layers:
            if (index, plane) not in uncovered:
                raise EncodingError("block.plane", plane, f"one that is open in layer {index}")
            uncovered.remove((index, plane))
        if kind != TRANSFORM:
            require("block.layerCount", count, 1, 1)
        opaque = any(isinstance(shape.group, OpaqueGroup) for shape in held.shapes)
        if opaque and kind in (EXACT, UNIFORM, TRANSFORM):
            raise EncodingError("block.kind", kind, "raw, zstd or lz4 in an opaque group")
    if uncovered:
        raise EncodingError("blocks", min(uncovered), "covering each plane")


def _check_opaque(header: Header) -> None:
    require("blockCount", len(header.entries), 1, 1)
    entry = header.entries[0]
    if entry.plane != OBJECT or entry.kind not in (RAW, ZSTD, LZ4):
        raise EncodingError("block.plane", entry.plane, "3, raw, zstd or lz4, without a layout")
    if entry.first_layer or entry.raw_tokens:
        raise EncodingError("block.firstLayerIndex", entry.first_layer, "0 without a layout")
    if entry.kind == RAW:
        require("block.byteCount", entry.byte_count, header.raw_bytes, header.raw_bytes)


def _require_zero(view: memoryview, start: int, end: int) -> None:
    if any(view[start:end]):
        raise EncodingError("padding", bytes(view[start:end]).hex(), "zero")
