"""The kernel's FUSE protocol (7.31) as bytes, and a mount of it: no library is needed, but root.

Only what one flat directory of plain files takes. The structures are those of linux/fuse.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pathlib
import struct
from typing import NamedTuple

LOOKUP, FORGET, GETATTR, SETATTR = 1, 2, 3, 4
UNLINK, RENAME, OPEN, READ, WRITE, STATFS, RELEASE = 10, 12, 14, 15, 16, 17, 18
FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR = 20, 25, 26, 27, 28, 29
FSYNCDIR, CREATE, INTERRUPT, DESTROY = 30, 35, 36, 38
BATCH_FORGET, FALLOCATE, RENAME2 = 42, 43, 45
UNANSWERED = {FORGET, BATCH_FORGET, INTERRUPT}
ROOT_NODE = 1
# The longest request: 256 pages of data, and room for the headers.
WRITE_BYTES_MAX = 1 << 20
REQUEST_BYTES_MAX = WRITE_BYTES_MAX + 4096
SET_SIZE = 1 << 3
KEEP_SIZE = 1

_ASYNC_READ, _BIG_WRITES, _ASYNC_DIO, _MAX_PAGES = 1, 1 << 5, 1 << 15, 1 << 22
_DIRECT_IO, _PARALLEL_DIRECT_WRITES = 1, 1 << 6
_HEADER_IN = struct.Struct("<IIQQIIIHH")
_HEADER_OUT = struct.Struct("<IiQ")
_INIT_IN = struct.Struct("<IIII")
_INIT_OUT = struct.Struct("<IIIIHHIIHH32x")
_ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("<QQQQII")
_ATTR_OUT = struct.Struct("<QII")
_OPEN_OUT = struct.Struct("<QIi")
_STATFS_OUT = struct.Struct("<QQQQQIII28x")
_DIRENT = struct.Struct("<QQII")
_WRITE_OUT = struct.Struct("<II")
READ_IN = struct.Struct("<QQII16x")
WRITE_IN = struct.Struct("<QQII16x")
FALLOCATE_IN = struct.Struct("<QQQII")
CREATE_IN = struct.Struct("<IIII")
SETATTR_IN = struct.Struct("<IIQQ")
RENAME_IN = struct.Struct("<Q")
RENAME2_IN = struct.Struct("<QII")

_libc = ctypes.CDLL(None, use_errno=True)


class Request(NamedTuple):
    """One request of the kernel."""

    op: int
    unique: int
    node: int
    body: memoryview

    def names(self, offset: int = 0) -> list[str]:
        """The names, each ended by a zero byte, behind `offset` bytes of fields."""
        return [name.decode() for name in bytes(self.body[offset:]).split(b"\0") if name]


class Mount:
    """A mounted directory and the descriptor on which the kernel asks."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.descriptor = os.open("/dev/fuse", os.O_RDWR)
        self._buffer = bytearray(REQUEST_BYTES_MAX)
        owner = f"user_id={os.getuid()},group_id={os.getgid()}"
        options = f"fd={self.descriptor},rootmode=40000,{owner}"
        arguments = (b"lying-disk", os.fsencode(folder), b"fuse", 0, options.encode())
        if _libc.mount(*arguments) != 0:
            code = ctypes.get_errno()
            os.close(self.descriptor)
            raise OSError(code, f"mount of FUSE: {os.strerror(code)}", str(folder))

    def receive(self) -> Request | None:
        """The next request, valid until the one after; None once it is unmounted."""
        while True:
            try:
                count = os.readv(self.descriptor, [self._buffer])
                break
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return None
                if error.errno not in (errno.EINTR, errno.ENOENT):
                    raise
        length, op, unique, node, *_ = _HEADER_IN.unpack_from(self._buffer)
        assert length == count, (length, count)
        return Request(op, unique, node, memoryview(self._buffer)[_HEADER_IN.size : count])

    def answer(self, request: Request, data: bytes = b"", code: int = 0) -> None:
        """Answers with `data`, or with an errno."""
        if request.op in UNANSWERED:
            return
        if code:
            data = b""
        head = _HEADER_OUT.pack(_HEADER_OUT.size + len(data), -code, request.unique)
        try:
            os.writev(self.descriptor, [head, data])
        except OSError as error:
            # Who asked has been killed meanwhile.
            if error.errno != errno.ENOENT:
                raise


def unmount(folder: pathlib.Path) -> None:
    """Takes a mount away, even if somebody still has files of it open."""
    _libc.umount2(os.fsencode(folder), 2)


def init_answer(body: memoryview) -> bytes:
    """What INIT is answered: writes of 1 MiB."""
    major, _, readahead, offered = _INIT_IN.unpack_from(body)
    flags = offered & (_ASYNC_READ | _BIG_WRITES | _ASYNC_DIO | _MAX_PAGES)
    pages = WRITE_BYTES_MAX >> 12
    return _INIT_OUT.pack(major, 31, readahead, flags, 64, 48, WRITE_BYTES_MAX, 1, pages, 0)


def attributes(node: int, found: os.stat_result, mode: int) -> bytes:
    """The attributes of a node; sizes and times are those of the file behind it."""
    times = [found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns]
    seconds, nanoseconds = zip(*(divmod(each, 10**9) for each in times), strict=True)
    return _ATTR.pack(
        node, found.st_size, found.st_blocks, *seconds, *nanoseconds,
        mode, 1, os.getuid(), os.getgid(), 0, 4096, 0,
    )


def entry(node: int, found: os.stat_result, mode: int) -> bytes:
    """A name's node; the kernel is to remember nothing of it."""
    return _ENTRY.pack(node, 0, 0, 0, 0, 0) + attributes(node, found, mode)


def attribute_answer(node: int, found: os.stat_result, mode: int) -> bytes:
    """What GETATTR is answered."""
    return _ATTR_OUT.pack(0, 0, 0) + attributes(node, found, mode)


def open_answer() -> bytes:
    """What OPEN is answered: no page of the file is cached, O_DIRECT or not."""
    return _OPEN_OUT.pack(0, _DIRECT_IO | _PARALLEL_DIRECT_WRITES, 0)


def write_answer(count: int) -> bytes:
    """How much was written."""
    return _WRITE_OUT.pack(count, 0)


def statfs_answer(found: os.statvfs_result) -> bytes:
    """The room on the device behind it."""
    return _STATFS_OUT.pack(
        found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree,
        found.f_bsize, 255, found.f_frsize,
    )


def directory_entries(rows: list[tuple[str, int, int]], offset: int, room: int) -> bytes:
    """As many of `rows` (name, node, type) from the `offset`th on as there is room for."""
    data = b""
    for index, (name, node, kind) in enumerate(rows[offset:], offset + 1):
        raw = name.encode()
        record = _DIRENT.pack(node, index, len(raw), kind) + raw
        record += bytes(-len(record) % 8)
        if len(data) + len(record) > room:
            break
        data += record
    return data
