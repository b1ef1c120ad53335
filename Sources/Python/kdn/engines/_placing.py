"""Where chunks of KV go: the tokens of a plane's layers, in the tensors of an engine."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from kdn.codec.container import KEYS, VALUES
from kdn.codec.rooms import Place
from kdn.engines._copy import copy
from kdn.engines._memory import empty_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from kdn.codec.container import Header, PlaneShape
    from kdn.engines._measure import LayerFacts
    from kdn.engines._planes import Plane

    Bytes = npt.NDArray[np.uint8]
    # Of each layer, keys' and values' memory; None where it is elsewhere.
    Rows = dict[int, tuple["PlaneMemory | None", "PlaneMemory | None"]]


class PlaneMemory(NamedTuple):
    """A tensor's bytes `[head, token, byte]`, their address, and those from one to the next."""

    tokens: Bytes
    address: int
    head_bytes: int
    token_bytes: int


@dataclass
class PlaneTensors:
    """K and V of a plane's layers for the tokens from `first_token` on, `[1, heads, n, dim]`."""

    first_token: int
    keys: dict[int, torch.Tensor]
    values: dict[int, torch.Tensor]


class Placing:
    """Tensors for a plane's tokens `first ..< end`, to be filled chunk by chunk.

    Chunks may be put by several threads at once, each chunk by one, if the tensors are here. Who
    needs the tensors first makes them: that may be as late as while chunks are on their way.
    """

    def __init__(self, plane: Plane, first: int, end: int, chunk_tokens: int) -> None:
        self._plane = plane
        self._first = first
        self._end = end
        self._chunk_tokens = chunk_tokens
        self._making = threading.Lock()
        self._made: tuple[PlaneTensors, Rows] | None = None
        # Planes of a chunk that are known to be those of the tensors.
        self._fitting: object = None

    @property
    def is_here(self) -> bool:
        """Whether the tensors are on this host: others are for the thread that asks for them.

        That thread's stream, and whether it is inferring, hold for what it does alone.
        """
        return all(facts.device.type == "cpu" for facts in self._plane.layers)

    @property
    def tensors(self) -> PlaneTensors:
        """What is filled."""
        return self._make()[0]

    def _make(self) -> tuple[PlaneTensors, Rows]:
        if self._made is not None:
            return self._made
        with self._making:
            if self._made is None:
                tensors = _empty(self._plane, self._first, self._end)
                self._made = tensors, _rows_of(tensors)
            return self._made

    def rooms(self, chunk: int, header: Header) -> ChunkRooms | None:
        """Where the planes of a chunk go; None unless all its tokens are wanted, and are here."""
        start = chunk * self._chunk_tokens - self._first
        stop = start + self._chunk_tokens
        if start < 0 or stop > self._end - self._first or header.token_count != self._chunk_tokens:
            return None
        rows = self._make()[1]
        # Chunks are alike, and so are their planes: mostly the very same.
        if self._fitting is not header.planes:
            if not _fit(rows, header):
                return None
            self._fitting = header.planes
        return ChunkRooms(rows, start, stop)

    def put(self, chunk: int, layers: Sequence[LayerFacts], data: Bytes) -> None:
        """Copies the tokens of a chunk that are wanted: some layers of it, in payload order.

        `data` are the bytes of the layers, no more and no less.
        """
        size, first = self._chunk_tokens, self._first
        rows = self._make()[1]
        start, stop = max(first, chunk * size), min(self._end, (chunk + 1) * size)
        source = slice(start - chunk * size, stop - chunk * size)
        target = slice(start - first, stop - first)
        offset = 0
        for facts in layers:
            length = self._plane.layer_bytes(facts, size)
            piece = data[offset : offset + length]
            offset += length
            keys, values = rows[facts.number]
            if keys is not None and values is not None:
                # numpy copies without torch's threads, and lets others run beside it.
                both = piece.reshape(2, facts.kv_heads, size, -1)
                np.copyto(keys.tokens[:, target], both[0, :, source])
                np.copyto(values.tokens[:, target], both[1, :, source])
            else:
                self._put_far(facts, piece, source, target)

    def _put_far(self, facts: LayerFacts, piece: Bytes, source: slice, target: slice) -> None:
        """The same to tensors that are not on this host."""
        shape = (2, facts.kv_heads, self._chunk_tokens, facts.head_dim)
        both = torch.from_numpy(piece).view(facts.dtype).view(shape)
        copy(self.tensors.keys[facts.number][0, :, target], both[0, :, source])
        copy(self.tensors.values[facts.number][0, :, target], both[1, :, source])


class ChunkRooms:
    """Room for the planes of a chunk: tokens `start ..< stop` of the tensors. See codec.rooms."""

    def __init__(self, rows: Rows, start: int, stop: int) -> None:
        self._rows = rows
        self._start = start
        self._stop = stop

    def of(self, shapes: Sequence[PlaneShape]) -> list[Bytes]:
        """As Rooms says."""
        found: list[Bytes] = []
        for shape in shapes:
            memory = self._memory(shape)
            row = memory.token_bytes
            whole = memory.tokens.reshape(shape.heads, -1)
            found.append(whole[:, self._start * row : self._stop * row])
        return found

    def places(self, shapes: Sequence[PlaneShape]) -> list[Place]:
        """As Rooms says."""
        start, found = self._start, []
        for shape in shapes:
            memory = self._memory(shape)
            found.append(Place(memory.address + start * memory.token_bytes, memory.head_bytes))
        return found

    def checksum(self) -> None:
        """As Rooms says: each block's planes are checked by themselves."""

    def _memory(self, shape: PlaneShape) -> PlaneMemory:
        memory = self._rows[shape.layer][shape.plane]
        assert memory is not None, "seen by _fit"
        return memory


def _fit(rows: Rows, header: Header) -> bool:
    """Whether all planes are of layers whose tensors are here; those are as the engine measured."""
    for shape in (shape for layer in header.planes for shape in layer):
        if shape.plane not in (KEYS, VALUES) or shape.layer not in rows:
            return False
        memory = rows[shape.layer][shape.plane]
        if memory is None or len(memory.tokens) != shape.heads:
            return False
        if shape.byte_count != shape.heads * header.token_count * memory.token_bytes:
            return False
    return True


def _rows_of(tensors: PlaneTensors) -> Rows:
    return {
        number: (_memory_of(keys), _memory_of(tensors.values[number]))
        for number, keys in tensors.keys.items()
    }


def _memory_of(tensor: torch.Tensor) -> PlaneMemory | None:
    """A tensor's memory, None if it is not on this host."""
    if tensor.device.type != "cpu":
        return None
    tokens: Bytes = tensor[0].view(torch.uint8).numpy()
    assert tokens.flags.c_contiguous
    return PlaneMemory(tokens, tensor.data_ptr(), tokens.strides[0], tokens.strides[1])


def _empty(plane: Plane, first: int, end: int) -> PlaneTensors:
    """Tensors to be filled for tokens `first ..< end`."""
    shapes = [
        ((1, facts.kv_heads, end - first, facts.head_dim), facts.dtype, facts.device)
        for facts in plane.layers
        for _ in range(2)
    ]
    tensors = iter(empty_tensors(shapes))
    found = PlaneTensors(first_token=first, keys={}, values={})
    for facts in plane.layers:
        found.keys[facts.number], found.values[facts.number] = next(tensors), next(tensors)
    return found
