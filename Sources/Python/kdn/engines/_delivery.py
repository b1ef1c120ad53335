"""How the layers of a blend come: all at once, or one after another from the server."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch

from kdn.blending.errors import DocumentUnavailable
from kdn.errors import DeadlineExceeded
from kdn.results import Get

if TYPE_CHECKING:
    from kdn.engines._assemble import Layers
    from kdn.engines._measure import LayerFacts
    from kdn.engines._planes import Plane

    Pair = tuple[torch.Tensor, torch.Tensor]

IN_FLIGHT = 2


class Delivered:
    """Layers that are here: K and V of each, `[1, kvHeads, rows, headDim]`."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    def __len__(self) -> int:
        return len(self._layers)

    def layer(self, number: int) -> Pair:
        """K and V of a layer."""
        return self._layers[number]

    def all(self) -> Layers:
        """K and V of all layers."""
        return {number: self.layer(number) for number in sorted(self._layers)}


class Arriving(Delivered):
    """Layers that the server is making: each is waited for when it is asked for.

    Two are on their way at a time, in the order of their numbers. A layer that does not come, or
    comes damaged, raises DocumentUnavailable, or DeadlineExceeded after `timeout` seconds.
    """

    def __init__(
        self, client: Any, plane: Plane, composed: Any, name: str, timeout: float
    ) -> None:
        self._client = client
        self._composed = composed
        self._name = name
        self._due = time.monotonic() + timeout
        pool = ThreadPoolExecutor(IN_FLIGHT, "kdn-blend")
        self._coming: dict[int, Future[Pair]] = {
            facts.number: pool.submit(self._fetch, plane, facts) for facts in plane.layers
        }
        pool.shutdown(wait=False)

    def __len__(self) -> int:
        return len(self._coming)

    def layer(self, number: int) -> Pair:
        """K and V of a layer, once it is here."""
        try:
            return self._coming[number].result()
        except BaseException:
            for future in self._coming.values():
                future.cancel()
            raise

    def all(self) -> Layers:
        """K and V of all layers, once they are here."""
        return {number: self.layer(number) for number in sorted(self._coming)}

    def _fetch(self, plane: Plane, facts: LayerFacts) -> Pair:
        remaining = self._due - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceeded("the blend's time is up")
        rows = self._composed.row_count
        buffer = torch.empty((1, plane.layer_bytes(facts, rows)), dtype=torch.uint8)
        get = Get(
            key=self._composed.key(facts.number, facts.kv_heads),
            buffer=memoryview(buffer[0].numpy()),
        )
        result = self._client.get_into([get], wait=True, timeout=remaining)[0]
        if not result.hit or result.nbytes != buffer.numel():
            raise DocumentUnavailable(
                self._name, f"layer {facts.number} of its blend", result.cause
            )
        _, view = next(plane.views(buffer, [facts], rows))
        keys, values = (view[0, which][None].to(facts.device) for which in range(2))
        return keys, values
