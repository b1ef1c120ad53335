"""Both clients over memory that a scripted server shares: what moves, and what is refused."""

import asyncio
import os
import struct
import threading

import pytest
from fake_memory import LEASE, SEAL_GROW, SharedServer, Slab, Store, in_place_body, memory
from fake_server import CLIENTS
from framing import OPS, RESPONSE, error_body, header

from kdn import FieldError, Get, Key, MissCause, Part, ProtocolError, Put

KEY = Key.opaque(b"key")
DATA = bytes(range(256)) * 300


@pytest.fixture(params=CLIENTS)
def make(request):
    return CLIENTS[request.param]


@pytest.fixture
def slab():
    slab = Slab(7)
    yield slab
    slab.close()


def memory_files():
    """How many descriptors of a server's memory this process has."""
    targets = []
    for number in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return sum(target.startswith("/memfd:test") for target in targets)


def test_bytes_are_copied_from_a_slab_that_is_mapped_once(make, slab, tmp_path):
    place = slab.add(DATA)
    released = threading.Event()

    def script(peer):
        peer.hello()
        for number in range(3):
            peer.reply_in_place(peer.expect("GET"), [(slab, [place], DATA)])
            if number == 0:
                peer.pass_slab(slab)
            peer.expect_release()
        released.set()
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address, streams=1) as client:
        buffer = bytearray(len(DATA))
        result = client.get_into([Get(KEY, buffer)])[0]
        assert result.hit and result.nbytes == len(DATA) and buffer == DATA
        assert client.get(KEY) == DATA
        assert client.get(KEY) == DATA
        assert released.wait(10)
        assert client.counters.hits == 3 and server.connections == 1


def test_pieces_misses_and_several_slabs_in_one_answer(make, slab, tmp_path):
    other = Slab(9)
    first, second = slab.add(DATA[:5000]), slab.add(DATA[5000:])
    whole = other.add(DATA)

    def script(peer):
        peer.hello()
        hits = [(slab, [first, second], DATA), None, (other, [whole], DATA)]
        peer.reply_in_place(peer.expect("GET"), hits)
        peer.pass_slab(slab)
        peer.pass_slab(other)
        peer.expect_release()
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address) as client:
        results = client.get_into([Get(KEY), Get(KEY), Get(KEY)])
        assert [result.hit for result in results] == [True, False, True]
        assert results[0].data == DATA and results[2].data == DATA
    other.close()


def test_a_part_is_checked_with_the_checksum_of_what_was_sent(make, slab, tmp_path):
    place = slab.add(DATA)

    def script(peer):
        peer.hello()
        body = bytearray(in_place_body([(slab, [place], DATA)]))
        struct.pack_into("<Q", body, 16, len(DATA) * 2)
        struct.pack_into("<Q", body, 32, 1)
        peer.reply_placed(peer.expect("GET"), bytes(body))
        peer.pass_slab(slab)
        peer.expect_release()
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address) as client:
        result = client.get_into([Get(KEY, part=Part(0, 1, 0, 1))])[0]
        assert result.hit and result.data == DATA


def test_bytes_that_are_not_those_stored_are_a_miss(make, slab, tmp_path):
    place = slab.add(DATA)

    def script(peer):
        peer.hello()
        slab.write(place[0] + 500, b"\xff\xfe")
        peer.reply_in_place(peer.expect("GET"), [(slab, [place], DATA)])
        peer.pass_slab(slab)
        peer.expect_release()
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address) as client:
        result = client.get_into([Get(KEY, bytearray(len(DATA)))])[0]
        assert not result.hit and result.cause is MissCause.CORRUPT
        assert client.counters.misses[MissCause.CORRUPT] == 1


