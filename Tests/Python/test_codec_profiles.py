"""The folder of profiles: bounded, by last use, and shared by processes."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pathlib

import codec_cases as cases
import pytest

from kdn.codec import ProfileMissing, Profiles


def made(seed: int) -> tuple[bytes, bytes]:
    """A profile's hash and bytes; all are of the same length."""
    sample, profile = cases.transform_sample(seed, "bf16", 9, None)
    return profile.hash, cases.profile_bytes_of(sample)


SOME = [made(seed) for seed in range(4)]
SIZE = len(SOME[0][1])
BY_NAME = dict(SOME)


def profiles(folder: pathlib.Path, count: int, **more) -> Profiles:
    """With room for so many in the folder, and for one in memory."""
    return Profiles(
        folder, BY_NAME.get, bytes_max=1, folder_bytes_max=count * SIZE + SIZE // 2, **more
    )


def kept(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def names(*numbers: int) -> set[str]:
    return {SOME[number][0].hex() for number in numbers}


def age(folder: pathlib.Path, number: int, seconds: int) -> None:
    """Has a profile be used last so many seconds after the beginning of time."""
    os.utime(folder / SOME[number][0].hex(), (seconds, seconds))


def test_beyond_the_limit_what_was_not_used_for_longest_goes(tmp_path: pathlib.Path) -> None:
    found = profiles(tmp_path, 2)
    for number in (0, 1):
        found.get(SOME[number][0])
        age(tmp_path, number, 100 + number)
    found.get(SOME[2][0])
    assert kept(tmp_path) == names(1, 2)


def test_a_use_by_any_process_keeps_a_profile(tmp_path: pathlib.Path) -> None:
    found = profiles(tmp_path, 2)
    for number in (0, 1):
        found.get(SOME[number][0])
        age(tmp_path, number, 100 + number)

    def never(name: bytes) -> bytes | None:
        raise AssertionError("it is in the folder")

    Profiles(tmp_path, never).get(SOME[0][0])
    found.get(SOME[2][0])
    assert kept(tmp_path) == names(0, 2)


def test_what_was_just_written_stays_and_what_is_larger_than_the_limit_is_not_written(
    tmp_path: pathlib.Path,
) -> None:
    one = profiles(tmp_path, 1)
    one.get(SOME[0][0])
    age(tmp_path, 0, 1 << 40)
    one.get(SOME[1][0])
    assert kept(tmp_path) == names(1)
    none = profiles(tmp_path / "none", 0)
    assert none.get(SOME[2][0]).hash == SOME[2][0]
    assert not (tmp_path / "none").exists()


def test_other_files_are_left_alone_but_what_a_dead_writer_left(tmp_path: pathlib.Path) -> None:
    (tmp_path / "notes").write_text("mine" * SIZE)
    for name, seconds in ((".new-old", 100), (".new-young", None)):
        (tmp_path / name).write_bytes(b"half")
        if seconds is not None:
            os.utime(tmp_path / name, (seconds, seconds))
    profiles(tmp_path, 1).get(SOME[0][0])
    assert kept(tmp_path) == names(0) | {"notes"}
    assert not (tmp_path / ".new-old").exists() and (tmp_path / ".new-young").exists()


def test_a_profile_that_is_removed_while_it_is_wanted_is_fetched_again(
    tmp_path: pathlib.Path,
) -> None:
    found = profiles(tmp_path, 2)
    found.get(SOME[0][0])
    (tmp_path / SOME[0][0].hex()).unlink()
    found.get(SOME[1][0])
    assert found.get(SOME[0][0]).hash == SOME[0][0]
    with pytest.raises(ProfileMissing):
        Profiles(tmp_path).get(hashlib.sha256(b"none").digest())


def read_all(folder: pathlib.Path, rounds: int) -> None:
    for number in range(rounds):
        name = SOME[number % len(SOME)][0]
        assert profiles(folder, 2).get(name).hash == name


def test_processes_that_write_and_make_room_at_once_all_find_what_they_want(
    tmp_path: pathlib.Path,
) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=read_all, args=(tmp_path, 40)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)
    assert len(kept(tmp_path)) <= 2
    for name in kept(tmp_path):
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == name
