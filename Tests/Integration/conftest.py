"""Fixtures: a real kdnd, one per test, with the flags that the test asks for."""

from __future__ import annotations

import contextlib
import pathlib
import sys
import time
from collections.abc import Callable, Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
for folder in ("Sources/Python", "Scripts/lib", "Tests/Integration"):
    sys.path.insert(0, str(ROOT / folder))

from daemon_process import DaemonProcess, running_daemon  # noqa: E402
from kdn import Client  # noqa: E402

EVENTUALLY_SECONDS = 20.0
SMALL = ("--ram", "128MiB", "--set", "slab=16MiB")


@pytest.fixture
def start() -> Iterator[Callable[..., DaemonProcess]]:
    """Starts daemons with the flags given; all of them end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *flags, **more: stack.enter_context(running_daemon(*SMALL, *flags, **more))


@pytest.fixture
def daemon(start: Callable[..., DaemonProcess]) -> DaemonProcess:
    """A small daemon with default limits."""
    return start()


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[Client]:
    """A client of `daemon`."""
    with Client(daemon.address) as client:
        yield client


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Asks again, each time with a round trip to the daemon, until it holds or time is up."""

    def ask(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + EVENTUALLY_SECONDS
        while not holds():
            assert time.monotonic() < deadline, "it never came to hold"

    return ask
