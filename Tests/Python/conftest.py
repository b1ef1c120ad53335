"""Fixtures: vectors, and a real daemon on an ephemeral port."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECTORS = ROOT / "Tests" / "Vectors"
sys.path.insert(0, str(ROOT / "Sources" / "Python"))
# The fake server speaks through the vectors' encoder, which shares no code with the client.
sys.path.insert(0, str(VECTORS))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

READY_SECONDS = 20.0


def load_vectors(name: str) -> dict[str, list[dict]]:
    return json.loads((VECTORS / name).read_text())


def daemon_binary() -> pathlib.Path | None:
    if "KDND" in os.environ:
        return pathlib.Path(os.environ["KDND"])
    for build in ("release", "debug"):
        path = ROOT / ".build" / build / "kdnd"
        if path.exists():
            return path
    return None


class Log:
    """Reads the daemon's log for as long as it runs, so that it never blocks on a full pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.text = ""
        self._process = process
        self._ready = threading.Event()
        self._address: str | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            line = raw.decode(errors="replace")
            self.text += line
            found = re.search(r'\btcp="?([^\s"]+:\d+)', line)
            if found and re.search(r'msg="?ready"?', line):
                self._address = found.group(1)
                self._ready.set()
        self._ready.set()

    def wait_ready(self, seconds: float) -> str | None:
        self._ready.wait(seconds)
        return self._address

    def close(self) -> None:
        self._thread.join(5)
        assert self._process.stderr is not None
        self._process.stderr.close()


@dataclass
class Daemon:
    process: subprocess.Popen[bytes]
    tcp: str
    unix: str
    log: Log


def start_daemon(
    binary: pathlib.Path, unix_path: pathlib.Path, more: Sequence[str] = ()
) -> Daemon:
    """Starts the daemon and waits for its ready line, which names the port it got."""
    process = subprocess.Popen(
        [
            str(binary), "--tcp", "127.0.0.1:0", "--unix", str(unix_path), "--ram", "256MiB",
            "--log-format", "logfmt", *more,
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # The HTTP endpoint's default port is one daemon's only.
        env={**os.environ, "KDN_ADMIN": ""},
    )
    log = Log(process)
    address = log.wait_ready(READY_SECONDS)
    if address is None:
        process.kill()
        process.wait()
        raise RuntimeError(f"the daemon did not say that it is ready:\n{log.text}")
    return Daemon(process, address, f"unix://{unix_path}", log)


def stop_daemon(daemon: Daemon) -> None:
    daemon.process.terminate()
    try:
        daemon.process.wait(10)
    except subprocess.TimeoutExpired:
        daemon.process.kill()
        daemon.process.wait()
    daemon.log.close()


def require_binary() -> pathlib.Path:
    binary = daemon_binary()
    assert binary is not None, "no kdnd: build it, or name one in the environment variable KDND"
    return binary


@pytest.fixture(scope="session")
def kdnd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = start_daemon(require_binary(), tmp_path_factory.mktemp("kdnd") / "s")
    yield daemon
    stop_daemon(daemon)


@pytest.fixture
def own_kdnd(tmp_path: pathlib.Path) -> Iterator[Daemon]:
    """A daemon of the test's own, to kill or to drain."""
    daemon = start_daemon(require_binary(), tmp_path / "s")
    yield daemon
    if daemon.process.poll() is None:
        stop_daemon(daemon)
