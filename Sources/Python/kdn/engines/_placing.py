"""Where chunks of KV go: the tokens of a plane's layers, in the tensors of an engine."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from kdn.codec.container import KEYS, VALUES
from kdn.engines._copy import copy
from kdn.engines._memory import empty_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from kdn.codec.container import PlaneShape
    from kdn.engines._measure import LayerFacts
    from kdn.engines._planes import Plane

    Bytes = npt.NDArray[np.uint8]
    # Of each layer, keys' and values' bytes `[head, token, byte]`; None where they are elsewhere.
    Rows = dict[int, tuple[Bytes | None, Bytes | None]]


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

    def room(self, chunk: int, shape: PlaneShape) -> Bytes | None:
        """Where a plane of a chunk goes, `[head, byte]`; None unless all its tokens are wanted."""
        start = chunk * self._chunk_tokens - self._first
        stop = start + self._chunk_tokens
        if start < 0 or stop > self._end - self._first or shape.plane not in (KEYS, VALUES):
            return None
        rows = self._make()[1][shape.layer][shape.plane]
        if rows is None:
            return None
        heads, _, row = rows.shape
        return rows.reshape(heads, -1)[:, start * row : stop * row]

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
                np.copyto(keys[:, target], both[0, :, source])
                np.copyto(values[:, target], both[1, :, source])
            else:
                self._put_far(facts, piece, source, target)

    def _put_far(self, facts: LayerFacts, piece: Bytes, source: slice, target: slice) -> None:
        """The same to tensors that are not on this host."""
        shape = (2, facts.kv_heads, self._chunk_tokens, facts.head_dim)
        both = torch.from_numpy(piece).view(facts.dtype).view(shape)
        copy(self.tensors.keys[facts.number][0, :, target], both[0, :, source])
        copy(self.tensors.values[facts.number][0, :, target], both[1, :, source])


def _rows_of(tensors: PlaneTensors) -> Rows:
    return {
        number: (_rows(keys), _rows(tensors.values[number]))
        for number, keys in tensors.keys.items()
    }


def _rows(tensor: torch.Tensor) -> Bytes | None:
    """A tensor's bytes `[head, token, byte]`, None if they are not on this host."""
    if tensor.device.type != "cpu":
        return None
    found: Bytes = tensor[0].view(torch.uint8).numpy()
    return found


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
