"""A server that does what a script says, for faults that no real server can be made to show.

It speaks through the vectors' encoder, which shares no code with the client.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Callable

from framing import MORE, OPS, RESPONSE, descriptor, error_body, header, text, xxh3

from kdn import AsyncClient, Client

OP_NAMES = {number: name for name, number in OPS.items()}
HELLO_LIMITS = {
    "body": 1 << 20, "frame": 1 << 20, "object": 1 << 28, "keys": 512, "requests": 64,
    "credit": 1 << 26, "default": 10000, "max": 60000,
}


class Request:
    def __init__(self, op: str, request_id: int, deadline_ms: int, body: bytes, payload: bytes):
        self.op, self.id, self.deadline_ms = op, request_id, deadline_ms
        self.body, self.payload = body, payload


class Peer:
    """One accepted connection, as the script sees it."""

    def __init__(self, sock: socket.socket, index: int) -> None:
        self.sock = sock
        self.index = index

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def receive(self) -> Request:
        head = self.read(64)
        magic, version, op, flags, request_id = struct.unpack_from("<4sBBHQ", head)
        assert (magic, version, flags) == (b"KDNP", 1, 0)
        assert xxh3(head[:60]) & 0xFFFFFFFF == struct.unpack_from("<I", head, 60)[0]
        body_bytes, status = struct.unpack_from("<IH", head, 16)
        payload_bytes, deadline_ms = struct.unpack_from("<QI", head, 24)
        assert status == 0
        body = self.read(body_bytes)
        assert struct.unpack_from("<Q", head, 40)[0] == (xxh3(body) if body else 0)
        return Request(OP_NAMES[op], request_id, deadline_ms, body, self.read(payload_bytes))

    def expect(self, op: str) -> Request:
        request = self.receive()
        assert request.op == op, f"{request.op} instead of {op}"
        return request

    def reply(self, request: Request, body: bytes = b"", payload: bytes = b"", more: bool = False):
        flags = RESPONSE | (MORE if more else 0)
        head = header(OPS[request.op], flags, request.id, 0, body, len(payload), 0)
        self.sock.sendall(head + body + payload)

    def refuse(self, request: Request, status: int, field="", value=0, limit=0, retry=0):
        body = error_body(retry, field, value, limit, "by the script")
        head = header(OPS[request.op], RESPONSE, request.id, status, body, 0, 0)
        self.sock.sendall(head + body)

    def hello(self, **limits: int) -> None:
        request = self.expect("HELLO")
        granted = {**HELLO_LIMITS, **limits}
        body = struct.pack(
            "<HHIIIQIIQIIIIQ", 1, 0, 1, granted["body"], granted["frame"], granted["object"],
            granted["keys"], granted["requests"], granted["credit"], granted["default"],
            granted["max"], 60000, 60000, 1,
        )
        self.reply(request, body + bytes(16) + text("fake/1"))

    def reply_get(self, request: Request, objects: list[bytes | None], wrong_sum: bool = False):
        self.reply(request, *get_parts(objects, wrong_sum))


def get_parts(objects: list[bytes | None], wrong_sum: bool = False) -> tuple[bytes, bytes]:
    """Body and payload of a GET response; None is a miss."""
    rows = []
    for data in objects:
        total = 0 if data is None else xxh3(data) ^ wrong_sum
        rows.append(
            descriptor(1, 1, 0, 0, 0, 0, 0) if data is None
            else descriptor(0, 0, 0, len(data), len(data), total, total))
    body = struct.pack("<II", len(objects), 0) + b"".join(rows)
    return body, b"".join(data for data in objects if data is not None)


class FakeServer:
    """Runs `script(peer)` for each connection on a thread; an assertion there fails the test.

    With `security` each connection is inside TLS; `refusals` are handshakes that failed.
    """

    def __init__(
        self, script: Callable[[Peer], None], security: ssl.SSLContext | None = None
    ) -> None:
        self._script = script
        self._security = security
        self.refusals: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._failures: list[BaseException] = []
        self._peers: list[Peer] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def connections(self) -> int:
        return len(self._peers)

    def make_peer(self, sock: socket.socket, index: int) -> Peer:
        return Peer(sock, index)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(20)
            peer = self.make_peer(sock, len(self._peers))
            self._peers.append(peer)
            thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: Peer) -> None:
        try:
            if self._security is not None:
                peer.sock = self._security.wrap_socket(peer.sock, server_side=True)
            self._script(peer)
        except ssl.SSLError as error:
            self.refusals.append(str(error))
        except (EOFError, ConnectionError):
            pass
        except BaseException as error:
            self._failures.append(error)
        finally:
            peer.sock.close()

    def __enter__(self) -> FakeServer:
        self._accepting.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._peers:
            try:
                peer.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(10)
        if self._failures and kind is None:
            raise self._failures[0]


class AsyncFacade:
    """AsyncClient with blocking verbs, so that one test holds for both clients."""

    def __init__(self, *arguments, **options) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.inner = AsyncClient(*arguments, **options)
        self.counters = self.inner.counters

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def __getattr__(self, name):
        verb = getattr(self.inner, name)
        return lambda *arguments, **options: self.run(verb(*arguments, **options))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.run(self.inner.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


CLIENTS = {"blocking": Client, "asyncio": AsyncFacade}
