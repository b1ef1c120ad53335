"""TTLs across restarts, and a wall clock that jumps while all other clocks go on."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable

import pytest
from disk_daemon import MEBIBYTE, causes, check_same, disk_daemon, fetch, names, store
from kdn import Key, MissCause

SOURCE = pathlib.Path(__file__).with_name("wall_clock.c")
HOUR_MS = 3_600_000
DAY_SECONDS = 86_400
Environment = dict[str, str]


@pytest.fixture(scope="module")
def at(tmp_path_factory) -> Callable[[int], Environment]:
    """Makes an environment in which the wall clock is so many seconds ahead."""
    library = tmp_path_factory.mktemp("clock") / "wall_clock.so"
    subprocess.run(
        ["clang", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE)],
        check=True,
    )
    return lambda seconds: {"LD_PRELOAD": str(library), "WALL_CLOCK_SECONDS": str(seconds)}


@pytest.fixture
def daemon(tmp_path):
    with disk_daemon(tmp_path / "disk") as daemon:
        yield daemon


@pytest.mark.parametrize("clean", [False, True], ids=["kill", "stop"])
def test_a_ttl_runs_on_while_the_daemon_is_down(daemon, at, clean):
    client = daemon.start()
    short, long, endless = Key.opaque(b"short"), Key.opaque(b"long"), Key.opaque(b"endless")
    client.put(short, b"s" * 5000, durability="disk", ttl_ms=HOUR_MS)
    client.put(long, b"l" * 5000, durability="disk", ttl_ms=3 * HOUR_MS)
    client.put(endless, b"e" * 5000, durability="disk")
    client = daemon.restart(clean, environment=at(1800))
    check_same(client, [short, long, endless], [b"s" * 5000, b"l" * 5000, b"e" * 5000])
    client = daemon.restart(clean, environment=at(2 * 3600))
    assert client.exists([short, long, endless]) == [False, True, True]
    assert not fetch(client, [short])[0].hit
    check_same(client, [long, endless], [b"l" * 5000, b"e" * 5000])
    assert client.put(short, b"another", durability="disk").state == "published"
    client = daemon.restart(clean, environment=at(4 * 3600))
    assert client.exists([long]) == [False]
    check_same(client, [short, endless], [b"another", b"e" * 5000])


def test_a_clock_that_was_set_back_loses_nothing(daemon, at):
    client = daemon.start()
    keys = names("kept", 5)
    objects = store(client, keys, 50_000)
    lasting = Key.opaque(b"lasting")
    client.put(lasting, b"bytes", durability="disk", ttl_ms=HOUR_MS)
    client = daemon.restart(False, environment=at(-30 * DAY_SECONDS))
    check_same(client, [*keys, lasting], [*objects, b"bytes"])
    more = names("stored in the past", 5)
    others = store(client, more, 50_000)
    client.purge(keys=[keys[0]])
    client = daemon.restart(False)
    assert causes(client, keys[:1]) != [MissCause.NONE]
    check_same(client, [*keys[1:], *more], [*objects[1:], *others])


def test_a_clock_that_jumps_ahead_ends_ttls_and_pins_and_nothing_else(daemon, at):
    client = daemon.start()
    keys = names("kept", 5)
    objects = store(client, keys, 50_000)
    client.put(Key.opaque(b"over"), b"bytes", durability="disk", ttl_ms=HOUR_MS)
    client.pin(keys[:1], ttl_ms=HOUR_MS)
    client = daemon.restart(False, environment=at(365 * DAY_SECONDS))
    assert client.exists([Key.opaque(b"over")]) == [False]
    check_same(client, keys, objects)
    client = daemon.restart(False, environment=at(365 * DAY_SECONDS))
    # More than the directory can hold: who is pinned no longer goes with the others.
    store(client, names("flood", 160), MEBIBYTE)
    assert client.exists(keys) == [False] * len(keys)
