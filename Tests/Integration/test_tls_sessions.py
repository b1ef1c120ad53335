"""Requests that lie decrypted in the daemon are answered, though no event tells of them."""

from __future__ import annotations

import os
import pathlib
import re
import ssl
from collections.abc import Iterator

import pytest
from daemon_process import DaemonProcess
from kdn import Client, Key, Put, Status, bodies, wire
from kdn.results import Get
from kdn.wire import Op, checksum
from raw_connection import RawConnection
from test_certificates import Authority

REQUESTS = 60
KEY = Key.opaque(b"large")


@pytest.fixture
def authority(tmp_path: pathlib.Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def daemon(start, authority) -> DaemonProcess:
    """With so little credit that one answer stops the daemon from reading on."""
    own = authority.sign("server")
    settings = ["tls=127.0.0.1:0", f"tls_certificate={own.path}", f"tls_key={own.key}"]
    flags = [word for text in [*settings, "credit=1MiB"] for word in ("--set", text)]
    return start("--tcp", "127.0.0.1:0", *flags)


def secured(daemon: DaemonProcess) -> str:
    found = re.search(r'\btls"?[=:]"?([^\s",]+:\d+)', daemon.log)
    assert found, daemon.log
    return found.group(1)


@pytest.fixture
def connection(daemon, authority) -> Iterator[RawConnection]:
    """A connection inside TLS that has not said HELLO yet."""
    context = ssl.create_default_context(cafile=authority.path)
    with RawConnection(secured(daemon)) as raw:
        raw.socket = context.wrap_socket(raw.socket, server_hostname="localhost")
        yield raw


def test_requests_of_one_record_are_all_answered_though_each_answer_stops_the_reading(
    daemon, connection
):
    data = os.urandom(1 << 20)
    with Client(daemon.address) as client:
        client.put(KEY, data)
    connection.hello()
    get = bodies.encode_get([bodies.encode_get_item(Get(KEY))], wait=False, verify=True)
    ids = range(2, 2 + REQUESTS)
    connection.send(b"".join(wire.encode_frame(Op.GET, each, get) for each in ids))
    for each in ids:
        answer = connection.receive()
        payload = answer.payload
        while answer.more:
            answer = connection.receive()
            payload += answer.payload
        assert (answer.request_id, answer.status) == (each, Status.OK)
        assert payload == data
    assert connection.ping(1000).status == Status.OK


def test_a_put_in_one_write_with_all_that_follows_is_read_to_its_end(connection):
    connection.hello()
    data = os.urandom(900_000)
    frames = [
        wire.encode_frame(Op.PUT_BEGIN, 2, bodies.encode_put_begin(Put(KEY, b""), len(data))),
        wire.encode_frame(
            Op.PUT_DATA, 2, bodies.encode_two(2, 0), payload_bytes=len(data)
        ) + data,
        wire.encode_frame(Op.PUT_COMMIT, 3, bodies.encode_two(2, checksum(data))),
        *(wire.encode_frame(Op.EXISTS, each, bodies.encode_keys([KEY])) for each in range(4, 100)),
    ]
    connection.send(b"".join(frames))
    answers = [connection.receive() for _ in range(98)]
    assert {answer.request_id for answer in answers} == set(range(2, 100))
    assert {answer.status for answer in answers} == {Status.OK}


def test_above_the_cap_a_client_inside_tls_is_told_so_too(start, authority):
    own = authority.sign("server")
    settings = [
        "tls=127.0.0.1:0", f"tls_certificate={own.path}", f"tls_key={own.key}", "max_connections=1",
    ]
    flags = [word for text in settings for word in ("--set", text)]
    daemon = start("--tcp", "127.0.0.1:0", *flags)
    context = ssl.create_default_context(cafile=authority.path)
    with RawConnection(daemon.address) as first:
        first.hello()
        with RawConnection(secured(daemon)) as surplus:
            surplus.socket = context.wrap_socket(surplus.socket, server_hostname="localhost")
            refused = surplus.try_hello("default", "")
            assert (refused.op, refused.status) == (Op.GOAWAY, Status.TOO_MANY_CONNECTIONS)
            assert surplus.at_end()
        assert first.ping(2).status == Status.OK
