"""A scripted server on a Unix socket that shares memory: honest by default, hostile on request."""

from __future__ import annotations

import array
import fcntl
import os
import pathlib
import socket
import struct
from collections.abc import Callable

from fake_server import FakeServer, Peer, Request
from framing import OPS, RESPONSE, descriptor, header, text, xxh3

SHARED_MEMORY = 4
F_ADD_SEALS, SEAL_SHRINK, SEAL_GROW = 1033, 2, 4
LEASE = 1 << 63
PAGE = 4096


def memory(size: int, seals: int = SEAL_SHRINK | SEAL_GROW) -> int:
    """A descriptor of sealed memory."""
    number = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(number, size)
    fcntl.fcntl(number, F_ADD_SEALS, seals)
    return number


class Slab:
    """Memory of the server's, and objects in it as a test puts them."""

    def __init__(self, slab_id: int, size: int = 1 << 20) -> None:
        self.id, self.size = slab_id, size
        self.number = memory(size)
        self._end = 0

    def add(self, data: bytes) -> tuple[int, int]:
        """(offset, length) of bytes that are now in the slab."""
        offset = self._end
        self._end += -(-len(data) // PAGE) * PAGE
        self.write(offset, data)
        return offset, len(data)

    def write(self, offset: int, data: bytes) -> None:
        os.pwrite(self.number, data, offset)

    def close(self) -> None:
        os.close(self.number)


class SharedPeer(Peer):
    """A connection whose frames may bring descriptors and have places."""

    def __init__(self, sock: socket.socket, index: int) -> None:
        super().__init__(sock, index)
        self.placed = False
        self.window = b""

    def receive(self) -> Request:
        head = self.sock.recv(64, socket.MSG_PEEK | socket.MSG_WAITALL)
        request = super().receive()
        self.placed = len(head) == 64 and head[22] == 1
        return request

    def hello(self, **limits: int) -> Request:
        """Says that memory is shared here; `server` is the first byte of the server's id."""
        request = self.expect("HELLO")
        body = struct.pack(
            "<HHIIIQIIQIIIIQ", 1, 0, limits.get("links", 2 | SHARED_MEMORY), 1 << 20,
            limits.get("frame", 1 << 20), 1 << 28, 512, 64, limits.get("credit", 1 << 26), 10000,
            60000, 60000, limits.get("max_lease", 60000), 1,
        )
        self.reply(request, body + bytes([limits.get("server", 0)]) * 16 + text("fake/1"))
        return request

    def reply_passing(self, request: Request, body: bytes, numbers: list[int]) -> None:
        """An answer whose first byte brings descriptors."""
        data = header(OPS[request.op], RESPONSE, request.id, 0, body, 0, 0) + body
        rights = array.array("i", numbers).tobytes()
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if numbers else []
        sent = self.sock.sendmsg([data], ancillary)
        self.sock.sendall(data[sent:])

    def reply_in_place(
        self, request: Request, hits: list[tuple[Slab, list[tuple[int, int]], bytes] | None],
        lease_id: int = LEASE | 1, lease_ms: int = 5000, checksum: int | None = None,
    ) -> None:
        """An answer in place; a hit is (slab, extents, the bytes that are said to lie there)."""
        assert self.placed, "the client asked for bytes in the stream"
        self.reply_placed(request, in_place_body(hits, lease_id, lease_ms, checksum))

    def reply_placed(self, request: Request, body: bytes) -> None:
        head = header(OPS["GET"], RESPONSE, request.id, 0, body, 0, 0, place=1)
        self.sock.sendall(head + body)

    def pass_slab(self, slab: Slab) -> None:
        """Expects to be asked for a slab, and passes it."""
        request = self.expect("MAP_SLAB")
        assert struct.unpack("<Q", request.body) == (slab.id,)
        self.reply_passing(request, struct.pack("<Q", slab.size), [slab.number])

    def expect_release(self, lease_id: int = LEASE | 1) -> None:
        request = self.expect("RELEASE")
        assert struct.unpack("<Q", request.body) == (lease_id,)
        self.reply(request)


def in_place_body(hits, lease_id=LEASE | 1, lease_ms=5000, checksum=None) -> bytes:
    rows, places = [], []
    for hit in hits:
        if hit is None:
            rows.append(descriptor(1, 1, 0, 0, 0, 0, 0))
            continue
        slab, extents, data = hit
        total = xxh3(data) if checksum is None else checksum
        rows.append(descriptor(0, 0, 0, len(data), len(data), total, total))
        places.append(struct.pack("<QII", slab.id, len(extents), 0))
        places += [struct.pack("<QQ", offset, count) for offset, count in extents]
    lease = (lease_id, lease_ms) if places else (0, 0)
    head = struct.pack("<II", len(hits), 0) + b"".join(rows)
    return head + struct.pack("<QII", *lease, 0) + b"".join(places)


class SharedServer(FakeServer):
    """A fake server at a Unix socket in `folder`."""

    def __init__(self, script: Callable[[SharedPeer], None], folder: pathlib.Path) -> None:
        super().__init__(script)
        self._listener.close()
        self.path = folder / "s"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen()

    @property
    def address(self) -> str:
        return f"unix://{self.path}"

    def make_peer(self, sock: socket.socket, index: int) -> Peer:
        return SharedPeer(sock, index)


class Store:
    """A server's side of puts through a window: what has been put, checked as a daemon would."""

    def __init__(self, window_bytes: int) -> None:
        self.window_bytes = window_bytes
        self.number = memory(window_bytes)
        self.objects: list[bytes] = []
        self.pings = 0

    def serve(self, peer: SharedPeer, count: int) -> None:
        """Takes stores until `count` have been committed."""
        transfers: dict[int, bytearray] = {}
        while count > 0:
            request = peer.receive()
            if request.op == "OPEN_WINDOW":
                body = struct.pack("<Q", self.window_bytes)
                peer.reply_passing(request, body, [self.number])
            elif request.op == "PUT_BEGIN":
                total = struct.unpack_from("<Q", request.body, 96)[0]
                transfers[request.id] = bytearray(total)
                peer.reply(request, struct.pack("<B7xQ", 1, 0))
            elif request.op == "PUT_DATA":
                assert peer.placed and not request.payload
                transfer, offset, place, size = struct.unpack("<QQQQ", request.body)
                assert place + size <= self.window_bytes
                transfers[transfer][offset : offset + size] = os.pread(self.number, size, place)
            elif request.op == "EXISTS":
                self.pings += 1
                peer.reply(request, struct.pack("<II", 0, 0))
            else:
                assert request.op == "PUT_COMMIT", request.op
                transfer, checksum = struct.unpack("<QQ", request.body)
                data = bytes(transfers.pop(transfer))
                assert xxh3(data) == checksum, "the window was written before it was free"
                self.objects.append(data)
                peer.reply(request, struct.pack("<B7xQ", 1, checksum))
                count -= 1

    def close(self) -> None:
        os.close(self.number)
