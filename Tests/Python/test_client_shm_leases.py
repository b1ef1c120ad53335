"""Leases in place: views of the daemon's memory, and what ends them."""

import gc
import os
import struct
import threading
import time
import weakref

import numpy
import pytest
import torch
from fake_memory import LEASE, SharedServer, Slab

from kdn import Client, FieldError, Get, Key, LeaseExpired, LinkUnavailable, MissCause
from kdn.mapping import Mapping
from kdn.slabs import UNUSED_SECONDS_MAX, SlabCache, Window

KEY = Key.opaque(b"key")
DATA = bytes(range(256)) * 300


@pytest.fixture
def slab():
    slab = Slab(7)
    yield slab
    slab.close()


class Script:
    """Grants one lease on DATA and waits until it is given back."""

    def __init__(self, slab, lease_ms=5000, pieces=1, checksum=None):
        self.slab, self.lease_ms, self.checksum = slab, lease_ms, checksum
        size = len(DATA) // pieces
        self.extents = [slab.add(DATA[at : at + size]) for at in range(0, len(DATA), size)]
        self.released = threading.Event()
        self.asked_ms = None

    def __call__(self, peer):
        peer.hello()
        request = peer.expect("GET")
        (self.asked_ms,) = struct.unpack_from("<I", request.body, len(request.body) - 8)
        peer.reply_in_place(
            request, [(self.slab, self.extents, DATA), None], LEASE | 3, self.lease_ms,
            self.checksum,
        )
        peer.pass_slab(self.slab)
        peer.expect_release(LEASE | 3)
        self.released.set()
        peer.receive()


@pytest.fixture
def start(slab, tmp_path):
    """A server with one lease to grant, and a client of it."""
    opened = []

    def begin(on_error="raise", **options):
        script = Script(slab, **options)
        server = SharedServer(script, tmp_path).__enter__()
        client = Client(server.address, on_error=on_error)
        opened.extend([client, server])
        return script, client

    yield begin
    for each in opened:
        each.__exit__(None, None, None)


def test_a_lease_shows_hits_in_place_and_goes_back_with_its_block(start, slab):
    script, client = start()
    with client.lease([Get(KEY), Get(KEY)], lease_ms=777) as leased:
        assert [result.hit for result in leased.results] == [True, False]
        view, missed = leased.views
        assert view == DATA and view.readonly and missed is None
        assert leased.in_place(0) and not leased.in_place(1)
        slab.write(script.extents[0][0], b"mine")
        assert bytes(view[:4]) == b"mine", "the view is of the memory itself"
        assert leased.valid and 0 < leased.remaining_seconds <= 5
        assert not script.released.is_set()
    assert script.released.wait(10) and script.asked_ms == 777
    assert not leased.valid and client.counters.hits == 1
    with pytest.raises(ValueError, match="released"):
        view[0]


def test_an_array_keeps_the_lease_until_it_is_dropped(start):
    script, client = start()
    with client.lease([Get(KEY), Get(KEY)]) as leased:
        hold = weakref.ref(leased._hold)
        array = leased.numpy(0, "uint16", (-1, 128))
        assert leased.numpy(1) is None
    assert array.tobytes() == DATA and not array.flags.writeable
    with pytest.raises(ValueError):
        array[0, 0] = 1
    part = array[3:]
    del array, leased
    gc.collect()
    assert hold() is not None
    del part
    assert hold() is None
    assert script.released.wait(10)


def test_a_tensor_is_in_place_and_keeps_the_lease(start):
    script, client = start()
    leased = client.lease([Get(KEY), Get(KEY)])
    tensor = leased.torch(0, torch.float32, (2, -1))
    assert leased.torch(1) is None
    expected = torch.frombuffer(bytearray(DATA), dtype=torch.float32).view(2, -1)
    assert torch.equal(tensor.view(torch.int32), expected.view(torch.int32))
    hold = weakref.ref(leased._hold)
    leased.release()
    assert hold() is not None
    del tensor
    assert script.released.wait(10)


class FakeRuntime:
    """CUDA's runtime, as far as pinning goes."""

    def __init__(self, code):
        self.code, self.pinned, self.unpinned = code, [], []

    def cudaHostRegister(self, address, size, flags):
        self.pinned.append((address, size, flags))
        return self.code

    def cudaHostUnregister(self, address):
        self.unpinned.append(address)


