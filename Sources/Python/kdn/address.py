"""Where a server listens: `host:port`, `[v6]:port`, `tls://…`, `rdma://…`, or `unix:///path`."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from kdn.errors import FieldError

DEFAULT_PORT = 9440


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address: `path` for a Unix socket, else host and port, of a stream or of RDMA."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False
    rdma: bool = False

    @staticmethod
    def parse(text: str) -> Address:
        """Raises FieldError for anything but the five forms."""
        if text.startswith("unix://"):
            path = text[len("unix://") :]
            if not path.startswith("/"):
                raise FieldError("address", text, "unix:// and an absolute path")
            return Address(path=path)
        tls, rdma = text.startswith("tls://"), text.startswith("rdma://")
        place = text.partition("://")[2] if tls or rdma else text
        host, separator, port = place.rpartition(":")
        if not separator or (":" in host and not host.startswith("[")):
            host, port = place, str(DEFAULT_PORT)
        if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
            forms = "host:port, [v6]:port, tls://host:port, rdma://host:port or unix:///path"
            raise FieldError("address", text, forms)
        return Address(host=host.strip("[]"), port=int(port), tls=tls, rdma=rdma)

    def __str__(self) -> str:
        """The address as `parse` takes it."""
        if self.path:
            return f"unix://{self.path}"
        scheme = "tls://" if self.tls else "rdma://" if self.rdma else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}{host}:{self.port}"

    def make_socket(self) -> socket.socket:
        """A Unix socket that is not connected yet; TCP needs resolving first."""
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def tune(sock: socket.socket) -> None:
    """Options that every TCP link of this client has."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class Breaker:
    """Holds back dials after failures: 0.1 s, doubling to 2 s. Pure: `now` is an argument."""

    FIRST_SECONDS = 0.1
    LONGEST_SECONDS = 2.0

    def __init__(self) -> None:
        self._pause = 0.0
        self._open_until = float("-inf")

    def wait_seconds(self, now: float) -> float:
        """How long until a dial is allowed; 0 = now."""
        return max(0.0, self._open_until - now)

    def failed(self, now: float) -> None:
        """A dial failed."""
        self._pause = min(max(self._pause * 2, self.FIRST_SECONDS), self.LONGEST_SECONDS)
        self._open_until = now + self._pause

    def succeeded(self) -> None:
        """A dial succeeded, HELLO included."""
        self._pause = 0.0
        self._open_until = float("-inf")
