"""What all entropy-coded blocks have in common: arrays padded to 8 bytes, then one stream."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kdn.codec.container import padded
from kdn.codec.errors import EncodingError, require

LANES = 32
STATE_LEAST = 1 << 16
CLASSES = 69


@functools.cache
def _little(dtype: Any) -> np.dtype[Any]:
    """The type as it stands in blocks: little-endian, whatever the machine."""
    kind: np.dtype[Any] = np.dtype(dtype).newbyteorder("<")
    return kind


@dataclass(frozen=True)
class Stream:
    """Entropy-coded symbols: of `tokens` tokens, one number for each class that is not 0.

    `data` is what the kernels take: the states and the words, as they stand in the block.
    """

    tokens: int
    classes: npt.NDArray[np.uint8]
    states: npt.NDArray[np.uint32]
    words: npt.NDArray[np.uint16]
    escapes: npt.NDArray[np.int16]
    data: npt.NDArray[np.uint8]

    @property
    def coded(self) -> npt.NDArray[np.intp]:
        """Indices of what is coded."""
        return np.flatnonzero(self.classes)

    @property
    def lane_blocks(self) -> int:
        """How often 32 of them are taken."""
        return -(-int(np.count_nonzero(self.classes)) // LANES)


class BlockReader:
    """Takes a block's fields one after the other; what does not fit raises EncodingError."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.offset = 0

    def take(self, shape: struct.Struct) -> tuple[Any, ...]:
        """The values of a fixed structure."""
        start = self._claim(shape.size, "head")
        return shape.unpack_from(self.data, start)

    def array(self, dtype: Any, count: int, field: str) -> Any:
        """An array, and the zeros behind it up to a multiple of 8."""
        values = self.values(dtype, count, field)
        self.pad()
        return values

    def stream(
        self, tokens: int, classes: npt.NDArray[np.uint8], escape_count: int, word_count: int
    ) -> Stream:
        """Escapes, states and words, with which a block ends."""
        most = tokens * int(np.count_nonzero(classes))
        require("block.escapeCount", escape_count, 0, most)
        require("block.wordCount", word_count, 0, most)
        escapes = self.array(np.int16, escape_count, "escapes")
        start = self.offset
        states = self.array(np.uint32, LANES, "states")
        require("block.state", int(states.min()), STATE_LEAST, (1 << 32) - 1)
        words = self.values(np.uint16, word_count, "words")
        if self.offset != len(self.data):
            raise EncodingError("block.byteCount", len(self.data), self.offset)
        data = np.frombuffer(self.data, np.uint8, offset=start)
        return Stream(tokens, classes, states, words, escapes, data)

    def pad(self) -> None:
        """Passes the zeros up to a multiple of 8."""
        start = self.offset
        self._claim(padded(start) - start, "padding")
        found = bytes(self.data[start : self.offset])
        if any(found):
            raise EncodingError("block.padding", found.hex(), "zero")

    def values(self, dtype: Any, count: int, field: str) -> Any:
        kind = _little(dtype)
        start = self._claim(kind.itemsize * count, field)
        return np.frombuffer(self.data, kind, count, start).astype(dtype, copy=False)

    def _claim(self, size: int, field: str) -> int:
        start, end = self.offset, self.offset + size
        if end > len(self.data):
            raise EncodingError(f"block.{field}", end, f"at most {len(self.data)} bytes")
        self.offset = end
        return start
