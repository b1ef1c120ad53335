"""That a codec profile is in use outlives a kdnd with a disk: what is stored after a restart is
encoded with it, and what was encoded before is decoded."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from admin_client import AdminClient
from daemon_process import ROOT
from disk_daemon import DiskDaemon, disk_daemon
from kdn import Client, Key, Layout, Part, Put, chain_root, chunk_hashes
from kdn.codec_bodies import (
    decode_profile_list,
    decode_profile_used,
    encode_profile_list,
    encode_profile_use,
)
from kdn.errors import Status
from kdn.wire import Op
from raw_connection import RawConnection

GOLDEN = json.loads((ROOT / "Tests/Vectors/codecs.json").read_text())["profiles"]
# Weights: all that `balanced` needs.
PROFILE = next(data for row in GOLDEN if (data := bytes.fromhex(row["hex"]))[6] == 1)
HASH = hashlib.sha256(PROFILE).digest()
LAYOUT_BYTES = int.from_bytes(PROFILE[48:52], "little")
LAYOUT = Layout.decode(PROFILE[64 : 64 + LAYOUT_BYTES])
PART = Part(*(int.from_bytes(PROFILE[at : at + 2], "little") for at in (32, 34, 36, 38)))
TOKENS = 256
CHUNKS = 4
FLAGS = ("--admin", "127.0.0.1:0", "--set", "codec_disk=balanced", "--set", "codec_cpu=100")
KILLED_OR_STOPPED = pytest.mark.parametrize("clean", [False, True], ids=["kill -9", "stopped"])


@pytest.fixture
def daemon(tmp_path):
    with disk_daemon(tmp_path / "disk") as daemon:
        yield daemon


def use(daemon: DiskDaemon, digest: bytes = HASH) -> None:
    connection = RawConnection(daemon.process.address).hello()
    frame = connection.ask(Op.CODEC_PROFILE, 9, encode_profile_use(digest))
    assert frame.status == Status.OK, frame.error
    assert decode_profile_used(frame.body).hash == digest


def in_use(daemon: DiskDaemon) -> list[bytes]:
    frame = RawConnection(daemon.process.address).hello().ask(
        Op.CODEC_PROFILE, 9, encode_profile_list()
    )
    assert frame.status == Status.OK, frame.error
    return [row.hash for row in decode_profile_list(frame.body)]


def report(daemon: DiskDaemon) -> dict:
    return AdminClient(daemon.process).ask("GET", "/stats", token=None).json()


def encoded(daemon: DiskDaemon) -> int:
    """Objects on disk in the class that needs the profile."""
    rows = {row["name"]: row["objects"] for row in report(daemon)["disk_codecs"]}
    return rows.get("balanced", 0)


def store(client: Client, name: bytes) -> tuple[list[Key], list[bytes]]:
    client.register_layout(LAYOUT)
    hashes = chunk_hashes(chain_root("profiles", name), range(CHUNKS * TOKENS), TOKENS)
    values = np.random.default_rng(len(name)).normal(
        0, 1, (CHUNKS, LAYOUT.bytes_per_token() * TOKENS // 2)
    )
    bits = values.astype(np.float32).view(np.uint32) >> 16
    objects = [row.tobytes() for row in bits.astype(np.uint16)]
    keys = [Key.layout(digest, LAYOUT.id, PART) for digest in hashes]
    puts = [
        Put(
            key, data, hashes[index - 1] if index else None, index * TOKENS, TOKENS,
            durability="disk",
        )
        for index, (key, data) in enumerate(zip(keys, objects, strict=True))
    ]
    assert all(result.stored for result in client.put_from(puts))
    return keys, objects


@KILLED_OR_STOPPED
def test_a_profile_in_use_is_so_after_a_restart(daemon, clean, eventually):
    client = daemon.start(*FLAGS)
    # Of no durability of its own: the use sees to that.
    client.put(Key.of_profile(HASH), PROFILE)
    use(daemon)
    assert in_use(daemon) == [HASH]
    first, objects = store(client, b"before")
    eventually(lambda: encoded(daemon) == CHUNKS)

    client = daemon.restart(clean, *FLAGS)
    eventually(lambda: in_use(daemon) == [HASH])
    coding = report(daemon)["coding"]
    assert (coding["profiles_in_use"], coding["profiles_lost_total"]) == (1, 0)
    assert (coding["profiles_loaded"], coding["profile_bytes"]) == (1, len(PROFILE))
    second, more = store(client, b"afterwards")
    eventually(lambda: encoded(daemon) == 2 * CHUNKS)

    # Nobody has what was stored any more: it comes decoded, from the disk.
    client = daemon.restart(clean, *FLAGS)
    for key, data in zip(first + second, objects + more, strict=True):
        decoded = client.get(key)
        assert len(decoded) == len(data) and decoded != data
        left, right = (
            (np.frombuffer(b, np.uint16).astype(np.uint32) << 16).view(np.float32)
            for b in (decoded, data)
        )
        assert np.abs(left - right).mean() < 0.5 * np.abs(right).mean()
    # The profile, used anew in this life.
    eventually(lambda: in_use(daemon) == [HASH])


@KILLED_OR_STOPPED
def test_a_purge_of_the_namespace_ends_the_use_and_frees_its_memory(daemon, clean, eventually):
    client = daemon.start(*FLAGS)
    client.put(Key.of_profile(HASH), PROFILE, durability="disk")
    use(daemon)
    assert report(daemon)["coding"]["profile_bytes"] == len(PROFILE)
    before = report(daemon)["pool"]["buffer_bytes"]
    client.purge(namespace=True)
    assert in_use(daemon) == []
    coding = report(daemon)["coding"]
    assert (coding["profiles_in_use"], coding["profiles_loaded"]) == (0, 0)
    assert coding["profile_bytes"] == 0
    assert report(daemon)["pool"]["buffer_bytes"] <= before - len(PROFILE)
    daemon.restart(clean, *FLAGS)
    assert in_use(daemon) == []
    client = daemon.client
    store(client, b"raw again")
    assert encoded(daemon) == 0


def test_a_profile_that_is_gone_is_dropped_and_told(daemon, eventually):
    client = daemon.start(*FLAGS)
    client.put(Key.of_profile(HASH), PROFILE, durability="disk")
    use(daemon)
    client.purge([Key.of_profile(HASH)])
    assert in_use(daemon) == [HASH]
    daemon.restart(True, *FLAGS)
    eventually(lambda: report(daemon)["coding"]["profiles_lost_total"] == 1)
    assert in_use(daemon) == []
    assert daemon.tells("cannot be used again") and HASH.hex() in daemon.log
    # It is off the list, and not told again.
    daemon.restart(True, *FLAGS)
    assert in_use(daemon) == [] and report(daemon)["coding"]["profiles_lost_total"] == 0


def test_a_damaged_list_is_told_and_costs_nothing_else(daemon, eventually):
    client = daemon.start(*FLAGS)
    client.put(Key.of_profile(HASH), PROFILE, durability="disk")
    use(daemon)
    keys, _ = store(client, b"kept")
    eventually(lambda: encoded(daemon) == CHUNKS)
    daemon.end(clean=True)
    path = daemon.paths[0] / "profiles"
    data = bytearray(path.read_bytes())
    data[33] ^= 4
    path.write_bytes(bytes(data))
    client = daemon.start(*FLAGS)
    assert in_use(daemon) == [] and report(daemon)["coding"]["profiles_lost_total"] == 1
    assert daemon.tells("uses.checksum")
    assert all(client.get(key) for key in keys)
    use(daemon)
    daemon.restart(False, *FLAGS)
    eventually(lambda: in_use(daemon) == [HASH])
