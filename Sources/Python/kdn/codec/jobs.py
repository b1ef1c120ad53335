"""What a back end gets to decode one block: its bytes, checked, and all that they depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kdn.codec.container import Entry, Header, PlaneShape
from kdn.codec.profile import Basis

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Turn:
    """How far each token's keys are rotated: cosine and sine `[token, pair]`."""

    cosines: Floats
    sines: Floats
    interleaved: bool
    rotated_from: int


@dataclass(frozen=True)
class Job:
    """One block to decode. `weights` are None for 1; `turns` has one item for each plane."""

    header: Header
    entry: Entry
    shapes: Sequence[PlaneShape]
    data: memoryview
    weights: Floats | None
    basis: Basis | None
    turns: Sequence[Turn | None]

    @property
    def dtype(self) -> str:
        """The layout's element type."""
        return "i8" if self.header.layout is None else self.header.layout.dtype

    @property
    def channels(self) -> int:
        """Numbers per token, over all planes of the block."""
        return sum(shape.channels for shape in self.shapes)


class HostBackEnd(Protocol):
    """Decodes blocks into memory of this host."""

    name: str

    def decode(self, jobs: Sequence[Job], rooms: Sequence[Sequence[Bytes]]) -> None:
        """Decodes each job into its rooms, one for each of its planes: see Rooms.of.

        Raises EncodingError for a block that is not as it must be.
        """


class DeviceBackEnd(Protocol):
    """Decodes blocks to tensors, on whatever device."""

    name: str

    def tensors(self, jobs: Sequence[Job]) -> list[list[Any]]:
        """A tensor of the layout's type for each plane of each job: `[head, token, dim]`.

        Raises EncodingError for a block that is not as it must be.
        """
