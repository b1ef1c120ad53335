"""Ways to change a file that one may only read; each raises OSError unless it worked."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
from collections.abc import Callable

REFUSALS = {errno.EPERM, errno.EACCES, errno.EBADF, errno.EINVAL, errno.EOPNOTSUPP}
F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_WRITE, SEAL_FUTURE_WRITE = 1, 2, 4, 8, 16
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16
MADV_REMOVE = 9

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long]
for name in ("mprotect", "madvise"):
    getattr(LIBC, name).argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]


def called(result: int) -> None:
    """Raises the error of a call of the C library."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def remap(descriptor: int, count: int) -> None:
    mmap.mmap(descriptor, count, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


def with_mapping(descriptor: int, count: int, change: Callable[[int], None]) -> None:
    address = LIBC.mmap(None, count, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    assert address != ctypes.c_void_p(-1).value
    try:
        change(address)
    finally:
        called(LIBC.munmap(address, count))


def protect(descriptor: int, count: int) -> None:
    with_mapping(descriptor, count, lambda address: called(
        LIBC.mprotect(address, count, mmap.PROT_READ | mmap.PROT_WRITE)))


def remove(descriptor: int, count: int) -> None:
    with_mapping(
        descriptor, count, lambda address: called(LIBC.madvise(address, count, MADV_REMOVE)))


def write(descriptor: int, count: int) -> None:
    os.pwrite(descriptor, b"scribble" * 512, 0)


def shrink(descriptor: int, count: int) -> None:
    os.ftruncate(descriptor, 0)


def grow(descriptor: int, count: int) -> None:
    os.ftruncate(descriptor, 2 * count)


def punch(descriptor: int, count: int) -> None:
    called(LIBC.fallocate(descriptor, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, 0, count))


def zero(descriptor: int, count: int) -> None:
    called(LIBC.fallocate(descriptor, FALLOC_ZERO_RANGE, 0, count))


def extend(descriptor: int, count: int) -> None:
    called(LIBC.fallocate(descriptor, 0, count, 4096))


def pour(descriptor: int, count: int) -> None:
    source = os.memfd_create("scribble")
    try:
        os.write(source, b"scribble" * 512)
        os.sendfile(descriptor, source, 0, 4096)
    finally:
        os.close(source)


def splice(descriptor: int, count: int) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, b"scribble" * 128)
        size = ctypes.c_long(0)
        sent = LIBC.splice(reading, None, descriptor, ctypes.byref(size), 1024, 0)
        called(-1 if sent < 0 else 0)
    finally:
        os.close(reading)
        os.close(writing)


def seal(descriptor: int, count: int) -> None:
    fcntl.fcntl(descriptor, F_ADD_SEALS, SEAL_WRITE)


ATTACKS = [remap, protect, remove, write, shrink, grow, punch, zero, extend, pour, splice, seal]
