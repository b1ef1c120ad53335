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
    step, word_count, escape_count, rank = reader.take(_HEAD)
    if not STEP_LEAST <= step <= STEP_MOST:
        raise EncodingError("block.step", step, "2^-40 to 2^40")
    if entry.kind == TRANSFORM:
        count = require("block.coefficients", rank, 1, coefficients or 0)
    else:
        require("block.flags", rank, 0, 1 if any(header.profile) else 0)
        count = channels
    classes = reader.array(np.uint8, count, "classes")
    require("block.class", int(classes.max()), 0, CLASSES)
    means = reader.array(np.int16, count, "means")
    raw = reader.array(np.uint8, entry.raw_tokens * channels * DTYPE_BYTES[dtype], "rawTokens")
    tokens = header.token_count - entry.raw_tokens
    stream = reader.stream(tokens, classes, escape_count, word_count)
    weighted = entry.kind == TRANSFORM or rank == 1
    return LossyBlock(step, weighted, means, raw, stream)
