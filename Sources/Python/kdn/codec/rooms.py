"""Where decoded planes go: one piece of memory for all of them, or a place for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Optional, Protocol

import numpy as np
import numpy.typing as npt
import xxhash

from kdn.codec.container import Header, PlaneShape, checksum
from kdn.errors import FieldError

Bytes = npt.NDArray[np.uint8]
# Memory for a plane, `[head, byte]`, or None where there is none.
PlaneFinder = Callable[[PlaneShape], Optional[Bytes]]
# Memory for all planes of an object, by its header; None unless there is some for all.
RoomsFinder = Callable[[Header], Optional["Rooms"]]


class Place(NamedTuple):
    """A plane's memory as the kernels take it: its address, and how far its heads are apart."""

    address: int
    head_bytes: int


class Rooms(Protocol):
    """Memory for all planes of an object."""

    def of(self, shapes: Sequence[PlaneShape]) -> list[Bytes]:
        """That of each plane, `[head, byte]`; without planes that of the object, `[1, byte]`."""

    def places(self, shapes: Sequence[PlaneShape]) -> list[Place]:
        """The same for the kernels; where it is, while this lives."""

    def checksum(self) -> int | None:
        """That of an object in one piece; None where its planes lie apart."""


class OneRoom:
    """An object in one piece, as it is stored."""

    def __init__(self, memory: Bytes) -> None:
        self._memory = memory
        self._address = int(memory.__array_interface__["data"][0])

    def of(self, shapes: Sequence[PlaneShape]) -> list[Bytes]:
        """As Rooms says."""
        if not shapes:
            return [self._memory.reshape(1, -1)]
        return [
            self._memory[shape.offset : shape.offset + shape.byte_count].reshape(shape.heads, -1)
            for shape in shapes
        ]

    def places(self, shapes: Sequence[PlaneShape]) -> list[Place]:
        """As Rooms says."""
        return [
            Place(self._address + shape.offset, shape.byte_count // shape.heads)
            for shape in shapes
        ]

    def checksum(self) -> int:
        """As Rooms says."""
        return checksum(self._memory.data)


class PlaneRooms:
    """A place for each plane, by its offset in the object; its heads may lie apart."""

    def __init__(self, rooms: Mapping[int, tuple[Bytes, Place]]) -> None:
        self._rooms = rooms

    @staticmethod
    def found(header: Header, find: PlaneFinder) -> PlaneRooms | None:
        """The places that somebody has for an object's planes; None unless he has all.

        Raises FieldError for memory that is not as its plane.
        """
        rooms: dict[int, tuple[Bytes, Place]] = {}
        for shape in (shape for layer in header.planes for shape in layer):
            room = find(shape)
            if room is None:
                return None
            rooms[shape.offset] = room, _place(room, shape, header.token_count)
        return PlaneRooms(rooms) if rooms else None

    def of(self, shapes: Sequence[PlaneShape]) -> list[Bytes]:
        """As Rooms says."""
        return [self._rooms[shape.offset][0] for shape in shapes]

    def places(self, shapes: Sequence[PlaneShape]) -> list[Place]:
        """As Rooms says."""
        return [self._rooms[shape.offset][1] for shape in shapes]

    def checksum(self) -> None:
        """As Rooms says: each block's planes were checked by themselves."""


def checksum_of(places: Sequence[Bytes]) -> int:
    """The checksum of planes' bytes, one head after the other."""
    state = xxhash.xxh3_64()
    for place in places:
        if place.flags.c_contiguous:
            state.update(place)
            continue
        for head in place:
            state.update(head)
    return int(state.intdigest())


def _place(room: Bytes, shape: PlaneShape, tokens: int) -> Place:
    """Where it is; raises FieldError unless a plane's heads fit in the rows.

    Whole tokens lie from a row to the next.
    """
    row = shape.byte_count // shape.heads
    if room.shape != (shape.heads, row) or room.dtype.char != "B" or not room.flags.writeable:
        raise FieldError(
            "planes", (room.dtype, room.shape), f"writable bytes [{shape.heads}, {row}]"
        )
    apart, byte = room.strides
    if byte != 1 or shape.heads > 1 and (apart < row or apart % (row // tokens)):
        raise FieldError("planes", room.strides, f"rows of {row} bytes, whole tokens apart")
    address = int(room.__array_interface__["data"][0])
    return Place(address, apart if shape.heads > 1 else row)
