"""What a daemon with a disk keeps and forgets when it ends, cleanly or not, and starts again."""

from __future__ import annotations

import os

import pytest
from disk_daemon import (
    CHUNK_BYTES,
    CHUNK_TOKENS,
    LAYOUT,
    MEBIBYTE,
    SEGMENT,
    WHOLE,
    causes,
    check_same,
    chunk_key,
    disk_daemon,
    fetch,
    names,
    store,
    store_chain,
)
from kdn import Client, Get, Key, MissCause, Part, Put, ServerError, Status
from raw_connection import RawConnection

KILLED_OR_STOPPED = pytest.mark.parametrize("clean", [False, True], ids=["kill", "stop"])
HOUR_MS = 3_600_000
SIZES = [1, 511, 512, 513, 3584, 4095, 4096, 4097, 65_536, 1_000_003, 2 * MEBIBYTE]


@pytest.fixture
def daemon(tmp_path):
    with disk_daemon(tmp_path / "disk") as daemon:
        daemon.start()
        yield daemon


@KILLED_OR_STOPPED
def test_what_was_acknowledged_as_durable_is_there_after_the_end(daemon, clean):
    keys = names("size", len(SIZES))
    objects = [os.urandom(size) for size in SIZES]
    puts = [Put(key, data, durability="disk") for key, data in zip(keys, objects, strict=True)]
    assert all(result.state == "published" for result in daemon.client.put_from(puts))
    client = daemon.restart(clean)
    assert daemon.disk()["objects"] == len(keys)
    assert client.exists(keys) == [True] * len(keys)
    check_same(client, keys, objects)
    assert [client.put(key, data).state for key, data in zip(keys, objects, strict=True)] == [
        "present"
    ] * len(keys)


def test_a_clean_end_keeps_what_was_acknowledged_in_ram(daemon):
    keys = names("ram", 12)
    objects = store(daemon.client, keys, MEBIBYTE, durability="ram")
    check_same(daemon.restart(True), keys, objects)


def test_what_only_ram_had_is_there_or_missing_after_a_kill(daemon):
    keys = names("ram", 12)
    objects = store(daemon.client, keys, MEBIBYTE, durability="ram")
    for result, data in zip(fetch(daemon.restart(False), keys), objects, strict=True):
        assert result.data == data if result.hit else result.cause is MissCause.NEVER_STORED


def test_what_is_in_ram_becomes_durable_when_it_is_stored_again_as_such(daemon):
    key = Key.opaque(b"again")
    data = os.urandom(MEBIBYTE)
    daemon.client.put(key, data, durability="ram")
    assert daemon.client.put(key, data, durability="disk").state == "present"
    check_same(daemon.restart(False), [key], [data])


def test_an_object_larger_than_a_segment_is_refused_as_durable_and_served_from_ram(daemon):
    key = Key.opaque(b"large")
    data = os.urandom(SEGMENT + 1)
    with pytest.raises(ServerError) as caught:
        daemon.client.put(key, data, durability="disk")
    assert caught.value.status is Status.TOO_LARGE
    assert daemon.client.put(key, data).state == "published"
    assert daemon.client.get(key) == data


def test_durability_is_refused_by_name_without_a_disk(start):
    with Client(start().address) as client, pytest.raises(ServerError) as caught:
        client.put(Key.opaque(b"a"), b"bytes", durability="disk")
    assert (caught.value.status, caught.value.field) == (Status.UNSUPPORTED, "durability")


@KILLED_OR_STOPPED
def test_a_chain_is_matched_and_read_by_layers_without_registering_its_layout_again(daemon, clean):
    hashes, objects = store_chain(daemon.client, os.urandom(8), 6)
    client = daemon.restart(clean)
    found = client.match(LAYOUT.id, hashes, [WHOLE], lease_ms=20_000)
    assert (found.chunks, found.bytes) == (6, 6 * CHUNK_BYTES)
    assert (found.tiers.disk, found.tiers.ram) == (6, 0)
    for layer, offset, length in LAYOUT.layer_ranges(WHOLE, CHUNK_TOKENS):
        part = Part(layer, 1, 0, WHOLE.kv_head_count)
        results = client.get_into([Get(chunk_key(digest), part=part) for digest in hashes])
        for result, data in zip(results, objects, strict=True):
            assert result.data == data[offset : offset + length]
    again = client.match(LAYOUT.id, hashes, [WHOLE])
    assert (again.tiers.disk, again.tiers.ram) == (0, 6)


