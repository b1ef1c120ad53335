"""Clients that read as many bytes as they hope for, as LMCache's native one, while keys come and
go: nothing may leave them waiting, out of step, or with an object that EXISTS had promised."""

from __future__ import annotations

import os
import socket

import pytest
from resp_connection import LISTENING, BlindClient, Error, RESPConnection, resp_address
from resp_tenants import tenants_file

MEBIBYTE = 1 << 20
CHUNK = MEBIBYTE
# More than fits beside each other.
PRESSURE = 200
CHUNKS_KEPT = 8


def key(number: int, model: str = "org/model") -> bytes:
    """A name as LMCache's MP mode forms it: model, rank, group, hash."""
    return f"{model}@08050805@0@{number:064x}".encode()


def legacy_key(number: int) -> bytes:
    """A name as LMCache's older mode forms it; its hashes may be negative."""
    return f"org/model@8@5@-{number:x}@bfloat16".encode()


@pytest.fixture
def daemon(start):
    return start(*LISTENING)


@pytest.fixture
def blind(daemon):
    with BlindClient(resp_address(daemon)) as blind:
        blind.socket.settimeout(10.0)
        yield blind


def press(address: tuple[str, int]) -> None:
    """Stores more than there is room for."""
    with RESPConnection(address) as connection:
        block = os.urandom(CHUNK)
        for number in range(PRESSURE):
            assert connection.ask("SET", f"pressure{number}", block) in ("OK", OUT_OF_MEMORY)


OUT_OF_MEMORY = Error("OOM command not allowed when used memory > 'maxmemory'.")


@pytest.mark.parametrize("name", [key, legacy_key])
@pytest.mark.parametrize("size", [10, 1024, 100_000, 4 * MEBIBYTE])
def test_a_miss_is_as_long_as_the_head_that_the_client_awaits(blind, name, size):
    value = os.urandom(size)
    assert not blind.exists(name(1))
    assert blind.set(name(1), value)
    assert blind.exists(name(1))
    assert blind.get(name(1), size) == value
    assert blind.get(name(2), size) is None
    assert blind.get(name(1), size) == value
    assert blind.delete(name(1))
    assert not blind.delete(name(1))
    assert blind.get(name(1), size) is None
    assert blind.set(name(3), value)
    assert blind.get(name(3), size) == value


def test_a_reader_that_has_stored_nothing_is_told_misses_of_what_others_stored(daemon, blind):
    value = os.urandom(5000)
    assert blind.set(key(1), value)
    with BlindClient(resp_address(daemon)) as reader:
        assert reader.exists(key(1))
        assert reader.get(key(2), 5000) is None
        assert reader.get(key(1), 5000) == value


def test_a_value_of_another_length_is_a_miss_and_not_out_of_step(daemon, blind):
    with RESPConnection(resp_address(daemon)) as other:
        assert other.ask("SET", key(2), b"another length") == "OK"
    assert blind.set(key(1), b"x" * 1000)
    assert blind.get(key(2), 1000) is None
    assert blind.get(key(1), 1000) == b"x" * 1000


def test_a_failed_store_is_as_long_as_ok(start):
    daemon = start(*LISTENING, "--set", "resp_value_bytes_max=64KiB")
    with BlindClient(resp_address(daemon)) as blind:
        assert not blind.set(key(1), b"x" * 100_000)
        assert not blind.exists(key(1))
        assert blind.set(key(2), b"x" * 1000)
        assert blind.get(key(2), 1000) == b"x" * 1000


def test_other_clients_are_told_null(daemon):
    with RESPConnection(resp_address(daemon)) as connection:
        assert connection.ask("SET", "plain", b"x" * 1000) == "OK"
        assert connection.ask("GET", "none") is None
        assert connection.ask("PING") == "PONG"
        assert connection.ask("GET", key(1)) is None
    with RESPConnection(resp_address(daemon)) as connection:
        connection.ask("HELLO", "3")
        assert connection.ask("GET", key(1)) is None


