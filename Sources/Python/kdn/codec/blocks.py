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

_STATES = struct.Struct(f"<{LANES}I")


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

    def place(self, size: int, field: str) -> int:
        """Where a field of so many bytes begins; passes it and the zeros up to a multiple of 8."""
        start = self._claim(size, field)
        self.pad()
        return start

    def stream_places(self, most: int, escape_count: int, word_count: int) -> tuple[int, int]:
        """Where escapes and states begin; states and words end the block.

        There are at most `most` escapes and words.
        """
        require("block.escapeCount", escape_count, 0, most)
        require("block.wordCount", word_count, 0, most)
        escapes = self.place(2 * escape_count, "escapes")
        states = self._claim(_STATES.size, "states")
        require("block.state", min(_STATES.unpack_from(self.data, states)), STATE_LEAST, 2**32 - 1)
        self._claim(2 * word_count, "words")
        if self.offset != len(self.data):
            raise EncodingError("block.byteCount", len(self.data), self.offset)
        return escapes, states

    def stream(
        self, tokens: int, classes: npt.NDArray[np.uint8], escape_count: int, word_count: int
    ) -> Stream:
        """Escapes, states and words, with which a block ends."""
        most = tokens * int(np.count_nonzero(classes))
        escapes, states = self.stream_places(most, escape_count, word_count)
        return self.stream_at(tokens, classes, escapes, escape_count, states, word_count)

    def stream_at(
        self,
        tokens: int,
        classes: npt.NDArray[np.uint8],
        escapes: int,
        escape_count: int,
        states: int,
        word_count: int,
    ) -> Stream:
        """A stream whose fields begin there, as `stream_places` says."""
        return Stream(
            tokens,
            classes,
            self.values_at(np.uint32, states, LANES),
            self.values_at(np.uint16, states + _STATES.size, word_count),
            self.values_at(np.int16, escapes, escape_count),
            np.frombuffer(self.data, np.uint8, offset=states),
        )

    def pad(self) -> None:
        """Passes the zeros up to a multiple of 8."""
        start = self.offset
        if start % 8:
            self._claim(padded(start) - start, "padding")
            found = bytes(self.data[start : self.offset])
            if any(found):
                raise EncodingError("block.padding", found.hex(), "zero")

    def values(self, dtype: Any, count: int, field: str) -> Any:
        """An array without what is behind it."""
        return self.values_at(dtype, self._claim(_little(dtype).itemsize * count, field), count)

    def values_at(self, dtype: Any, start: int, count: int) -> Any:
        """An array that begins there."""
        return np.frombuffer(self.data, _little(dtype), count, start).astype(dtype, copy=False)

    def _claim(self, size: int, field: str) -> int:
        start, end = self.offset, self.offset + size
        if end > len(self.data):
            raise EncodingError(f"block.{field}", end, f"at most {len(self.data)} bytes")
        self.offset = end
        return start
