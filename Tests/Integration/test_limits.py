"""The daemon's limits hold, are told with type, and harm nobody else."""

from __future__ import annotations

import contextlib
import os
import resource

import pytest
from kdn import Client, Key, Put, ServerError, Status
from kdn.wire import Op, checksum
from raw_connection import RawConnection

IDLE_CONNECTIONS = 2000
REQUESTS = 200
CALL_SECONDS = 5.0


@pytest.fixture
def many_files():
    """Room for both ends' worth of this process's sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE_CONNECTIONS + 500
    assert hard == resource.RLIM_INFINITY or hard >= wanted, "the limit of open files is too low"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_thousand_idle_connections_and_the_one_after_the_cap(start, many_files, eventually):
    daemon = start("--max-connections", str(IDLE_CONNECTIONS + 1))
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client(daemon.address, streams=1, timeout=CALL_SECONDS))
        data = os.urandom(1 << 20)
        client.put(Key.opaque(b"a"), data)
        idle = [
            stack.enter_context(RawConnection(daemon.address)).hello()
            for _ in range(IDLE_CONNECTIONS)
        ]
        assert client.stats()["connections"]["open"] == IDLE_CONNECTIONS + 1
        for _ in range(REQUESTS):
            assert client.exists([Key.opaque(b"a")]) == [True]
        assert client.get(Key.opaque(b"a")) == data

        with RawConnection(daemon.address) as surplus:
            refusal = surplus.receive()
            assert (refusal.op, refusal.status) == (Op.GOAWAY, Status.TOO_MANY_CONNECTIONS)
            assert refusal.error.retry_after_ms > 0
            assert refusal.error.limit == IDLE_CONNECTIONS + 1
            assert surplus.at_end()
        with Client(daemon.address, timeout=CALL_SECONDS) as refused:
            with pytest.raises(ServerError) as caught:
                refused.ping()
        assert caught.value.status is Status.TOO_MANY_CONNECTIONS

        assert {each.ping(2).status for each in idle[::100]} == {Status.OK}
        idle[0].close()
        eventually(lambda: client.stats()["connections"]["open"] == IDLE_CONNECTIONS)
        with RawConnection(daemon.address) as admitted:
            admitted.hello()
        assert client.stats()["connections"]["refused_total"] == 2


@pytest.mark.parametrize("greets", [False, True])
def test_a_silent_connection_is_told_and_closed(start, greets):
    daemon = start("--set", "handshake_timeout_ms=200", "--set", "idle_timeout_ms=200")
    with RawConnection(daemon.address) as connection:
        if greets:
            connection.hello()
        farewell = connection.receive()
        assert (farewell.op, farewell.status) == (Op.GOAWAY, Status.DEADLINE)
        assert connection.at_end()


def test_a_client_that_reads_nothing_is_closed_and_its_bytes_are_free_again(start, eventually):
    daemon = start("--set", "write_stall_ms=300")
    key = Key.opaque(b"a")
    with Client(daemon.address) as client, RawConnection(daemon.address, 4096) as slow:
        client.put(key, os.urandom(40 << 20))
        slow.hello()
        slow.send_get(2, key)
        slow.receive_exactly(1)
        client.purge(keys=[key])
        eventually(lambda: client.stats()["memory"]["allocated_bytes"] == 0)
        eventually(lambda: client.stats()["connections"]["open"] == 1)
        assert client.stats()["connections"]["timed_out_total"] == 1


def test_a_put_that_falls_silent_is_given_up_and_commit_says_so(start, eventually):
    daemon = start("--set", "reservation_timeout_ms=200")
    with Client(daemon.address) as client, RawConnection(daemon.address) as silent:
        silent.hello()
        assert silent.begin(2, Key.opaque(b"a"), 1 << 20).status == Status.OK
        silent.data(3, 2, 0, b"abc")
        eventually(lambda: client.stats()["pool"]["reservations"] == 0)
        assert client.stats()["memory"]["allocated_bytes"] == 0
        refused = silent.commit(4, 2, checksum(b"abc"))
        assert refused.status in (Status.DEADLINE, Status.NOT_FOUND)
        assert silent.ping(5).status == Status.OK


def test_a_full_pool_says_busy_and_drops_nothing_pinned(start):
    daemon = start("--set", "max_object=64MiB")
    data = os.urandom(4 << 20)
    with Client(daemon.address) as client:
        keys = []
        refusal = None
        while refusal is None:
            key = Key.opaque(str(len(keys)).encode())
            result = client.put_from([Put(key, data)])[0]
            if result.stored:
                assert client.pin([key], 60_000) == [True]
                keys.append(key)
            refusal = result.error
        assert refusal.status is Status.BUSY and refusal.retry_after_ms > 0
        assert len(keys) >= 10 and all(client.exists(keys))
        assert client.get(keys[0]) == data
        assert client.unpin(keys[:2]) == [True, True]
        assert client.put_from([Put(key, data)])[0].stored
        assert all(client.exists(keys[2:]))
        charged = client.stats()["pool"]
        assert charged["charged_bytes"] <= charged["memory_bytes_max"]


def test_an_object_larger_than_can_ever_be_held_is_refused_for_good(start):
    daemon = start("--set", "max_object=1GiB")
    with RawConnection(daemon.address) as connection:
        connection.hello()
        refused = connection.begin(2, Key.opaque(b"a"), 200 << 20)
        assert refused.status == Status.TOO_LARGE and refused.error.retry_after_ms == 0
        refused = connection.begin(3, Key.opaque(b"a"), 2 << 30)
        assert refused.status == Status.TOO_LARGE and refused.error.limit == 1 << 30
        assert connection.ping(4).status == Status.OK


def test_open_puts_beyond_the_credit_are_refused_one_by_one(start):
    daemon = start("--set", "credit=4MiB")
    with RawConnection(daemon.address) as connection:
        connection.hello()
        assert connection.limits.credit_bytes == 4 << 20
        assert connection.begin(2, Key.opaque(b"a"), 3 << 20).status == Status.OK
        assert connection.begin(3, Key.opaque(b"b"), 2 << 20).status == Status.OVER_CREDIT
        assert connection.begin(4, Key.opaque(b"c"), 1 << 20).status == Status.OK


def test_more_keys_than_allowed_are_refused_and_the_connection_goes_on(start):
    daemon = start("--set", "max_keys=8")
    with Client(daemon.address) as client, RawConnection(daemon.address) as connection:
        connection.hello()
        body = (9).to_bytes(4, "little") + bytes(4) + Key.opaque(b"a").data * 9
        refused = connection.ask(Op.EXISTS, 2, body)
        assert refused.status == Status.BAD_REQUEST
        assert (refused.error.value, refused.error.limit) == (9, 8)
        assert connection.ping(3).status == Status.OK
        client.ping()
