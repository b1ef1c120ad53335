"""Clients of Redis that go on while the daemon behind their socket is exchanged."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
import redis
from activation import activated
from resp_connection import BlindClient, RESPConnection

CLEAN = 0
RESTARTS = 3
CLIENTS = 3
OPERATIONS_BETWEEN = 30
ATTEMPTS_MAX = 6
PATIENCE_SECONDS = 60.0


class Load:
    """One client that stores and reads until told to stop, and asks again if its link ends."""

    def __init__(self, address: tuple[str, int], number: int, protocol: int) -> None:
        self.operations = 0
        self.refused = 0
        self.failed: list[str] = []
        self._client = redis.Redis(
            host=address[0], port=address[1], protocol=protocol, retry=None,
            socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS)
        self._number = number
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        self._client.close()
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set() and not self.failed:
            self._operate()

    def _operate(self) -> None:
        name, value = f"{self._number}/{self.operations}", os.urandom(20_000)
        trouble = ""
        for _ in range(ATTEMPTS_MAX):
            try:
                self._client.set(name, value)
                found = self._client.get(name)
                if found not in (None, value):
                    self.failed.append("wrong bytes")
                self.operations += 1
                return
            except redis.ConnectionError as error:
                self.refused += "refused" in str(error)
                trouble = str(error)
            except redis.RedisError as error:
                trouble = str(error)
                break
        self.failed.append(f"given up: {trouble}")


def wait_for(loads: list[Load], count: int) -> None:
    """Returns once each load has done `count` operations more."""
    goals = [load.operations + count for load in loads]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(load.operations < goal for load, goal in zip(loads, goals, strict=True)):
        assert time.monotonic() < deadline, [load.operations for load in loads]
        assert not any(load.failed for load in loads), [load.failed for load in loads]
        threading.Event().wait(0.02)


@pytest.mark.parametrize("protocol", [2, 3])
def test_no_client_is_refused_while_daemons_change(protocol):
    with socket.create_server(("127.0.0.1", 0), backlog=256) as tcp, \
            socket.create_server(("127.0.0.1", 0), backlog=256) as resp:
        address = resp.getsockname()
        # They begin before there is a daemon: its socket is enough.
        loads = [Load(address, number, protocol) for number in range(CLIENTS)]
        try:
            for _ in range(RESTARTS + 1):
                with activated([tcp, resp], names="tcp:resp") as daemon:
                    daemon.wait_ready()
                    wait_for(loads, OPERATIONS_BETWEEN)
                    daemon.terminate()
                    assert daemon.wait() == CLEAN, daemon.log
        finally:
            stopping = [threading.Thread(target=load.stop) for load in loads]
            # The last operations need somebody to answer them.
            with activated([tcp, resp], names="tcp:resp") as daemon:
                daemon.wait_ready()
                for thread in stopping:
                    thread.start()
                for thread in stopping:
                    thread.join()
    assert not any(load.failed for load in loads), [load.failed for load in loads]
    assert not any(load.refused for load in loads)
    assert min(load.operations for load in loads) > RESTARTS * OPERATIONS_BETWEEN


def test_a_client_that_connects_between_two_daemons_is_served_by_the_next():
    with socket.create_server(("127.0.0.1", 0)) as tcp, \
            socket.create_server(("127.0.0.1", 0)) as resp:
        with activated([tcp, resp], names="tcp:resp") as daemon:
            daemon.wait_ready()
            daemon.terminate()
            assert daemon.wait() == CLEAN, daemon.log
        with BlindClient(resp.getsockname()) as waiting:
            with activated([tcp, resp], names="tcp:resp") as daemon:
                daemon.wait_ready()
                assert waiting.set(b"k", b"v")
                assert waiting.exists(b"k")


def test_commands_that_have_arrived_are_answered_before_the_daemon_ends():
    with socket.create_server(("127.0.0.1", 0)) as tcp, \
            socket.create_server(("127.0.0.1", 0)) as resp:
        with activated([tcp, resp], names="tcp:resp") as daemon:
            daemon.wait_ready()
            with RESPConnection(resp.getsockname()) as client:
                # Read together, so whoever has answered the first has begun with the second.
                client.send(b"PING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\nva")
                assert client.reply() == "PONG"
                daemon.terminate()
                client.send(b"lu\r\n")
                assert client.reply() == "OK"
                assert client.at_end()
            assert daemon.wait() == CLEAN, daemon.log
