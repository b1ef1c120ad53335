"""The adapter under faults: whatever happens is a miss or a failed store, in bounded time."""

from __future__ import annotations

import pathlib
import struct
import threading
import time
from typing import Any

import pytest
from daemon_fixtures import _fixtures as daemons
from fake_server import FakeServer
from lmcache_parts import (
    Driver,
    bytes_of,
    layout,
    memories,
    memory,
    object_key,
    object_keys,
    wait_for,
)

from kdn.engines.lmcache import KDNL2Adapter, KDNL2AdapterConfig
from kdn.engines.lmcache.lanes import Lane, Outbox
from kdn.engines.lmcache.leases import LEASES_MAX, LeaseBook

FLAT = (64,)


def counters(driver: Driver) -> dict:
    return driver.adapter.report_status()["counters"]


def adapter_at(address: str, **settings: Any) -> Driver:
    facts = {"timeout": 10.0, "lookup_timeout": 10.0, "streams": 1, **settings}
    return Driver(KDNL2Adapter({"address": address, **facts}))


def exists(request: Any, bits: int) -> bytes:
    count = struct.unpack_from("<I", request.body)[0]
    return struct.pack("<II", count, 0) + bits.to_bytes((count + 7) // 8, "little")


def test_without_a_server_every_task_ends_as_a_miss(tmp_path):
    driver = adapter_at(f"unix://{tmp_path}/nobody")
    keys = object_keys(3)
    try:
        assert driver.look_up(keys) == [False] * 3
        assert driver.load(keys, memories(3)) == [False] * 3
        assert not driver.store(keys, memories(3, seeded=True)).is_successful()
        driver.adapter.submit_unlock(keys)
        driver.adapter.delete(keys)
        assert driver.adapter.list_l2_keys().entries == ()
        status = driver.adapter.report_status()
        assert status["is_healthy"] and not status["is_reachable"]
        assert status["errors"]["ConnectionLost"] > 0
    finally:
        driver.adapter.close()


def test_a_killed_daemon_costs_misses_and_a_new_one_is_used_as_if_it_had_been_there(tmp_path):
    binary, path = daemons.require_binary(), tmp_path / "s"
    keys, stored = object_keys(4), memories(4, seeded=True)
    daemon = daemons.start_daemon(binary, path)
    driver = adapter_at(daemon.unix)
    try:
        assert driver.store(keys, stored).is_successful()
        assert driver.look_up(keys) == [True] * 4
        daemon.process.kill()
        daemon.process.wait()
        daemon.log.close()
        assert driver.load(keys, memories(4)) == [False] * 4
        assert driver.look_up(keys) == [False] * 4
        assert not driver.store(keys, stored).is_successful()
        driver.adapter.submit_unlock(keys)
        path.unlink()
        daemon = daemons.start_daemon(binary, path)
        assert until(lambda: driver.store(keys, stored).is_successful())
        assert driver.look_up(keys) == [True] * 4
        loaded = memories(4)
        assert driver.load(keys, loaded) == [True] * 4
        assert [bytes_of(m) for m in loaded] == [bytes_of(m) for m in stored]
    finally:
        driver.adapter.close()
        daemons.stop_daemon(daemon)


def until(holds: Any) -> bool:
    """Asks again while the client waits before it dials anew, at most 2 s between two dials."""
    return any(holds() or threading.Event().wait(0.1) for _ in range(100))


def test_a_corrupt_payload_is_a_missing_bit_and_the_next_load_goes_on():
    data = bytes_of(memory(FLAT, seed=1))

    def script(peer: Any) -> None:
        peer.hello()
        peer.reply_get(peer.expect("GET"), [data], wrong_sum=True)
        peer.reply_get(peer.expect("GET"), [data[:-1]])
        peer.reply_get(peer.expect("GET"), [data])

    with FakeServer(script) as server:
        driver = adapter_at(server.address)
        loads = [driver.load([object_key(1)], [memory(FLAT)]) for _ in range(3)]
        driver.adapter.close()
    assert loads == [[False], [False], [True]]


def test_a_server_that_stalls_costs_a_lookup_its_deadline_and_no_more():
    release = threading.Event()
    touched: list[int] = []

    def script(peer: Any) -> None:
        peer.hello()
        if peer.index == 0:
            peer.expect("EXISTS")
            release.wait(20)
            return
        request = peer.expect("EXISTS")
        peer.reply(request, exists(request, 0b10))
        request = peer.expect("TOUCH")
        touched.append(struct.unpack_from("<I", request.body)[0])
        peer.reply(request, struct.pack("<II", 1, 0))

    with FakeServer(script) as server:
        driver = adapter_at(server.address, lookup_timeout=0.5)
        adapter, keys, shapes = driver.adapter, object_keys(2), layout(FLAT)
        first = adapter.submit_lookup_and_lock_task(keys, shapes)
        waited = adapter.submit_lookup_and_lock_task(keys, shapes)
        for task in (first, waited):
            while (bits := adapter.query_lookup_and_lock_result(task)) is None:
                wait_for(adapter.get_lookup_and_lock_event_fd())
            assert not bits.test(0) and not bits.test(1)
        assert server.connections == 1, "a lookup whose time was over in the queue asked still"
        assert driver.look_up(keys, shapes) == [False, True]
        release.set()
        adapter.close()
    assert touched == [1], "an opaque object that was found was not used"


def test_an_object_that_goes_between_lookup_and_lease_is_a_miss():
    def script(peer: Any) -> None:
        peer.hello()
        request = peer.expect("EXISTS")
        peer.reply(request, exists(request, 0b111))
        peer.reply(peer.expect("LAYOUT"), bytes(24))
        for chunks, lease in ((1, 7), (1, 8)):
            request = peer.expect("MATCH")
            asked = struct.unpack_from("<I", request.body)[0]
            peer.reply(request, match_reply(chunks, lease, asked))
        for lease in (7, 8):
            request = peer.expect("RELEASE")
            assert struct.unpack("<Q", request.body) == (lease,)
            peer.reply(request)

    with FakeServer(script) as server:
        driver = adapter_at(server.address)
        keys = object_keys(3)
        bits = driver.look_up(keys)
        driver.adapter.submit_unlock([keys[0], keys[2]])
        driver.look_up([])  # behind the release
        driver.adapter.close()
    assert bits == [True, False, True]


def match_reply(chunks: int, lease: int, asked: int) -> bytes:
    cause = 0 if chunks == asked else 2
    head = struct.pack("<IB3x4I", chunks, cause, 0, chunks, 0, 0)
    return head + struct.pack("<QQQII", 1, 0, lease, 1000, 0)


def test_a_full_queue_refuses_tasks_at_once_and_the_rest_are_answered():
    entered, release = threading.Event(), threading.Event()

    def script(peer: Any) -> None:
        peer.hello()
        while True:
            request = peer.expect("GET")
            entered.set()
            release.wait(20)
            peer.reply_get(request, [None])

    with FakeServer(script) as server:
        driver = adapter_at(server.address, queue_tasks=2)
        adapter = driver.adapter
        first = adapter.submit_load_task([object_key(0)], [memory(FLAT)])
        assert entered.wait(20)
        tasks = [adapter.submit_load_task([object_key(n)], [memory(FLAT)]) for n in range(1, 6)]
        refused = [adapter.query_load_result(task) is not None for task in tasks]
        assert refused == [False, False, True, True, True]
        assert adapter.query_load_result(first) is None
        release.set()
        for task in (first, *tasks[:2]):
            while (bits := adapter.query_load_result(task)) is None:
                wait_for(adapter.get_load_event_fd())
            assert not bits.test(0)
        assert driver.load([object_key(9)], [memory(FLAT)]) == [False]
        # Not by report_status, which would ask the script's server.
        assert adapter._tasks.counts["load_tasks_refused"] == 3
        adapter.close()


def test_close_awaits_the_load_that_is_writing_into_l1():
    entered, release = threading.Event(), threading.Event()
    target, data = memory(FLAT), bytes_of(memory(FLAT, seed=1))

    def script(peer: Any) -> None:
        peer.hello()
        request = peer.expect("GET")
        entered.set()
        release.wait(20)
        peer.reply_get(request, [data])

    with FakeServer(script) as server:
        driver = adapter_at(server.address)
        driver.adapter.submit_load_task([object_key(1)], [target])
        assert entered.wait(20)
        closing = threading.Thread(target=driver.adapter.close)
        closing.start()
        release.set()
        closing.join(20)
        assert bytes_of(target) == data
    assert not closing.is_alive()
    assert driver.adapter.submit_load_task([object_key(1)], [target]) > 0


def test_a_fault_of_the_adapters_own_is_a_miss_and_the_lanes_go_on(own_kdnd):
    driver = adapter_at(own_kdnd.tcp)
    try:
        for broken in (None, object()):
            assert driver.load([object_key(1)], [broken]) == [False]
            assert not driver.store([object_key(1)], [broken]).is_successful()
        assert driver.look_up([None, object_key(1)]) == [False, False]
        assert counters(driver)["unexpected_errors"] == 5
        assert driver.store([object_key(1)], [memory(seed=1)]).is_successful()
        assert driver.load([object_key(1)], [memory()]) == [True]
    finally:
        driver.adapter.close()


def test_a_wrong_token_file_is_refused_when_the_adapter_is_made(tmp_path: pathlib.Path):
    with pytest.raises(FileNotFoundError):
        KDNL2Adapter({"token_file": str(tmp_path / "none")})
    (tmp_path / "token").write_text("secret\n")
    assert KDNL2AdapterConfig(token_file=str(tmp_path / "token")).read_token() == "secret"


def test_the_lease_book_gives_each_lease_back_once():
    book = LeaseBook()
    assert book.add("empty", [], 1.0) == ["empty"]
    book.add("one", ["a", "b"], 1.0)
    book.add("two", ["b", "c"], 2.0)
    assert book.unlock(["b", "unknown"]) == []
    assert book.unlock(["a"]) == ["one"]
    assert book.drop_ended(1.5) == 0
    assert book.drop_ended(2.0) == 1
    assert book.unlock(["b", "c"]) == []
    assert len(book) == 0


def test_the_lease_book_is_bounded():
    book = LeaseBook()
    dropped = [
        lease for number in range(LEASES_MAX + 2) for lease in book.add(number, ["key"], 1.0)
    ]
    assert dropped == [0, 1]
    assert len(book) == LEASES_MAX
    assert book.unlock(["key"]) == [2]


def test_a_lane_takes_all_jobs_of_a_task_or_none():
    entered, release = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        release.wait(20)

    lane = Lane("test", 1, 2)
    assert lane.submit(hold)
    assert entered.wait(20)
    assert lane.submit(hold)
    assert not lane.submit(hold, hold)
    assert lane.waiting == 1
    release.set()
    assert lane.close(time.monotonic() + 20)
    assert not lane.submit(hold)


def test_an_outbox_keeps_quiet_after_it_is_closed():
    outbox: Outbox[str] = Outbox()
    outbox.post(1, "result")
    assert outbox.take(1) == "result"
    outbox.close()
    outbox.post(2, "late")
    assert outbox.take_all() == {}
