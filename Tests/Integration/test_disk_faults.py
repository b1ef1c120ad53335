"""A device that fails while it is used: what the client sees, the log says and STATS counts.

Each fault costs only the objects it hurt; the daemon goes on and says so.
"""

from __future__ import annotations

import errno
import os

import pytest
from disk_daemon import (
    MEBIBYTE,
    causes,
    check_same,
    disk_daemon,
    fetch,
    hits_of,
    names,
    store,
)
from kdn import Key, KDNError, MissCause, ServerError, Status
from lying_disk import lying_disk

OBJECT_BYTES = 200_000


@pytest.fixture
def lying(tmp_path):
    with lying_disk(tmp_path / "lying") as disk:
        yield disk


@pytest.fixture
def daemon(lying):
    with disk_daemon(lying.path) as daemon:
        daemon.start()
        yield daemon
        # Nothing may wait for an answer of the disk when the daemon is killed.
        lying.clear()


def directory(daemon) -> dict:
    return daemon.disk()["directories"][0]


def refused(daemon, name: bytes) -> ServerError:
    """The refusal of a durable object."""
    with pytest.raises(ServerError) as caught:
        daemon.client.put(Key.opaque(name), os.urandom(OBJECT_BYTES), durability="disk")
    return caught.value


def check_serves_ram(daemon) -> None:
    """What has nothing to do with the disk goes on."""
    key, data = Key.opaque(os.urandom(8)), os.urandom(1000)
    assert daemon.client.put(key, data).state == "published"
    assert daemon.client.get(key) == data


def offset_of(lying, data: bytes) -> tuple[str, int]:
    """Which file has an object's bytes, and where."""
    for file in sorted(lying.path.glob("segment-*")):
        offset = file.read_bytes().find(data)
        if offset >= 0:
            return file.name, offset
    raise AssertionError("a durable object is in no segment")


def test_eio_on_a_read_costs_the_object_that_it_hurt(lying, daemon):
    keys = names("stored", 20)
    objects = store(daemon.client, keys, OBJECT_BYTES)
    client = daemon.restart(False)
    file, offset = offset_of(lying, objects[7])
    lying.fault("read", file, offset=offset + 50_000, length=512)
    assert causes(client, [keys[7]]) == [MissCause.CORRUPT]
    others = [index for index in range(20) if index != 7]
    check_same(client, [keys[index] for index in others], [objects[index] for index in others])
    assert client.exists([keys[7]]) == [False]
    assert directory(daemon)["read_errors_total"] == 1
    assert directory(daemon)["state"] == "serving"
    assert daemon.log.count('msg="disk error"') == 1
    assert client.put(keys[7], objects[7], durability="disk").state == "published"


def test_a_device_that_cannot_be_read_at_all_is_given_up(lying, daemon):
    keys = names("stored", 30)
    store(daemon.client, keys, OBJECT_BYTES)
    client = daemon.restart(False)
    lying.fault("read", "segment-*")
    assert MissCause.NONE not in causes(client, keys)
    check_serves_ram(daemon)
    row = directory(daemon)
    assert row["state"] == "failed"
    assert 0 < row["read_errors_total"] <= 30
    assert daemon.tells('msg="disk is lost"')
    assert refused(daemon, b"more").status is Status.UNSUPPORTED
    lying.clear()
    assert not any(client.exists(keys)), "what was given up stays so until a restart"


def test_eio_on_a_write_fails_what_waits_and_keeps_what_was_durable(lying, daemon):
    keys = names("before", 10)
    objects = store(daemon.client, keys, OBJECT_BYTES)
    lying.fault("write", "segment-*")
    error = refused(daemon, b"hurt")
    assert (error.status, error.field) == (Status.UNSUPPORTED, "durability")
    check_same(daemon.client, keys, objects)
    check_serves_ram(daemon)
    row = directory(daemon)
    assert (row["state"], row["write_errors_total"]) == ("failed", 1)
    assert daemon.tells('msg="disk is no longer written"')
    assert refused(daemon, b"later").status is Status.UNSUPPORTED
    lying.clear()
    assert refused(daemon, b"still").status is Status.UNSUPPORTED
    check_same(daemon.restart(False), keys, objects)
    assert store(daemon.client, names("after", 2), 1000)