def test_padding_can_be_turned_off_and_on_for_all_keys(start):
    daemon = start(*LISTENING, "--set", "resp_padded_misses=off")
    with RESPConnection(resp_address(daemon)) as connection:
        assert connection.ask("SET", key(1), b"x" * 1000) == "OK"
        assert connection.ask("GET", key(2)) is None
    daemon = start(*LISTENING, "--set", "resp_padded_misses=on")
    with BlindClient(resp_address(daemon)) as blind:
        assert blind.set(b"any key", b"x" * 1000)
        assert blind.get(b"no key", 1000) is None
        assert blind.get(b"any key", 1000) == b"x" * 1000


def test_what_exists_has_promised_stays_while_others_make_room(start):
    daemon = start(*LISTENING, "--set", "resp_exists_lease_ms=600000")
    address = resp_address(daemon)
    values = {key(number): os.urandom(CHUNK) for number in range(2 * CHUNKS_KEPT)}
    promised = list(values)[:CHUNKS_KEPT]
    with BlindClient(address) as blind, BlindClient(address) as loader:
        assert all(blind.set(name, value) for name, value in values.items())
        assert all(blind.exists(name) for name in promised)
        press(address)
        assert [loader.get(name, CHUNK) == values[name] for name in promised] == (
            [True] * CHUNKS_KEPT)
        # The others made room, so there was pressure.
        assert None in [loader.get(name, CHUNK) for name in list(values)[CHUNKS_KEPT:]]
        assert loader.get(promised[0], CHUNK) == values[promised[0]]


def test_promises_take_no_more_than_their_share_and_the_rest_is_told_absent(start):
    daemon = start(
        *LISTENING, "--set", "resp_exists_lease_ms=600000", "--set", "resp_lease_share=10")
    address = resp_address(daemon)
    values = {key(number): os.urandom(CHUNK) for number in range(40)}
    with BlindClient(address) as blind:
        assert all(blind.set(name, value) for name, value in values.items())
        promised = [name for name in values if blind.exists(name)]
        assert 0 < len(promised) < 30
        press(address)
        assert all(blind.get(name, CHUNK) == values[name] for name in promised)


def test_after_its_time_a_promise_is_a_miss_of_the_right_length(start):
    daemon = start(*LISTENING, "--set", "resp_exists_lease_ms=1")
    address = resp_address(daemon)
    with BlindClient(address) as blind:
        assert blind.set(key(1), b"x" * CHUNK)
        assert blind.exists(key(1))
        press(address)
        assert blind.get(key(1), CHUNK) is None
        assert not blind.exists(key(1))
        assert blind.set(key(2), b"y" * CHUNK)
        assert blind.get(key(2), CHUNK) == b"y" * CHUNK


def test_a_blind_client_logs_in(start, tmp_path):
    daemon = start(*LISTENING, *tenants_file(tmp_path, red="secret"))
    address = resp_address(daemon)
    with BlindClient(address) as blind:
        assert blind.authenticate("red", "secret") == b"+OK\r\n"
        assert blind.set(key(1), b"x" * 1000)
        assert blind.get(key(2), 1000) is None
        assert blind.get(key(1), 1000) == b"x" * 1000
    with BlindClient(address) as blind:
        assert blind.authenticate("secret") == b"+OK\r\n"
        assert blind.exists(key(1))
    with BlindClient(address) as blind:
        assert blind.authenticate("red", "wrong").startswith(b"-WRONGPASS ")


def test_a_reader_of_whom_nothing_is_known_is_not_left_waiting(daemon):
    with BlindClient(resp_address(daemon)) as blind:
        blind.socket.settimeout(10.0)
        with pytest.raises((EOFError, ConnectionResetError)):
            blind.get(key(1), MEBIBYTE)


def test_the_reply_to_many_chunks_at_once_is_in_step(blind):
    value = os.urandom(64 << 10)
    assert blind.set(key(0), value)
    for number in range(200):
        wanted = value if number % 2 == 0 else None
        assert blind.get(key(number % 2), len(value)) == wanted
    blind.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        blind.socket.recv(1, socket.MSG_PEEK)
