"""Directories of the disk tier: what is refused at start and with which way out, and the cap."""

from __future__ import annotations

import pathlib
import shutil
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from disk_daemon import (
    MEBIBYTE,
    DiskDaemon,
    bytes_on_disk,
    check_same,
    disk_daemon,
    hits_of,
    names,
    store,
)
from kdn import Client

CONFIGURATION = 78
SUPERBLOCK_VERSION_OFFSET = 4
CAP = 64 * MEBIBYTE


@pytest.fixture
def places(tmp_path) -> list[pathlib.Path]:
    return [tmp_path / "first", tmp_path / "second"]


@pytest.fixture
def daemon(places):
    with disk_daemon(places[0]) as daemon:
        yield daemon


def test_a_directory_that_another_daemon_serves_is_refused_by_its_number(daemon):
    daemon.start()
    code, log = daemon.refused()
    assert code == CONFIGURATION
    assert str(daemon.process.pid) in log and str(daemon.paths[0]) in log
    daemon.client.ping()


def test_two_directories_share_what_is_stored_and_survive_together(places):
    with disk_daemon(*places) as daemon:
        keys = names("shared", 60)
        objects = store(daemon.start(), keys, 400_000)
        rows = daemon.disk()["directories"]
        assert {row["path"] for row in rows} == {str(place) for place in places}
        assert all(row["objects"] > 0 for row in rows)
        check_same(daemon.restart(False), keys, objects)
        check_same(daemon.restart(True), keys, objects)


def test_a_directory_that_is_empty_again_costs_its_own_objects_only(places):
    with disk_daemon(*places) as daemon:
        keys = names("shared", 60)
        objects = store(daemon.start(), keys, 400_000)
        rows = {row["path"]: row["objects"] for row in daemon.disk()["directories"]}
        daemon.end(clean=False)
        shutil.rmtree(places[0])
        client = daemon.start()
        assert hits_of(client, keys, objects) == rows[str(places[1])]
        store(client, names("more", 10), 400_000)


@pytest.mark.parametrize("what", ["a file", "no parent", "no permission to be one"])
def test_a_place_that_can_be_no_directory_is_refused(tmp_path, places, what):
    bad = {
        "a file": tmp_path / "file",
        "no parent": tmp_path / "missing" / "disk",
        "no permission to be one": pathlib.Path("/proc/kdn"),
    }[what]
    (tmp_path / "file").write_bytes(b"mine")
    with disk_daemon(places[0], bad) as daemon:
        code, log = daemon.refused()
        assert code == CONFIGURATION
        assert str(bad) in log
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_directory_that_is_named_twice_is_refused(places):
    with disk_daemon(places[0], places[0]) as daemon:
        code, log = daemon.refused()
        assert code == CONFIGURATION and str(places[0]) in log


def test_a_size_that_holds_no_log_is_refused(places):
    with disk_daemon(places[0], size="8MiB") as daemon:
        code, log = daemon.refused()
        assert code == CONFIGURATION
        assert "limit" in log


def test_a_newer_format_is_refused_with_the_way_out_which_works(daemon, places):
    keys = names("old", 3)
    store(daemon.start(), keys, 10_000)
    daemon.end(clean=True)
    superblock = places[0] / "superblock"
    changed = bytearray(superblock.read_bytes())
    struct.pack_into("<H", changed, SUPERBLOCK_VERSION_OFFSET, 2)
    superblock.write_bytes(changed)
    foreign = places[0] / "notes.txt"
    foreign.write_text("not ours")
    code, log = daemon.refused()
    assert code == CONFIGURATION
    assert "format 2" in log and "--reset-cache" in log
    assert superblock.read_bytes() == changed, "a refusal changes nothing"
    client = daemon.start("--reset-cache")
    assert not any(client.exists(keys))
    assert foreign.read_text() == "not ours"
    objects = store(client, keys, 10_000)
    check_same(daemon.restart(False), keys, objects)


def test_a_superblock_that_is_damaged_is_refused_with_the_way_out(daemon, places):
    store(daemon.start(), names("old", 3), 10_000)
    daemon.end(clean=True)
    superblock = places[0] / "superblock"
    changed = bytearray(superblock.read_bytes())
    changed[40] ^= 1
    superblock.write_bytes(changed)
    code, log = daemon.refused()
    assert code == CONFIGURATION
    assert "--reset-cache" in log
    daemon.start("--reset-cache")


def test_reset_cache_forgets_everything_and_leaves_what_is_not_ours(daemon, places):
    keys = names("old", 10)
    store(daemon.start(), keys, 300_000)
    daemon.end(clean=False)
    foreign = places[0] / "segment-list.txt"
    foreign.write_text("not ours")
    client = daemon.start("--reset-cache")
    assert not any(client.exists(keys))
    assert daemon.disk()["objects"] == 0
    assert foreign.read_text() == "not ours"


class CapWatch:
    """Samples what directories take, all the time."""

    def __init__(self, paths: tuple[pathlib.Path, ...]) -> None:
        self.most = 0
        self.samples = 0
        self._paths = paths
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> CapWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self.most = max(self.most, bytes_on_disk(*self._paths))
            self.samples += 1
            if self._ended.wait(0.005):
                return


def fill(daemon: DiskDaemon, name: str) -> None:
    """Stores three times the cap on several connections, with reads in between."""
    assert daemon.process is not None
    address = daemon.process.address

    def one(number: int) -> None:
        with Client(address, timeout=60.0) as client:
            for step in range(12):
                keys = names(f"{name}/{number}/{step}", 4)
                hits_of(client, keys, store(client, keys, MEBIBYTE - 1000 * number))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(one, number) for number in range(4)]:
            done.result()


def test_the_cap_holds_at_all_times_and_across_restarts(daemon, places):
    daemon.start()
    with CapWatch((places[0],)) as watch:
        fill(daemon, "one")
        for clean in (False, True):
            daemon.restart(clean)
            fill(daemon, f"after {clean}")
        daemon.end(clean=True)
    assert watch.samples > 100
    assert watch.most <= CAP
    assert watch.most > CAP * 0.7, "the room that was given is used"
