"""Bytes that are wrong get a typed error; only broken framing costs the connection."""

from __future__ import annotations

import os

import pytest
from kdn import Key, Put, Status, bodies, wire
from kdn.wire import Op, checksum
from raw_connection import RawConnection


@pytest.fixture
def connection(daemon):
    with RawConnection(daemon.address) as connection:
        yield connection


def sealed(header: bytearray) -> bytes:
    """A header with its own checksum put right again."""
    header[60:64] = (checksum(bytes(header[:60])) & 0xFFFFFFFF).to_bytes(4, "little")
    return bytes(header)


def altered(offset: int, value: bytes, *, seal: bool) -> bytes:
    header = bytearray(wire.encode_frame(Op.EXISTS, 2))
    header[offset : offset + len(value)] = value
    return sealed(header) if seal else bytes(header)


BROKEN_FRAMING = [
    ("magic", altered(0, b"HTTP", seal=True)),
    ("version", altered(4, b"\x09", seal=True)),
    ("headerChecksum", altered(8, b"\x07", seal=False)),
    ("bodyLength", altered(16, b"\xff\xff\xff\xff", seal=True)),
    ("payloadLength", altered(24, b"\xff\xff\xff\xff\xff", seal=True)),
]


@pytest.mark.parametrize(("field", "header"), BROKEN_FRAMING)
@pytest.mark.parametrize("greets", [False, True])
def test_broken_framing_is_named_and_costs_that_connection_only(
    daemon, client, connection, field, header, greets
):
    client.ping()
    if greets:
        connection.hello()
    connection.send(header)
    farewell = connection.receive()
    assert (farewell.op, farewell.status) == (Op.GOAWAY, Status.BAD_REQUEST)
    assert farewell.error.field == field
    assert connection.at_end()
    client.ping()
    assert client.stats()["connections"]["framing_faults_total"] == 1


def test_text_of_another_protocol_is_refused(connection):
    connection.send(b"GET / HTTP/1.1\r\nHost: example.org\r\nUser-Agent: something\r\n\r\n" * 2)
    assert connection.receive().error.field == "magic"
    assert connection.at_end()


def test_an_unknown_operation_is_refused_and_an_optional_one_skipped(connection):
    connection.hello()
    connection.send(wire.encode_frame(99, 2, b"body", flags=wire.OPTIONAL))
    refused = connection.ask(Op(4), 3, b"")
    assert refused.request_id == 3
    connection.send(wire.encode_frame(99, 4, b"body", payload_bytes=5) + b"bytes")
    assert connection.receive().status == Status.UNKNOWN_OP
    assert connection.ping(5).status == Status.OK


def test_a_body_with_a_wrong_checksum_is_refused_and_the_connection_goes_on(connection):
    connection.hello()
    frame = bytearray(wire.encode_frame(Op.EXISTS, 2, bodies.encode_keys([])))
    frame[-1] ^= 1
    connection.send(bytes(frame))
    refused = connection.receive()
    assert (refused.request_id, refused.status) == (2, Status.CHECKSUM_MISMATCH)
    assert connection.ping(3).status == Status.OK


def test_requests_out_of_sequence_are_refused(connection):
    assert connection.ping(2).status == Status.OUT_OF_SEQUENCE
    connection.hello()
    again = connection.ask(Op.HELLO, 3, bodies.encode_hello("default", "", "again"))
    assert again.status == Status.OUT_OF_SEQUENCE
    assert connection.ping(4).status == Status.OK


def test_frames_that_drip_in_byte_by_byte_are_served(connection):
    hello = wire.encode_frame(Op.HELLO, 1, bodies.encode_hello("default", "", "drip"))
    for byte in hello:
        connection.send(bytes([byte]))
    assert connection.receive().status == Status.OK
    data = os.urandom(50)
    put = b"".join(
        [
            wire.encode_frame(Op.PUT_BEGIN, 2, begin_body(b"drip", len(data))),
            wire.encode_frame(Op.PUT_DATA, 3, bodies.encode_two(2, 0), payload_bytes=len(data)),
            data,
            wire.encode_frame(Op.PUT_COMMIT, 4, bodies.encode_two(2, checksum(data))),
        ]
    )
    for byte in put:
        connection.send(bytes([byte]))
    assert [connection.receive().status for _ in range(2)] == [Status.OK, Status.OK]
    connection.send_get(5, Key.opaque(b"drip"))
    assert connection.receive().payload == data


def begin_body(name: bytes, total: int) -> bytes:
    return bodies.encode_put_begin(Put(Key.opaque(name), b""), total)


WRONG_PUTS = [
    ("offset", [(1, b"abc")], b"abc", Status.BAD_REQUEST),
    ("payloadLength", [(0, b"abcdefg")], b"abcdefg", Status.BAD_REQUEST),
    ("receivedBytes", [(0, b"abc")], b"abc", Status.BAD_REQUEST),
    ("checksum", [(0, b"abcdef")], b"abcdeF", Status.CHECKSUM_MISMATCH),
]


@pytest.mark.parametrize(("field", "pieces", "announced", "status"), WRONG_PUTS)
def test_a_put_that_goes_wrong_is_told_at_commit_and_leaves_nothing(
    client, connection, field, pieces, announced, status
):
    connection.hello()
    key = Key.opaque(b"wrong")
    assert connection.begin(2, key, 6).status == Status.OK
    for number, (offset, piece) in enumerate(pieces):
        connection.data(10 + number, 2, offset, piece)
    refused = connection.commit(3, 2, checksum(announced))
    assert (refused.status, refused.error.field) == (status, field)
    assert client.exists([key]) == [False]
    assert client.stats()["memory"]["allocated_bytes"] == 0
    assert connection.ping(4).status == Status.OK


def test_data_and_commit_of_an_unknown_transfer_harm_nothing(connection):
    connection.hello()
    connection.data(2, 77, 0, b"abc")
    assert connection.commit(3, 77, 0).status == Status.NOT_FOUND
    assert connection.ping(4).status == Status.OK