def hostile(name, slab, place):
    """(body of the answer, what is passed with MAP_SLAB, its length) of each lie."""
    good = in_place_body([(slab, [place], DATA)])
    lies = {
        "an extent behind the slab": in_place_body([(slab, [(slab.size - 5, len(DATA))], DATA)]),
        "an offset of 2^64 - 1": in_place_body([(slab, [(2**64 - 1, len(DATA))], DATA)]),
        "extents of fewer bytes": in_place_body([(slab, [(0, len(DATA) - 1)], DATA)]),
        "extents of more bytes": in_place_body([(slab, [place, (0, 1)], DATA)]),
        "no extents": in_place_body([(slab, [], DATA)]),
        "no lease": in_place_body([(slab, [place], DATA)], lease_id=0, lease_ms=0),
        "a lease of MATCH": in_place_body([(slab, [place], DATA)], lease_id=5),
        "a body that ends early": good[:-8],
        "bytes behind the body": good + bytes(8),
    }
    passed = {
        "no descriptor": ([], slab.size),
        "two descriptors": ([slab.number, slab.number], slab.size),
        "a longer slab than its memory": ([slab.number], slab.size * 2),
        "a shorter slab than its memory": ([slab.number], slab.size // 2),
        "an empty slab": ([slab.number], 0),
    }
    return lies.get(name, good), *passed.get(name, ([slab.number], slab.size))


@pytest.mark.parametrize(
    "lie",
    [
        "an extent behind the slab", "an offset of 2^64 - 1", "extents of fewer bytes",
        "extents of more bytes", "no extents", "no lease", "a lease of MATCH",
        "a body that ends early", "bytes behind the body", "no descriptor", "two descriptors",
        "a longer slab than its memory", "a shorter slab than its memory", "an empty slab",
    ],
)
def test_lies_about_memory_are_protocol_errors_and_leak_nothing(make, slab, tmp_path, lie):
    place = slab.add(DATA)
    body, numbers, size = hostile(lie, slab, place)

    def script(peer):
        peer.hello()
        if peer.index == 0:
            peer.reply_placed(peer.expect("GET"), body)
            peer.reply_passing(peer.expect("MAP_SLAB"), struct.pack("<Q", size), numbers)
            peer.receive()
            return
        peer.reply_in_place(peer.expect("GET"), [(slab, [place], DATA)])
        while (request := peer.receive()).op == "MAP_SLAB":
            peer.reply_passing(request, struct.pack("<Q", slab.size), [slab.number])
        assert request.op == "RELEASE"
        peer.reply(request)

    with SharedServer(script, tmp_path) as server, make(server.address, streams=1) as client:
        with pytest.raises(ProtocolError):
            client.get(KEY)
        assert client.get(KEY) == DATA
    assert memory_files() == 1, "only the server's own is open"


@pytest.mark.parametrize("passed", ["memory that may shrink", "no memory at all"])
def test_memory_that_could_be_cut_off_is_never_mapped(make, slab, tmp_path, passed):
    number = memory(slab.size, SEAL_GROW) if passed == "memory that may shrink" else os.open(
        "/dev/zero", os.O_RDONLY
    )
    place = slab.add(DATA)

    def script(peer):
        peer.hello()
        peer.reply_in_place(peer.expect("GET"), [(slab, [place], DATA)])
        peer.reply_passing(peer.expect("MAP_SLAB"), struct.pack("<Q", slab.size), [number])
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address, streams=1) as client:
        with pytest.raises(ProtocolError):
            client.get(KEY)
    os.close(number)


def test_a_descriptor_with_another_answer_is_a_protocol_error(make, slab, tmp_path):
    def script(peer):
        peer.hello()
        peer.reply_passing(peer.expect("EXISTS"), struct.pack("<II", 0, 0), [slab.number])
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address, streams=1) as client:
        with pytest.raises(ProtocolError):
            client.ping()
        assert memory_files() == 1


def test_an_answer_in_another_place_than_asked_is_a_protocol_error(make, slab, tmp_path):
    def script(peer):
        peer.hello()
        peer.reply_get(peer.expect("GET"), [DATA])
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address, streams=1) as client:
        with pytest.raises(ProtocolError):
            client.get(KEY)


def test_what_cannot_be_mapped_or_is_over_the_credit_is_asked_for_inline(make, slab, tmp_path):
    place = slab.add(DATA)

    def script(peer):
        peer.hello()
        body = bytearray(in_place_body([(slab, [place], DATA), None]))
        body[49] = 9
        peer.reply_placed(peer.expect("GET"), bytes(body))
        peer.refuse(peer.expect("MAP_SLAB"), 4, retry=1)
        seen = set()
        for _ in range(3):
            request = peer.receive()
            seen.add(request.op)
            if request.op == "GET":
                assert not peer.placed
                peer.reply_get(request, [DATA])
            else:
                peer.reply(request)
        assert seen == {"GET", "RELEASE"}
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address, streams=1) as client:
        results = client.get_into([Get(KEY), Get(KEY)])
        assert [bytes(result.data) for result in results] == [DATA, DATA]


def test_a_server_without_memory_to_share_gets_back_what_is_mapped(make, slab, tmp_path):
    other = Slab(9)
    place, theirs = slab.add(DATA), other.add(DATA[::-1])

    def script(peer):
        peer.hello()
        if peer.index == 0:
            peer.reply_in_place(peer.expect("GET"), [(slab, [place], DATA)])
            peer.pass_slab(slab)
            peer.expect_release()
            peer.reply_in_place(peer.expect("GET"), [(other, [theirs], DATA[::-1])])
            peer.refuse(peer.expect("MAP_SLAB"), 4, retry=1)
            assert peer.expect("RELEASE").body == struct.pack("<Q", LEASE | 1)
            request = peer.expect("GET")
            assert not peer.placed
            peer.reply_get(request, [DATA[::-1]])
            with pytest.raises((EOFError, ConnectionError)):
                peer.receive()
            return
        peer.reply_in_place(peer.expect("GET"), [(slab, [place], DATA)])
        peer.pass_slab(slab)
        peer.expect_release()
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address, streams=1) as client:
        assert client.get(KEY) == DATA
        assert client.get(KEY) == DATA[::-1]
        assert client.get(KEY) == DATA
        assert server.connections == 2
    other.close()


