"""One kdnd with every link that a run tests, and clients of it over one of them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator
from typing import Any

from daemon_process import DaemonProcess
from kdn import Client

MEBIBYTE = 1 << 20
SLAB = 8 * MEBIBYTE
WINDOW = 2 * MEBIBYTE
LINKS = ("tcp", "unix", "shm", "rdma")
# A machine in software emulation is slow: what is told by a deadline has one of its own.
CALL_SECONDS = 30.0
# Who listens beyond loopback, as RDMA does, lets nobody in without one.
TOKEN = "the suite's token"
_RDMA = re.compile(r'\brdma"?[=:]"?([^\s",]+:\d+)')


def tested_links() -> list[str]:
    """The links that the environment variable KDN_TEST_LINKS names."""
    named = os.environ.get("KDN_TEST_LINKS", "tcp,unix,shm").split(",")
    unknown = [link for link in named if link not in LINKS]
    assert named and not unknown, f"KDN_TEST_LINKS: {unknown} are none of {LINKS}"
    return named


class LinkNode:
    """Flags of a daemon, the process that has them at the moment, and how clients come to it."""

    def __init__(
        self, link: str, *flags: str, ram: str = "64MiB", disk: pathlib.Path | None = None
    ) -> None:
        self.link = link
        self._folder = tempfile.TemporaryDirectory(prefix="kdn-link")
        self.unix = f"{self._folder.name}/s"
        self.flags = ["--tcp", "127.0.0.1:0", "--unix", self.unix, "--ram", ram]
        self.flags += ["--set", f"slab={SLAB}B", "--set", f"shm_window={WINDOW}B"]
        self.flags += ["--set", f"namespaces=default:{hashlib.sha256(TOKEN.encode()).hexdigest()}"]
        if link == "rdma":
            self.flags += ["--set", f"rdma={os.environ['RDMA_ADDRESS']}:0"]
        if disk is not None:
            self.flags += ["--disk", f"{disk}:64MiB", "--set", f"disk_segment={4 * MEBIBYTE}B"]
        self.flags += flags
        self.process: DaemonProcess | None = None

    def start(self) -> LinkNode:
        """Returns once it serves, and knows what is on its disk."""
        self.process = DaemonProcess(*self.flags)
        self.process.wait_ready()
        with self.over_tcp() as client:
            while not client.stats().get("disk", {}).get("ready", True):
                assert self.process.process.poll() is None, self.process.log
        return self

    @property
    def tcp(self) -> str:
        """HOST:PORT of its TCP listener."""
        assert self.process is not None
        return self.process.address

    @property
    def rdma(self) -> str:
        """HOST:PORT of its RDMA listener."""
        assert self.process is not None
        found = _RDMA.search(self.process.wait_lines(r"\bmsg\W{1,3}ready")[0])
        assert found is not None, self.process.log
        return found.group(1)

    @property
    def address(self) -> str:
        """Where a client of the link under test is sent."""
        return f"unix://{self.unix}" if self.link in ("unix", "shm") else self.tcp

    def client(self, **options: Any) -> Client:
        """A client over the link under test, and over no other."""
        return connect(self.address, link=self.link, **options)

    def over_tcp(self, **options: Any) -> Client:
        """A client whose bytes go over TCP, to look at the daemon from aside."""
        return connect(self.tcp, link="tcp", **options)

    def end(self, clean: bool) -> None:
        """SIGTERM or SIGKILL."""
        assert self.process is not None
        if clean:
            self.process.terminate()
            assert self.process.wait() == 0, self.process.log
        else:
            self.process.kill()

    def restart(self, clean: bool) -> LinkNode:
        """Ends it and starts it again."""
        self.end(clean)
        return self.start()

    def close(self) -> None:
        """Whatever runs is killed."""
        if self.process is not None:
            self.process.kill()
        self._folder.cleanup()

def connect(address: str, **options: Any) -> Client:
    """A client with time enough, of the namespace `default` unless told otherwise."""
    usual = {"timeout": CALL_SECONDS, "connect_timeout": CALL_SECONDS, "token": TOKEN}
    return Client(address, **{**usual, **options})


@contextlib.contextmanager
def link_node(link: str, *flags: str, **more: Any) -> Iterator[LinkNode]:
    """A running node, which ends with the block."""
    node = LinkNode(link, *flags, **more)
    try:
        yield node.start()
    finally:
        node.close()
