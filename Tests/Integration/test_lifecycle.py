"""How kdnd starts and ends: addresses, logs, signals, exit codes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import urllib.request

import pytest
from daemon_process import DaemonProcess
from kdn import Client, Key, ServerError, Status
from kdn.wire import Op, checksum
from raw_connection import RawConnection

CLEAN, CUT_SHORT, ADDRESS_TAKEN = 0, 3, 69
LARGE_BYTES = 40 << 20


def ended_with(daemon: DaemonProcess, *signals: signal.Signals) -> int:
    for number in signals:
        daemon.process.send_signal(number)
    return daemon.wait()


def test_the_ready_line_names_the_port_that_was_bound(daemon):
    assert daemon.address.startswith("127.0.0.1:") and not daemon.address.endswith(":0")
    with Client(daemon.address) as client:
        client.ping()


def test_it_listens_on_several_addresses_at_once(start, tmp_path):
    path = tmp_path / "socket"
    daemon = start("--tcp", "127.0.0.1:0", "--tcp", "127.0.0.1:0", "--unix", str(path))
    assert stat.S_ISSOCK(path.stat().st_mode)
    with Client(f"unix://{path}") as through_unix, Client(daemon.address) as through_tcp:
        through_unix.put(Key.opaque(b"a"), b"bytes")
        assert through_tcp.get(Key.opaque(b"a")) == b"bytes"


def test_json_logs_are_one_object_a_line(start):
    daemon = start("--log-format", "json", "--log-level", "debug")
    assert ended_with(daemon, signal.SIGTERM) == CLEAN
    lines = [json.loads(line) for line in daemon.log.splitlines()]
    assert [line for line in lines if line["msg"] == "ready"][0]["tcp"] == daemon.tcp


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_daemon_cleanly(daemon, number):
    assert ended_with(daemon, number) == CLEAN


def test_sighup_disturbs_nobody(daemon, client):
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_lines("msg=reloaded")
    client.ping()
    assert daemon.process.poll() is None


def test_a_taken_port_is_told_by_the_exit_code(daemon):
    second = DaemonProcess("--tcp", daemon.address, "--ram", "32MiB", "--set", "slab=4MiB")
    assert second.wait() == ADDRESS_TAKEN
    assert daemon.address in second.log


def test_the_ready_line_names_the_port_for_administrators(start):
    daemon = start("--admin", "127.0.0.1:0")
    found = re.search(r"\badmin=(127\.0\.0\.1:\d+)\b", daemon.log)
    assert found is not None, daemon.log
    with urllib.request.urlopen(f"http://{found.group(1)}/readyz", timeout=10) as answer:
        assert answer.status == 200


def test_a_taken_port_for_administrators_is_told_by_the_exit_code(daemon):
    second = DaemonProcess("--tcp", "127.0.0.1:0", "--admin", daemon.address, "--ram", "32MiB",
                           "--set", "slab=4MiB")
    assert second.wait() == ADDRESS_TAKEN
    assert daemon.address in second.log


@pytest.mark.parametrize(("mode", "bits"), [(None, 0o660), ("0600", 0o600), ("0666", 0o666)])
def test_a_unix_socket_has_the_permissions_asked_for(start, tmp_path, mode, bits):
    path = tmp_path / "socket"
    more = () if mode is None else ("--set", f"unix_mode={mode}")
    start("--unix", str(path), *more)
    assert stat.S_IMODE(path.stat().st_mode) == bits


def test_a_served_unix_socket_is_left_alone_and_a_dead_one_taken_over(start, tmp_path):
    path = tmp_path / "socket"
    first = start("--unix", str(path))
    second = DaemonProcess("--tcp", "127.0.0.1:0", "--unix", str(path), "--ram", "32MiB",
                           "--set", "slab=4MiB")
    assert second.wait() == ADDRESS_TAKEN
    first.process.kill()
    first.wait()
    assert path.exists()
    start("--unix", str(path))
    with Client(f"unix://{path}") as client:
        client.ping()


def test_a_clean_end_removes_the_unix_socket(start, tmp_path):
    path = tmp_path / "socket"
    assert ended_with(start("--unix", str(path)), signal.SIGTERM) == CLEAN
    assert not path.exists()


def test_after_kill_nine_the_same_port_can_be_served_again(start):
    first = start()
    address = first.address
    with Client(address) as client:
        client.put(Key.opaque(b"a"), b"bytes")
        first.process.kill()
        first.wait()
        start("--tcp", address)
        with Client(address) as another:
            assert another.get(Key.opaque(b"a")) is None, "RAM does not outlive the process"


def test_idle_clients_are_told_and_closed_when_it_drains(daemon):
    with RawConnection(daemon.address) as connection:
        connection.hello()
        daemon.terminate()
        farewell = connection.receive()
        assert (farewell.op, farewell.status) == (Op.GOAWAY, Status.DRAINING)
        assert connection.at_end()
    assert daemon.wait() == CLEAN


def test_an_answer_in_flight_is_sent_whole_before_the_daemon_ends(start):
    daemon = start()
    data = os.urandom(LARGE_BYTES)
    key = Key.opaque(b"large")
    with Client(daemon.address) as client:
        client.put(key, data)
    with RawConnection(daemon.address, receive_buffer=65536) as connection:
        connection.hello()
        connection.send_get(2, key)
        first = connection.receive()
        daemon.terminate()
        frames = [first]
        while frames[-1].op == Op.GOAWAY or frames[-1].more:
            frames.append(connection.receive())
        answer = [frame for frame in frames if frame.op == Op.GET]
        assert b"".join(frame.payload for frame in answer) == data
        assert {frame.request_id for frame in answer} == {2}
        assert Op.GOAWAY in {frame.op for frame in frames} or connection.receive().op == Op.GOAWAY
        assert connection.at_end()
    assert daemon.wait() == CLEAN


def test_a_waiting_get_holds_the_drain_until_its_deadline_and_new_requests_are_refused(daemon):
    with RawConnection(daemon.address) as connection:
        connection.hello()
        connection.send_get(2, Key.opaque(b"never"), wait=True, deadline_ms=3000)
        connection.ping(3)
        daemon.terminate()
        assert connection.receive().op == Op.GOAWAY
        refused = connection.ping(4)
        assert (refused.request_id, refused.status) == (4, Status.DRAINING)
        answer = connection.receive()
        assert (answer.op, answer.request_id, answer.status) == (Op.GET, 2, Status.OK)
        assert connection.at_end()
    assert daemon.wait() == CLEAN


def test_a_put_in_flight_may_finish_while_it_drains(daemon):
    with RawConnection(daemon.address) as connection:
        connection.hello()
        connection.begin(2, Key.opaque(b"a"), 6)
        connection.data(3, 2, 0, b"abc")
        connection.ping(4)
        daemon.terminate()
        assert connection.receive().op == Op.GOAWAY
        connection.data(5, 2, 3, b"def")
        assert connection.commit(6, 2, checksum(b"abcdef")).status == Status.OK
        assert connection.at_end()
    assert daemon.wait() == CLEAN


def test_a_second_signal_ends_it_at_once(daemon):
    with RawConnection(daemon.address) as connection:
        connection.hello()
        connection.send_get(2, Key.opaque(b"never"), wait=True, deadline_ms=60_000)
        connection.ping(3)
        daemon.terminate()
        assert connection.receive().op == Op.GOAWAY
        assert ended_with(daemon, signal.SIGTERM) == CUT_SHORT


def test_a_drain_that_takes_too_long_is_cut_short(start):
    daemon = start("--set", "drain_timeout_ms=300")
    with RawConnection(daemon.address) as connection:
        connection.hello()
        connection.send_get(2, Key.opaque(b"never"), wait=True, deadline_ms=60_000)
        connection.ping(3)
        assert ended_with(daemon, signal.SIGTERM) == CUT_SHORT


def test_only_the_right_token_opens_a_namespace(start):
    tokens = {"red": "a token", "blue": "another"}
    flags = [
        text
        for name, token in tokens.items()
        for text in ("--set", f"namespaces={name}:{hashlib.sha256(token.encode()).hexdigest()}")
    ]
    daemon = start(*flags, "--set", "development_namespace=off")
    key = Key.opaque(b"shared name")
    with Client(daemon.address, "red", tokens["red"]) as red:
        red.put(key, b"red bytes")
        with Client(daemon.address, "blue", tokens["blue"]) as blue:
            assert blue.get(key) is None
            blue.put(key, b"blue bytes")
        assert red.get(key) == b"red bytes"
    refused = [("red", "another"), ("red", ""), ("green", "a token"), ("default", "")]
    messages = set()
    for name, token in refused:
        with Client(daemon.address, name, token) as client:
            with pytest.raises(ServerError) as caught:
                client.ping()
        assert caught.value.status is Status.UNAUTHORISED
        messages.add(str(caught.value))
    assert len(messages) == 1, "which of name and token was wrong is not told"
    for token in tokens.values():
        assert token not in daemon.log
