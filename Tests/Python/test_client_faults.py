"""Both clients against a scripted server: wrong bytes, stalls, broken links, odd orders."""

import struct
import threading
import time

import pytest
from fake_server import CLIENTS, FakeServer, get_parts
from framing import RESPONSE, header, xxh3

from kdn import (
    ConnectionLost,
    DeadlineExceeded,
    Get,
    KDNError,
    Key,
    MissCause,
    Part,
    ProtocolError,
    ServerError,
    Status,
)

KEY = Key.opaque(b"key")
DATA = bytes(range(256)) * 40


@pytest.fixture(params=CLIENTS)
def make(request):
    return CLIENTS[request.param]


def answer_gets(peer, data=DATA):
    while True:
        request = peer.expect("GET")
        count = struct.unpack_from("<I", request.body)[0]
        peer.reply_get(request, [data] * count)


def test_get_into_receives_into_the_callers_buffer(make):
    def script(peer):
        peer.hello()
        answer_gets(peer)

    buffer = bytearray(len(DATA))
    with FakeServer(script) as server, make(server.address) as client:
        result = client.get_into([Get(KEY, buffer)])[0]
        assert result.hit and result.nbytes == len(DATA) and buffer == DATA
        assert result.object_checksum == xxh3(DATA)
        assert client.get(KEY) == DATA
        assert client.counters.hits == 2


def test_a_reply_that_drips_in_is_received(make):
    def script(peer):
        peer.hello()
        request = peer.expect("GET")
        body, payload = get_parts([DATA[:200]])
        raw = header(5, RESPONSE, request.id, 0, body, len(payload), 0) + body + payload
        for index in range(len(raw)):
            peer.sock.sendall(raw[index : index + 1])

    with FakeServer(script) as server, make(server.address) as client:
        assert client.get(KEY) == DATA[:200]


def test_a_corrupt_payload_is_a_miss_and_the_connection_goes_on(make):
    def script(peer):
        peer.hello()
        peer.reply_get(peer.expect("GET"), [DATA], wrong_sum=True)
        answer_gets(peer)

    with FakeServer(script) as server, make(server.address) as client:
        result = client.get_into([Get(KEY, bytearray(len(DATA)))])[0]
        assert not result.hit and result.cause is MissCause.CORRUPT
        assert client.get(KEY) == DATA
        assert server.connections == 1
        assert client.counters.misses[MissCause.CORRUPT] == 1


@pytest.mark.parametrize(
    "garbage", [b"\0" * 64, b"HTTP/1.1 200 OK\r\n" * 8, b"KDNP" + b"\xff" * 60]
)
def test_garbage_is_a_protocol_error_and_the_next_call_reconnects(make, garbage):
    def script(peer):
        peer.hello()
        if peer.index == 0:
            peer.expect("GET")
            peer.sock.sendall(garbage)
            peer.receive()
        answer_gets(peer)

    with FakeServer(script) as server, make(server.address) as client:
        with pytest.raises(ProtocolError):
            client.get(KEY)
        assert client.get(KEY) == DATA
        assert server.connections == 2 and client.counters.reconnects == 1


def test_a_stall_ends_with_the_deadline(make):
    released = threading.Event()

    def script(peer):
        peer.hello()
        request = peer.expect("GET")
        if peer.index == 0:
            # The header says when the answer is of no more use, a little before the call ends.
            assert 0 < request.deadline_ms <= 300
            released.wait(20)
            return
        peer.reply_get(request, [DATA])

    with FakeServer(script) as server, make(server.address) as client:
        with pytest.raises(DeadlineExceeded):
            client.get(KEY, timeout=0.3)
        assert client.get(KEY) == DATA
        released.set()
        assert server.connections == 2


