"""What a service manager does for kdnd: listens on sockets for it, and hears its notices."""

from __future__ import annotations

import contextlib
import os
import pathlib
import select
import socket
import time
from collections.abc import Iterator, Sequence

from daemon_process import DaemonProcess

# bash, since other shells redirect one-digit descriptors only; it becomes kdnd under its own pid.
_BECOME = """
export LISTEN_PID=$$
declare -i next=3
for number in $KDN_TEST_SOCKETS; do eval "exec $next<&$number"; next+=1; done
for number in $KDN_TEST_SOCKETS; do eval "exec $number<&-"; done
unset KDN_TEST_SOCKETS
exec "$@"
"""
# Above all that a test has open, so that none is in the way of 3 and up.
_FIRST_COPY = 200


@contextlib.contextmanager
def listening(path: pathlib.Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP and a Unix socket that listen for as long as the block lasts."""
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(str(path))
        for one in (tcp, unix):
            one.listen(256)
        yield tcp, unix


@contextlib.contextmanager
def activated(
    sockets: Sequence[socket.socket],
    *flags: str,
    names: str | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[DaemonProcess]:
    """A kdnd that was handed `sockets`; it ends with the block."""
    copies = [os.dup2(one.fileno(), _FIRST_COPY + index) for index, one in enumerate(sockets)]
    extra = {"LISTEN_FDS": str(len(sockets)), "KDN_TEST_SOCKETS": " ".join(map(str, copies))}
    if names is not None:
        extra["LISTEN_FDNAMES"] = names
    try:
        daemon = DaemonProcess(
            "--ram", "64MiB", "--set", "slab=4MiB", *flags,
            environment={**extra, **(environment or {})},
            wrapper=["bash", "-c", _BECOME, "bash"],
            pass_fds=copies,
        )
    finally:
        for number in copies:
            os.close(number)
    try:
        yield daemon
    finally:
        daemon.kill()


class Supervisor:
    """A datagram socket in the place of systemd's."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.environment = {"NOTIFY_SOCKET": name}

    def next(self, seconds: float = 30.0) -> dict[str, str]:
        """The next notice: its assignments."""
        assert select.select([self._socket], [], [], seconds)[0], "no notice came"
        text = self._socket.recv(4096).decode()
        return dict(line.split("=", 1) for line in text.split("\n"))

    def until(self, key: str, seconds: float = 30.0) -> dict[str, str]:
        """The next notice with `key`; those before it are dropped."""
        deadline = time.monotonic() + seconds
        while True:
            notice = self.next(deadline - time.monotonic())
            if key in notice:
                return notice

    def close(self) -> None:
        self._socket.close()
