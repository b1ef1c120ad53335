"""Fixtures: the link under test, and daemons that serve it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
for folder in ("Sources/Python", "Scripts/lib", "Tests/Links"):
    sys.path.insert(0, str(ROOT / folder))

from kdn import Client  # noqa: E402
from link_node import LinkNode, link_node, tested_links  # noqa: E402

EVENTUALLY_SECONDS = 60.0


@pytest.fixture(scope="session", params=tested_links())
def link(request: pytest.FixtureRequest) -> str:
    """tcp, unix, shm or rdma."""
    return request.param


@pytest.fixture(scope="session")
def node(link: str) -> Iterator[LinkNode]:
    """One daemon for all tests that need no daemon of their own."""
    with link_node(link) as node:
        yield node


@pytest.fixture
def start(link: str) -> Iterator[Callable[..., LinkNode]]:
    """Starts daemons with the flags given; all of them end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *flags, **more: stack.enter_context(link_node(link, *flags, **more))


@pytest.fixture(scope="session")
def shared_client(node: LinkNode) -> Iterator[Client]:
    with node.client() as client:
        yield client


@pytest.fixture
def client(shared_client: Client) -> Iterator[Client]:
    """A client of `node`, which is left as empty as it was found."""
    yield shared_client
    shared_client.purge(namespace=True)


@pytest.fixture
def salt() -> bytes:
    """Names of this test's own, since the daemon outlives it."""
    return os.urandom(16)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Asks again, each time with a round trip to the daemon, until it holds or time is up."""

    def ask(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + EVENTUALLY_SECONDS
        while not holds():
            assert time.monotonic() < deadline, "it never came to hold"

    return ask
