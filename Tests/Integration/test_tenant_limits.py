"""Tenants are kept apart and held to their limits, each by itself."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator

import pytest
from daemon_process import DaemonProcess
from kdn import Client, Key, Put, ServerError, Status
from kdn.wire import Op, checksum
from raw_connection import RawConnection

TOKENS = {"red": "the red token", "blue": "the blue token"}
MEBIBYTE = 1 << 20
CALL_SECONDS = 10.0


def key(name: str) -> Key:
    return Key.opaque(name.encode())


@pytest.fixture
def tenants(start) -> Callable[..., DaemonProcess]:
    """Starts a daemon with the tenants red and blue, red under the limits given."""

    def start_with(limits: str = "") -> DaemonProcess:
        settings = [
            f"namespaces={name}:{hashlib.sha256(token.encode()).hexdigest()}"
            for name, token in TOKENS.items()
        ]
        if limits:
            settings.append(f"namespace_limits=red {limits}")
        flags = [part for text in settings for part in ("--set", text)]
        return start("--set", "development_namespace=off", *flags)

    return start_with


@contextlib.contextmanager
def both(daemon: DaemonProcess) -> Iterator[tuple[Client, Client]]:
    """A client of each tenant, with one connection each."""
    with contextlib.ExitStack() as stack:
        yield tuple(
            stack.enter_context(
                Client(daemon.address, name, token, streams=1, timeout=CALL_SECONDS)
            )
            for name, token in TOKENS.items()
        )


def refusal(call: Callable[[], object]) -> ServerError:
    with pytest.raises(ServerError) as caught:
        call()
    return caught.value


# Quotas


def test_a_tenant_over_its_quota_loses_its_own_oldest_objects_and_nobody_elses(tenants):
    daemon = tenants("ram=8MiB")
    data = os.urandom(2 * MEBIBYTE)
    with both(daemon) as (red, blue):
        for number in range(10):
            blue.put(key(f"{number}"), data)
        for number in range(10):
            red.put(key(f"{number}"), data)
            assert red.stats()["namespace"]["ram_bytes"] <= 8 * MEBIBYTE
        kept = red.exists([key(f"{number}") for number in range(10)])
        assert 1 <= sum(kept) <= 4 and kept[9], "what was stored last is there"
        assert red.stats()["namespace"]["evictions_total"] == 10 - sum(kept)
        assert all(blue.exists([key(f"{number}") for number in range(10)]))
        assert blue.stats()["namespace"]["evictions_total"] == 0


def test_a_quota_full_of_pins_is_over_quota_until_something_is_unpinned(tenants):
    daemon = tenants("ram=8MiB")
    data = os.urandom(3 * MEBIBYTE)
    with both(daemon) as (red, blue):
        for name in ("a", "b"):
            red.put(key(name), data)
        assert red.pin([key("a"), key("b")], 60_000) == [True, True]
        assert refusal(lambda: red.put(key("c"), data)).status is Status.OVER_QUOTA
        assert red.stats()["namespace"]["quota_refusals_total"] == 1
        blue.put(key("c"), data)
        assert red.unpin([key("a")]) == [True]
        red.put(key("c"), data)
        assert red.exists([key("a"), key("b"), key("c")]) == [False, True, True]


def test_pins_beyond_their_quota_are_refused_together(tenants):
    daemon = tenants("pinned=1MiB")
    with both(daemon) as (red, blue):
        keys = [key("a"), key("b")]
        for client in (red, blue):
            for each in keys:
                client.put(each, os.urandom(MEBIBYTE * 3 // 4))
        assert refusal(lambda: red.pin(keys, 60_000)).status is Status.OVER_QUOTA
        assert red.stats()["namespace"]["pinned_bytes"] == 0
        assert red.pin(keys[:1], 60_000) == [True]
        assert refusal(lambda: red.pin(keys[1:], 60_000)).status is Status.OVER_QUOTA
        assert blue.pin(keys, 60_000) == [True, True]


def test_an_object_larger_than_the_quota_is_too_large_for_this_tenant_alone(tenants):
    daemon = tenants("ram=1MiB")
    data = os.urandom(2 * MEBIBYTE)
    with both(daemon) as (red, blue):
        refused = refusal(lambda: red.put(key("a"), data))
        assert refused.status is Status.TOO_LARGE and refused.retry_after_ms == 0
        blue.put(key("a"), data)


def test_puts_of_a_batch_over_quota_fail_one_by_one(tenants):
    daemon = tenants("ram=8MiB")
    with both(daemon) as (red, _):
        items = [Put(key(f"{number}"), os.urandom(3 * MEBIBYTE)) for number in range(2)]
        assert all(result.stored for result in red.put_from(items))
        red.pin([item.key for item in items], 60_000)
        more = [Put(key("large"), os.urandom(4 * MEBIBYTE)), Put(key("small"), b"small")]
        large, small = red.put_from(more)
        assert large.error is not None and large.error.status is Status.OVER_QUOTA
        assert small.stored


# Rates and numbers


def test_requests_beyond_the_rate_are_busy_with_a_hint_and_come_through_later(
    tenants, eventually
):
    daemon = tenants("requests=20")
    with both(daemon) as (red, blue):
        with pytest.raises(ServerError) as caught:
            for _ in range(10_000):
                red.ping()
        assert caught.value.status is Status.BUSY
        assert (caught.value.field, caught.value.limit) == ("requestsPerSecond", 20)
        assert 1 <= caught.value.retry_after_ms <= 50
        for _ in range(200):
            blue.ping()

        def passes() -> bool:
            blue.ping()
            with contextlib.suppress(ServerError):
                red.ping()
                return True
            return False

        eventually(passes)
        assert blue.stats()["namespace"]["rate_refusals_total"] == 0


def test_bytes_beyond_the_rate_are_busy_in_both_directions(tenants):
    daemon = tenants("bytes=256KiB")
    data = os.urandom(8 * MEBIBYTE)
    with both(daemon) as (red, blue):
        red.put(key("a"), data)
        for refused in (
            refusal(lambda: red.put(key("b"), data[:MEBIBYTE])),
            refusal(lambda: red.get(key("a"))),
        ):
            assert refused.status is Status.BUSY and refused.field == "bytesPerSecond"
            assert 1 <= refused.retry_after_ms <= 40_000
        assert red.exists([key("a"), key("b")]) == [True, False], "requests have no limit here"
        blue.put(key("a"), data)
        assert blue.get(key("a")) == data


def test_a_put_that_was_begun_is_finished_whatever_the_rate(tenants):
    daemon = tenants("requests=1")
    with RawConnection(daemon.address) as connection:
        connection.hello("red", TOKENS["red"])
        assert connection.begin(2, key("a"), 3).status == Status.OK
        connection.data(3, 2, 0, b"abc")
        # More than a slow machine lets through meanwhile.
        answers = {connection.ping(number).status for number in range(4, 200)}
        assert Status.BUSY in answers
        assert connection.commit(500, 2, checksum(b"abc")).status == Status.OK


def test_a_tenant_has_so_many_connections_and_others_have_theirs(tenants, eventually):
    daemon = tenants("connections=3")
    with contextlib.ExitStack() as stack:
        red = [
            stack.enter_context(RawConnection(daemon.address)).hello("red", TOKENS["red"])
            for _ in range(3)
        ]
        with RawConnection(daemon.address) as surplus:
            refused = surplus.try_hello("red", TOKENS["red"])
            assert refused.status == Status.TOO_MANY_CONNECTIONS
            assert refused.error.limit == 3 and refused.error.retry_after_ms > 0
            assert surplus.at_end()
        for _ in range(5):
            connection = stack.enter_context(RawConnection(daemon.address))
            connection.hello("blue", TOKENS["blue"])
        red[0].close()

        def admits() -> bool:
            with RawConnection(daemon.address) as next_one:
                return next_one.try_hello("red", TOKENS["red"]).status == Status.OK

        eventually(admits)
        assert {each.ping(2).status for each in red[1:]} == {Status.OK}


# Apart from each other


def test_a_tenant_sees_nothing_of_another(tenants):
    daemon = tenants()
    with both(daemon) as (red, blue):
        data = os.urandom(MEBIBYTE)
        shared = [key(f"{number}") for number in range(8)]
        before = red.stats()
        for each in shared:
            blue.put(each, data)
        blue.pin(shared, 60_000)
        assert not any(red.exists(shared))
        assert [red.get(each) for each in shared] == [None] * 8
        assert red.touch(shared) == 0
        assert red.unpin(shared) == [False] * 8
        assert red.purge(keys=shared).objects == 0
        assert all(blue.exists(shared))
        after = red.stats()
        assert set(after) == {"schema", "version", "uptime_seconds", "namespace"}
        assert "blue" not in json.dumps(after)
        own = {"requests_total", "received_bytes_total", "sent_bytes_total", "misses_total"}
        seen = [
            {name: value for name, value in stats["namespace"].items() if name not in own}
            for stats in (before, after)
        ]
        assert seen[0] == seen[1]
        red.put(shared[0], b"red bytes")
        assert blue.get(shared[0]) == data and red.get(shared[0]) == b"red bytes"
        mine = red.stats()["namespace"]
        assert (mine["name"], mine["objects"], mine["bytes"]) == ("red", 1, 9)


def test_a_lease_of_another_tenant_looks_like_one_that_never_was(tenants):
    daemon = tenants()
    refused = set()
    for name, token in TOKENS.items():
        for number in (1, 2, 77):
            with RawConnection(daemon.address) as connection:
                connection.hello(name, token)
                frame = connection.ask(Op.RELEASE, 2, number.to_bytes(8, "little"))
                refused.add((frame.status, frame.error.field, frame.error.message))
    assert {status for status, _, _ in refused} == {Status.NOT_FOUND}
    assert len(refused) == 1
