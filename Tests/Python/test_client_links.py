"""What each client does with forks, threads, cancellation and callers' buffers."""

import array
import asyncio
import ctypes
import mmap
import os
import struct
import threading

import numpy
import pytest
from fake_server import FakeServer, get_parts
from framing import xxh3

from kdn import (
    AsyncClient,
    Client,
    ConnectionLost,
    CorruptPayload,
    DeadlineExceeded,
    FieldError,
    Get,
    GetResult,
    Key,
    MissCause,
    ObjectVerifier,
    Put,
)
from kdn.buffers import gathered_views, readable_view, writable_view

KEY = Key.opaque(b"key")
DATA = bytes(range(256)) * 40


class Tensor:
    """What a CPU tensor of an engine offers: no buffer protocol, an address."""

    def __init__(self, count, device="cpu", contiguous=True):
        self.memory = (ctypes.c_ubyte * (2 * count))()
        self.count, self.contiguous = count, contiguous
        self.device = type("Device", (), {"type": device})()

    def data_ptr(self):
        return ctypes.addressof(self.memory)

    def numel(self):
        return self.count

    def element_size(self):
        return 2

    def is_contiguous(self):
        return self.contiguous


class Interface:
    """An array whose element type the buffer protocol does not know."""

    def __init__(self, shape, strides=None, readonly=False):
        self.memory = (ctypes.c_ubyte * 4096)()
        self.__array_interface__ = {
            "data": (ctypes.addressof(self.memory), readonly), "shape": shape, "typestr": "<V2",
            "strides": strides, "version": 3,
        }


