"""Blocks of the classes that lose something: what they say before it becomes numbers again."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kdn.codec.blocks import CLASSES, BlockReader, Stream
from kdn.codec.container import TRANSFORM, Entry, Header, PlaneShape
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

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


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


def read_lossy(
    header: Header,
    entry: Entry,
    shapes: Sequence[PlaneShape],
    data: memoryview,
    coefficients: int | None = None,
) -> LossyBlock:
    """The fields of a block; `coefficients` of a transform block come from its profile.

    Raises EncodingError naming the field at fault.
    """
    assert header.layout is not None
    dtype = header.layout.dtype
    if dtype not in LOSSY_DTYPES:
        raise EncodingError("block.kind", entry.kind, f"a lossless one for {dtype}")
    channels = sum(shape.channels for shape in shapes)
    reader = BlockReader(data)
    step, word_count, escape_count, number = reader.take(_HEAD)
    if not STEP_LEAST <= step <= STEP_MOST:
        raise EncodingError("block.step", step, "2^-40 to 2^40")
    shift = 0
    if entry.kind == TRANSFORM:
        count = require("block.coefficients", number & 0xFFFFFF, 1, coefficients or 0)
        shift = require("block.shift", number >> 24, 0, SHIFT_MAX)
    else:
        require("block.flags", number, 0, 1 if any(header.profile) else 0)
        count = channels
    marked = reader.array(np.uint8, count, "classes")
    classes = _unmarked(marked) if entry.kind == TRANSFORM else marked
    require("block.class", int(classes.max()), 0, CLASSES)
    means = reader.array(np.int16, count, "means")
    raw = reader.array(np.uint8, entry.raw_tokens * channels * DTYPE_BYTES[dtype], "rawTokens")
    tokens = header.token_count - entry.raw_tokens
    stream = reader.stream(tokens, classes, escape_count, word_count)
    weighted = entry.kind == TRANSFORM or number == 1
    return LossyBlock(step, weighted, means, raw, stream, marked, shift)


def _unmarked(marked: Bytes) -> Bytes:
    """Class bytes without the marks of coarse rows, which only coded coefficients have."""
    if (marked == COARSE).any():
        raise EncodingError("block.class", COARSE, "coded, where its row is coarse")
    return marked & np.uint8(COARSE - 1)
