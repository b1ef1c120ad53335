"""LMCache's compiled RESP client against the facade: what exists, what has gone, and whose turn."""

from __future__ import annotations

import os
import pathlib
import select
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from lmcache.lmcache_redis import LMCacheRedisClient

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "Scripts" / "lib"), str(ROOT / "Tests" / "Integration")]

from daemon_process import running_daemon  # noqa: E402
from resp_connection import LISTENING, RESPConnection, resp_address  # noqa: E402

WAIT_SECONDS = 60.0
WORKERS = 4
CHUNK = 1 << 20
CHUNKS = 16
# More than fits beside each other.
PRESSURE = 200


class Native:
    """The compiled client, one awaited batch at a time."""

    def __init__(self, address: tuple[str, int], workers: int = WORKERS) -> None:
        self._client = LMCacheRedisClient(*address, workers)

    def set(self, values: dict[str, bytearray]) -> bool:
        keys, views = list(values), [memoryview(value) for value in values.values()]
        return self._wait(self._client.submit_batch_set(keys, views))[0]

    def get(self, keys: list[str]) -> list[bytearray | None]:
        room = [bytearray(CHUNK) for _ in keys]
        found = self._wait(
            self._client.submit_batch_get(keys, [memoryview(each) for each in room]))[1]
        return [each if is_here else None for each, is_here in zip(room, found, strict=True)]

    def exists(self, keys: list[str]) -> list[bool]:
        return self._wait(self._client.submit_batch_exists(keys))[1]

    def delete(self, keys: list[str]) -> list[bool]:
        return self._wait(self._client.submit_batch_delete(keys))[1]

    def _wait(self, number: int) -> tuple[bool, Any]:
        readable, _, _ = select.select([self._client.event_fd()], [], [], WAIT_SECONDS)
        assert readable, "a worker waits for ever"
        [(finished, is_ok, error, found)] = self._client.drain_completions()
        assert finished == number
        return is_ok, found

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """A daemon with little room, which promises for as long as a test takes."""
    flags = ("--ram", "128MiB", "--set", "slab=16MiB", "--set", "resp_exists_lease_ms=600000")
    with running_daemon(*flags, *LISTENING) as daemon:
        yield resp_address(daemon)


@pytest.fixture
def native(address: tuple[str, int]) -> Iterator[Native]:
    native = Native(address)
    yield native
    native.close()


def names(count: int, first: int = 0) -> list[str]:
    return [f"org/model@01000100@0@{number:064x}" for number in range(first, first + count)]


def chunks(keys: list[str]) -> dict[str, bytearray]:
    return {key: bytearray(os.urandom(CHUNK)) for key in keys}


def test_a_batch_is_stored_found_loaded_and_deleted(native):
    values = chunks(names(CHUNKS))
    assert native.exists(list(values)) == [False] * CHUNKS
    assert native.set(values)
    assert native.exists(list(values)) == [True] * CHUNKS
    assert native.get(list(values)) == list(values.values())
    assert all(native.delete(list(values)[:2]))
    assert native.exists(list(values)) == [False] * 2 + [True] * (CHUNKS - 2)


def test_misses_are_told_key_by_key_and_leave_every_worker_at_work(native):
    values = chunks(names(CHUNKS))
    assert native.set(values)
    for _ in range(5):
        assert native.get(names(CHUNKS, first=1000)) == [None] * CHUNKS
        assert native.get(list(values)) == list(values.values())


def test_what_a_lookup_has_found_is_there_to_load_while_others_make_room(address, native):
    values = chunks(names(CHUNKS))
    assert native.set(values)
    assert native.exists(list(values)) == [True] * CHUNKS
    block = os.urandom(CHUNK)
    with RESPConnection(address) as other:
        assert other.ask("SET", "unpromised", block) == "OK"
        for number in range(PRESSURE):
            other.ask("SET", f"pressure{number}", block)
        assert other.ask("GET", "unpromised") is None
    assert native.get(list(values)) == list(values.values())


def test_an_object_that_goes_between_lookup_and_load_is_a_clean_miss(address, native):
    values = chunks(names(CHUNKS))
    assert native.set(values)
    assert native.exists(list(values)) == [True] * CHUNKS
    with RESPConnection(address) as other:
        assert other.ask("DEL", *list(values)[::2]) == CHUNKS // 2
    expected = [value if number % 2 else None for number, value in enumerate(values.values())]
    assert native.get(list(values)) == expected
    assert native.get(list(values)[1::2]) == expected[1::2]


def test_a_second_client_reads_what_the_first_has_stored(address, native):
    values = chunks(names(CHUNKS))
    assert native.set(values)
    second = Native(address, workers=1)
    try:
        assert second.exists(list(values)) == [True] * CHUNKS
        assert second.get(list(values)) == list(values.values())
        assert second.get(names(1, first=1000)) == [None]
        assert second.get(list(values)) == list(values.values())
    finally:
        second.close()
