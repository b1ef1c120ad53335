"""Damage to the files of a stopped daemon costs the objects that it hurt, and no others."""

from __future__ import annotations

import os
import pathlib
import random
from typing import NamedTuple

import pytest
from disk_daemon import SEGMENT, causes, check_same, disk_daemon, fetch, hits_of, names, store
from kdn import Key, MissCause

OBJECTS = 60
OBJECT_BYTES = 150_000
RECORD_MAGIC = b"KDNR"


class Place(NamedTuple):
    """Where the bytes of an object lie."""

    file: pathlib.Path
    offset: int


class Filled:
    """A daemon that has ended, what it stored, and where that lies."""

    def __init__(self, daemon, clean: bool) -> None:
        self.daemon = daemon
        self.folder = daemon.paths[0]
        self.keys = names("stored", OBJECTS)
        self.objects = store(daemon.start(), self.keys, OBJECT_BYTES)
        daemon.end(clean=clean)
        self.segments = sorted(self.folder.glob("segment-*"))
        self.places = [self._find(data) for data in self.objects]

    def _find(self, data: bytes) -> Place:
        for file in self.segments:
            offset = file.read_bytes().find(data)
            if offset >= 0:
                return Place(file, offset)
        raise AssertionError("a durable object is in no segment")

    def header_of(self, index: int) -> Place:
        """Where the record of an object begins."""
        file, offset = self.places[index]
        data = file.read_bytes()
        for start in (offset - 512, offset - 4096):
            if data[start : start + 4] == RECORD_MAGIC:
                return Place(file, start)
        raise AssertionError("no record header before the bytes")


@pytest.fixture(params=[False, True], ids=["kill", "stop"])
def filled(tmp_path, request):
    with disk_daemon(tmp_path / "disk") as daemon:
        yield Filled(daemon, request.param)


def flip(place: Place, bit: int = 0) -> None:
    with place.file.open("r+b") as file:
        file.seek(place.offset)
        (byte,) = file.read(1)
        file.seek(place.offset)
        file.write(bytes([byte ^ (1 << bit)]))


def without(some: list, *indices: int) -> list:
    return [each for index, each in enumerate(some) if index not in indices]


def test_a_flipped_bit_in_an_object_costs_that_object(filled):
    hurt = 17
    flip(Place(filled.places[hurt].file, filled.places[hurt].offset + 100_000))
    client = filled.daemon.start()
    result = fetch(client, [filled.keys[hurt]])[0]
    assert not result.hit
    check_same(client, without(filled.keys, hurt), without(filled.objects, hurt))
    assert client.exists([filled.keys[hurt]]) == [False]
    assert filled.daemon.disk()["corrupt_total"] + filled.daemon.disk()["recovery"]["dropped"] == 1
    assert client.put(filled.keys[hurt], b"anew", durability="disk").state == "published"
    client = filled.daemon.restart(False)
    assert client.get(filled.keys[hurt]) == b"anew"


def test_damage_that_is_found_by_a_read_is_told(filled, eventually):
    hurt = [3, 30]
    for index in hurt:
        flip(Place(filled.places[index].file, filled.places[index].offset + 5))
    client = filled.daemon.start()
    found = causes(client, [filled.keys[index] for index in hurt])
    corrupt = found.count(MissCause.CORRUPT)
    assert corrupt == filled.daemon.disk()["corrupt_total"]
    # The log comes through a pipe of its own.
    told = 'msg="disk record is corrupt, dropped"'
    eventually(lambda: filled.daemon.log.count(told) == corrupt)
    assert MissCause.NONE not in found


def test_a_flipped_bit_in_a_header_costs_at_most_that_object(filled):
    hurt = 23
    header = filled.header_of(hurt)
    flip(Place(header.file, header.offset + 200), bit=6)
    client = filled.daemon.start()
    assert hits_of(client, filled.keys, filled.objects) >= OBJECTS - 1
    check_same(client, without(filled.keys, hurt), without(filled.objects, hurt))