def serve_data(peer):
    peer.hello()
    while True:
        request = peer.receive()
        if request.op == "GET":
            count = struct.unpack_from("<I", request.body)[0]
            peer.reply_get(request, [DATA] * count)
        else:
            assert request.op == "EXISTS"
            count = struct.unpack_from("<I", request.body)[0]
            peer.reply(request, struct.pack("<II", count, 0) + b"\xff" * (count // 8)
                       + (bytes([2 ** (count % 8) - 1]) if count % 8 else b""))


@pytest.mark.parametrize(
    "buffer",
    [
        bytearray(len(DATA)),
        memoryview(bytearray(len(DATA))),
        array.array("H", bytes(len(DATA))),
        numpy.zeros((4, len(DATA) // 16), numpy.float32),
        numpy.zeros(len(DATA) + 100, numpy.uint8)[50 : 50 + len(DATA)],
        mmap.mmap(-1, len(DATA)),
        Tensor(len(DATA) // 2),
    ],
    ids=["bytearray", "memoryview", "array", "numpy", "numpy slice", "mmap", "tensor"],
)
def test_bytes_arrive_in_any_contiguous_memory(buffer):
    with FakeServer(serve_data) as server, Client(server.address) as client:
        assert client.get_into([Get(KEY, buffer)])[0].hit
    assert bytes(readable_view(buffer)) == DATA


@pytest.mark.parametrize(
    ("buffer", "field"),
    [
        (b"read-only", "read-only"),
        (numpy.zeros((8, 8))[:, ::2], "strided"),
        (numpy.zeros((8, 8)).T, "strided"),
        (Tensor(4, device="cuda"), "on the CPU"),
        (Tensor(4, contiguous=False), "strided"),
        (Interface((4,), strides=(8,)), "strided"),
        (Interface((4,), readonly=True), "read-only"),
        (object(), "object"),
        ("text", "str"),
    ],
)
def test_memory_that_cannot_be_received_into_is_refused(buffer, field):
    with pytest.raises(FieldError, match=field):
        writable_view(buffer)


def test_views_share_the_memory_of_their_owner():
    tensor, interface = Tensor(8), Interface((3, 5))
    writable_view(tensor)[:4] = b"abcd"
    assert bytes(tensor.memory[:4]) == b"abcd"
    view = writable_view(interface)
    assert len(view) == 30
    view[0] = 7
    assert interface.memory[0] == 7
    assert [len(piece) for piece in gathered_views([b"ab", b"", tensor])] == [2, 16]


def test_views_keep_their_owner_alive():
    import gc
    import weakref

    tensor = Tensor(8)
    gone = weakref.ref(tensor)
    view = writable_view(tensor)
    del tensor
    gc.collect()
    assert gone() is not None
    del view
    gc.collect()
    assert gone() is None


def test_a_forked_child_dials_for_itself_and_the_parent_goes_on():
    with FakeServer(serve_data) as server, Client(server.address) as client:
        assert client.get(KEY) == DATA
        inherited = [connection._socket for connection in client._streams._every]
        child = os.fork()
        if child == 0:
            status = 1
            try:
                dropped = [sock.fileno() for sock in inherited] == [-1]
                status = 0 if dropped and client.get(KEY) == DATA else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.get(KEY) == DATA
        assert server.connections == 2


def test_many_threads_share_the_streams():
    outcomes = []

    def use():
        for _ in range(20):
            outcomes.append(client.get(KEY) == DATA and client.exists([KEY] * 9) == [True] * 9)

    with FakeServer(serve_data) as server, Client(server.address, streams=3) as client:
        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert outcomes == [True] * 160 and server.connections <= 3


def test_a_call_that_waits_for_a_key_does_not_hold_up_others():
    stored = threading.Event()

    def script(peer):
        peer.hello()
        request = peer.receive()
        if request.op == "GET":
            assert struct.unpack_from("<II", request.body) == (1, 1)
            assert stored.wait(10)
            peer.reply_get(request, [DATA])
        else:
            peer.reply(request, struct.pack("<II", 1, 0) + b"\0")
            stored.set()
        peer.receive()

    with FakeServer(script) as server, Client(server.address, streams=1) as client:
        buffer = bytearray(len(DATA))
        results = []
        waiter = threading.Thread(
            target=lambda: results.extend(client.get_into([Get(KEY, buffer)], wait=True)))
        waiter.start()
        assert client.exists([KEY]) == [False]
        waiter.join(10)
        assert results[0].hit and buffer == DATA


def test_a_busy_stream_is_waited_for_until_the_deadline():
    release = threading.Event()

    def script(peer):
        peer.hello()
        peer.receive()
        release.wait(20)

    with FakeServer(script) as server, Client(server.address, streams=1) as client:
        failures = []

        def hold():
            try:
                client.exists([KEY], timeout=5)
            except (ConnectionLost, DeadlineExceeded) as error:
                failures.append(error)

        holder = threading.Thread(target=hold)
        holder.start()
        while server.connections == 0:
            threading.Event().wait(0.001)
        with pytest.raises(DeadlineExceeded):
            client.exists([KEY], timeout=0.2)
        release.set()
        holder.join(10)
        assert len(failures) == 1


def test_a_closed_client_says_so():
    with FakeServer(serve_data) as server:
        client = Client(server.address)
        assert client.get(KEY) == DATA
        client.close()
        with pytest.raises(ConnectionLost):
            client.get(KEY)


def test_a_cancelled_get_leaves_its_buffer_and_the_connection_alone():
    halfway, cancelled = threading.Event(), threading.Event()

    def script(peer):
        peer.hello()
        request = peer.expect("GET")
        body, payload = get_parts([DATA])
        peer.reply(request, body, payload[:5000], more=True)
        halfway.set()
        assert cancelled.wait(10)
        peer.reply(request, b"", payload[5000:])
        serve_rest(peer)

    def serve_rest(peer):
        while True:
            peer.reply_get(peer.expect("GET"), [DATA])

    async def use(address):
        async with AsyncClient(address, streams=1) as client:
            buffer, later = bytearray(len(DATA)), bytearray(len(DATA))
            call = asyncio.ensure_future(client.get_into([Get(KEY, buffer)]))
            await asyncio.to_thread(halfway.wait, 10)
            # Let the loop take in what was sent before the call is cancelled.
            while not any(buffer):
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            taken = bytes(buffer)
            cancelled.set()
            result = (await client.get_into([Get(KEY, later)]))[0]
            assert result.hit and later == DATA
            assert bytes(buffer) == taken

    with FakeServer(script) as server:
        asyncio.run(use(server.address))
        assert server.connections == 1


def test_a_cancelled_put_is_aborted():
    begun = threading.Event()
    seen = []

    def script(peer):
        peer.hello(requests=2)
        begin = peer.expect("PUT_BEGIN")
        begun.set()
        while True:
            request = peer.receive()
            seen.append(request.op)
            if request.op == "PUT_ABORT":
                assert struct.unpack("<Q", request.body) == (begin.id,)
                peer.reply(begin, struct.pack("<B7xQ", 1, 0))
                peer.reply(request)
            elif request.op == "EXISTS":
                peer.reply(request, struct.pack("<II", 1, 0) + b"\0")

    async def use(address):
        async with AsyncClient(address, streams=1) as client:
            # Larger than what the sockets hold, so that the call cannot finish sending at once.
            call = asyncio.ensure_future(client.put_from([Put(KEY, bytes(200 << 20))]))
            await asyncio.to_thread(begun.wait, 10)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await client.exists([KEY], timeout=20) == [False]

    with FakeServer(script) as server:
        asyncio.run(use(server.address))
        assert "PUT_COMMIT" not in seen and "PUT_ABORT" in seen


def test_an_asyncio_call_notices_a_close_that_its_loop_has_not_seen_yet():
    received, closed = threading.Event(), threading.Event()

    def script(peer):
        peer.hello()
        if peer.index == 0:
            peer.reply_get(peer.expect("GET"), [DATA])
            assert received.wait(10)
            peer.sock.close()
            closed.set()
            return
        peer.reply(peer.expect("PURGE"), struct.pack("<QQ", 3, 300))

    async def use(address):
        async with AsyncClient(address, streams=1) as client:
            assert await client.get(KEY) == DATA
            received.set()
            # Holds the loop up on purpose: it must not hear of the close before the next call.
            assert closed.wait(10)
            assert await client.purge(namespace=True) == (3, 300)

    with FakeServer(script) as server:
        asyncio.run(use(server.address))


def test_many_asyncio_calls_share_one_connection():
    async def use(address):
        async with AsyncClient(address, streams=1) as client:
            calls = [client.get(KEY) for _ in range(50)]
            calls += [client.exists([KEY] * 17) for _ in range(50)]
            outcomes = await asyncio.gather(*calls)
            assert outcomes == [DATA] * 50 + [[True] * 17] * 50

    with FakeServer(serve_data) as server:
        asyncio.run(use(server.address))
        assert server.connections == 1


def test_pieces_of_an_object_are_verified_as_a_whole():
    def piece(data):
        return GetResult(True, MissCause.NONE, len(data), len(DATA), xxh3(DATA))

    verifier = ObjectVerifier()
    for start in range(0, len(DATA), 1000):
        assert not verifier.complete
        view = memoryview(DATA)[start : start + 1000]
        verifier.feed(view, piece(view))
    assert verifier.complete and verifier.matches()
    verifier.check()
    wrong = ObjectVerifier(xxh3(DATA), len(DATA))
    wrong.feed(DATA[::-1])
    assert wrong.complete and not wrong.matches()
    with pytest.raises(CorruptPayload):
        wrong.check()
    short = ObjectVerifier(xxh3(DATA), len(DATA))
    short.feed(DATA[:-1])
    assert not short.matches()
    with pytest.raises(CorruptPayload):
        short.feed(b"x", GetResult(True, MissCause.NONE, 1, len(DATA), 1))
