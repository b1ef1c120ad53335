"""A hostile client of shared memory takes what is not its own, holds what it can, and dies.

As in test_shm_hostile.py, witnesses watch their bytes, and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import time

from kdn import AttentionGroup, Key, Layout, MissCause, Part, Status, bodies, link_bodies
from kdn.results import Get, Put
from kdn.wire import Op, checksum
from shared_memory_client import SharedMemoryClient
from shared_memory_site import (
    CREDIT, MEBIBYTE, TOKENS, WAIT_SECONDS, Prey, Site, hostile, shared_site, site, start_site,
)
from test_dead_clients import Doomed

__all__ = ["hostile", "shared_site", "site"]

LEASES_MAX = 4096
U64 = 2**64


# Slabs that are not its own


def test_slabs_are_given_only_to_who_holds_a_lease_on_them(site, hostile):
    foreign = [slab for witness in site.witnesses for slab in witness.slabs]
    assert foreign, "the witnesses have mapped some"
    dice = random.Random(7)
    guesses = [*foreign, *range(300), U64 - 1, 1 << 63, *(dice.getrandbits(64) for _ in range(99))]
    for slab in guesses:
        assert hostile.try_map(slab)[0] == Status.NOT_FOUND
    # Leases of others are not its own either, whatever their numbers are.
    for lease in range(1, 50):
        assert hostile.release(link_bodies.LEASE_BIT + lease) == Status.NOT_FOUND
    prey = Prey(hostile, 1000)
    for slab in foreign:
        if slab != prey.hit.slab_id:
            assert hostile.try_map(slab)[0] == Status.NOT_FOUND
    blue = site.witnesses[1]
    assert prey.hit.slab_id not in blue.slabs, "a slab has one namespace"
    assert hostile.release(prey.found.lease_id) == Status.OK
    assert hostile.try_map(prey.hit.slab_id)[0] == Status.NOT_FOUND
    assert hostile.release(prey.found.lease_id) == Status.NOT_FOUND
    prey.drop()


def test_what_another_namespace_stored_is_a_miss_in_place_too(site, hostile):
    blue = site.witnesses[1]
    rows, found = hostile.try_lease([Get(key) for key in blue.objects])
    assert all(row.miss and row.cause is MissCause.NEVER_STORED for row in rows)
    assert (found.lease_id, found.hits) == (0, ())


def test_old_mappings_never_show_what_another_namespace_stores(tmp_path):
    """Memory that goes to another namespace is another file, even while the old one is mapped."""
    with contextlib.ExitStack() as stack:
        site = Site(tmp_path, stack, ram="80MiB", witnesses=False)
        preys = []
        stays = stack.enter_context(site.hostile())
        with site.hostile() as gone:
            for client in (stays, gone):
                preys += [Prey(client, 3 * MEBIBYTE) for _ in range(4)]
            for prey in preys:
                assert prey.client.release(prey.found.lease_id) == Status.OK
            preys[0].client.purge_all()
        mark = os.urandom(32)
        blue = stack.enter_context(site.hostile("blue"))
        for number in range(60):
            with contextlib.suppress(AssertionError):
                blue.store(Key.opaque(b"marked %d" % number), mark * (2 * MEBIBYTE // 32))
        held = sum(blue.fetch(Key.opaque(b"marked %d" % number)) is not None
                   for number in range(60))
        assert held > 8, "blue fills memory that was red's"
        for prey in preys:
            assert mark not in prey.slab[:]
        # While someone keeps too much of it mapped, others may have to read inline, and no longer.
        key = Key.opaque(b"marked last")
        blue.store(key, mark)
        _, found = blue.lease(key)
        assert blue.try_map(found.hits[0].slab_id)[0] in (Status.OK, Status.BUSY)
        stays.close()
        while site.at_rest()["stranded_bytes"]:
            assert site.overseer.stats()["connections"]["open"] >= 2
        assert blue.try_map(found.hits[0].slab_id)[0] == Status.OK
        blue.purge_all()
        blue.close()
        site.wait_clean()


# Leases


def test_a_lease_lasts_no_longer_than_the_longest(site, hostile):
    prey = Prey(hostile, 1000)
    _, found = hostile.lease(prey.key, 2**32 - 1)
    assert 0 < found.lease_ms <= hostile.limits.max_lease_ms
    prey.drop()


def test_a_lease_ends_with_its_time_and_is_nobodys_then(site, hostile):
    prey = Prey(hostile, 1000)
    assert hostile.release(prey.found.lease_id) == Status.OK
    _, found = hostile.lease(prey.key, 1)
    deadline = time.monotonic() + WAIT_SECONDS
    while hostile.try_map(prey.hit.slab_id)[0] != Status.NOT_FOUND:
        assert time.monotonic() < deadline, "the lease never ended"
    assert hostile.release(found.lease_id) == Status.NOT_FOUND
    prey.drop()


def test_leases_beyond_their_number_are_misses(site, hostile):
    prey = Prey(hostile, 100)
    held = [prey.found.lease_id]
    held += [hostile.lease(prey.key, 60_000)[1].lease_id for _ in range(LEASES_MAX - 1)]
    (row,), found = hostile.try_lease([Get(prey.key)])
    assert row.miss and row.cause is MissCause.OVER_CREDIT and found.lease_id == 0
    assert hostile.fetch(prey.key) == prey.data, "inline it still comes"
    site.check()
    assert len(set(held)) == LEASES_MAX
    assert hostile.release(held.pop()) == Status.OK
    hostile.lease(prey.key)
    prey.drop()


def test_leased_bytes_beyond_the_credit_are_misses(site, hostile):
    size = 3 * MEBIBYTE
    prey = Prey(hostile, size)
    room = CREDIT // size - 1
    rows, found = hostile.try_lease([Get(prey.key)] * (room + 5), 60_000)
    assert [row.miss for row in rows] == [False] * room + [True] * 5
    assert {row.cause for row in rows[room:]} == {MissCause.OVER_CREDIT}
    assert len(found.hits) == room
    (row,), _ = hostile.try_lease([Get(prey.key)])
    assert row.cause is MissCause.OVER_CREDIT
    site.check()
    assert hostile.release(found.lease_id) == Status.OK
    hostile.lease(prey.key)
    prey.drop()


def test_an_answer_that_would_be_too_long_leases_what_fits(site, hostile):
    layout = Layout("bf16", (AttentionGroup(tuple(range(64)), 8, 8),))
    assert hostile.call(Op.LAYOUT, layout.encode()).status == Status.OK
    key = Key.layout(hashlib.sha256(b"wide").digest(), layout.id, layout.whole())
    data = os.urandom(layout.bytes_per_token())
    begin = bodies.encode_put_begin(Put(key, b"", token_count=1), len(data))
    transfer = hostile.next_id()
    assert hostile.ask(Op.PUT_BEGIN, transfer, begin).status == Status.OK
    hostile.data(hostile.next_id(), transfer, 0, data)
    assert hostile.end_put(transfer, checksum(data)).status == Status.OK
    head = Get(key, part=Part(0, 64, 3, 1))
    rows, found = hostile.try_lease([head] * 2000, 60_000)
    misses = [row for row in rows if row.miss]
    assert misses and {row.cause for row in misses} == {MissCause.OVER_CREDIT}
    extents = {len(hit.extents) for hit in found.hits}
    assert extents == {128}
    body = 8 + 40 * len(rows) + 16 + sum(16 + 16 * len(hit.extents) for hit in found.hits)
    assert hostile.limits.body_bytes - 16 * 129 < body <= hostile.limits.body_bytes
    site.check()
    assert hostile.release(found.lease_id) == Status.OK
    hostile.purge(key)


# Death


def test_killed_with_leases_transfers_and_a_window(site):
    name, clean = os.urandom(16), site.before
    site.overseer.store(Key.opaque(name), os.urandom(3 * MEBIBYTE))
    site.before = site.at_rest()
    for _ in range(3):
        doomed = Doomed("sharing", site.path, name)
        during = site.at_rest()
        assert during["leases in place"] == 10 and during["windows"] == site.before["windows"] + 1
        assert during["transfers"] == 1
        assert during["leased_bytes"] == 30 * MEBIBYTE
        site.check()
        doomed.kill()
        site.wait_clean()
    site.overseer.purge_all()
    site.before = clean


def test_many_clients_die_at_once_and_the_others_are_served(site):
    name = os.urandom(16)
    key = Key.opaque(name)
    site.overseer.store(key, os.urandom(MEBIBYTE))
    doomed = [Doomed("sharing", site.path, name) for _ in range(4)]
    site.check()
    for each in doomed:
        each.kill()
    site.check()
    site.overseer.purge(key)


def test_the_daemon_goes_without_waiting_for_leases_and_mapped_bytes_outlive_it(tmp_path):
    path = tmp_path / "kdnd.sock"
    with start_site(path) as daemon, SharedMemoryClient(str(path)) as client:
        prey = Prey(client.hello("red", TOKENS["red"]), 3 * MEBIBYTE)
        window = client.open_window(MEBIBYTE)[1]
        daemon.terminate()
        assert daemon.wait(WAIT_SECONDS) == 0
        assert prey.seen() == prey.data, "a reader in the middle of it is not hurt"
        window[:] = bytes(len(window))