@KILLED_OR_STOPPED
@pytest.mark.parametrize("scope", ["keys", "prefix", "layouts", "namespace"])
def test_what_was_purged_stays_purged(daemon, clean, scope):
    client = daemon.client
    keys = names("opaque", 4)
    objects = store(client, keys, 100_000)
    hashes, chunks = store_chain(client, os.urandom(8), 6)
    chain = [chunk_key(digest) for digest in hashes]
    match scope:
        case "keys":
            client.purge(keys=[keys[0], chain[5]])
            gone, kept = [keys[0], chain[5]], [*keys[1:], *chain[:5]]
        case "prefix":
            client.purge(prefixes=[hashes[2]])
            gone, kept = chain[2:], [*keys, *chain[:2]]
        case "layouts":
            client.purge(layouts=[LAYOUT.id])
            gone, kept = chain, keys
        case _:
            client.purge(namespace=True)
            gone, kept = [*keys, *chain], []
    stored = dict(zip([*keys, *chain], [*objects, *chunks], strict=True))
    for _ in range(2):
        client = daemon.restart(clean)
        assert not any(client.exists(gone))
        assert not any(result.hit for result in fetch(client, gone))
        check_same(client, kept, [stored[key] for key in kept])
    for key in gone:
        if key.is_opaque:
            other = os.urandom(50_000)
            assert client.put(key, other, durability="disk").state == "published"
            stored[key] = other
    again = [key for key in gone if key.is_opaque] + kept
    check_same(daemon.restart(clean), again, [stored[key] for key in again])


def test_the_generation_of_a_namespace_never_goes_back(daemon):
    seen = []
    for clean in (False, True, False):
        daemon.client.put(Key.opaque(b"a"), b"bytes", durability="disk")
        daemon.client.purge(namespace=True)
        daemon.restart(clean)
        with RawConnection(daemon.process.address) as connection:
            seen.append(connection.hello().limits.namespace_generation)
    assert seen == sorted(set(seen))
    assert seen[0] >= 1


@KILLED_OR_STOPPED
def test_a_pin_outlives_the_daemon_and_keeps_its_object_while_others_are_reclaimed(daemon, clean):
    client = daemon.client
    pinned, plain = names("pinned", 2), names("plain", 8)
    kept = store(client, pinned, 300_000)
    store(client, plain, 300_000)
    assert client.pin(pinned, ttl_ms=HOUR_MS) == [True] * len(pinned)
    client = daemon.restart(clean)
    # More than the directory can hold, and twice RAM.
    store(client, names("flood", 160), MEBIBYTE)
    assert daemon.disk()["reclaimed_segments_total"] > 0
    assert not any(client.exists(plain))
    check_same(client, pinned, kept)
    assert client.unpin(pinned) == [True] * len(pinned)


@KILLED_OR_STOPPED
def test_the_numbers_of_a_recovery_are_told(daemon, clean):
    store(daemon.client, names("a", 20), 300_000)
    daemon.restart(clean)
    disk = daemon.disk()
    assert disk["recovery"]["records"] >= 20
    assert disk["objects"] == 20
    assert [row["state"] for row in disk["directories"]] == ["serving"]
    assert disk["directories"][0]["objects"] == 20
    assert daemon.tells('msg="disk recovered"')


def test_it_stays_right_over_many_short_lives(daemon):
    stored: dict[Key, bytes] = {}
    for life in range(12):
        keys = names(f"life/{life}", 3)
        stored.update(zip(keys, store(daemon.client, keys, 70_001), strict=True))
        daemon.restart(life % 3 == 2)
        check_same(daemon.client, list(stored), list(stored.values()))
    assert causes(daemon.client, names("never", 2)) == [MissCause.NEVER_STORED] * 2