def test_half_a_payload_and_a_close_is_asked_for_again(make):
    def script(peer):
        peer.hello()
        request = peer.expect("GET")
        if peer.index == 0:
            body, payload = get_parts([DATA])
            raw = header(5, RESPONSE, request.id, 0, body, len(payload), 0) + body + payload
            peer.sock.sendall(raw[: len(raw) // 2])
            return
        peer.reply_get(request, [DATA])

    buffer = bytearray(len(DATA))
    with FakeServer(script) as server, make(server.address) as client:
        assert client.get_into([Get(KEY, buffer)])[0].hit and buffer == DATA
        assert server.connections == 2 and client.counters.reconnects == 1


def test_what_breaks_twice_is_lost(make):
    def script(peer):
        peer.hello()
        peer.receive()

    with FakeServer(script) as server, make(server.address) as client:
        with pytest.raises(ConnectionLost):
            client.exists([KEY])
        assert server.connections == 2


def test_trouble_counts_as_a_miss_when_asked_to(make):
    def script(peer):
        peer.hello()
        peer.receive()

    with FakeServer(script) as server, make(server.address, on_error="miss") as client:
        result = client.get_into([Get(KEY, bytearray(10))])[0]
        assert not result.hit and result.cause is MissCause.UNREACHABLE
        assert client.exists([KEY, KEY]) == [False, False]
        assert client.put(KEY, b"data").state == "failed"
        match = client.match(bytes(16), [bytes(32)], [Part(0, 1)])
        assert match.chunks == 0 and match.lease is None
        assert match.cause is MissCause.UNREACHABLE
        assert client.touch([KEY]) == 0 and client.pin([KEY], 1000) == [False]
        assert sum(client.counters.errors.values()) >= 6
        assert client.counters.misses[MissCause.UNREACHABLE] == 1


def test_a_stall_counts_as_a_miss_over_the_deadline(make):
    released = threading.Event()

    def script(peer):
        peer.hello()
        peer.receive()
        released.wait(20)

    with FakeServer(script) as server, make(server.address, on_error="miss") as client:
        result = client.get_into([Get(KEY, bytearray(10))], timeout=0.2)[0]
        assert not result.hit and result.cause is MissCause.OVER_DEADLINE
        released.set()


def test_a_refusal_is_typed_and_keeps_the_connection(make):
    def script(peer):
        peer.hello()
        peer.refuse(peer.expect("EXISTS"), 4, "slots", 7, 5, retry=250)
        peer.refuse(peer.expect("GET"), 8)
        request = peer.expect("EXISTS")
        peer.reply(request, struct.pack("<II", 1, 0) + b"\x01")

    with FakeServer(script) as server, make(server.address) as client:
        with pytest.raises(ServerError) as caught:
            client.exists([KEY])
        error = caught.value
        assert (error.status, error.field, error.value, error.limit, error.retry_after_ms) == (
            Status.BUSY, "slots", 7, 5, 250)
        with pytest.raises(DeadlineExceeded):
            client.get(KEY)
        assert client.exists([KEY]) == [True]
        assert server.connections == 1


def test_replies_out_of_order_and_interleaved_find_their_buffers(make):
    def script(peer):
        peer.hello(keys=1)
        first, second, third = (peer.expect("GET") for _ in range(3))
        body, payload = get_parts([b"A" * 1000])
        peer.reply(first, body, payload[:400], more=True)
        peer.reply_get(third, [b"C" * 30])
        peer.reply(first, b"", payload[400:900], more=True)
        peer.reply_get(second, [None])
        peer.reply(first, b"", payload[900:])

    a, b, c = bytearray(1000), bytearray(10), bytearray(30)
    with FakeServer(script) as server, make(server.address) as client:
        results = client.get_into([Get(KEY, a), Get(KEY, b), Get(KEY, c)])
        assert [result.hit for result in results] == [True, False, True]
        assert a == b"A" * 1000 and c == b"C" * 30 and b == bytes(10)


def test_a_refused_hello_opens_the_breaker(make):
    def script(peer):
        peer.refuse(peer.expect("HELLO"), 3)

    with FakeServer(script) as server, make(server.address) as client:
        with pytest.raises(ServerError) as caught:
            client.exists([KEY])
        assert caught.value.status is Status.UNAUTHORISED
        with pytest.raises(ConnectionLost):
            client.exists([KEY])
        assert server.connections == 1


def test_a_refused_dial_opens_the_breaker_and_it_closes_again(make):
    def script(peer):
        peer.hello()
        answer_gets(peer)

    with FakeServer(script) as server:
        with make(server.address) as client:
            inner = getattr(client, "inner", client)
            inner._breaker.failed(time.monotonic())
            with pytest.raises(ConnectionLost, match="the next is allowed"):
                client.get(KEY)
            assert server.connections == 0
            inner._breaker.failed(time.monotonic() - 1.0)
            assert client.get(KEY) == DATA
        address = server.address
    with make(address) as client:
        with pytest.raises(ConnectionLost, match="cannot connect"):
            client.get(KEY)


def test_a_connection_that_the_server_closed_while_idle_is_replaced(make):
    closed = threading.Event()

    def script(peer):
        peer.hello()
        peer.reply_get(peer.expect("GET"), [DATA])
        if peer.index == 0:
            peer.sock.close()
            closed.set()
            return
        answer_gets(peer)

    with FakeServer(script) as server, make(server.address) as client:
        assert client.get(KEY) == DATA
        assert closed.wait(10)
        assert client.get(KEY) == DATA
        assert server.connections == 2


def test_a_closed_idle_connection_is_noticed_before_what_cannot_be_tried_again(make):
    closed = threading.Event()

    def script(peer):
        peer.hello()
        if peer.index == 0:
            peer.reply_get(peer.expect("GET"), [DATA])
            peer.sock.close()
            closed.set()
            return
        peer.reply(peer.expect("PURGE"), struct.pack("<QQ", 3, 300))
        peer.expect("PURGE")

    with FakeServer(script) as server, make(server.address, streams=1) as client:
        assert client.get(KEY) == DATA
        assert closed.wait(10)
        assert client.purge(namespace=True) == (3, 300)
        with pytest.raises(ConnectionLost):
            client.purge(namespace=True)
        assert server.connections == 2


def test_a_failed_call_has_stopped_receiving_when_it_raises(make, monkeypatch):
    monkeypatch.setattr("kdn.base.FAN_OUT_BYTES_MIN", 1000)
    first, second = bytearray(len(DATA)), bytearray(len(DATA))
    slow = Key.opaque(b"slow")

    def script(peer):
        peer.hello()
        request = peer.expect("GET")
        if request.body[16:80] == slow.data:
            threading.Event().wait(0.2)
            peer.reply_get(request, [DATA])
        else:
            peer.refuse(request, 14)
        peer.receive()

    with FakeServer(script) as server, make(server.address, streams=2) as client:
        with pytest.raises(ServerError):
            client.get_into([Get(KEY, first), Get(slow, second)])
        assert second == DATA


@pytest.mark.parametrize("huge", ["body", "payload"])
def test_a_frame_beyond_its_limit_is_refused_before_it_is_read(make, huge):
    def script(peer):
        peer.hello()
        request = peer.expect("GET")
        if huge == "body":
            raw = header(5, RESPONSE, request.id, 0, b"", 0, 0, body_length=2**32 - 1)
        else:
            raw = header(5, RESPONSE, request.id, 0, b"", 2**62, 0)
        peer.sock.sendall(raw)
        peer.receive()

    with FakeServer(script) as server, make(server.address) as client:
        with pytest.raises(ProtocolError):
            client.get(KEY)


def test_over_credit_items_are_asked_for_again_alone(make):
    def script(peer):
        peer.hello()
        request = peer.expect("GET")
        body, payload = get_parts([b"first", None])
        body = body[:49] + b"\x09" + body[50:]
        peer.reply(request, body, payload)
        again = peer.expect("GET")
        assert struct.unpack_from("<I", again.body)[0] == 1
        peer.reply_get(again, [b"second"])

    with FakeServer(script) as server, make(server.address) as client:
        results = client.get_into([Get(KEY), Get(KEY)])
        assert [bytes(result.data) for result in results] == [b"first", b"second"]


def test_a_long_chain_is_matched_in_several_requests(make):
    def script(peer):
        peer.hello(keys=4)
        for matched, cause in ((4, 0), (3, 2)):
            request = peer.expect("MATCH")
            assert struct.unpack_from("<IHH", request.body) == (4, 1, 1)
            peer.reply(request, struct.pack(
                "<IB3x4IQQQII", matched, cause, 0, matched, 0, 0, matched * 100, 50,
                10 + matched, 9000, 0))
        released = [struct.unpack("<Q", request.body)[0]
                    for request in (peer.expect("RELEASE"), peer.expect("RELEASE"))]
        assert released == [14, 13]

    hashes = [bytes([index]) * 32 for index in range(10)]
    with FakeServer(script) as server, make(server.address) as client:
        match = client.match(bytes(16), hashes, [Part(0, 1)], lease_ms=9000)
        assert (match.chunks, match.cause, match.bytes) == (7, MissCause.EVICTED, 700)
        assert match.tiers.ram == 7 and match.estimate_us == 100
        assert match.lease.held and match.lease.ms == 9000
        if hasattr(client, "run"):
            client.run(match.lease.release())
        else:
            match.lease.release()
        assert not match.lease.held


def test_layouts_are_registered_again_on_each_connection(make):
    from kdn import AttentionGroup, Layout

    layout = Layout("bf16", (AttentionGroup((0, 1), 2, 8),))
    registered = []

    def script(peer):
        peer.hello()
        request = peer.expect("LAYOUT")
        registered.append((peer.index, request.body))
        peer.reply(request, layout.id + struct.pack("<Q", 128))
        if peer.index == 0:
            peer.receive()
            return
        answer_gets(peer)

    with FakeServer(script) as server, make(server.address) as client:
        assert client.register_layout(layout) == layout.id
        assert client.register_layout(layout) == layout.id
        assert client.get(KEY) == DATA
    assert registered == [(0, layout.encode()), (1, layout.encode())]


def test_large_calls_use_every_stream(make, monkeypatch):
    monkeypatch.setattr("kdn.base.FAN_OUT_BYTES_MIN", 1000)
    both = threading.Barrier(2)

    def script(peer):
        peer.hello()
        request = peer.expect("GET")
        both.wait(10)
        count = struct.unpack_from("<I", request.body)[0]
        peer.reply_get(request, [DATA] * count)
        peer.receive()

    buffers = [bytearray(len(DATA)) for _ in range(5)]
    with FakeServer(script) as server, make(server.address, streams=2) as client:
        warm = getattr(client, "inner", client)
        results = client.get_into([Get(KEY, buffer) for buffer in buffers])
        assert all(result.hit for result in results) and all(b == DATA for b in buffers)
        assert server.connections == 2 and warm.counters.hits == 5


@pytest.mark.parametrize(
    "options",
    [{"on_error": "ignore"}, {"streams": 0}, {"timeout": 0}, {"timeout": float("nan")}],
)
def test_wrong_settings_are_refused(make, options):
    with pytest.raises(KDNError):
        CLIENTS["blocking"]("127.0.0.1:1", **options)


@pytest.mark.parametrize("address", ["", ":1", "host:", "host:0", "host:65536", "unix://x", "h:a"])
def test_wrong_addresses_are_refused(address):
    with pytest.raises(KDNError) as caught:
        CLIENTS["blocking"](address)
    assert caught.value.field == "address"
