"""Views of callers' memory as bytes, without copies: buffer protocol, numpy and torch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from kdn.errors import FieldError

Buffer = Any
"""bytes-like, an array with `__array_interface__`, or a CPU tensor with `data_ptr`."""


def readable_view(buffer: Buffer) -> memoryview:
    """The buffer's bytes; raises FieldError unless it is contiguous host memory."""
    if hasattr(buffer, "data_ptr"):
        return _tensor_view(buffer)
    try:
        view = memoryview(buffer)
    except (TypeError, ValueError, BufferError):
        return _array_view(buffer)
    if not view.c_contiguous:
        raise FieldError("buffer", "strided", "contiguous")
    return view.cast("B") if view.nbytes else memoryview(bytearray())


def writable_view(buffer: Buffer) -> memoryview:
    """The buffer's bytes, to receive into; raises FieldError if it is read-only."""
    view = readable_view(buffer)
    if view.readonly:
        raise FieldError("buffer", "read-only", "writable")
    return view


def gathered_views(buffers: Buffer | Sequence[Buffer]) -> list[memoryview]:
    """Views of one buffer or a list of buffers, without the empty ones."""
    pieces = buffers if isinstance(buffers, (list, tuple)) else [buffers]
    return [view for view in map(readable_view, pieces) if len(view)]


def address_of(view: memoryview) -> int:
    """Where a view's bytes are; the view must live for as long as the address is used."""
    if len(view) == 0:
        return 0
    if not view.readonly:
        return ctypes.addressof(ctypes.c_char.from_buffer(view))
    record = _PyBuffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(record), 0)
    try:
        return int(record.buf)
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(record))


class _PyBuffer(ctypes.Structure):
    """Py_buffer: ctypes tells the address only of what can be written."""

    _fields_ = [
        ("buf", ctypes.c_void_p), ("obj", ctypes.c_void_p), ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t), ("readonly", ctypes.c_int), ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p), ("internal", ctypes.c_void_p),
    ]


def _tensor_view(tensor: Any) -> memoryview:
    if tensor.device.type != "cpu":
        raise FieldError("buffer", str(tensor.device), "on the CPU")
    if not tensor.is_contiguous():
        raise FieldError("buffer", "strided", "contiguous")
    return _memory_at(tensor.data_ptr(), tensor.numel() * tensor.element_size(), tensor, False)


def _array_view(array: Any) -> memoryview:
    facts = getattr(array, "__array_interface__", None)
    if facts is None:
        raise FieldError("buffer", type(array).__name__, "bytes-like, an array or a CPU tensor")
    if facts.get("strides") is not None:
        raise FieldError("buffer", "strided", "contiguous")
    count = int(facts["typestr"][2:])
    for length in facts["shape"]:
        count *= length
    address, readonly = facts["data"]
    return _memory_at(address, count, array, readonly)


def _memory_at(address: int, count: int, owner: Any, readonly: bool) -> memoryview:
    if count == 0:
        return memoryview(bytearray())
    raw = (ctypes.c_char * count).from_address(address)
    # The view keeps `raw` alive, and `raw` the owner of the memory that it points into.
    raw._kdn_owner = owner  # type: ignore[attr-defined]
    view = memoryview(raw).cast("B")
    return view.toreadonly() if readonly else view
