"""A connection to the RESP facade that sends what a test says and reads replies one by one."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence

from daemon_process import DaemonProcess

ANSWER_SECONDS = 60.0
LISTENING = ("--set", "resp=127.0.0.1:0")


def resp_address(daemon: DaemonProcess) -> tuple[str, int]:
    """Host and port of the facade, by the line that says it is ready."""
    found = re.search(r'\bresp"?[=:]"?([\d.]+):(\d+)', daemon.log)
    assert found is not None, daemon.log
    return found.group(1), int(found.group(2))


def command(*words: bytes | str | int) -> bytes:
    """A command as clients send it."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        raw = word if isinstance(word, bytes) else str(word).encode()
        parts += [b"$%d\r\n" % len(raw), raw, b"\r\n"]
    return b"".join(parts)


class Error(str):
    """An error reply, without its minus."""


class RESPConnection:
    """A stream socket with RESP on it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self.socket.makefile("rb")

    def send(self, data: bytes | memoryview) -> None:
        """Sends bytes as they are."""
        self.socket.sendall(data)

    def ask(self, *words: bytes | str | int) -> object:
        """Sends a command and returns its reply."""
        self.send(command(*words))
        return self.reply()

    def replies(self, count: int) -> list[object]:
        """The next replies."""
        return [self.reply() for _ in range(count)]

    def reply(self) -> object:
        """The next reply: text, Error, int, bytes, None, list or dict; EOFError at the end."""
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind in (b"$", b"="):
            return None if rest == b"-1" else self._bulk(int(rest))
        if kind == b"_":
            return None
        if kind in (b"*", b"~"):
            return self.replies(int(rest))
        assert kind == b"%", line
        return {_name(self.reply()): self.reply() for _ in range(int(rest))}

    def at_end(self) -> bool:
        """Whether the server has closed, and said nothing more."""
        try:
            return self._stream.read(1) == b""
        except ConnectionResetError:
            return True

    def take(self, count: int) -> bytes:
        """Bytes as they come, parsed by nobody; fewer at the end of the stream."""
        return self._stream.read(count)

    def _line(self) -> bytes:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError(f"the stream ended in {line!r}")
        return line[:-2]

    def _bulk(self, count: int) -> bytes:
        data = self._stream.read(count + 2)
        if len(data) != count + 2:
            raise EOFError(f"the stream ended {count + 2 - len(data)} bytes early")
        assert data.endswith(b"\r\n")
        return data[:-2]

    def close(self) -> None:
        self._stream.close()
        self.socket.close()

    def __enter__(self) -> RESPConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _name(key: object) -> object:
    return key.decode() if isinstance(key, bytes) else key


class BlindClient:
    """Reads as LMCache's native client does: as many bytes as the reply that it hopes for.

    After its `connector.cpp`: one command at a time, nothing parsed but the reply to AUTH.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, ANSWER_SECONDS)

    def authenticate(self, *login: str) -> bytes:
        """The line that AUTH gives."""
        self.socket.sendall(command("AUTH", *login))
        line = b""
        while not line.endswith(b"\r\n"):
            line += self._receive(1)
        return line

    def set(self, key: bytes, value: bytes) -> bool:
        """Whether the reply was OK."""
        self.socket.sendall(command("SET", key, value))
        return self._receive(5) == b"+OK\r\n"

    def exists(self, key: bytes) -> bool:
        """EXISTS; any reply but 0 and 1 is an error."""
        return self._one("EXISTS", key)

    def delete(self, key: bytes) -> bool:
        """DEL; any reply but 0 and 1 is an error."""
        return self._one("DEL", key)

    def get(self, key: bytes, length: int) -> bytes | None:
        """The value; None if the reply began otherwise."""
        self.socket.sendall(command("GET", key))
        head = b"$%d\r\n" % length
        if self._receive(len(head)) != head:
            return None
        value = self._receive(length)
        assert self._receive(2) == b"\r\n", "out of step"
        return value

    def _one(self, name: str, key: bytes) -> bool:
        self.socket.sendall(command(name, key))
        reply = self._receive(4)
        assert reply in (b":0\r\n", b":1\r\n"), reply
        return reply == b":1\r\n"

    def _receive(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError(f"the stream ended after {bytes(data)!r}")
            data += piece
        return bytes(data)

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> BlindClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def scanned(connection: RESPConnection, *options: str) -> Iterator[bytes]:
    """All names that SCAN gives, page by page."""
    cursor = b"0"
    while True:
        reply = connection.ask("SCAN", cursor, *options)
        assert isinstance(reply, list), reply
        cursor, names = reply
        yield from names
        if cursor == b"0":
            return


def pieces(data: bytes, size: int) -> Sequence[bytes]:
    """`data` cut into pieces."""
    return [data[start:start + size] for start in range(0, len(data), size)]
