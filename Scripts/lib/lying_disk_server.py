"""Serves one mounted directory of files that a loss of power can hurt, until it is unmounted.

usage: lying_disk_server.py MOUNTPOINT BACKING

Takes commands on standard input, one JSON object a line, and answers each with one:
{"do": "power_loss", "seed": N}
{"do": "fault", "op": "read|write|sync|create|allocate|open|remove|rename", "name": GLOB,
 "errno": N, "offset": N, "length": N, "skip": N, "count": N, "hold": true}
{"do": "clear"}        no fault any more; what was held is answered now
{"do": "counts"}       how often each fault struck and each operation came
"""

from __future__ import annotations

import errno
import fnmatch
import json
import os
import pathlib
import select
import stat
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fuse_wire as fuse
from volatile_store import VolatileFile, VolatileStore

FILE_MODE = stat.S_IFREG | 0o600
FOLDER_MODE = stat.S_IFDIR | 0o700
WHOLE_FILE = 1 << 62


@dataclass
class Fault:
    """A refusal to come: which operation on which bytes, after how many, how often."""

    op: str
    name: str = "*"
    errno: int = errno.EIO
    offset: int = 0
    length: int = WHOLE_FILE
    skip: int = 0
    count: int = -1
    hold: bool = False
    struck: int = 0

    def strikes(self, op: str, name: str, offset: int, length: int) -> bool:
        """Whether it is this operation's turn; counts it."""
        overlaps = offset < self.offset + self.length and self.offset < offset + max(length, 1)
        if op != self.op or not fnmatch.fnmatch(name, self.name) or not overlaps:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.count == 0:
            return False
        self.count -= 1
        self.struck += 1
        return True


class Held(Exception):
    """The request is to be answered later."""


