"""Memory of the daemon's, mapped here: bytes that are read where they lie, and a window to fill."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import weakref

from kdn.errors import ProtocolError

F_GET_SEALS = 1034
F_SEAL_SHRINK = 0x0002
# A copy and its hash go over pieces of this size, which stay in a core's cache in between.
COPY_BYTES = 256 << 10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value


class Mapping:
    """A shared mapping of a whole file of memory, until nothing refers to it any more.

    The descriptor is taken over and closed in any case: a mapping holds none. Raises ProtocolError
    if the memory is not sealed against shrinking, where a read could kill the process, or has
    another length than announced, and OSError if the kernel does not map it.
    """

    def __init__(self, descriptor: int, byte_count: int, writable: bool = False) -> None:
        try:
            _check(descriptor, byte_count)
            protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            address = _libc.mmap(None, byte_count, protection, mmap.MAP_SHARED, descriptor, 0)
        finally:
            os.close(descriptor)
        if address == _FAILED or address is None:
            code = ctypes.get_errno()
            raise OSError(code, f"mapping {byte_count} bytes: {os.strerror(code)}")
        self.address = int(address)
        self.byte_count = byte_count
        self._pins: weakref.finalize[..., Mapping] | None = None
        # Not at the exit of the process: other threads may still read what views they have.
        weakref.finalize(self, _libc.munmap, self.address, byte_count).atexit = False

    def view(self, offset: int, count: int, owner: object = None) -> memoryview:
        """Bytes in place, read-only; mapping and `owner` live for as long as any view of them."""
        return memoryview(self.array(offset, count, owner)).cast("B").toreadonly()

    def array(self, offset: int, count: int, owner: object = None) -> ctypes.Array[ctypes.c_char]:
        """The same as an array of C that counts as writable; a write to it kills the process."""
        raw = (ctypes.c_char * count).from_address(self.address + offset)
        raw._kdn_owner = (self, owner)  # type: ignore[attr-defined]
        return raw

    def writable_view(self) -> memoryview:
        """All of a mapping that was made to be written."""
        return memoryview(self.array(0, self.byte_count)).cast("B")

    def pin_for_cuda(self, cudart: object) -> bool:
        """Registers the memory with CUDA's runtime, once, so that copies to a GPU need no bounce.

        Whether it is registered now; a driver that does not take read-only memory says no.
        """
        if self._pins is None:
            read_only = 8
            code = cudart.cudaHostRegister(  # type: ignore[attr-defined]
                self.address, self.byte_count, read_only
            )
            if int(code) != 0:
                return False
            unregister = cudart.cudaHostUnregister  # type: ignore[attr-defined]
            # Finalizers run newest first: this one before the memory goes.
            self._pins = weakref.finalize(self, unregister, self.address)
            self._pins.atexit = False
        return True


def _check(descriptor: int, byte_count: int) -> None:
    try:
        seals = fcntl.fcntl(descriptor, F_GET_SEALS)
    except OSError as error:
        raise ProtocolError("descriptor", error.strerror, "sealed memory") from error
    if not seals & F_SEAL_SHRINK:
        raise ProtocolError("seals", seals, "sealed against shrinking")
    size = os.fstat(descriptor).st_size
    if size != byte_count:
        raise ProtocolError("byteCount", byte_count, f"{size}, which the memory has")


def copy(address: int, view: memoryview) -> None:
    """Copies bytes at `address` over `view`, other threads going on meanwhile."""
    ctypes.memmove(ctypes.addressof(ctypes.c_char.from_buffer(view)), address, len(view))


def close_all(descriptors: list[int]) -> None:
    """Closes descriptors that nobody wants."""
    while descriptors:
        os.close(descriptors.pop())
