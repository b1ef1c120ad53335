"""Blocks without arithmetic: raw bytes, and bytes that zstd or lz4 made shorter."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_size_t, c_uint, c_void_p

import numpy as np

from kdn.codec.container import LZ4, RAW, ZSTD
from kdn.codec.errors import BackEndMissing, EncodingError
from kdn.codec.jobs import Bytes, Job

_LIBRARIES = {ZSTD: ("zstd", "libzstd.so.1"), LZ4: ("lz4", "liblz4.so.1")}


def available(kind: int) -> bool:
    """Whether blocks of this kind can be decoded on this host."""
    return kind not in _LIBRARIES or _library(kind) is not None


def decode(job: Job, rooms: Sequence[Bytes]) -> None:
    """Decodes a raw, zstd or lz4 block into its only room."""
    (room,) = rooms
    data = np.frombuffer(job.data, np.uint8)
    if job.entry.kind == RAW:
        room[:] = data.reshape(room.shape)
        return
    whole = room if room.flags.c_contiguous else np.empty(room.shape, np.uint8)
    if job.entry.kind == ZSTD:
        _zstd(data, whole)
    else:
        _lz4(data, whole)
    if whole is not room:
        room[:] = whole


@functools.cache
def _library(kind: int) -> ctypes.CDLL | None:
    short, name = _LIBRARIES[kind]
    for candidate in (name, ctypes.util.find_library(short)):
        try:
            library = ctypes.CDLL(candidate) if candidate else None
        except OSError:
            continue
        if library is not None:
            return _declared(library, kind)
    return None


def _declared(library: ctypes.CDLL, kind: int) -> ctypes.CDLL:
    if kind == ZSTD:
        library.ZSTD_decompress.argtypes = [c_void_p, c_size_t, c_void_p, c_size_t]
        library.ZSTD_decompress.restype = c_size_t
        library.ZSTD_isError.argtypes = [c_size_t]
        library.ZSTD_isError.restype = c_uint
        library.ZSTD_getErrorName.argtypes = [c_size_t]
        library.ZSTD_getErrorName.restype = c_char_p
    else:
        library.LZ4_decompress_safe.argtypes = [c_void_p, c_void_p, c_int, c_int]
        library.LZ4_decompress_safe.restype = c_int
    return library


def _needed(kind: int) -> ctypes.CDLL:
    library = _library(kind)
    if library is None:
        raise BackEndMissing(f"{_LIBRARIES[kind][1]} is not installed")
    return library


def _zstd(data: Bytes, room: Bytes) -> None:
    library = _needed(ZSTD)
    size = library.ZSTD_decompress(room.ctypes.data, room.size, data.ctypes.data, data.size)
    if library.ZSTD_isError(size):
        raise EncodingError("block.zstd", library.ZSTD_getErrorName(size).decode(), "a whole frame")
    if size != room.size:
        raise EncodingError("block.zstd", size, f"{room.size} bytes")


def _lz4(data: Bytes, room: Bytes) -> None:
    library = _needed(LZ4)
    if max(data.size, room.size) >= 1 << 31:
        raise EncodingError("block.lz4", max(data.size, room.size), "below 2^31 bytes")
    size = library.LZ4_decompress_safe(data.ctypes.data, room.ctypes.data, data.size, room.size)
    if size != room.size:
        raise EncodingError("block.lz4", size, f"{room.size} bytes")
