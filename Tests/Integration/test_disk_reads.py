"""Reading what is on disk: batches larger than RAM, PREFETCH, the time before all is known."""

from __future__ import annotations

import os
import pathlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from disk_daemon import (
    LAYOUT,
    MEBIBYTE,
    WHOLE,
    causes,
    check_same,
    disk_daemon,
    hits_of,
    names,
    store,
    store_chain,
)
from kdn import Get, Key, MissCause
from lying_disk import LyingDisk, lying_disk


@pytest.fixture
def disk(tmp_path) -> pathlib.Path:
    return tmp_path / "disk"


@pytest.fixture
def slow_disk(tmp_path):
    with lying_disk(tmp_path / "lying") as disk:
        yield disk


def test_a_batch_larger_than_ram_is_read_whole(disk):
    with disk_daemon(disk, size="128MiB", ram="32MiB") as daemon:
        keys = names("large", 80)
        objects = store(daemon.start(), keys, MEBIBYTE)
        client = daemon.restart(False)
        check_same(client, keys, objects)
        check_same(client, keys[::-1], objects[::-1])
        assert daemon.disk()["hits_total"] > 0
        assert client.stats()["memory"]["allocated_bytes"] <= 32 * MEBIBYTE


def test_ranges_and_small_objects_are_read_from_disk(disk):
    with disk_daemon(disk) as daemon:
        keys = names("small", 300)
        objects = store(daemon.start(), keys, 777)
        data = os.urandom(MEBIBYTE)
        daemon.client.put(Key.opaque(b"ranged"), data, durability="disk")
        client = daemon.restart(False)
        check_same(client, keys, objects)
        ranges = [(900_000, 5), (0, 4097), (4095, 2)]
        result = client.get_into([Get(Key.opaque(b"ranged"), ranges=ranges)])[0]
        assert result.data == b"".join(data[start : start + count] for start, count in ranges)


def test_prefetch_brings_what_is_on_disk_to_ram(disk, eventually):
    with disk_daemon(disk) as daemon:
        hashes, _ = store_chain(daemon.start(), os.urandom(8), 8)
        keys = names("opaque", 8)
        objects = store(daemon.client, keys, 100_000)
        client = daemon.restart(False)
        assert client.match(LAYOUT.id, hashes, [WHOLE]).tiers.disk == 8
        answer = client.prefetch(keys)
        assert (answer.present, answer.started) == (0, len(keys))
        eventually(lambda: client.prefetch(keys).present == len(keys))
        reads = daemon.disk()["reads_total"]
        check_same(client, keys, objects)
        assert daemon.disk()["reads_total"] == reads, "they came from RAM"
        assert client.prefetch(names("never", 3)) == (0, 0)


def test_until_all_is_known_a_miss_says_so_and_stores_go_on(slow_disk: LyingDisk):
    with disk_daemon(slow_disk.path) as daemon:
        keys = names("known", 10)
        objects = store(daemon.start(), keys, 100_000)
        daemon.end(clean=False)
        slow_disk.fault("read", "segment-*", hold=True)
        client = daemon.start(recovered=False)
        try:
            assert daemon.disk()["ready"] is False
            assert daemon.disk()["directories"][0]["state"] == "recovering"
            assert causes(client, keys) == [MissCause.NOT_READY] * len(keys)
            assert client.exists(keys) == [False] * len(keys)
            client.put(Key.opaque(b"new"), b"bytes")
            assert client.get(Key.opaque(b"new")) == b"bytes"
        finally:
            slow_disk.clear()
        daemon.wait_recovered()
        check_same(client, keys, objects)
        assert client.get(Key.opaque(b"new")) == b"bytes"


def test_a_purge_during_recovery_counts_for_what_was_not_known_yet(slow_disk: LyingDisk):
    with disk_daemon(slow_disk.path) as daemon:
        keys = names("known", 4)
        objects = store(daemon.start(), keys, 100_000)
        daemon.end(clean=False)
        # Some reads come through, so that the daemon is in the middle of it.
        slow_disk.fault("read", "segment-*", hold=True, skip=1)
        client = daemon.start(recovered=False)
        try:
            with ThreadPoolExecutor(1) as pool:
                purge = pool.submit(client.purge, keys=keys[:2])
                client.ping()
                slow_disk.clear()
                purge.result(30)
        finally:
            slow_disk.clear()
        daemon.wait_recovered()
        assert not any(client.exists(keys[:2]))
        check_same(client, keys[2:], objects[2:])
        client = daemon.restart(False)
        assert not any(client.exists(keys[:2]))
        check_same(client, keys[2:], objects[2:])


def test_reads_go_on_while_more_is_written_than_fits(disk):
    with disk_daemon(disk, ram="48MiB") as daemon:
        client = daemon.start()
        early = names("early", 20)
        objects = store(client, early, MEBIBYTE)
        for step in range(10):
            store(client, names(f"flood/{step}", 12), MEBIBYTE)
            hits_of(client, early, objects)
        assert daemon.disk()["reclaimed_segments_total"] > 0
        assert daemon.disk()["corrupt_total"] == 0
