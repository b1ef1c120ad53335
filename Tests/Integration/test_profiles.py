"""`kdn profile use` and `list` against a real kdnd, with the golden profiles."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest
from conftest import ROOT

OK, NO, FAILED = 0, 1, 2
KDN = os.environ.get("KDN", str(ROOT / ".build/release/kdn"))
PROFILES = json.loads((ROOT / "Tests/Vectors/codecs.json").read_text())["profiles"]


@pytest.fixture
def kdn(start, tmp_path):
    """Runs `kdn` against a daemon that has a disk."""
    (tmp_path / "disk").mkdir()
    daemon = start("--disk", f"{tmp_path / 'disk'}:2GiB")

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "KDN_ADDRESS": daemon.address}
        return subprocess.run(
            [KDN, *arguments], capture_output=True, env=environment, timeout=60, check=False
        )

    return run


@pytest.fixture
def files(tmp_path) -> list[tuple[str, pathlib.Path]]:
    """Hash and file of each golden profile."""
    found = []
    for row in PROFILES:
        path = tmp_path / f"{row['hash'][:8]}.kdnf"
        path.write_bytes(bytes.fromhex(row["hex"]))
        found.append((row["hash"], path))
    return found


def lines(result: subprocess.CompletedProcess[bytes]) -> list[dict]:
    assert result.returncode == OK, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_profile_is_stored_and_used_by_one_command(kdn, files):
    assert kdn("profile", "list").returncode == NO
    for name, path in files:
        (used,) = lines(kdn("profile", "use", "--json", str(path)))
        assert used["hash"] == name and used["bytes"] == path.stat().st_size
    listed = lines(kdn("profile", "list", "--json"))
    kept = {(row["layout"], row["kind"]): row["hash"] for row in listed}
    assert len(kept) == len(listed) and set(kept.values()) <= {name for name, _ in files}
    (own,) = lines(kdn("profile", "list", "--json", "--layout", listed[0]["layout"]))[:1]
    assert own["layout"] == listed[0]["layout"]


def test_a_profile_that_is_stored_already_is_used_by_its_hash(kdn, files):
    name, path = files[0]
    assert kdn("profile", "use", "--stored", name).returncode == FAILED
    assert kdn("profile", "use", str(path)).returncode == OK
    assert name.encode() in kdn("profile", "use", "--stored", name).stdout
    # Once more changes nothing.
    assert kdn("profile", "use", str(path)).returncode == OK


def test_bytes_that_are_no_profile_never_travel(kdn, files, tmp_path):
    _, path = files[0]
    whole = path.read_bytes()
    wrong = tmp_path / "wrong"
    for bad in (b"KDNF", whole[:-1], whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]):
        wrong.write_bytes(bad)
        result = kdn("profile", "use", str(wrong))
        assert result.returncode == FAILED and result.stderr
    assert kdn("profile", "list").returncode == NO
