"""A hostile client of shared memory writes where it may and may not: nobody else's bytes change.

Two witnesses, one in the hostile client's own namespace and one in another, compare their bytes bit
for bit all the while; after each test the daemon holds what it held before it.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import random
import struct
import threading

import pytest
from kdn import Key, Status, link_bodies, wire
from kdn.wire import Op, Place, checksum
from shared_memory_attacks import (
    ATTACKS, F_ADD_SEALS, F_GET_SEALS, REFUSALS, SEAL_FUTURE_WRITE, SEAL_GROW, SEAL_SEAL,
    SEAL_SHRINK, extend, grow, punch, shrink,
)
from shared_memory_site import MEBIBYTE, Prey, hostile, shared_site, site

__all__ = ["hostile", "shared_site", "site"]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("reopened", [False, True], ids=["as it came", "reopened for writing"])
def test_a_slab_cannot_be_changed_through_its_descriptor(site, hostile, attack, reopened):
    prey = Prey(hostile)
    size = os.fstat(prey.descriptor).st_size
    descriptor = prey.descriptor
    with contextlib.ExitStack() as stack:
        if reopened:
            try:
                descriptor = os.open(f"/proc/self/fd/{prey.descriptor}", os.O_RDWR)
            except OSError as error:
                assert error.errno in REFUSALS
            else:
                stack.callback(os.close, descriptor)
        with pytest.raises(OSError) as caught:
            attack(descriptor, size)
    assert caught.value.errno in REFUSALS
    assert prey.seen() == prey.data and os.fstat(prey.descriptor).st_size == size
    prey.drop()


def test_a_slab_is_sealed_and_its_descriptor_reads_only(site, hostile):
    prey = Prey(hostile)
    seals = fcntl.fcntl(prey.descriptor, F_GET_SEALS)
    wanted = SEAL_SEAL | SEAL_SHRINK | SEAL_GROW | SEAL_FUTURE_WRITE
    assert seals & wanted == wanted
    assert fcntl.fcntl(prey.descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    with pytest.raises(OSError):
        os.close(os.open(f"/proc/self/fd/{prey.descriptor}", os.O_RDWR | os.O_TRUNC))
    assert prey.seen() == prey.data
    prey.drop()


def test_what_is_written_to_a_private_mapping_stays_private(site, hostile):
    prey = Prey(hostile)
    count = os.fstat(prey.descriptor).st_size
    with mmap.mmap(prey.descriptor, count, mmap.MAP_PRIVATE,
                   mmap.PROT_READ | mmap.PROT_WRITE) as own:
        own[:] = b"\xa5" * count
        assert prey.seen() == prey.data
        site.check()
    prey.drop()


# What may be written


def test_the_window_after_commit_is_nobodys_object(site, hostile):
    _, window = hostile.open_window(MEBIBYTE)
    key, data = Key.opaque(b"scribbled"), os.urandom(len(window))
    window[:] = data
    transfer = hostile.begin_put(key, len(data))
    hostile.data_from_window(transfer, 0, 0, len(data))
    assert hostile.end_put(transfer, checksum(data)).status == Status.OK
    window[:] = b"\xff" * len(data)
    assert hostile.fetch(key) == data
    row, found = hostile.lease(key)
    _, slab = hostile.map_slab(found.hits[0].slab_id)
    for _ in range(20):
        window[:] = os.urandom(len(data))
        seen = b"".join(slab[at : at + count] for at, count in found.hits[0].extents)
        assert seen == data and row.object_checksum == checksum(data)
    hostile.purge(key)


def test_scribbling_while_the_window_is_copied_never_publishes_what_was_not_promised(
    site, hostile
):
    _, window = hostile.open_window(MEBIBYTE)
    data = os.urandom(len(window))
    promised = checksum(data)
    begun, over, dice = threading.Event(), threading.Event(), random.Random(6)

    def scribble() -> None:
        while not over.is_set():
            at = dice.randrange(len(window) - 64)
            window[at : at + 64] = bytes(64)
            begun.set()
            window[at : at + 64] = data[at : at + 64] if dice.random() < 0.5 else os.urandom(64)

    outcomes = []
    for round in range(40):
        window[:] = data
        begun.clear()
        over.clear()
        thread = threading.Thread(target=scribble)
        # Some rounds are left alone, so that both outcomes are seen.
        if round % 4:
            thread.start()
            assert begun.wait(20)
        key = Key.opaque(b"raced %d" % round)
        transfer = hostile.begin_put(key, len(data))
        hostile.data_from_window(transfer, 0, 0, len(data))
        frame = hostile.end_put(transfer, promised)
        over.set()
        if round % 4:
            thread.join()
        outcomes.append(frame.status)
        if frame.status == Status.OK:
            assert hostile.fetch(key) == data
            hostile.purge(key)
        else:
            assert frame.status == Status.CHECKSUM_MISMATCH
            assert hostile.fetch(key) is None
    assert Status.OK in outcomes and Status.CHECKSUM_MISMATCH in outcomes


def test_a_window_cannot_be_resized_and_its_holes_read_as_zeros(site, hostile):
    descriptor, window = hostile.open_window(MEBIBYTE)
    for change in (shrink, grow, extend):
        with pytest.raises(OSError):
            change(descriptor, len(window))
    window[:] = b"\xee" * len(window)
    punch(descriptor, len(window))
    key = Key.opaque(b"holes")
    transfer = hostile.begin_put(key, len(window))
    hostile.data_from_window(transfer, 0, 0, len(window))
    assert hostile.end_put(transfer, checksum(bytes(len(window)))).status == Status.OK
    assert hostile.fetch(key) == bytes(len(window))
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, F_ADD_SEALS, SEAL_FUTURE_WRITE)
    hostile.synchronise()
    hostile.purge(key)


def test_a_connection_has_one_window(site, hostile):
    hostile.open_window(64 << 10)
    before = len(hostile.descriptors)
    frame = hostile.call(Op.OPEN_WINDOW, link_bodies.encode_open_window(64 << 10))
    assert frame.status == Status.OUT_OF_SEQUENCE and len(hostile.descriptors) == before


def test_windows_of_many_connections_stay_within_their_room(site):
    limit = site.overseer.stats()["shared_memory"]["window_bytes_max"]
    refused = 0
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(site.hostile())
            frame = client.call(Op.OPEN_WINDOW, link_bodies.encode_open_window(1 << 40))
            refused += frame.status == Status.BUSY
            assert frame.status in (Status.OK, Status.BUSY)
            assert site.overseer.stats()["shared_memory"]["window_bytes"] <= limit
        assert refused > 0
        site.check()


# Lies

WINDOW = 64 << 10
U64 = 2**64


@pytest.mark.parametrize(
    ("offset", "start", "count", "field"),
    [
        (0, WINDOW - 10, 20, "windowOffset"), (0, WINDOW, 1, "windowOffset"),
        (0, 1 << 40, 16, "windowOffset"), (0, 2**63 - 17, 16, "windowOffset"),
        (0, 2**63 - 16, 16, "receivedBytes"), (0, U64 - 16, 16, "receivedBytes"),
        (0, 0, 0, "receivedBytes"), (0, 0, U64 - 1, "receivedBytes"),
        (0, 0, 1 << 40, "receivedBytes"), (1, 0, 1000, None), (U64 - 1, 0, 1000, None),
        (0, 0, WINDOW, None),
    ],
)
@pytest.mark.parametrize("opens", [True, False])
def test_lies_about_the_window_fail_that_transfer_only(
    site, hostile, offset, start, count, field, opens
):
    if opens:
        hostile.open_window(WINDOW)
    key = Key.opaque(b"lies")
    transfer = hostile.begin_put(key, 1000)
    body = struct.pack("<QQQQ", transfer, offset, start, count)
    hostile.send(wire.encode_frame(
        Op.PUT_DATA, hostile.next_id(), body, place=Place.SHARED_MEMORY))
    frame = hostile.end_put(transfer, checksum(bytes(1000)))
    assert frame.status == Status.BAD_REQUEST
    if field is not None:
        assert frame.error.field == field
    assert hostile.fetch(key) is None


def test_data_for_the_transfer_of_another_is_skipped(site, hostile):
    with site.hostile() as other:
        hostile.open_window(WINDOW)[1][:] = b"x" * WINDOW
        other.open_window(WINDOW)[1][:] = b"y" * WINDOW
        transfer = other.begin_put(Key.opaque(b"theirs"), 1000)
        for number in range(transfer + 2):
            hostile.data_from_window(number, 0, 0, 1000)
        hostile.synchronise()
        other.data_from_window(transfer, 0, 0, 1000)
        assert other.end_put(transfer, checksum(b"y" * 1000)).status == Status.OK
        assert hostile.fetch(Key.opaque(b"theirs")) == b"y" * 1000
        other.purge(Key.opaque(b"theirs"))
