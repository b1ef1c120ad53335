"""What lies between a client and a daemon: a relay that alters, cuts, or holds back what comes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

PIECE_BYTES = 65536
# What an encoded object begins with.
MAGIC = b"KDNE"
WAIT_SECONDS = 30.0


class Relay:
    """Passes bytes both ways; what the daemon sends goes through `pass_on` first.

    `pass_on(connection, piece)` yields what is sent on in its place; None ends the connection.
    """

    def __init__(
        self, target: str, pass_on: Callable[[int, bytes], list[bytes | None]]
    ) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._pass_on = pass_on
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.connections = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Relay:
        self._run(self._accept)
        return self

    def __exit__(self, kind, error, trace) -> None:
        for sock in (self._listener, *self._sockets):
            _end(sock)
        for thread in self._threads:
            thread.join(10)

    def _run(self, work: Callable[..., None], *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            number, self.connections = self.connections, self.connections + 1
            self._run(_copy, near, far)
            self._run(self._return, far, near, number)

    def _return(self, far: socket.socket, near: socket.socket, number: int) -> None:
        try:
            while piece := far.recv(PIECE_BYTES):
                for part in self._pass_on(number, piece):
                    if part is None:
                        return
                    near.sendall(part)
        except OSError:
            pass
        finally:
            _end(near)
            _end(far)


class BitFlip:
    """Flips one bit, so many bytes behind the beginning of the first encoded object."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._passed = b""
        self.flipped = False

    def __call__(self, connection: int, piece: bytes) -> list[bytes | None]:
        if self.flipped:
            return [piece]
        before = len(self._passed)
        self._passed += piece
        start = self._passed.find(MAGIC)
        place = start + self._offset - before
        if start < 0 or place >= len(piece):
            return [piece]
        self.flipped = True
        return [piece[:place] + bytes([piece[place] ^ 16]) + piece[place + 1 :]]


class Drip:
    """Sends on a few bytes at a time."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, connection: int, piece: bytes) -> list[bytes | None]:
        return [piece[at : at + self._count] for at in range(0, len(piece), self._count)]


class Gate:
    """Holds back what comes later than so many bytes behind the first encoded object's beginning,
    until it is opened; with `cuts` the first connection ends there instead."""

    def __init__(self, offset: int, *, cuts: bool = False) -> None:
        self._offset = offset
        self._passed = b""
        self._cuts = cuts
        self._opened = threading.Event()
        self.reached = threading.Event()

    def open(self) -> None:
        self._opened.set()

    def __call__(self, connection: int, piece: bytes) -> list[bytes | None]:
        if self.reached.is_set():
            return [piece]
        before = len(self._passed)
        self._passed += piece
        start = self._passed.find(MAGIC)
        place = start + self._offset - before
        if start < 0 or place >= len(piece):
            return [piece]
        return self._held(piece, place)

    def _held(self, piece: bytes, place: int):
        yield piece[:place]
        self.reached.set()
        if self._cuts:
            yield None
            return
        assert self._opened.wait(WAIT_SECONDS)
        yield piece[place:]


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(PIECE_BYTES):
            target.sendall(piece)
    except OSError:
        pass
    finally:
        _end(target)


def _end(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    sock.close()
