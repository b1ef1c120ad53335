"""Blocks of the class `exact`: exponents coded against a base per channel, the rest as it was.

An element is cut in a field of 8 bits, which is coded, and rest planes of whole bytes, as
CKernels.h says.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kdn.codec.blocks import BlockReader, Stream
from kdn.codec.container import PlaneShape
from kdn.codec.errors import require
from kdn.codec.rans import Tables

TABLES_MAX = 4
TABLE_BITS = 11

_HEAD = struct.Struct("<IIBBBBI")
_TABLE = struct.Struct("<bBHH")

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int32]


# Whole bytes of an element beside the field of 8 bits that is coded.
REST_PLANES = {"bf16": 1, "f16": 1, "f32": 3, "f8e4m3": 0, "f8e5m2": 0, "i8": 0}


@dataclass(frozen=True)
class ExactBlock:
    """An exact block's fields. `rest` has each rest plane, `[head, token, dim]` or one byte."""

    bases: Bytes
    rest: tuple[Bytes, ...]
    frequencies: npt.NDArray[np.uint16]
    stream: Stream

    def tables(self) -> Tables:
        """The slots of the block's own tables."""
        symbols = range(-128, 128)
        rows = [list(zip(symbols, row.tolist(), strict=True)) for row in self.frequencies]
        return Tables.of(TABLE_BITS, rows)


def read_exact(dtype: str, tokens: int, channels: int, data: memoryview) -> ExactBlock:
    """The fields of a block; raises EncodingError naming the field at fault."""
    planes = REST_PLANES[dtype]
    reader = BlockReader(data)
    words, escapes, table_count, rest_planes, constant, zero, zeros = reader.take(_HEAD)
    require("block.tableCount", table_count, 0, TABLES_MAX)
    require("block.restPlanes", rest_planes, planes, planes)
    require("block.constantMask", constant, 0, (1 << planes) - 1)
    require("block.reserved", zero | zeros, 0, 0)
    bases = reader.array(np.uint8, channels, "bases")
    classes = reader.array(np.uint8, channels, "classes")
    require("block.class", int(classes.max()), 0, table_count)
    frequencies = np.zeros((table_count, 256), np.uint16)
    for row in frequencies:
        _read_table(reader, row)
    reader.pad()
    sizes = [1 if constant >> plane & 1 else tokens * channels for plane in range(planes)]
    rest = tuple(reader.values(np.uint8, size, "restPlane") for size in sizes)
    reader.pad()
    stream = reader.stream(tokens, classes, escapes, words)
    return ExactBlock(bases, rest, frequencies, stream)


def _read_table(reader: BlockReader, row: npt.NDArray[np.uint16]) -> None:
    """Takes a table; `row` has a place for the frequency of each symbol from -128 on."""
    first, zero, count, row[0] = reader.take(_TABLE)
    require("table.reserved", zero, 0, 0)
    require("table.firstSymbol", first, -127, 127)
    require("table.count", count, 1, 128 - first)
    row[first + 128 : first + 128 + count] = reader.values(np.uint16, count, "table")
    require("table.sum", int(row.sum(dtype=np.int64)), 1 << TABLE_BITS, 1 << TABLE_BITS)


def fields(block: ExactBlock, numbers: Numbers) -> Bytes:
    """The coded 8 bits of each element, `[token, channel]`, from the coded channels' numbers."""
    found = np.broadcast_to(block.bases, (len(numbers), len(block.bases))).copy()
    coded = block.stream.coded
    found[:, coded] = (block.bases[coded].astype(np.int32) + numbers) & 255
    return found


def elements(
    block: ExactBlock, coded: Bytes, shape: PlaneShape, rest_planes: int
) -> npt.NDArray[Any]:
    """The plane's elements in one row, from their coded bits and the rest planes."""
    row = laid_out(coded, shape)
    if rest_planes == 0:
        return row
    if rest_planes == 1:
        rest = block.rest[0].astype(np.uint16)
        return (rest & 0x80) << 8 | row.astype(np.uint16) << 7 | rest & 0x7F
    top, middle, low = (plane.astype(np.uint32) for plane in block.rest)
    sign = (top & 0x80) << 24
    return np.asarray(sign | row.astype(np.uint32) << 23 | (top & 0x7F) << 16 | middle << 8 | low)


def laid_out(rows: npt.NDArray[Any], shape: PlaneShape) -> npt.NDArray[Any]:
    """`[token, channel]` in canonical order, `[head, token, dim]` in one row."""
    split = rows.reshape(len(rows), shape.heads, shape.head_dim)
    return np.ascontiguousarray(split.swapaxes(0, 1)).reshape(-1)
