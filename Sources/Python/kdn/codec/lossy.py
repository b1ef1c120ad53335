"""Blocks of the classes that lose something: what they say before it becomes numbers again."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kdn.codec.blocks import CLASSES, BlockReader, Stream
from kdn.codec.container import TRANSFORM, Entry, Header
from kdn.codec.errors import EncodingError, require
from kdn.layouts import DTYPE_BYTES

LOSSY_DTYPES = ("bf16", "f16", "f32", "f8e4m3", "f8e5m2")
STEP_LEAST, STEP_MOST = 2.0**-40, 2.0**40
# Set in the class byte of a coefficient whose row of the basis counts in steps of 2^shift.
COARSE = 0x80
SHIFT_MAX = 8
# The most that such a coefficient may be.
COARSE_MAX = 127

_HEAD = struct.Struct("<fIII")
_UNIFORM_CLASSES = bytes(range(CLASSES + 1))
_TRANSFORM_CLASSES = _UNIFORM_CLASSES + bytes(COARSE + number for number in range(1, CLASSES + 1))

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class LossyFields(NamedTuple):
    """Numbers of a block, and where its arrays begin in it: all that can be checked without them.

    `count` coefficients (channels of a uniform block), of which `coded` have a class.
    """

    step: float
    weighted: bool
    shift: int
    count: int
    coded: int
    escape_count: int
    word_count: int
    classes: int
    means: int
    raw: int
    escapes: int
    states: int


@dataclass(frozen=True)
class LossyBlock:
    """A uniform or transform block, checked for all that can be without decoding it."""

    step: float
    weighted: bool
    means: npt.NDArray[np.int16]
    raw: Bytes
    stream: Stream
    # Of a transform block: class bytes as they stand in it, and what coarse rows count in.
    marked: Bytes
    shift: int = 0

    @property
    def coarse(self) -> npt.NDArray[np.bool_]:
        """Of each coded coefficient, whether its row is coarse."""
        return (self.marked & COARSE)[self.stream.coded] != 0


def is_weighted(data: memoryview) -> bool:
    """Whether a uniform block, if it is whole, says that the profile's weights scale its steps."""
    return len(data) >= _HEAD.size and bool(_HEAD.unpack_from(data)[3] & 1)


def lossy_fields(
    header: Header,
    entry: Entry,
    channels: int,
    data: memoryview,
    coefficients: int | None = None,
) -> LossyFields:
    """The fields of a block; `coefficients` of a transform block come from its profile.

    Raises EncodingError naming the field at fault.
    """
    assert header.layout is not None
    dtype = header.layout.dtype
    if dtype not in LOSSY_DTYPES:
        raise EncodingError("block.kind", entry.kind, f"a lossless one for {dtype}")
    reader = BlockReader(data)
    step, word_count, escape_count, number = reader.take(_HEAD)
    if not STEP_LEAST <= step <= STEP_MOST:
        raise EncodingError("block.step", step, "2^-40 to 2^40")
    shift, count, weighted, known = 0, channels, number == 1, _UNIFORM_CLASSES
    if entry.kind == TRANSFORM:
        count = require("block.coefficients", number & 0xFFFFFF, 1, coefficients or 0)
        shift = require("block.shift", number >> 24, 0, SHIFT_MAX)
        weighted, known = True, _TRANSFORM_CLASSES
    else:
        require("block.flags", number, 0, 1 if any(header.profile) else 0)
    classes = reader.place(count, "classes")
    coded = count - _uncoded(bytes(data[classes : classes + count]), known)
    means = reader.place(2 * count, "means")
    raw = reader.place(entry.raw_tokens * channels * DTYPE_BYTES[dtype], "rawTokens")
    most = (header.token_count - entry.raw_tokens) * coded
    escapes, states = reader.stream_places(most, escape_count, word_count)
    return LossyFields(
        step, weighted, shift, count, coded, escape_count, word_count,
        classes, means, raw, escapes, states,
    )  # fmt: skip


def read_lossy(
    header: Header,
    entry: Entry,
    channels: int,
    data: memoryview,
    coefficients: int | None = None,
) -> LossyBlock:
    """The fields of a block as arrays; raises as lossy_fields does."""
    fields = lossy_fields(header, entry, channels, data, coefficients)
    assert header.layout is not None
    reader = BlockReader(data)
    marked = reader.values_at(np.uint8, fields.classes, fields.count)
    classes = marked & np.uint8(COARSE - 1) if entry.kind == TRANSFORM else marked
    means = reader.values_at(np.int16, fields.means, fields.count)
    raw_bytes = entry.raw_tokens * channels * DTYPE_BYTES[header.layout.dtype]
    raw = reader.values_at(np.uint8, fields.raw, raw_bytes)
    stream = reader.stream_at(
        header.token_count - entry.raw_tokens, classes, fields.escapes, fields.escape_count,
        fields.states, fields.word_count,
    )  # fmt: skip
    return LossyBlock(fields.step, fields.weighted, means, raw, stream, marked, fields.shift)


def _uncoded(classes: bytes, known: bytes) -> int:
    """How many coefficients are not coded; raises EncodingError for a class that is not `known`."""
    strange = classes.translate(None, known)
    if strange:
        if strange[0] == COARSE:
            raise EncodingError("block.class", COARSE, "coded, where its row is coarse")
        raise EncodingError("block.class", strange[0] & (COARSE - 1), f"0 to {CLASSES}")
    return classes.count(0)
