"""Stops a forward pass between two layers, and counts how far work has come."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stopped(Exception):  # noqa: N818 (no error: the work was not wanted any more)
    """The work was stopped; says why."""


class Watch:
    """Says how far a job is, and is told by other threads that it shall stop."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._done = 0
        self._total = 1
        self._lock = threading.Lock()

    @property
    def progress(self) -> int:
        """How much is done, in thousandths."""
        return min(1000, self._done * 1000 // self._total)

    def expect(self, steps: int) -> None:
        """So many steps are to come, of all kinds together."""
        self._done, self._total = 0, max(1, steps)

    def step(self, count: int = 1) -> None:
        """Counts steps that are done; raises Stopped if the work shall stop."""
        self.check()
        self._done += count

    def check(self) -> None:
        """Raises Stopped if the work shall stop."""
        if self._reason is not None:
            raise Stopped(self._reason)

    def stop(self, reason: str) -> None:
        """Makes the next `check` raise; the first reason counts."""
        with self._lock:
            self._reason = self._reason or reason

    @contextlib.contextmanager
    def between_layers(self, model: Any) -> Iterator[None]:
        """Counts a step before each decoder layer of the model, and stops there if asked to."""
        hooks = [
            layer.register_forward_pre_hook(lambda *_: self.step())
            for layer in decoder_layers(model)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def decoder_layers(model: Any) -> list[Any]:
    """The model's layers in their order; raises ValueError if they are not in one list."""
    count = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return list(module)
    raise ValueError(f"no list of {count} layers in a {type(model).__name__}")
