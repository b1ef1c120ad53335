"""A client that dies in the middle of something leaves nothing behind."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from doomed_client import OBJECT_BYTES
from kdn import Client, Key

SCRIPT = pathlib.Path(__file__).with_name("doomed_client.py")
READ_BYTES = 48 << 20


class Doomed:
    """A client process that is where its role wants it."""

    def __init__(self, role: str, address: str, name: bytes) -> None:
        path = os.pathsep.join(sys.path)
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), role, address, name.hex()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"there\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait(20) == -signal.SIGKILL
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def name() -> bytes:
    return os.urandom(16)


@pytest.fixture
def doom(daemon, name) -> Iterator[object]:
    """Makes a client with a role; it is killed at the latest when the test ends."""
    made: list[Doomed] = []

    def make(role: str) -> Doomed:
        made.append(Doomed(role, daemon.address, name))
        return made[-1]

    yield make
    for each in made:
        if each.process.poll() is None:
            each.kill()


def test_killed_in_the_middle_of_a_put(client, doom, name, eventually):
    before = client.stats()
    doomed = doom("putting")
    during = client.stats()
    assert during["connections"]["open_transfers"] == 1
    assert during["pool"]["reservations"] == 1
    assert during["memory"]["allocated_bytes"] >= before["memory"]["allocated_bytes"] + OBJECT_BYTES
    doomed.kill()

    def is_clean() -> bool:
        now = client.stats()
        return (
            now["connections"]["open_transfers"] == 0
            and now["pool"]["reservations"] == 0
            and now["memory"]["allocated_bytes"] == before["memory"]["allocated_bytes"]
            and now["connections"]["open"] == before["connections"]["open"]
        )

    eventually(is_clean)
    assert client.exists([Key.opaque(name)]) == [False]
    assert client.put(Key.opaque(name), b"whole").state == "published"
    assert client.get(Key.opaque(name)) == b"whole"


def test_killed_while_it_holds_a_lease(client, doom, eventually):
    doomed = doom("leasing")
    assert client.stats()["pool"]["leases"] == 1
    doomed.kill()
    eventually(lambda: client.stats()["pool"]["leases"] == 0)
    assert client.stats()["pool"]["objects"] == 2


def test_killed_while_it_waits_for_an_object(client, doom, name, eventually):
    doomed = doom("waiting")
    during = client.stats()
    assert during["connections"]["waiting_gets"] == 1
    assert during["pool"]["waiters"] == 1
    doomed.kill()
    eventually(
        lambda: client.stats()["connections"]["waiting_gets"] == 0
        and client.stats()["pool"]["waiters"] == 0
    )
    assert client.put(Key.opaque(name), b"late").state == "published"


def test_killed_while_its_answer_is_being_sent(client, doom, name, eventually):
    key = Key.opaque(name)
    client.put(key, os.urandom(READ_BYTES))
    doomed = doom("reading")
    client.purge(keys=[key])
    assert client.stats()["memory"]["allocated_bytes"] >= READ_BYTES, "the reader keeps its bytes"
    doomed.kill()
    eventually(lambda: client.stats()["memory"]["allocated_bytes"] == 0)


def test_the_daemon_serves_on_while_clients_die_one_after_another(
    daemon, client, doom, eventually
):
    client.ping()
    files = daemon.open_files()
    for _ in range(5):
        for role in ("putting", "leasing", "waiting"):
            doom(role).kill()
        eventually(lambda: client.stats()["connections"]["open"] == 1)
        eventually(lambda: daemon.open_files() == files)
    with Client(daemon.address) as another:
        assert another.stats()["pool"]["reservations"] == 0
