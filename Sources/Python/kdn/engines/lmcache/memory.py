"""The bytes of LMCache's memory objects: views where they lie, copies only where they must be.

A view is a plain memoryview over LMCache's own L1 memory; the object must outlive its use, which
LMCache grants by holding its locks until a task has been answered.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch

from kdn.buffers import readable_view, writable_view
from kdn.errors import FieldError


class Arena:
    """LMCache's L1 memory, known as a whole: objects inside are slices of one view.

    `base` 0 is an arena that holds nothing.
    """

    def __init__(self, base: int = 0, size: int = 0) -> None:
        self.base = base
        self.size = size if base else 0
        self._view = memoryview(b"")
        if self.size:
            self._view = memoryview((ctypes.c_char * self.size).from_address(base)).cast("B")

    @staticmethod
    def of(description: Any) -> Arena:
        """From an L1MemoryDesc, or None."""
        return Arena() if description is None else Arena(description.ptr, description.size)

    def slice(self, address: int, count: int) -> memoryview | None:
        """The bytes at `address`, or None unless all of them lie in the arena."""
        offset = address - self.base
        if not self.size or offset < 0 or offset + count > self.size:
            return None
        return self._view[offset : offset + count]


class Loan:
    """The bytes of one memory object, to send from or to receive into.

    `view` is the object's own memory, or a copy where that is strided or not on the CPU; `settle`
    brings a received copy to its place.
    """

    def __init__(self, memory: Any, arena: Arena, writable: bool) -> None:
        """Raises FieldError for an object without usable memory."""
        self.nbytes = int(memory.get_size())
        self._target: torch.Tensor | None = None
        self._copy: torch.Tensor | None = None
        raw = getattr(memory, "raw_data", None)
        if not isinstance(raw, torch.Tensor):
            self.view = self._checked((writable_view if writable else readable_view)(
                memory.byte_array
            ))
        elif raw.device.type == "cpu" and raw.is_contiguous():
            self.view = self._plain(raw, arena)
        else:
            self.view = self._copied(raw, writable)

    def settle(self) -> None:
        """After a successful load: the bytes are in the object when this returns."""
        if self._target is not None and self._copy is not None:
            self._target.copy_(self._copy.view(self._target.dtype).view(self._target.shape))

    def _plain(self, raw: torch.Tensor, arena: Arena) -> memoryview:
        held = raw.numel() * raw.element_size()
        if held < self.nbytes:
            raise FieldError("memory", held, f"at least {self.nbytes} bytes")
        inside = arena.slice(raw.data_ptr(), self.nbytes)
        return readable_view(raw)[: self.nbytes] if inside is None else inside

    def _copied(self, raw: torch.Tensor, writable: bool) -> memoryview:
        item_bytes = raw.element_size()
        if raw.dim() == 1 and self.nbytes % item_bytes == 0:
            raw = raw[: self.nbytes // item_bytes]
        if raw.numel() * item_bytes != self.nbytes:
            raise FieldError("memory", raw.numel() * item_bytes, f"{self.nbytes} bytes")
        if writable:
            self._copy = torch.empty(self.nbytes, dtype=torch.uint8)
            self._target = raw
        else:
            self._copy = raw.cpu().contiguous().view(-1).view(torch.uint8)
        return readable_view(self._copy)

    def _checked(self, view: memoryview) -> memoryview:
        if len(view) != self.nbytes:
            raise FieldError("memory", len(view), f"{self.nbytes} bytes")
        return view