@pytest.mark.parametrize("code", [0, 801])
def test_in_a_process_with_cuda_a_slab_is_pinned_while_it_is_mapped(
    start, slab, monkeypatch, code
):
    runtime = FakeRuntime(code)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    script, client = start()
    with client.lease([Get(KEY), Get(KEY)]) as leased:
        assert leased.torch(0, pin=False).numel() == len(DATA) and runtime.pinned == []
        for _ in range(2):
            assert bytes(leased.torch(0).numpy()) == DATA
    address, size, flags = runtime.pinned[0]
    # Refused by the driver it is tried again, registered it is not.
    assert len(runtime.pinned) == (1 if code == 0 else 2) and (size, flags) == (slab.size, 8)
    client._dialler.slabs.renew()
    del leased
    gc.collect()
    assert runtime.unpinned == ([address] if code == 0 else [])


def test_a_dropped_lease_goes_back_without_being_asked(start):
    script, client = start()
    client.lease([Get(KEY), Get(KEY)])
    assert script.released.wait(10)


def test_an_item_in_several_pieces_has_them_in_place_and_is_gathered_for_the_rest(start):
    script, client = start(pieces=3)
    with client.lease([Get(KEY), Get(KEY)]) as leased:
        assert not leased.in_place(0)
        assert b"".join(leased.pieces(0)) == DATA and len(leased.pieces(0)) == 3
        assert leased.pieces(1) == []
        assert leased.view(0) == DATA and leased.view(0).readonly
        assert leased.numpy(0).tobytes() == DATA
    assert script.released.wait(10)


def test_bytes_in_place_that_are_not_those_stored_are_a_miss(start):
    script, client = start(checksum=1)
    with client.lease([Get(KEY), Get(KEY)]) as leased:
        assert leased.results[0].cause is MissCause.CORRUPT
        assert leased.views == [None, None]
    assert script.released.wait(10)


def test_unverified_bytes_are_shown_as_they_are(start):
    script, client = start(checksum=1)
    with client.lease([Get(KEY), Get(KEY)], verify=False) as leased:
        assert leased.view(0) == DATA
    assert script.released.wait(10)


def wait_until_over(leased):
    deadline = time.monotonic() + 10
    while leased.valid:
        assert time.monotonic() < deadline


def test_a_lease_whose_time_is_over_raises_wherever_it_is_used(start):
    script, client = start(lease_ms=60)
    with pytest.raises(LeaseExpired, match="60 ms have passed"):
        with client.lease([Get(KEY), Get(KEY)]) as leased:
            wait_until_over(leased)
            for use in (leased.check, lambda: leased.view(0), lambda: leased.numpy(0)):
                with pytest.raises(LeaseExpired):
                    use()
    assert script.released.wait(10)
    assert client.counters.errors["LeaseExpired"] >= 1


def test_with_errors_as_misses_a_lease_that_is_over_is_a_miss(start):
    script, client = start(on_error="miss", lease_ms=500)
    with client.lease([Get(KEY), Get(KEY)]) as leased:
        array = leased.numpy(0)
        wait_until_over(leased)
        assert leased.check() is False and leased.numpy(0) is None
        assert leased.results[0].cause is MissCause.LEASE_EXPIRED
        assert not leased.results[0].hit
    assert array.tobytes() == DATA, "the memory stays readable"
    del array, leased
    assert script.released.wait(10)


def test_views_outlive_a_daemon_that_dies_and_their_lease_does_not(slab, tmp_path):
    place = slab.add(DATA)
    dead = threading.Event()

    def script(peer):
        peer.hello()
        peer.reply_in_place(peer.expect("GET"), [(slab, [place], DATA)])
        peer.pass_slab(slab)
        dead.wait(10)

    with SharedServer(script, tmp_path) as server, Client(server.address) as client:
        leased = client.lease([Get(KEY)])
        view = leased.view(0)
        assert leased.valid
        dead.set()
        wait_until_over(leased)
        assert view == DATA
        with pytest.raises(LeaseExpired, match="connection has ended"):
            leased.check()
        leased.release()


