"""`kdn fsck` and `kdn dump` on directories that a real kdnd left behind."""

from __future__ import annotations

import json
import os
import subprocess

from conftest import ROOT
from disk_daemon import causes, check_same, disk_daemon, names, store
from kdn import MissCause

KDN = os.environ.get("KDN", str(ROOT / ".build/release/kdn"))
SOUND, DAMAGED, UNUSABLE = 0, 1, 2
BYTES = 100_000


def kdn(*arguments):
    return subprocess.run(
        [KDN, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def flip_inside(folder, data):
    """Turns one bit of an object's bytes round, wherever they lie."""
    for file in folder.glob("segment-*"):
        found = file.read_bytes().find(data)
        if found >= 0:
            with file.open("r+b") as handle:
                handle.seek(found + len(data) // 2)
                byte = handle.read(1)[0]
                handle.seek(found + len(data) // 2)
                handle.write(bytes([byte ^ 16]))
            return
    raise AssertionError("the object is not on disk")


def test_a_stopped_daemon_leaves_a_sound_directory_and_dump_lists_it(tmp_path):
    folder = tmp_path / "disk"
    with disk_daemon(folder) as daemon:
        keys = names("kept", 7)
        store(daemon.start(), keys, BYTES)
        daemon.end(clean=True)
        assert kdn("fsck", folder).returncode == SOUND
        rows = [json.loads(line) for line in kdn("dump", folder, "--json").stdout.splitlines()]
        listed = [row for row in rows if "opaque:" in json.dumps(row)]
        assert len(listed) == len(keys)
        assert all(str(BYTES) in json.dumps(row) for row in listed)


def test_what_a_kill_leaves_behind_is_no_damage(tmp_path):
    folder = tmp_path / "disk"
    with disk_daemon(folder) as daemon:
        store(daemon.start(), names("kept", 7), BYTES)
        daemon.end(clean=False)
        assert kdn("fsck", folder).returncode == SOUND


def test_a_directory_in_use_is_not_touched_and_its_owner_named(tmp_path):
    folder = tmp_path / "disk"
    with disk_daemon(folder) as daemon:
        daemon.start()
        for command in ("fsck", "dump"):
            result = kdn(command, folder)
            assert result.returncode == UNUSABLE
            assert str(daemon.process.pid) in result.stderr


def test_a_damaged_object_is_found_told_and_put_away(tmp_path):
    folder = tmp_path / "disk"
    with disk_daemon(folder) as daemon:
        keys = names("kept", 7)
        objects = store(daemon.start(), keys, BYTES)
        daemon.end(clean=True)
        flip_inside(folder, objects[3])
        assert kdn("fsck", folder, "--fast").returncode == SOUND
        assert kdn("fsck", folder).returncode == DAMAGED
        assert kdn("fsck", folder, "--repair").returncode == SOUND
        assert kdn("fsck", folder).returncode == SOUND
        client = daemon.start()
        assert causes(client, [keys[3]]) == [MissCause.PURGED]
        others = [index for index in range(len(keys)) if index != 3]
        check_same(client, [keys[index] for index in others], [objects[i] for i in others])
