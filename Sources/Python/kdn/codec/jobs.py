"""What a back end gets to decode one block: its bytes, checked, and all that they depend on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from kdn.codec.container import Entry, Header, PlaneShape
from kdn.codec.profile import Basis
from kdn.codec.rooms import Rooms
from kdn.codec.rotation import rotation_tables

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Turn:
    """How far each token's keys are rotated: cosine and sine `[token, pair]`."""

    cosines: Floats
    sines: Floats
    interleaved: bool
    rotated_from: int


@functools.lru_cache(maxsize=64)
def turn_of(
    frequencies: tuple[float, ...],
    first_token: int,
    tokens: int,
    interleaved: bool,
    rotated_from: int,
) -> Turn:
    """How keys turn, the same object for all that turn alike; see rotation_tables."""
    tables = rotation_tables(frequencies, first_token, tokens)
    return Turn(*tables, interleaved, rotated_from)


class Job(NamedTuple):
    """One block to decode: its bytes, which begin at `address`, and what they need.

    `weights` are None for 1; all planes turn as `turn` says.
    """

    header: Header
    entry: Entry
    shapes: Sequence[PlaneShape]
    data: memoryview
    address: int
    weights: Floats | None = None
    basis: Basis | None = None
    turn: Turn | None = None

    @property
    def dtype(self) -> str:
        """The layout's element type."""
        return "i8" if self.header.layout is None else self.header.layout.dtype

    @property
    def channels(self) -> int:
        """Numbers per token, over all planes of the block."""
        return self.header.channels_of(self.entry)

    @property
    def rank(self) -> int | None:
        """The most coefficients that a transform block may have."""
        return None if self.basis is None else self.basis.rank


class HostBackEnd(Protocol):
    """Decodes blocks into memory of this host."""

    name: str

    def decode(self, jobs: Sequence[Job], rooms: Rooms) -> list[int | None]:
        """Decodes blocks of one object; gives the checksum of each one's planes, if it took it.

        Raises EncodingError for a block that is not as it must be.
        """


class DeviceBackEnd(Protocol):
    """Decodes blocks to tensors, on whatever device."""

    name: str

    def tensors(self, jobs: Sequence[Job]) -> list[list[Any]]:
        """A tensor of the layout's type for each plane of each job: `[head, token, dim]`.

        Raises EncodingError for a block that is not as it must be.
        """
