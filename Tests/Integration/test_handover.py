"""Clients that go on while the daemon behind their sockets is exchanged."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter

import pytest
from activation import activated, listening
from kdn import Client, Key, ServerError, Status
from kdn.errors import ConnectionLost, DeadlineExceeded

CLEAN = 0
RESTARTS = 3
CLIENTS_PER_SOCKET = 3
OPERATIONS_BETWEEN = 30
ATTEMPTS_MAX = 6
PAUSE_SECONDS = 0.15
PATIENCE_SECONDS = 60.0


class Load:
    """One client that stores and fetches until told to stop, and asks again as documented: what
    ended with the link, or at a server that drains, may be asked again."""

    def __init__(self, address: str, number: int) -> None:
        self.operations = 0
        self.failed: list[str] = []
        self.trouble: Counter[str] = Counter()
        self._address = address
        self._number = number
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with Client(self._address, timeout=30.0, connect_timeout=30.0, streams=1) as client:
            while not self._stop.is_set():
                self._operate(client)

    def _operate(self, client: Client) -> None:
        key = Key.opaque(f"{self._number}/{self.operations}".encode())
        data = os.urandom(20_000)
        for _ in range(ATTEMPTS_MAX):
            try:
                client.put(key, data)
                found = client.get(key)
                if found is not None and found != data:
                    self.failed.append("wrong bytes")
                self.operations += 1
                return
            except ConnectionLost as error:
                self.trouble[str(error)] += 1
            except ServerError as error:
                self.trouble[str(error)] += 1
                if error.status is not Status.DRAINING:
                    break
            except DeadlineExceeded as error:
                self.trouble[str(error)] += 1
                break
            self._stop.wait(PAUSE_SECONDS)
        self.failed.append(f"given up: {dict(self.trouble)}")
        self._stop.set()


def wait_for(loads: list[Load], count: int) -> None:
    """Returns once each load has done `count` operations more."""
    goals = [load.operations + count for load in loads]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(load.operations < goal for load, goal in zip(loads, goals, strict=True)):
        assert time.monotonic() < deadline, [load.operations for load in loads]
        assert not any(load.failed for load in loads), [load.failed for load in loads]
        threading.Event().wait(0.02)


@pytest.mark.parametrize("disk", [False, True])
def test_no_client_is_refused_and_no_operation_fails_while_daemons_change(tmp_path, disk):
    path = tmp_path / "socket"
    flags = ["--disk", f"{tmp_path}/cache:64MiB", "--set", "disk_segment=4MiB"] if disk else []
    loads: list[Load] = []
    with listening(path) as (tcp, unix):
        addresses = [f"127.0.0.1:{tcp.getsockname()[1]}", f"unix://{path}"]
        # They begin before there is a daemon: its socket is enough.
        loads = [
            Load(address, index * 10 + number)
            for index, address in enumerate(addresses)
            for number in range(CLIENTS_PER_SOCKET)
        ]
        try:
            for _ in range(RESTARTS + 1):
                with activated([tcp, unix], *flags, names="tcp:unix") as daemon:
                    daemon.wait_ready()
                    wait_for(loads, OPERATIONS_BETWEEN)
                    daemon.terminate()
                    assert daemon.wait() == CLEAN, daemon.log
        finally:
            stopping = [threading.Thread(target=load.stop) for load in loads]
            # The last operations need somebody to answer them.
            with activated([tcp, unix], *flags, names="tcp:unix") as daemon:
                daemon.wait_ready()
                for thread in stopping:
                    thread.start()
                for thread in stopping:
                    thread.join()
    trouble = sum((load.trouble for load in loads), Counter())
    assert not any(load.failed for load in loads), [load.failed for load in loads]
    refused = [text for text in trouble if text.startswith("cannot connect")]
    assert not refused, trouble
    assert min(load.operations for load in loads) > RESTARTS * OPERATIONS_BETWEEN
