"""Tensors and addresses that callers name as a page's place, as memory to move bytes by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kdn.buffers import readable_view, writable_view
from kdn.engines.sglang.pools import memory_at


def outgoing_view(source: Any, size: Any = None) -> memoryview:
    """The bytes of a tensor or another buffer, or `size` bytes at an address.

    Raises FieldError for an address or a size that is not above 0.
    """
    if isinstance(source, int):
        return memory_at(source, _bytes(size), None)
    if isinstance(source, torch.Tensor):
        return readable_view(source.detach().cpu().contiguous())
    return readable_view(source)


def receiving(target: Any, size: Any = None) -> tuple[memoryview, Callable[[], Any]]:
    """Memory to receive into for `target`, and what to call for the result when it is there.

    A tensor is filled and is the result; an address gives True; None stands for a new tensor of
    the bytes `size`. Raises FieldError for an address or a size that is not above 0.
    """
    if target is None:
        return memoryview(size), lambda: torch.frombuffer(size, dtype=torch.uint8)
    if isinstance(target, int):
        return memory_at(target, _bytes(size), None), lambda: True
    if not isinstance(target, torch.Tensor):
        return writable_view(target), lambda: target
    if target.device.type == "cpu" and target.is_contiguous():
        return writable_view(target), lambda: target
    staging = torch.empty(target.shape, dtype=target.dtype)
    return writable_view(staging), lambda: target.copy_(staging)


def _bytes(size: Any) -> int:
    return size if isinstance(size, int) else 0
