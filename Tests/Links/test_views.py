"""Objects read where they lie in the daemon's memory; links without such memory say so."""

from __future__ import annotations

import numpy
import pytest
from kdn import Get, Key, LeaseExpired, LinkUnavailable, MissCause, Part
from link_node import MEBIBYTE, SLAB
from material import CROWDED, LAYOUT, TOKENS, chain, chunk_key, crowd, store, store_chain

LEASE_MS = 60_000
# Long enough to be granted in a machine that is emulated.
BRIEF_MS = 500


@pytest.fixture
def lease(link, node, client):
    """Leases items in place; a link that shares no memory says so, and the test is over.

    What each test checks holds for the one link that has views; for the others, that they have
    none and lose nothing by being asked.
    """

    def take(client, items, **options):
        if link == "shm":
            return client.lease(items, lease_ms=LEASE_MS, **options)
        with pytest.raises(LinkUnavailable):
            client.lease(items)
        client.ping()
        return None

    return take


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("size", [1, 4097, MEBIBYTE, SLAB])
def test_a_lease_shows_what_was_stored(client, lease, salt, size, verify):
    (key,), (data,) = store(client, salt, 1, size)
    leased = lease(client, [Get(key), Get(Key.opaque(salt + b"?"))], verify=verify)
    if leased is None:
        return
    with leased:
        hit, miss = leased.results
        assert hit.hit and hit.object_bytes == size
        assert not miss.hit and miss.cause is MissCause.NEVER_STORED
        assert b"".join(leased.pieces(0)) == data and leased.pieces(1) == []
        assert bytes(leased.views[0]) == data and leased.views[1] is None
        assert all(piece.readonly for piece in leased.pieces(0))
        array = leased.numpy(0)
        assert array.tobytes() == data
        with pytest.raises(ValueError, match="read-only|readonly"):
            array[0] = 1
        assert leased.valid


def test_objects_beyond_a_slab_come_and_go(start, lease, salt, eventually):
    """Each has memory of its own, which clients must not keep for ever once it is gone."""
    node = start()
    with node.client(streams=1) as client:
        for turn in range(6):
            (key,), (data,) = store(client, salt + b"%d" % turn, 1, SLAB + 12_345)
            leased = lease(client, [Get(key)])
            if leased is None:
                return

            def held(key=key, data=data) -> bool:
                with client.lease([Get(key)], lease_ms=LEASE_MS) as again:
                    return again.results[0].hit and b"".join(again.pieces(0)) == data

            leased.release()
            eventually(held)
            assert client.get(key) == data
            client.purge(keys=[key])


def test_parts_and_ranges_are_leased_too(client, lease, salt):
    (digest,) = chain(salt, 1)
    (data,) = store_chain(client, [digest])
    (key,), (other,) = store(client, salt, 1, 100_000)
    _, offset, length = LAYOUT.layer_ranges(LAYOUT.whole(), TOKENS)[2]
    items = [
        Get(chunk_key(digest), part=Part(2, 1, 0, 4)),
        Get(key, ranges=[(50_000, 1000), (0, 10)]),
    ]
    leased = lease(client, items)
    if leased is None:
        return
    with leased:
        assert b"".join(leased.pieces(0)) == data[offset : offset + length]
        assert b"".join(leased.pieces(1)) == other[50_000:51_000] + other[:10]
        numbers = leased.numpy(0, numpy.uint16)
        assert numbers.tobytes() == data[offset : offset + length]


def test_what_is_leased_stays_though_it_is_purged(client, lease, salt):
    keys, datas = store(client, salt, 2, 300_000)
    leased = lease(client, [Get(key) for key in keys])
    if leased is None:
        return
    with leased:
        assert client.purge(keys=keys).objects == 2
        store(client, salt + b"more", 20, MEBIBYTE)
        assert [bytes(view) for view in leased.views] == datas and leased.valid
        assert client.get(keys[0]) is None


def test_what_is_leased_stays_though_all_else_is_evicted(start, lease, salt):
    node = start(ram=CROWDED)
    with node.client() as client:
        keys, datas = store(client, salt, 2, MEBIBYTE)
        leased = lease(client, [Get(key) for key in keys])
        if leased is None:
            return
        with leased:
            crowd(client, salt)
            assert client.stats()["namespace"]["evictions_total"] > 0
            assert [bytes(view) for view in leased.views] == datas and leased.valid


def test_bytes_used_beyond_their_time_are_told(client, lease, salt, eventually):
    (key,), _ = store(client, salt, 1, 100_000)
    if lease(client, [Get(key)]) is None:
        return
    brief = client.lease([Get(key)], lease_ms=BRIEF_MS)
    assert brief.results[0].hit
    eventually(lambda: client.ping() is None and not brief.valid)
    with pytest.raises(LeaseExpired):
        brief.check()
    brief.release()
    assert client.get(key) is not None


def test_leases_beyond_the_credit_are_misses_until_others_are_released(
    start, lease, salt, eventually
):
    node = start("--set", "credit=2MiB")
    with node.client(streams=1) as client:
        keys, datas = store(client, salt, 3, MEBIBYTE)
        first = lease(client, [Get(keys[0]), Get(keys[1])])
        if first is None:
            return
        second = client.lease([Get(keys[2])])
        assert second.results[0].cause is MissCause.OVER_CREDIT
        assert client.get(keys[2]) == datas[2], "a copy needs no lease"
        assert bytes(first.views[0]) == datas[0]
        first.release()
        eventually(lambda: client.lease([Get(keys[2])]).results[0].hit)


def test_a_lease_ends_with_its_client(node, client, lease, salt, eventually):
    (key,), (data,) = store(client, salt, 1, MEBIBYTE)
    with node.client() as brief:
        leased = lease(brief, [Get(key)])
        if leased is None:
            return
        assert leased.results[0].hit
        assert bytes(leased.views[0]) == data
    assert not leased.valid
    client.purge(namespace=True)
    eventually(lambda: client.stats()["memory"]["allocated_bytes"] == 0)
