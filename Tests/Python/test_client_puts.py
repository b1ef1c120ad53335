"""Stores of both clients against a scripted server: credit, gathering, refusals."""

import struct

import pytest
from fake_server import CLIENTS, FakeServer
from framing import xxh3

from kdn import Key, Put, ServerError, Status

KEY = Key.opaque(b"key")
DATA = bytes(range(256)) * 40


@pytest.fixture(params=CLIENTS)
def make(request):
    return CLIENTS[request.param]


class Store:
    """The server's side of PUT, checked against credit."""

    def __init__(self, credit):
        self.credit = credit
        self.objects = {}
        self.largest_open = 0

    def serve(self, peer):
        peer.hello(credit=self.credit, frame=1000, requests=8)
        opened = {}
        while True:
            request = peer.receive()
            if request.op == "PUT_BEGIN":
                total = struct.unpack_from("<Q", request.body, 96)[0]
                opened[request.id] = [request.body[:64], total, b""]
                self.largest_open = max(self.largest_open, sum(row[1] for row in opened.values()))
                peer.reply(request, struct.pack("<B7xQ", 1, 0))
            elif request.op == "PUT_DATA":
                transfer, offset = struct.unpack("<QQ", request.body)
                assert offset == len(opened[transfer][2]) and len(request.payload) <= 1000
                opened[transfer][2] += request.payload
            else:
                assert request.op == "PUT_COMMIT"
                transfer, total = struct.unpack("<QQ", request.body)
                key, size, data = opened.pop(transfer)
                assert size == len(data) and total == xxh3(data)
                self.objects[key] = data
                peer.reply(request, struct.pack("<B7xQ", 1, total))


def test_put_from_gathers_buffers_and_stays_within_credit(make):
    store = Store(credit=10000)
    items = [
        Put(Key.opaque(b"%d" % index), [DATA[:index], memoryview(DATA)[: 3000 + index], b""])
        for index in range(1, 21)
    ]
    with FakeServer(store.serve) as server, make(server.address, streams=1) as client:
        results = client.put_from(items)
    assert [result.state for result in results] == ["published"] * 20
    assert store.largest_open <= 10000
    for index, item in enumerate(items, 1):
        assert store.objects[item.key.data] == DATA[:index] + DATA[: 3000 + index]


@pytest.mark.parametrize("same", [True, False])
def test_put_of_what_is_present_sends_no_more_bytes(make, same):
    there = DATA if same else DATA[::-1]
    seen = []

    def script(peer):
        peer.hello(frame=100)
        while True:
            request = peer.receive()
            seen.append(request.op)
            if request.op == "PUT_BEGIN":
                peer.reply(request, struct.pack("<B7xQ", 2, xxh3(there)))
            elif request.op == "PUT_ABORT":
                peer.refuse(request, 7)
            elif request.op == "PUT_COMMIT" and same:
                peer.reply(request, struct.pack("<B7xQ", 2, xxh3(there)))
            elif request.op == "PUT_COMMIT":
                peer.refuse(request, 5)

    with FakeServer(script) as server, make(server.address) as client:
        result = client.put_from([Put(KEY, DATA)])[0]
        if same:
            assert result.state == "present" and result.object_checksum == xxh3(DATA)
        else:
            assert result.state == "failed" and result.error.status is Status.CONFLICT
            with pytest.raises(ServerError):
                client.put(KEY, DATA)
    assert seen.count("PUT_BEGIN") == (1 if same else 2)


def test_a_put_that_is_refused_leaves_the_others_alone(make):
    def script(peer):
        peer.hello()
        begun = {}
        while True:
            request = peer.receive()
            if request.op == "PUT_BEGIN":
                begun[request.id] = request
                if len(begun) == 1:
                    peer.refuse(request, 4, retry=100)
                else:
                    peer.reply(request, struct.pack("<B7xQ", 1, 0))
            elif request.op == "PUT_COMMIT":
                transfer, total = struct.unpack("<QQ", request.body)
                if transfer == min(begun):
                    peer.refuse(request, 7)
                else:
                    peer.reply(request, struct.pack("<B7xQ", 1, total))

    items = [Put(Key.opaque(b"%d" % index), DATA) for index in range(3)]
    with FakeServer(script) as server, make(server.address) as client:
        results = client.put_from(items)
    assert [result.state for result in results] == ["failed", "published", "published"]
    assert results[0].error.status is Status.BUSY and results[0].error.retry_after_ms == 100