@pytest.mark.parametrize("when", ["idle", "asked"])
def test_a_server_that_wants_its_slabs_back_is_left_and_asked_anew(make, slab, tmp_path, when):
    place = slab.add(DATA)

    def script(peer):
        peer.hello()
        peer.reply_in_place(peer.expect("GET"), [(slab, [place], DATA)])
        peer.pass_slab(slab)
        peer.expect_release()
        if peer.index == 0:
            if when == "asked":
                peer.expect("GET")
            body = error_body(1, "slabs", 0, 0, "let go of them")
            peer.sock.sendall(header(OPS["GOAWAY"], RESPONSE, 0, 4, body, 0, 0) + body)
            return
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address, streams=1) as client:
        assert client.get(KEY) == DATA
        # Whether it is still idle when the server speaks or not, it comes to the same.
        assert client.get(KEY) == DATA
        assert server.connections == 2


def test_a_buffer_too_small_is_a_miss_and_maps_nothing(make, slab, tmp_path):
    place = slab.add(DATA)

    def script(peer):
        peer.hello()
        peer.reply_in_place(peer.expect("GET"), [(slab, [place], DATA)])
        peer.expect_release()
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address) as client:
        result = client.get_into([Get(KEY, bytearray(70_000))])[0]
        assert not result.hit and result.cause is MissCause.BUFFER_TOO_SMALL


@pytest.mark.parametrize("window_bytes", [4096, 12288, 1 << 20])
def test_stores_go_through_the_window_which_is_used_again_when_it_is_free(
    make, tmp_path, window_bytes
):
    datas = [os.urandom(size) for size in (1, 4095, 70_001, 12_288, 300_000)]
    store = Store(window_bytes)

    def script(peer):
        peer.hello(frame=65536)
        store.serve(peer, len(datas))
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address, streams=1) as client:
        puts = [Put(Key.opaque(bytes([i])), [data[:9], data[9:]]) for i, data in enumerate(datas)]
        results = client.put_from(puts, timeout=30)
        assert [result.state for result in results] == ["published"] * len(datas)
    assert sorted(store.objects) == sorted(datas)
    assert (store.pings > 0) == (window_bytes < 1 << 20)
    store.close()


def test_without_a_window_stores_go_inline(make, tmp_path):
    def script(peer):
        peer.hello()
        peer.refuse(peer.expect("OPEN_WINDOW"), 4, retry=1)
        for _ in range(2):
            begin = peer.expect("PUT_BEGIN")
            peer.reply(begin, struct.pack("<B7xQ", 1, 0))
            assert peer.expect("PUT_DATA").payload == DATA
            commit = peer.expect("PUT_COMMIT")
            peer.reply(commit, struct.pack("<B7x", 1) + commit.body[8:])
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address, streams=1) as client:
        assert client.put(KEY, DATA).state == "published"
        assert client.put(KEY, DATA).state == "published"


def test_a_restarted_server_has_new_slabs_under_old_ids(make, slab, tmp_path):
    renewed = Slab(7)
    slab.add(DATA)
    place = renewed.add(DATA[::-1])

    def script(peer):
        peer.hello(server=peer.index)
        mine, data = (slab, DATA) if peer.index == 0 else (renewed, DATA[::-1])
        peer.reply_in_place(peer.expect("GET"), [(mine, [place], data)])
        peer.pass_slab(mine)
        peer.expect_release()

    with SharedServer(script, tmp_path) as server, make(server.address, streams=1) as client:
        assert client.get(KEY) == DATA
        assert client.get(KEY) == DATA[::-1]
        assert server.connections == 2
    renewed.close()


def test_a_server_that_goes_while_slabs_are_mapped_is_asked_again(make, slab, tmp_path):
    place = slab.add(DATA)

    def script(peer):
        peer.hello()
        peer.reply_in_place(peer.expect("GET"), [(slab, [place], DATA)])
        if peer.index == 0:
            peer.expect("MAP_SLAB")
            return
        peer.pass_slab(slab)
        peer.expect_release()
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address, streams=1) as client:
        assert client.get(KEY) == DATA
        assert server.connections == 2


def test_a_link_that_there_is_not_is_told(make):
    with pytest.raises(FieldError, match="link is 'ipc'"):
        make("127.0.0.1:1", link="ipc")


def test_a_cancelled_get_gives_its_lease_back_and_maps_nothing(slab, tmp_path):
    place = slab.add(DATA)
    asked, cancelled, released = threading.Event(), threading.Event(), threading.Event()

    def script(peer):
        peer.hello()
        request = peer.expect("GET")
        asked.set()
        assert cancelled.wait(10)
        peer.reply_in_place(request, [(slab, [place], DATA)])
        peer.expect_release()
        released.set()
        peer.reply(peer.expect("EXISTS"), struct.pack("<II", 0, 0))
        peer.receive()

    buffer = bytearray(len(DATA))
    with SharedServer(script, tmp_path) as server:
        with CLIENTS["asyncio"](server.address, streams=1) as client:

            async def give_up():
                call = asyncio.ensure_future(client.inner.get_into([Get(KEY, buffer)]))
                await asyncio.get_running_loop().run_in_executor(None, asked.wait, 10)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                cancelled.set()

            client.run(give_up())
            assert released.wait(10)
            client.ping()
            assert server.connections == 1 and buffer == bytes(len(DATA))
