"""Who may use the RESP facade, and what a stranger may do."""

from __future__ import annotations

import pytest
from kdn import Client, Key
from resp_connection import LISTENING, Error, RESPConnection, command, resp_address
from resp_tenants import tenants_file

TOKENS = {"red": "red's token", "blue": "blue's token"}
NO_LOGIN = Error("NOAUTH Authentication required.")
WRONG = Error("WRONGPASS invalid username-password pair or user is disabled.")


@pytest.fixture
def daemon(start, tmp_path):
    return start(*LISTENING, *tenants_file(tmp_path, **TOKENS))


@pytest.fixture
def address(daemon):
    return resp_address(daemon)


def test_a_login_opens_one_namespace_by_user_or_by_token_alone(daemon, address):
    with RESPConnection(address) as red, RESPConnection(address) as blue:
        assert red.ask("AUTH", "red", TOKENS["red"]) == "OK"
        assert blue.ask("AUTH", TOKENS["blue"]) == "OK"
        assert red.ask("SET", "k", "of red") == "OK"
        assert blue.ask("GET", "k") is None
        assert blue.ask("SET", "k", "of blue") == "OK"
        assert red.ask("GET", "k") == b"of red"
        assert blue.ask("FLUSHDB") == "OK"
        assert (red.ask("DBSIZE"), blue.ask("DBSIZE")) == (1, 0)
        assert b"user=red" in red.ask("CLIENT", "INFO")
    with Client(daemon.address, "red", TOKENS["red"]) as native:
        assert native.get(Key.opaque(b"k")) == b"of red"


def test_hello_logs_in_and_changes_the_version_at_once(address):
    with RESPConnection(address) as connection:
        needed = connection.ask("HELLO", "3")
        assert isinstance(needed, Error) and needed.startswith("NOAUTH HELLO must be called")
        told = connection.ask("HELLO", "3", "AUTH", "red", TOKENS["red"], "SETNAME", "worker")
        assert isinstance(told, dict)
        assert (told["proto"], told["role"]) == (3, b"master")
        assert connection.ask("CLIENT", "GETNAME") == b"worker"
        connection.send(command("GET", "none"))
        assert connection.take(3) == b"_\r\n"


@pytest.mark.parametrize("login", [
    ("AUTH", "wrong"), ("AUTH", "red", "wrong"), ("AUTH", "red", TOKENS["blue"]),
    ("AUTH", "no such/name", TOKENS["red"]), ("HELLO", "3", "AUTH", "red", "wrong")])
def test_a_wrong_login_is_refused_and_a_right_one_may_follow(address, login):
    with RESPConnection(address) as connection:
        assert connection.ask(*login) == WRONG
        assert connection.ask("GET", "k") == NO_LOGIN
        assert connection.ask("AUTH", "red", TOKENS["red"]) == "OK"
        assert connection.ask("GET", "k") is None


def test_a_wrong_login_of_one_who_is_in_changes_nothing(address):
    with RESPConnection(address) as connection:
        assert connection.ask("AUTH", "red", TOKENS["red"]) == "OK"
        assert connection.ask("SET", "k", "v") == "OK"
        connection.send(command("AUTH", "blue", "wrong") + command("GET", "k"))
        assert connection.replies(2) == [WRONG, b"v"]


def test_reset_ends_a_login(address):
    with RESPConnection(address) as connection:
        assert connection.ask("AUTH", "red", TOKENS["red"]) == "OK"
        assert connection.ask("RESET") == "RESET"
        assert connection.ask("GET", "k") == NO_LOGIN
        assert connection.ask("QUIT") == "OK"
        assert connection.at_end()


def test_what_a_stranger_sends_is_refused_and_not_kept(daemon, address):
    with RESPConnection(address) as stranger:
        stranger.send(command("SET", "k", b"x" * 10_000) + command("PING"))
        assert stranger.replies(2) == [NO_LOGIN, NO_LOGIN]
        stranger.send(command("AUTH", "red", TOKENS["red"]) + command("GET", "k"))
        assert stranger.replies(2) == ["OK", None]
    with Client(daemon.address, "red", TOKENS["red"]) as native:
        assert not native.exists([Key.opaque(b"k")])[0]


@pytest.mark.parametrize(("data", "problem"), [
    (b"*11\r\n", "unauthenticated multibulk length"),
    (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16385\r\n", "unauthenticated bulk length"),
])
def test_a_stranger_who_sends_more_than_a_login_is_shown_out(address, data, problem):
    with RESPConnection(address) as stranger:
        stranger.send(data)
        assert stranger.reply() == Error(f"ERR Protocol error: {problem}")
        assert stranger.at_end()


def test_a_stranger_who_says_nothing_is_shown_out(start, tmp_path):
    daemon = start(
        *LISTENING, *tenants_file(tmp_path, **TOKENS), "--set", "handshake_timeout_ms=300")
    with RESPConnection(resp_address(daemon)) as stranger:
        assert stranger.at_end()


def test_the_number_of_connections_is_limited(start):
    daemon = start(*LISTENING, "--max-connections", "3")
    with RESPConnection(resp_address(daemon)) as one, RESPConnection(resp_address(daemon)) as two:
        assert (one.ask("PING"), two.ask("PING")) == ("PONG", "PONG")
        with RESPConnection(resp_address(daemon)) as three:
            assert three.ask("PING") == "PONG"
            with RESPConnection(resp_address(daemon)) as surplus:
                assert surplus.reply() == Error("ERR max number of clients reached")
                assert surplus.at_end()


def test_a_client_that_does_not_read_holds_no_more_than_its_credit(start):
    daemon = start("--ram", "256MiB", *LISTENING)
    with RESPConnection(resp_address(daemon)) as connection:
        assert connection.ask("SET", "k", b"x" * (8 << 20)) == "OK"
        before = daemon.resident_bytes("RssAnon")
        connection.socket.settimeout(2.0)
        asked = 0
        try:
            while asked < 50_000:
                connection.socket.send(command("GET", "k") * 10)
                asked += 10
        except TimeoutError:
            pass
        with RESPConnection(resp_address(daemon)) as other:
            assert other.ask("PING") == "PONG"
        assert daemon.resident_bytes("RssAnon") - before < 64 << 20


def test_a_value_that_stops_coming_is_given_up_and_its_room_with_it(start):
    daemon = start(*LISTENING, "--set", "reservation_timeout_ms=300")
    half = 60 << 20
    with RESPConnection(resp_address(daemon)) as stalled:
        stalled.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % half + b"x" * 1000)
        assert stalled.at_end()
    with RESPConnection(resp_address(daemon)) as other:
        assert other.ask("EXISTS", "k") == 0
        assert other.ask("SET", "k", b"x" * half) == "OK"


def test_rates_of_a_tenant_hold_here_too(start, tmp_path):
    flags = tenants_file(tmp_path, limits={"requests_per_second": 5}, red=TOKENS["red"])
    daemon = start(*LISTENING, *flags)
    with RESPConnection(resp_address(daemon)) as red:
        assert red.ask("AUTH", "red", TOKENS["red"]) == "OK"
        red.send(command("GET", "k") * 200)
        replies = red.replies(200)
        assert replies[0] is None
        refused = [reply for reply in replies if isinstance(reply, Error)]
        assert len(refused) > 100
        assert all(reply.startswith("BUSY ") for reply in refused)
        assert red.ask("PING") == "PONG"
