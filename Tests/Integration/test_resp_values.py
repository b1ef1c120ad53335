"""What becomes of values that clients of Redis store: with native clients, TTLs, disks and time."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest
from disk_daemon import disk_daemon
from kdn import Client, Key
from resp_connection import LISTENING, Error, RESPConnection, command, resp_address, scanned

MEBIBYTE = 1 << 20
LARGE = 300 * MEBIBYTE
PIECE = 4 * MEBIBYTE
SIZES = [1, 2, 4095, 4096, 4097, 65_535, 1_000_003, 20 * MEBIBYTE]
LIFE_MILLISECONDS = 400
ROUNDS = 3
CHUNKS = 32


@pytest.fixture
def daemon(start):
    return start(*LISTENING)


@pytest.fixture
def connection(daemon):
    with RESPConnection(resp_address(daemon)) as connection:
        yield connection


@pytest.mark.parametrize("size", SIZES)
def test_a_value_of_any_size_comes_back(connection, size):
    value = os.urandom(size)
    assert connection.ask("SET", b"\x00key \xff\r\n", value) == "OK"
    assert connection.ask("GET", b"\x00key \xff\r\n") == value
    assert connection.ask("STRLEN", b"\x00key \xff\r\n") == size


def test_an_empty_value_is_refused_and_changes_nothing(connection):
    assert connection.ask("SET", "k", "v") == "OK"
    assert isinstance(connection.ask("SET", "k", ""), Error)
    assert connection.ask("GET", "k") == b"v"


def test_native_clients_and_clients_of_redis_see_the_same_objects(daemon, connection):
    with Client(daemon.address) as native:
        assert connection.ask("SET", "by redis", "one") == "OK"
        assert native.get(Key.opaque(b"by redis")) == b"one"
        native.put(Key.opaque(b"by native"), b"two")
        assert connection.ask("GET", "by native") == b"two"
        assert connection.ask("EXISTS", "by redis", "by native", "none") == 2
        assert connection.ask("DEL", "by native") == 1
        assert not native.exists([Key.opaque(b"by native")])[0]


def test_a_value_takes_the_place_of_the_one_before(connection, daemon):
    for value in (b"one", b"another", b"another", b"1"):
        assert connection.ask("SET", "k", value) == "OK"
        assert connection.ask("GET", "k") == value
        assert connection.ask("DBSIZE") == 1
    with Client(daemon.address) as native:
        assert native.get(Key.opaque(b"k")) == b"1"


def test_a_value_that_breaks_off_leaves_the_old_one(daemon, connection):
    assert connection.ask("SET", "k", "old") == "OK"
    with RESPConnection(resp_address(daemon)) as other:
        other.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n" + b"n" * 500_000)
        assert connection.ask("GET", "k") == b"old"
    with RESPConnection(resp_address(daemon)) as other:
        other.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nnewXX")
        error = other.reply()
        assert isinstance(error, Error) and "Protocol error" in error
        assert other.at_end()
    assert connection.ask("GET", "k") == b"old"
    assert connection.ask("SET", "k", "new", "BOGUS") == Error("ERR syntax error")
    assert connection.ask("GET", "k") == b"old"


def test_readers_see_whole_values_while_they_are_replaced(daemon):
    size = MEBIBYTE
    stop = threading.Event()
    trouble: list[object] = []

    def write() -> None:
        with RESPConnection(resp_address(daemon)) as writer:
            number = 0
            while not stop.is_set():
                number = (number + 1) % 256
                if writer.ask("SET", "k", bytes([number]) * size) != "OK":
                    trouble.append("not stored")

    with RESPConnection(resp_address(daemon)) as reader:
        assert reader.ask("SET", "k", b"\0" * size) == "OK"
        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(200):
                value = reader.ask("GET", "k")
                assert isinstance(value, bytes) and value == value[:1] * size
        finally:
            stop.set()
            thread.join()
    assert not trouble


def test_options_of_set_and_ttls(connection, eventually):
    ask = connection.ask
    assert ask("SET", "k", "1", "NX") == "OK"
    assert ask("SET", "k", "2", "NX") is None
    assert ask("SET", "none", "2", "XX") is None
    assert ask("SET", "k", "2", "XX", "EX", 100) == "OK"
    assert 90 < ask("TTL", "k") <= 100
    assert ask("SET", "k", "3", "KEEPTTL") == "OK"
    assert 90 < ask("TTL", "k") <= 100
    assert ask("SET", "k", "4") == "OK"
    assert (ask("TTL", "k"), ask("PTTL", "none")) == (-1, -2)
    assert ask("SETNX", "k", "5") == 0
    assert ask("EXPIRE", "k", 50, "XX") == 0
    assert ask("EXPIRE", "k", 50, "NX") == 1
    assert ask("EXPIRE", "k", 40, "GT") == 0
    assert ask("EXPIRE", "k", 40, "LT") == 1
    assert (ask("PERSIST", "k"), ask("PERSIST", "k")) == (1, 0)
    assert ask("EXPIRE", "k", 0) == 1
    assert ask("EXISTS", "k") == 0
    assert ask("PSETEX", "brief", LIFE_MILLISECONDS, "x") == "OK"
    eventually(lambda: ask("GET", "brief") is None)
    assert ask("EXPIRE", "none", 5) == 0
    assert ask("TYPE", "none") == "none"


def test_scan_gives_each_name_once_page_by_page(connection):
    names = {b"key:%d" % number for number in range(500)}
    connection.send(b"".join(command("SET", name, "x") for name in names))
    assert connection.replies(500) == ["OK"] * 500
    found = list(scanned(connection))
    assert sorted(found) == sorted(names)
    assert set(scanned(connection, "MATCH", "key:1?", "COUNT", "100")) == {
        b"key:1%d" % number for number in range(10)}
    assert list(scanned(connection, "TYPE", "hash")) == []
    assert connection.ask("DEL", "key:1", "key:2") == 2
    assert b"key:1" not in set(scanned(connection))


def test_a_value_of_300_mebibytes_is_streamed_and_not_held_beside_the_arena(start):
    daemon = start("--ram", "1GiB", *LISTENING)
    block = os.urandom(MEBIBYTE)
    before = daemon.resident_bytes("RssAnon")
    with RESPConnection(resp_address(daemon)) as connection:
        connection.send(b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$%d\r\n" % LARGE)
        sent = hashlib.sha256()
        for _ in range(LARGE // MEBIBYTE):
            connection.send(block)
            sent.update(block)
        connection.send(b"\r\n")
        assert connection.reply() == "OK"
        assert connection.ask("STRLEN", "large") == LARGE
        connection.send(command("GET", "large"))
        assert digest_of_value(connection, LARGE) == sent.hexdigest()
        assert daemon.resident_bytes("RssAnon") - before < 64 * MEBIBYTE
        assert connection.ask("SET", "large", "small") == "OK"
        assert connection.ask("GET", "large") == b"small"


def digest_of_value(connection: RESPConnection, size: int) -> str:
    """SHA-256 of the value that comes next, which is not kept."""
    head = b"$%d\r\n" % size
    assert connection.take(len(head)) == head
    hashed = hashlib.sha256()
    left = size
    while left > 0:
        piece = connection.take(min(left, PIECE))
        assert piece, "the stream ended"
        hashed.update(piece)
        left -= len(piece)
    assert connection.take(2) == b"\r\n"
    return hashed.hexdigest()


def test_a_value_beyond_the_configured_size_is_refused(start):
    daemon = start(*LISTENING, "--set", "resp_value_bytes_max=1MiB")
    with RESPConnection(resp_address(daemon)) as connection:
        assert connection.ask("SET", "k", b"x" * MEBIBYTE) == "OK"
        assert isinstance(connection.ask("SET", "k", b"x" * (MEBIBYTE + 1)), Error)
        assert connection.ask("STRLEN", "k") == MEBIBYTE


@pytest.mark.parametrize("clean", [True, False], ids=["ended", "killed"])
def test_values_come_back_from_disk_after_a_restart_and_deleted_ones_do_not(tmp_path, clean):
    values = {b"v%d" % number: os.urandom(100_000) for number in range(40)}
    with disk_daemon(tmp_path / "cache", size="128MiB", flags=LISTENING) as disk:
        disk.start()
        with RESPConnection(resp_address(disk.process)) as connection:
            for name, value in values.items():
                assert connection.ask("SET", name, b"old" + value) == "OK"
                assert connection.ask("SET", name, value) == "OK"
            assert connection.ask("DEL", "v0", "v1") == 2
        disk.restart(clean)
        with RESPConnection(resp_address(disk.process)) as connection:
            connection.send(b"".join(command("GET", name) for name in values))
            found = connection.replies(len(values))
            assert found[:2] == [None, None]
            # What a killed daemon had not written yet is a miss, never an older value.
            lost = [] if clean else [None]
            for value, reply in zip(list(values.values())[2:], found[2:], strict=True):
                assert reply in [value, *lost]
            assert connection.ask("SET", "v2", "new") == "OK"
        disk.restart(clean=True)
        with RESPConnection(resp_address(disk.process)) as connection:
            assert connection.ask("GET", "v2") == b"new"
            assert connection.ask("EXISTS", "v0", "v1") == 0


def test_values_that_are_replaced_from_two_sides_find_room_beside_a_disk(tmp_path):
    trouble: list[object] = []

    def replace(side: int) -> None:
        with RESPConnection(resp_address(disk.process)) as connection:
            for _ in range(ROUNDS):
                for number in range(CHUNKS):
                    reply = connection.ask("SET", f"{side}/{number}", os.urandom(MEBIBYTE))
                    if reply != "OK":
                        trouble.append(reply)

    with disk_daemon(tmp_path / "cache", size="1GiB", ram="256MiB", flags=LISTENING) as disk:
        disk.start()
        threads = [threading.Thread(target=replace, args=(side,)) for side in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert trouble == []