class Server:
    """Answers the kernel from a VolatileStore."""

    def __init__(self, mount: fuse.Mount, backing: pathlib.Path) -> None:
        self.mount = mount
        self.store = VolatileStore(backing)
        self.faults: list[Fault] = []
        self.held: list[fuse.Request] = []
        self.counts: Counter[str] = Counter()
        self._ops: dict[int, Callable[[fuse.Request], bytes]] = {
            fuse.INIT: lambda request: fuse.init_answer(request.body),
            fuse.LOOKUP: self._lookup,
            fuse.GETATTR: self._get_attributes,
            fuse.SETATTR: self._set_attributes,
            fuse.UNLINK: self._unlink,
            fuse.RENAME: lambda request: self._rename(request, fuse.RENAME_IN.size),
            fuse.RENAME2: lambda request: self._rename(request, fuse.RENAME2_IN.size),
            fuse.OPEN: self._open,
            fuse.CREATE: self._create,
            fuse.READ: self._read,
            fuse.WRITE: self._write,
            fuse.FSYNC: self._sync,
            fuse.FALLOCATE: self._allocate,
            fuse.RELEASE: self._release,
            fuse.STATFS: lambda request: fuse.statfs_answer(os.statvfs(backing)),
            fuse.OPENDIR: lambda request: fuse.open_answer(),
            fuse.READDIR: self._read_directory,
            fuse.RELEASEDIR: lambda request: b"",
            fuse.FSYNCDIR: self._sync_directory,
        }

    def serve(self) -> None:
        """Until it is unmounted or its parent is gone."""
        commands = sys.stdin.buffer
        poll = select.poll()
        poll.register(self.mount.descriptor, select.POLLIN)
        poll.register(commands.fileno(), select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self.mount.descriptor in ready:
                request = self.mount.receive()
                if request is None:
                    return
                self._serve_one(request)
            if commands.fileno() in ready:
                line = commands.readline()
                if not line:
                    return
                print(json.dumps(self._command(json.loads(line))), flush=True)

    def _serve_one(self, request: fuse.Request) -> None:
        operation = self._ops.get(request.op)
        if operation is None:
            return self.mount.answer(request, code=errno.ENOSYS)
        try:
            self.mount.answer(request, operation(request))
        except Held:
            self.held.append(request._replace(body=memoryview(bytes(request.body))))
        except OSError as error:
            self.mount.answer(request, code=error.errno or errno.EIO)

    def _command(self, command: dict[str, Any]) -> dict[str, Any]:
        match command.pop("do"):
            case "power_loss":
                return dict(self.store.lose_power(command["seed"]))
            case "fault":
                self.faults.append(Fault(**command))
                return {}
            case "clear":
                self.faults.clear()
                held, self.held = self.held, []
                for request in held:
                    self._serve_one(request)
                return {"released": len(held)}
            case "counts":
                struck = [fault.struck for fault in self.faults]
                return {"struck": struck, "held": len(self.held), "operations": self.counts}
            case other:
                return {"error": f"no command {other}"}

    def _check(self, op: str, name: str, offset: int = 0, length: int = 0) -> None:
        self.counts[op] += 1
        for fault in self.faults:
            if fault.strikes(op, name, offset, length):
                if fault.hold:
                    raise Held
                raise OSError(fault.errno, os.strerror(fault.errno))

    def _file(self, node: int) -> VolatileFile:
        file = self.store.files.get(node)
        if file is None:
            raise OSError(errno.ENOENT, "no such node")
        return file

    def _name(self, node: int) -> str:
        return next((name for name, other in self.store.names.items() if other == node), "")

    def _named(self, name: str) -> VolatileFile:
        return self._file(self.store.names.get(name, 0))

    @staticmethod
    def _stat(file: VolatileFile) -> os.stat_result:
        return os.fstat(file.descriptor)

    # Names

    def _lookup(self, request: fuse.Request) -> bytes:
        file = self._named(request.names()[0])
        return fuse.entry(file.node, self._stat(file), FILE_MODE)

    def _unlink(self, request: fuse.Request) -> bytes:
        name = request.names()[0]
        self._check("remove", name)
        self._named(name)
        self.store.remove(name)
        return b""

    def _rename(self, request: fuse.Request, fields: int) -> bytes:
        name, other = request.names(fields)
        self._check("rename", name)
        self._named(name)
        self.store.rename(name, other)
        return b""

    def _create(self, request: fuse.Request) -> bytes:
        name = request.names(fuse.CREATE_IN.size)[0]
        self._check("create", name)
        file = self.store.create(name)
        file.is_open += 1
        return fuse.entry(file.node, self._stat(file), FILE_MODE) + fuse.open_answer()

    def _open(self, request: fuse.Request) -> bytes:
        file = self._file(request.node)
        self._check("open", self._name(file.node))
        file.is_open += 1
        return fuse.open_answer()

    def _release(self, request: fuse.Request) -> bytes:
        file = self.store.files.get(request.node)
        if file is not None:
            self.store.released(file)
        return b""

    def _read_directory(self, request: fuse.Request) -> bytes:
        _, offset, room, _ = fuse.READ_IN.unpack_from(request.body)
        rows = [(".", fuse.ROOT_NODE, 4), ("..", fuse.ROOT_NODE, 4)]
        rows += [(name, node, 8) for name, node in sorted(self.store.names.items())]
        return fuse.directory_entries(rows, offset, room)

    def _sync_directory(self, request: fuse.Request) -> bytes:
        self._check("sync", ".")
        self.store.synchronise_names()
        return b""

    # Files

    def _get_attributes(self, request: fuse.Request) -> bytes:
        if request.node == fuse.ROOT_NODE:
            found = os.stat(self.store.backing)
            return fuse.attribute_answer(request.node, found, FOLDER_MODE)
        file = self._file(request.node)
        return fuse.attribute_answer(file.node, self._stat(file), FILE_MODE)

    def _set_attributes(self, request: fuse.Request) -> bytes:
        valid, _, _, size = fuse.SETATTR_IN.unpack_from(request.body)
        if request.node != fuse.ROOT_NODE and valid & fuse.SET_SIZE:
            file = self._file(request.node)
            self._check("allocate", self._name(file.node))
            if size < file.byte_count:
                # The bytes cut off must come back if power is lost before the next fsync.
                file.write(size, memoryview(bytes(file.byte_count - size)))
            os.ftruncate(file.descriptor, size)
        return self._get_attributes(request)

    def _read(self, request: fuse.Request) -> bytes:
        _, offset, size, _ = fuse.READ_IN.unpack_from(request.body)
        file = self._file(request.node)
        self._check("read", self._name(file.node), offset, size)
        return os.pread(file.descriptor, size, offset)

    def _write(self, request: fuse.Request) -> bytes:
        _, offset, size, _ = fuse.WRITE_IN.unpack_from(request.body)
        file = self._file(request.node)
        self._check("write", self._name(file.node), offset, size)
        start = len(request.body) - size
        file.write(offset, request.body[start:])
        return fuse.write_answer(size)

    def _sync(self, request: fuse.Request) -> bytes:
        file = self._file(request.node)
        try:
            self._check("sync", self._name(file.node))
        except OSError:
            file.fail_synchronise()
            raise
        file.synchronise()
        return b""

    def _allocate(self, request: fuse.Request) -> bytes:
        _, offset, length, mode, _ = fuse.FALLOCATE_IN.unpack_from(request.body)
        file = self._file(request.node)
        self._check("allocate", self._name(file.node), offset, length)
        if mode & ~fuse.KEEP_SIZE:
            raise OSError(errno.EOPNOTSUPP, "only plain allocation")
        os.posix_fallocate(file.descriptor, offset, length)
        return b""


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 64
    folder, backing = map(pathlib.Path, sys.argv[1:])
    mount = fuse.Mount(folder)
    print(json.dumps({"mounted": str(folder)}), flush=True)
    try:
        Server(mount, backing).serve()
    finally:
        fuse.unmount(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