def test_a_truncated_segment_costs_what_was_cut_off(filled):
    file = filled.places[10].file
    cut = filled.places[10].offset + 1000
    os.truncate(file, cut // 4096 * 4096)
    hurt = {
        index for index, place in enumerate(filled.places)
        if place.file == file and place.offset + OBJECT_BYTES > cut // 4096 * 4096
    }
    client = filled.daemon.start()
    found = fetch(client, filled.keys)
    for index, (result, data) in enumerate(zip(found, filled.objects, strict=True)):
        assert result.hit == (index not in hurt), (index, result.cause)
        assert not result.hit or result.data == data
    more = names("after", 60)
    objects = store(client, more, OBJECT_BYTES)
    check_same(filled.daemon.restart(False), more, objects)


def test_a_segment_that_is_gone_costs_its_objects(filled):
    file = filled.places[0].file
    file.unlink()
    kept = [index for index, place in enumerate(filled.places) if place.file != file]
    client = filled.daemon.start()
    check_same(
        client, [filled.keys[index] for index in kept], [filled.objects[index] for index in kept]
    )
    assert hits_of(client, filled.keys, filled.objects) == len(kept)


def test_a_segment_of_noise_costs_nothing_but_itself(filled):
    file = filled.places[0].file
    file.write_bytes(os.urandom(SEGMENT))
    kept = sum(place.file != file for place in filled.places)
    assert hits_of(filled.daemon.start(), filled.keys, filled.objects) == kept


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_anywhere_never_make_a_wrong_answer(filled, seed):
    rng = random.Random(seed)
    flips = 12
    for _ in range(flips):
        file = rng.choice(filled.segments)
        # The first and the last block name the segment: without them all of it is lost.
        flip(Place(file, rng.randrange(4096, SEGMENT - 4096)), rng.randrange(8))
    client = filled.daemon.start()
    assert hits_of(client, filled.keys, filled.objects) >= OBJECTS - flips
    check_same(client, [Key.opaque(b"x")], store(client, [Key.opaque(b"x")], 1000))


def damage_journal(filled, name, first=0):
    journal = filled.folder / name
    data = bytearray(journal.read_bytes())
    for offset in range(first, 64 * 1024, 512):
        data[offset] ^= 0x55
    journal.write_bytes(data)


def test_a_journal_that_was_never_begun_may_hold_anything(filled):
    damage_journal(filled, "journal-1", first=4096)
    check_same(filled.daemon.start(), filled.keys, filled.objects)


def test_without_its_journal_a_directory_is_not_believed(filled):
    # What was purged cannot be told any more: better nothing than something that was purged.
    damage_journal(filled, "journal-0")
    client = filled.daemon.start()
    assert hits_of(client, filled.keys, filled.objects) == 0
    assert "journal is damaged" in filled.daemon.log
    check_same(client, filled.keys[:1], store(client, filled.keys[:1], 1000))


def newest_journal(folder: pathlib.Path) -> pathlib.Path:
    """The journal that counts: its header names the higher epoch."""
    journals = [folder / name for name in ("journal-0", "journal-1")]
    return max(journals, key=lambda journal: journal.read_bytes()[8:16][::-1])


@pytest.mark.parametrize("offset", [9, 4096 + 64], ids=["header", "first frame"])
@pytest.mark.parametrize("purges", [12, 2200], ids=["first journal", "second journal"])
def test_a_damaged_journal_never_brings_back_what_was_purged(tmp_path, offset, purges):
    with disk_daemon(tmp_path / "disk") as daemon:
        client = daemon.start()
        kept, gone = names("kept", 5), names("gone", 10)
        objects = store(client, [*kept, *gone], 20_000)
        # Each purge is a frame of its own; many of them take the place of a whole journal.
        for step in range(purges):
            client.purge(keys=[gone[step % (len(gone) - 1)]])
        client.purge(keys=gone[-1:])
        daemon.end(clean=False)
        flip(Place(newest_journal(daemon.paths[0]), offset))
        client = daemon.start()
        assert not any(client.exists(gone))
        there = hits_of(client, kept, objects[: len(kept)])
        # A header can be told from its frames; without them nothing is believed, and that is told.
        assert there == len(kept) or there == 0 and daemon.tells("journal is damaged")
        more = names("more", 5)
        others = store(client, more, 20_000)
        check_same(daemon.restart(False), more, others)


def test_a_damaged_checkpoint_is_ignored(tmp_path):
    with disk_daemon(tmp_path / "disk") as daemon:
        filled = Filled(daemon, clean=True)
        checkpoint = filled.folder / "checkpoint"
        data = bytearray(checkpoint.read_bytes())
        data[len(data) // 2] ^= 1
        data[50] ^= 1
        checkpoint.write_bytes(data)
        check_same(daemon.start(), filled.keys, filled.objects)