def test_a_forked_child_has_no_lease_and_does_not_end_the_parents(start):
    script, client = start()
    leased = client.lease([Get(KEY), Get(KEY)])
    array = leased.numpy(0)
    child = os.fork()
    if child == 0:
        # The child must not come back into the tests, whatever happens in it.
        try:
            right = not leased.valid and array.tobytes() == DATA
            del leased, array
            gc.collect()
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert leased.valid and array.tobytes() == DATA
    assert not script.released.is_set()
    del leased, array
    assert script.released.wait(10)


def test_a_connection_to_be_made_anew_is_kept_while_it_holds_a_lease(slab, tmp_path):
    other = Slab(9)
    place, theirs = slab.add(DATA), other.add(DATA)
    released = threading.Event()

    def script(peer):
        peer.hello()
        peer.reply_in_place(peer.expect("GET"), [(slab, [place], DATA)], LEASE | 3)
        peer.pass_slab(slab)
        if peer.index > 0:
            peer.receive()
        peer.reply_in_place(peer.expect("GET"), [(other, [theirs], DATA)], LEASE | 4)
        peer.refuse(peer.expect("MAP_SLAB"), 4, retry=1)
        # The client closes behind the last of them, and is not there for answers.
        for lease_id in (LEASE | 4, LEASE | 3):
            assert peer.expect("RELEASE").body == struct.pack("<Q", lease_id)
        with pytest.raises((EOFError, ConnectionError)):
            peer.receive()
        released.set()

    with SharedServer(script, tmp_path) as server, Client(server.address, streams=1) as client:
        leased = client.lease([Get(KEY)])
        missed = client.lease([Get(KEY)])
        assert missed.results[0].cause is MissCause.UNREACHABLE
        assert leased.valid and leased.view(0) == DATA
        leased.release()
        assert released.wait(10)
        assert client.lease([Get(KEY)]).view(0) == DATA
        assert server.connections == 2
    other.close()


def test_a_lease_needs_shared_memory_and_items_without_buffers(slab, tmp_path):
    def script(peer):
        peer.hello(links=2)
        peer.receive()

    with SharedServer(script, tmp_path) as server, Client(server.address) as client:
        with pytest.raises(LinkUnavailable):
            client.lease([Get(KEY)])
        with pytest.raises(FieldError):
            client.lease([Get(KEY, bytearray(5))])
        with pytest.raises(FieldError):
            client.lease([])
        assert client.link.kind == "unix"
    with SharedServer(script, make_folder(tmp_path)) as server:
        with Client(server.address, on_error="miss") as client:
            leased = client.lease([Get(KEY)])
            assert leased.results[0].cause is MissCause.UNREACHABLE and leased.views == [None]


def make_folder(path):
    folder = path / "other"
    folder.mkdir()
    return folder


# The parts by themselves


def test_slabs_are_forgotten_when_there_are_too_many_or_they_are_long_unused(slab):
    now = 0.0
    cache = SlabCache(limit=3, clock=lambda: now)
    mapping = Mapping(os.dup(slab.number), slab.size)
    for number in range(5):
        cache.keep(b"a", number, mapping)
    assert [cache.find(b"a", number) is mapping for number in range(5)] == [False] * 2 + [True] * 3
    now = UNUSED_SECONDS_MAX + 1
    assert cache.find(b"a", 3) is mapping
    cache.keep(b"a", 9, mapping)
    assert len(cache) == 2 and cache.find(b"a", 4) is None
    cache.keep(b"b", 3, mapping)
    assert len(cache) == 1 and cache.find(b"a", 3) is None


def test_a_window_gives_out_only_what_is_free_in_pieces_that_follow():
    window = Window(memoryview(bytearray(100)))
    assert window.room == 100 and window.take(1, 60) == 0 and window.should_ask
    window.asked(2)
    assert not window.should_ask and window.room == 40
    assert window.take(3, 40) == 60 and window.room == 0
    window.answered(1)
    assert window.room == 0, "the piece was sent with this request's frame, not before"
    window.answered(2)
    assert window.room == 60 and window.take(4, 50) == 0
    window.asked(5)
    window.answered(5)
    assert window.room == 100 and numpy.asarray(window.memory).size == 100
