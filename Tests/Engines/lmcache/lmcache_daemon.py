"""A daemon that speaks its own protocol and RESP, on sockets that outlive it."""

from __future__ import annotations

import os
import pathlib
import socket
import stat
import sys

from daemon_fixtures import _fixtures as daemons
from lmcache_processes import Process, until

# bash, since other shells redirect one-digit descriptors only; it becomes kdnd under its own pid.
_BECOME = 'export LISTEN_PID=$$; exec 3<&"$1" 4<&"$2"; shift 2; exec "$@"'

# What LMCache's own tests ask of `redis-cli`: a server's answer to PING and to FLUSHDB.
_CLI = """#!{python}
import socket
import sys
host, port, command = sys.argv[2], int(sys.argv[4]), sys.argv[5]
with socket.create_connection((host, port), 10) as link:
    link.sendall(command.encode() + b"\\r\\n")
    print(link.recv(64).decode().removeprefix("+").strip())
"""


class RespDaemon:
    """kdnd with a disk tier, started as a service manager does: handed sockets that it keeps.

    While no daemon runs, who connects waits in the sockets' queues.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._sockets = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(2)]
        self.tcp_port, self.resp_port = (one.getsockname()[1] for one in self._sockets)
        self.tcp = f"127.0.0.1:{self.tcp_port}"
        self.start()

    def start(self) -> None:
        log = self._folder / "kdnd.log"
        log.touch()
        before = log.read_text().count("msg=ready")
        numbers = [one.fileno() for one in self._sockets]
        self._process = Process(
            [
                "bash", "-c", _BECOME, "bash", *numbers, daemons.require_binary(),
                "--ram", "512MiB", "--disk", f"{self._folder / 'disk'}:2GiB",
                "--log-format", "logfmt",
            ],
            log,
            {"KDN_ADMIN": "", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "tcp:resp"},
            pass_fds=numbers,
        )
        ready = until(lambda: log.read_text().count("msg=ready") > before, 60)
        assert ready, self._process.tail

    def kill(self) -> None:
        """A crash: what was not yet on disk is lost."""
        self._process.kill()

    def drain(self) -> None:
        """An orderly end, as for an update: all is on disk when this returns."""
        self._process.stop()

    def stop(self) -> None:
        self.drain()
        for one in self._sockets:
            one.close()


def stand_in_cli(folder: pathlib.Path) -> pathlib.Path:
    """A folder with a `redis-cli` for PATH, which needs no package of the system."""
    path = folder / "redis-cli"
    path.write_text(_CLI.format(python=sys.executable))
    os.chmod(path, path.stat().st_mode | stat.S_IXUSR)
    return folder
