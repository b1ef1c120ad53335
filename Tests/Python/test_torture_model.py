"""What Scripts/torture holds for a loss, a phantom or wrong bytes; and the disk that lies."""

from __future__ import annotations

import random
import sys

import pytest
from conftest import ROOT
from kdn import Key

sys.path.insert(0, str(ROOT / "Scripts" / "lib"))

from torture_model import CLOCK_SLACK_SECONDS, Pattern, Record  # noqa: E402
from volatile_store import SECTOR, VolatileStore  # noqa: E402

PATTERN = Pattern(1)


@pytest.fixture
def record() -> Record:
    return Record(b"name", Key.opaque(b"name"), 5000)


def stored(record: Record, now: float, durable: bool = True) -> int:
    version = record.begin_put(now)
    record.end_put(version, "published", now)
    if durable:
        record.promise(version, now, 0)
    return version


def verdict(record: Record, seen: int, now: float = 0.0) -> str:
    """How a hit with the bytes of version `seen` is judged."""
    data = PATTERN.of(record.name, seen, record.byte_count)
    return record.judge(
        lambda version: data == PATTERN.of(record.name, version, record.byte_count),
        record.floor, now,
    )[0]


def test_what_was_acknowledged_as_durable_must_be_there(record):
    stored(record, 0.0)
    assert record.must_be_there(100.0, 0, 0)
    assert not record.must_be_there(100.0, 10, 5), "so much was stored since that it may be gone"
    assert verdict(record, 1) == "ok"
    assert verdict(record, 2) == "wrong"


def test_what_was_acknowledged_in_ram_may_be_missing(record):
    stored(record, 0.0, durable=False)
    assert not record.must_be_there(0.0, 0, 1 << 40)
    assert verdict(record, 1) == "ok"


def test_an_acknowledged_purge_is_for_good(record):
    stored(record, 0.0)
    record.begin_purge()
    assert not record.must_be_there(0.0, 0, 1 << 40)
    assert verdict(record, 1) == "ok", "it is not acknowledged yet"
    record.end_purge()
    assert verdict(record, 1) == "phantom"
    assert not record.may_exist(record.floor, 0.0)
    assert stored(record, 1.0) == 2
    assert verdict(record, 2) == "ok"
    assert verdict(record, 1) == "phantom"


def test_a_purge_in_doubt_may_have_been_or_not(record):
    stored(record, 0.0)
    record.begin_purge()
    assert verdict(record, 1) == "ok"
    assert record.begin_put(1.0) == 1, "the same bytes, so that it cannot be a conflict"
    record.take_next()
    assert record.begin_put(1.0) == 2
    assert verdict(record, 1) == verdict(record, 2) == "ok"
    record.end_put(2, "published", 1.0)
    assert verdict(record, 1) == "phantom"


def test_a_put_in_doubt_promises_nothing_and_forbids_nothing(record):
    version = record.begin_put(0.0)
    record.may_be_stored(version, 0.0)
    assert not record.must_be_there(0.0, 0, 1 << 40)
    assert verdict(record, version) == "ok"


def test_a_ttl_ends_an_object(record):
    record.ttl_ms = 1000
    stored(record, 10.0)
    assert record.must_be_there(10.5, 0, 1 << 40)
    assert not record.must_be_there(11.0, 0, 1 << 40)
    assert verdict(record, 1, 11.0 + CLOCK_SLACK_SECONDS / 2) == "ok"
    assert verdict(record, 1, 11.1 + CLOCK_SLACK_SECONDS) == "phantom"
    assert record.begin_put(12.0) == 2


def test_what_was_present_keeps_its_ttl(record):
    record.ttl_ms = 1000
    stored(record, 10.0)
    version = record.begin_put(10.5)
    record.end_put(version, "present", 10.5)
    assert verdict(record, 1, 11.1 + CLOCK_SLACK_SECONDS) == "phantom"


# The disk that lies


@pytest.fixture
def store(tmp_path) -> VolatileStore:
    return VolatileStore(tmp_path)


def contents(store: VolatileStore, name: str) -> bytes:
    return (store.backing / f"node-{store.names[name]}").read_bytes()


def made(store: VolatileStore, name: str, data: bytes) -> None:
    file = store.create(name)
    file.write(0, memoryview(data))
    file.synchronise()
    store.synchronise_names()


def test_what_was_synchronised_survives_every_loss_of_power(store):
    made(store, "a", b"1" * 5000)
    for seed in range(20):
        store.lose_power(seed)
        assert contents(store, "a") == b"1" * 5000


def test_what_was_not_synchronised_is_lost_by_sectors(store):
    outcomes = set()
    for seed in range(40):
        made(store, f"{seed}", b"1" * 64 * SECTOR)
        store.files[store.names[f"{seed}"]].write(0, memoryview(b"2" * 64 * SECTOR))
        store.lose_power(seed)
        data = contents(store, f"{seed}")
        sectors = [data[at : at + SECTOR] for at in range(0, len(data), SECTOR)]
        assert set(sectors) <= {b"1" * SECTOR, b"2" * SECTOR}
        outcomes.add(len(set(sectors)))
        assert len(data) == 64 * SECTOR
    assert outcomes == {1, 2}, "some writes are whole or gone, and some are torn"


def test_a_failed_synchronisation_is_not_made_good_by_the_next(store):
    lost = 0
    for seed in range(20):
        made(store, f"{seed}", b"1" * 8 * SECTOR)
        file = store.files[store.names[f"{seed}"]]
        file.write(0, memoryview(b"2" * 8 * SECTOR))
        file.fail_synchronise()
        file.synchronise()
        store.lose_power(seed)
        lost += contents(store, f"{seed}") != b"2" * 8 * SECTOR
    assert lost == 20


def test_names_that_were_not_synchronised_are_undone_from_the_end(store):
    for seed in range(20):
        made(store, "old", b"old")
        store.create("first")
        store.create("second")
        store.rename("second", "old")
        store.lose_power(seed)
        names = set(store.names)
        assert names in ({"old"}, {"old", "first"}, {"old", "first", "second"})
        for name in names:
            store.remove(name)
        store.synchronise_names()
        assert store.files == {}


def test_one_seed_makes_one_choice(tmp_path):
    pictures = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        store = VolatileStore(folder)
        rng = random.Random(5)
        made(store, "a", bytes(100 * SECTOR))
        for _ in range(10):
            start = rng.randrange(90) * SECTOR
            store.files[store.names["a"]].write(start, memoryview(rng.randbytes(10 * SECTOR)))
        store.lose_power(7)
        pictures.append(contents(store, "a"))
    assert pictures[0] == pictures[1]
