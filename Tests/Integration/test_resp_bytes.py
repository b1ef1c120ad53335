"""What the RESP facade makes of bytes that no good client sends, and of very many commands."""

from __future__ import annotations

import os
import random
import socket
import threading

import pytest
from conftest import SMALL
from daemon_process import running_daemon
from kdn import Client
from resp_connection import LISTENING, Error, RESPConnection, command, pieces, resp_address

PIPELINE = 10_000
HUGE = 512 << 20
SEEDS = range(8)

# Each ends the connection, with the text that Redis gives, but for the first: 7.0 allows more.
BROKEN = [
    (b"*1048577\r\n", "invalid multibulk length"),
    (b"*99999999999999999999\r\n", "invalid multibulk length"),
    (b"*1x\r\n", "invalid multibulk length"),
    (b"*1\r\n$-5\r\n", "invalid bulk length"),
    (b"*1\r\n$536870913\r\n", "invalid bulk length"),
    (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9223372036854775807\r\n", "invalid bulk length"),
    (b"*2\r\n$3\r\nGET\r\nk\r\n", "expected '$', got 'k'"),
    (b"*" + b"1" * 70_000, "too big mbulk count string"),
    (b"*1\r\n$" + b"1" * 70_000, "too big bulk count string"),
    (b"x" * 70_000, "too big inline request"),
    (b'GET "open\r\n', "unbalanced quotes in request"),
]

# Each is answered with an error, and the connection goes on; Redis 7 gives the same text.
REFUSED = [
    ("GET", "ERR wrong number of arguments for 'get' command"),
    ("GET a b", "ERR wrong number of arguments for 'get' command"),
    ("SET a", "ERR wrong number of arguments for 'set' command"),
    ("MGET", "ERR wrong number of arguments for 'mget' command"),
    ("CLIENT SETNAME", "ERR wrong number of arguments for 'client|setname' command"),
    ("SET a b EX", "ERR syntax error"),
    ("SET a b EX 0", "ERR invalid expire time in 'set' command"),
    ("SET a b PX nine", "ERR value is not an integer or out of range"),
    ("SET a b NX XX", "ERR syntax error"),
    ("EXPIRE a soon", "ERR value is not an integer or out of range"),
    ("SCAN here", "ERR invalid cursor"),
    ("SELECT 16", "ERR DB index is out of range"),
    ("HELLO 4", "NOPROTO unsupported protocol version"),
    ("CONFIG BOGUS", "ERR unknown subcommand 'BOGUS'. Try CONFIG HELP."),
    ("NOSUCH", "ERR unknown command 'NOSUCH', with args beginning with: "),
    ("nosuch one two", "ERR unknown command 'nosuch', with args beginning with: 'one' 'two' "),
]


@pytest.fixture(scope="module")
def daemon():
    """A small daemon with the facade, the same for all: none of this may harm it."""
    with running_daemon(*SMALL, *LISTENING) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def address(daemon):
    return resp_address(daemon)


def ending(address, data: bytes) -> tuple[object, bool]:
    """The last reply to a stream, and whether the connection ended behind it."""
    with RESPConnection(address) as connection:
        connection.send(data)
        reply = connection.reply()
        return reply, connection.at_end()


@pytest.mark.parametrize(("data", "problem"), BROKEN, ids=[row[1] for row in BROKEN])
def test_a_stream_that_cannot_be_followed_costs_the_connection(address, data, problem):
    assert ending(address, data) == (Error(f"ERR Protocol error: {problem}"), True)
    with RESPConnection(address) as other:
        assert other.ask("PING") == "PONG"


@pytest.mark.parametrize(("words", "error"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_wrong_command_is_refused_and_the_next_one_is_answered(address, words, error):
    with RESPConnection(address) as connection:
        for data in (command(*words.split()), words.encode() + b"\r\n"):
            connection.send(data + command("PING"))
            assert connection.replies(2) == [Error(error), "PONG"]


@pytest.mark.parametrize("typed", [False, True], ids=["counted", "typed"])
def test_ten_thousand_commands_at_once_are_answered_in_their_order(address, typed):
    with RESPConnection(address) as connection:
        assert connection.ask("SET", "even", "0" * 100) == "OK"
        lines = [["GET", "even"] if number % 2 == 0 else ["ECHO", number]
                 for number in range(PIPELINE)]
        data = b"".join(
            " ".join(map(str, line)).encode() + b"\n" if typed else command(*line)
            for line in lines)
        sender = threading.Thread(target=connection.send, args=(data,))
        sender.start()
        expected = [b"0" * 100 if number % 2 == 0 else str(number).encode()
                    for number in range(PIPELINE)]
        assert connection.replies(PIPELINE) == expected
        sender.join()


def test_ten_thousand_values_at_once_are_stored(address):
    with RESPConnection(address) as connection:
        data = b"".join(
            command("SET", f"k{number}", f"value {number}") for number in range(PIPELINE))
        sender = threading.Thread(target=connection.send, args=(data,))
        sender.start()
        assert connection.replies(PIPELINE) == ["OK"] * PIPELINE
        sender.join()
        assert connection.ask("GET", f"k{PIPELINE - 1}") == f"value {PIPELINE - 1}".encode()


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_how_a_stream_is_cut_changes_nothing(address, size):
    value = os.urandom(700) + b"\r\n*1\r\n$4\r\nQUIT\r\n"
    data = (
        command("SET", "k", value, "EX", 100) + b"get k\r\n" + command("NOSUCH", b"x" * 300)
        + command("MGET", "k", "none") + b'echo "a\\x20b"\n' + command("GET"))
    with RESPConnection(address) as connection:
        for piece in pieces(data, size):
            connection.send(piece)
        stored, got, unknown, many, said, wrong = connection.replies(6)
    assert (stored, got, many, said) == ("OK", value, [value, None], b"a b")
    assert isinstance(unknown, Error) and isinstance(wrong, Error)


@pytest.mark.parametrize("seed", SEEDS)
def test_garbage_harms_nobody_else(daemon, address, seed):
    dice = random.Random(seed)
    with Client(daemon.address) as native, RESPConnection(address) as other:
        for _ in range(40):
            junk = bytes(dice.choices(b"*$:+-\r\n\r\n019 GETSet\"'\\x\0\xff", k=200))
            with RESPConnection(address) as connection:
                connection.send(junk)
                connection.socket.shutdown(socket.SHUT_WR)
                while connection.socket.recv(65_536):
                    pass
        assert other.ask("PING") == "PONG"
        native.ping()


def test_a_huge_argument_of_an_unknown_command_passes_by_without_being_kept(daemon, address):
    before = daemon.resident_bytes()
    with RESPConnection(address) as connection:
        connection.send(b"*2\r\n$6\r\nNOSUCH\r\n$%d\r\n" % HUGE)
        block = memoryview(bytes(4 << 20))
        for _ in range(HUGE // len(block)):
            connection.send(block)
        assert daemon.resident_bytes() - before < 64 << 20
        connection.send(b"\r\n" + command("PING"))
        error, pong = connection.replies(2)
    assert isinstance(error, Error) and error.startswith("ERR unknown command 'NOSUCH'")
    assert pong == "PONG"


def test_a_value_larger_than_the_memory_is_refused_and_the_connection_goes_on(address):
    with RESPConnection(address) as connection:
        connection.send(b"*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n$%d\r\n" % HUGE)
        block = memoryview(bytes(4 << 20))
        for _ in range(HUGE // len(block)):
            connection.send(block)
        connection.send(b"\r\n" + command("EXISTS", "huge"))
        error, here = connection.replies(2)
    assert isinstance(error, Error)
    assert here == 0


def test_a_client_of_http_is_shown_out(address):
    reply, ended = ending(address, b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert isinstance(reply, Error) and "Protocol error" in reply
    assert ended