def test_a_failed_fdatasync_is_never_taken_for_success(lying, daemon):
    keys = names("before", 10)
    objects = store(daemon.client, keys, OBJECT_BYTES)
    lying.fault("sync", "segment-*", count=1)
    assert refused(daemon, b"hurt").status is Status.UNSUPPORTED
    assert refused(daemon, b"later").status is Status.UNSUPPORTED
    row = directory(daemon)
    assert (row["state"], row["sync_errors_total"]) == ("failed", 1)
    assert daemon.tells('msg="disk is no longer written"')
    check_same(daemon.client, keys, objects)
    daemon.end(clean=False)
    lying.lose_power(seed=1)
    client = daemon.start()
    check_same(client, keys, objects)
    for result in fetch(client, [Key.opaque(b"hurt"), Key.opaque(b"later")]):
        assert not result.hit or len(result.data) == OBJECT_BYTES


def test_a_journal_that_cannot_be_written_fails_the_purge(lying, daemon):
    keys = names("kept", 4)
    store(daemon.client, keys, OBJECT_BYTES)
    lying.fault("write", "journal-*")
    with pytest.raises(KDNError):
        daemon.client.purge(keys=keys[:1], timeout=5)
    assert not fetch(daemon.client, keys[:1])[0].hit
    check_serves_ram(daemon)
    assert directory(daemon)["state"] == "failed"


def test_a_full_device_below_the_cap_is_used_as_far_as_it_goes(lying, daemon):
    keys = names("before", 8)
    objects = store(daemon.client, keys, OBJECT_BYTES)
    lying.fault("create", "segment-*", errno=errno.ENOSPC)
    lying.fault("allocate", "segment-*", errno=errno.ENOSPC)
    stored = 0
    for number in range(40):
        try:
            daemon.client.put(
                Key.opaque(b"%d" % number), os.urandom(MEBIBYTE), durability="disk"
            )
            stored += 1
        except ServerError as error:
            assert error.status in (Status.BUSY, Status.UNSUPPORTED), error
    assert stored > 0
    assert daemon.tells('msg="disk is full below its configured size"')
    hits_of(daemon.client, keys, objects)
    check_serves_ram(daemon)
    lying.clear()
    assert hits_of(daemon.restart(False), keys, objects) >= 0


@pytest.mark.parametrize("op", ["create", "allocate"])
def test_a_device_that_is_full_from_the_start_is_refused(lying, daemon, op):
    daemon.end(clean=True)
    lying.fault(op, errno=errno.ENOSPC)
    code, log = daemon.refused("--reset-cache")
    assert code == 78
    assert str(lying.path) in log


def test_with_two_devices_the_sound_one_goes_on(tmp_path, lying):
    with disk_daemon(lying.path, tmp_path / "sound") as daemon:
        client = daemon.start()
        keys = names("before", 40)
        objects = store(client, keys, OBJECT_BYTES)
        lying.fault("write", "segment-*")
        lost = 0
        later = names("later", 40)
        data = [os.urandom(OBJECT_BYTES) for _ in later]
        kept = []
        for index, key in enumerate(later):
            try:
                client.put(key, data[index], durability="disk")
                kept.append(index)
            except ServerError:
                lost += 1
        assert lost <= 8, "at most what was on its way to the failing device"
        states = {row["path"]: row["state"] for row in daemon.disk()["directories"]}
        assert states == {str(lying.path): "failed", str(tmp_path / "sound"): "serving"}
        lying.clear()
        client = daemon.restart(False)
        check_same(client, keys, objects)
        check_same(client, [later[index] for index in kept], [data[index] for index in kept])


@pytest.mark.parametrize("seed", range(6))
def test_a_loss_of_power_takes_nothing_that_was_acknowledged(lying, daemon, seed):
    durable = names("durable", 12)
    objects = store(daemon.client, durable, 60_001)
    purged = names("purged", 6)
    store(daemon.client, purged, 60_001)
    daemon.client.purge(keys=purged)
    loose = names("loose", 30)
    others = store(daemon.client, loose, 60_001, durability="ram")
    daemon.end(clean=False)
    lying.lose_power(seed)
    client = daemon.start()
    check_same(client, durable, objects)
    assert not any(client.exists(purged))
    hits_of(client, loose, others)
