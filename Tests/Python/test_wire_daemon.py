"""The faulty frames of the vectors against the real daemon: each is refused as they say."""

import socket
import struct

import pytest
from conftest import load_vectors
from framing import OPS, counted_keys, header, hello_body, text

from kdn import Status, wire
from kdn.wire import Limits

# What a connection must be over RDMA for is not for a test over a socket.
FAULTS = [row for row in load_vectors("frames.json")["faults"]
          if not row["grants"] == bytes.fromhex(row["hex"])[22] == 2]
LIMITS = Limits(body_bytes=1 << 20, frame_payload_bytes=1 << 20)


def connect(kdnd, shared_memory=False):
    """A connection that is granted what it must be for a fault to be the one meant."""
    if not shared_memory:
        host, port = kdnd.tcp.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=10)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(10)
    sock.connect(kdnd.unix.removeprefix("unix://"))
    return sock


def read(sock, count):
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        assert piece, "the daemon closed the connection"
        data += piece
    return data


def receive(sock):
    head = wire.decode_header(read(sock, 64), LIMITS)
    body = read(sock, head.body_bytes)
    wire.check_body(head, body)
    assert head.payload_bytes == 0
    return head, body


def frame(op, body, request_id):
    return header(OPS[op], 0, request_id, 0, body, 0, 1000) + body


def say_hello(sock):
    sock.sendall(frame("HELLO", hello_body(1, 1, 0, "default", "", "test"), 100))
    assert receive(sock)[0].status == 0


@pytest.mark.parametrize("row", FAULTS, ids=lambda row: row["name"])
def test_a_faulty_frame_is_refused_as_the_vectors_say(row, kdnd):
    first = row["name"].startswith("HELLO:")
    with connect(kdnd, shared_memory=row["grants"] == 1) as sock:
        if not first:
            say_hello(sock)
        sock.sendall(bytes.fromhex(row["hex"]))
        head, body = receive(sock)
        error = wire.decode_error(head.status, body)
        assert (Status(head.status).name.lower(), error.field) == (row["status"], row["field"])
        if row["framing"]:
            assert (head.op, head.request_id) == (OPS["GOAWAY"], 0)
            assert sock.recv(1) == b""
            return
        # Everything but a framing fault leaves the connection in step.
        if first:
            say_hello(sock)
        sock.sendall(frame("EXISTS", counted_keys([]), 101))
        head, body = receive(sock)
        assert (head.request_id, head.status, body) == (101, 0, struct.pack("<II", 0, 0))


def test_an_unknown_optional_op_is_skipped_without_an_answer(kdnd):
    with connect(kdnd) as sock:
        say_hello(sock)
        body = text("whatever")
        sock.sendall(header(200, 2, 5, 0, body, 4, 0) + body + b"skip")
        sock.sendall(frame("EXISTS", counted_keys([]), 6))
        assert receive(sock)[0].request_id == 6
