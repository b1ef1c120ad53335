"""Encoded KV that goes to a taker: decoded and checked, once, in the thread that decoded it."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest
from fidelity_proxy import BitFlip, Gate, Relay
from fidelity_site import (  # noqa: F401 (fixtures among them)
    CHUNKS,
    CHUNK_BYTES,
    DISTANCE_MAX,
    LAYOUT,
    Site,
    distance,
    encoded_bytes,
    kdnd_with_chain,
    kernels,
    make,
    own_profiles,
    sites,
    values_of,
)

from kdn import FieldError, Get, GetResult, Key, MissCause
from kdn.bodies import Descriptor
from kdn.codec.rooms import PlaneFinder, PlaneRooms, RoomsFinder
from kdn.fidelity import terms_of
from kdn.get_job import Delivery, GetEntry, GetJob


class Takers:
    """What was handed over of each chunk, and by which threads."""

    def __init__(self, site: Site) -> None:
        self.taken: list[list[bytes]] = [[] for _ in site.keys]
        self.threads: set[int] = set()
        self.gets = [Get(key, taker=self._taker(n)) for n, key in enumerate(site.keys)]

    def _taker(self, number: int):
        def take(data: memoryview) -> None:
            self.threads.add(threading.get_ident())
            self.taken[number].append(bytes(data))
            # As little as an engine's tensors does anyone else see what becomes of it.
            data[:] = bytes(len(data))

        return take


def finder(find: PlaneFinder) -> RoomsFinder:
    return lambda header: PlaneRooms.found(header, find)


class Rooms:
    """Memory for the planes of every chunk, and what takers are called with."""

    def __init__(self, site: Site) -> None:
        self.planes: list[dict[int, np.ndarray]] = [{} for _ in site.keys]
        self.taken: list[list[int]] = [[] for _ in site.keys]
        self.gets = [
            Get(key, taker=self._taker(n), planes=finder(partial(self.find, n)))
            for n, key in enumerate(site.keys)
        ]

    def _taker(self, number: int):
        return lambda data: self.taken[number].append(len(data))

    def find(self, number: int, shape) -> np.ndarray | None:
        row = shape.byte_count // shape.heads
        room = np.zeros((shape.heads, 2 * row), np.uint8)[:, :row]
        self.planes[number][shape.offset] = room
        return room

    def joined(self, number: int) -> bytes:
        return b"".join(room.tobytes() for _, room in sorted(self.planes[number].items()))


@pytest.mark.parametrize("link", ["tcp", "unix", "shm"])
@pytest.mark.parametrize("name", ["exact", "small"])
def test_takers_get_what_buffers_would(sites, make, name: str, link: str) -> None:
    site = sites(name)
    takers = Takers(site)
    with make(site.address(link), fidelity=name, link=link) as client:
        wanted = site.gets()
        assert values_of(client.get_into(wanted)) == [(True, site.codec)] * CHUNKS
        found = client.get_into(takers.gets)
    assert values_of(found) == [(True, site.codec)] * CHUNKS
    assert takers.taken == [[bytes(get.buffer)] for get in wanted]
    assert [(row.data, row.nbytes) for row in found] == [(None, CHUNK_BYTES)] * CHUNKS
    assert all(0 < row.wire_bytes < CHUNK_BYTES for row in found)
    assert threading.get_ident() not in takers.threads


def test_what_comes_raw_is_in_the_result(kdnd_with_chain, make) -> None:
    takers = Takers(kdnd_with_chain)
    with make(kdnd_with_chain.tcp, fidelity="small", link="tcp") as client:
        found = client.get_into(takers.gets)
    assert [bytes(row.data) for row in found] == kdnd_with_chain.stored
    assert takers.taken == [[]] * CHUNKS


@pytest.mark.parametrize("offset", [20, 2500, 9000])
@pytest.mark.parametrize("receivers", [Takers, Rooms])
def test_a_bit_that_flips_on_the_way_reaches_no_taker(sites, make, receivers, offset: int) -> None:
    site = sites("small")
    takers = receivers(site)
    flip = BitFlip(min(offset, encoded_bytes(site) - 1))
    with (
        Relay(site.tcp, flip) as relay,
        make(relay.address, fidelity="small", link="tcp") as client,
    ):
        found = client.get_into(takers.gets)
    assert flip.flipped
    assert (found[0].hit, found[0].cause) == (False, MissCause.CORRUPT)
    assert values_of(found[1:]) == [(True, site.codec)] * (CHUNKS - 1)
    assert [len(taken) for taken in takers.taken] == [0] + [1] * (CHUNKS - 1)


def test_a_taker_that_raises_makes_a_miss_of_its_object_alone(sites, make) -> None:
    site = sites("high")
    takers = Takers(site)

    def refuse(data: memoryview) -> None:
        raise RuntimeError("no room for it")

    takers.gets[2].taker = refuse
    with make(site.tcp, fidelity="high", link="tcp") as client:
        found = client.get_into(takers.gets)
    assert (found[2].hit, found[2].cause) == (False, MissCause.CORRUPT)
    others = [n for n in range(CHUNKS) if n != 2]
    assert all(found[n].hit and len(takers.taken[n]) == 1 for n in others)


def test_a_connection_that_ends_within_an_object_hands_each_over_once(sites, make) -> None:
    site = sites("small")
    takers = Takers(site)
    gate = Gate(encoded_bytes(site) // 2, cuts=True)
    with (
        Relay(site.tcp, gate) as relay,
        make(relay.address, fidelity="small", link="tcp", streams=1) as client,
    ):
        found = client.get_into(takers.gets)
        assert relay.connections > 1
    assert values_of(found) == [(True, site.codec)] * CHUNKS
    for taken, stored in zip(takers.taken, site.stored, strict=True):
        (data,) = taken
        assert distance(data, stored) <= DISTANCE_MAX


def test_after_the_time_is_up_nothing_is_handed_over(sites, make) -> None:
    site = sites("small")
    with make(site.tcp, fidelity="small", link="tcp") as warm:
        warm.get_into(site.gets()[:1])
    takers = Takers(site)
    gate = Gate(encoded_bytes(site) - 1)
    with (
        Relay(site.tcp, gate) as relay,
        make(relay.address, fidelity="small", link="tcp", on_error="miss", streams=1) as client,
    ):
        (found,) = client.get_into(takers.gets[:1], timeout=1.0)
        gate.open()
        assert values_of(client.get_into(site.gets())) == [(True, site.codec)] * CHUNKS
    assert (found.hit, found.cause) == (False, MissCause.OVER_DEADLINE)
    assert takers.taken[0] == []


@pytest.mark.parametrize("size", [0, CHUNK_BYTES - 1, CHUNK_BYTES])
@pytest.mark.parametrize("name", ["raw", "small"])
def test_what_is_longer_than_was_said_is_a_miss(
    sites, make, kdnd_with_chain, name: str, size: int
) -> None:
    site = kdnd_with_chain if name == "raw" else sites(name)
    takers = Takers(site)
    for get in takers.gets:
        get.size = size
    with make(site.tcp, fidelity="small", link="tcp") as client:
        found = client.get_into(takers.gets)
    fits = size != CHUNK_BYTES - 1
    assert [row.hit for row in found] == [fits] * CHUNKS
    if not fits:
        assert {row.cause for row in found} == {MissCause.BUFFER_TOO_SMALL}
        assert takers.taken == [[]] * CHUNKS


def descriptor(codec: int) -> Descriptor:
    return Descriptor(False, MissCause.NONE, 64, 64 if codec == 0 else 40, 1, 2, codec)


def job_of(entry: GetEntry) -> GetJob:
    delivery = Delivery(terms_of("small"))
    return GetJob([entry], wait=False, verify=True, deadline=9.0, delivery=delivery)


def test_what_came_raw_before_is_gone_once_the_object_comes_encoded() -> None:
    item = Get(Key.layout(bytes(32), LAYOUT.id, LAYOUT.whole()), taker=print)
    entry = GetEntry(item, b"", None, GetResult(False))
    job = job_of(entry)
    assert len(job._room_for(entry, descriptor(0))) == 64
    assert entry.result.data is not None
    assert len(job._room_for(entry, descriptor(4))) == 0
    assert entry.result.data is None


def test_an_attempt_that_was_given_up_says_nothing_of_the_next() -> None:
    class GivenUp:
        settled = False

        def settle(self) -> None:
            self.settled = True

    item = Get(Key.layout(bytes(32), LAYOUT.id, LAYOUT.whole()), bytearray(64))
    entry = GetEntry(item, b"", memoryview(item.buffer), GetResult(False))
    job = job_of(entry)
    entry.decoding = before = GivenUp()
    assert len(job._room_for(entry, descriptor(0))) == 64
    assert before.settled and entry.decoding is None


@pytest.mark.parametrize("link", ["tcp", "shm"])
@pytest.mark.parametrize("name", ["exact", "small"])
def test_planes_are_decoded_where_there_is_memory_for_them(sites, make, name, link) -> None:
    site = sites(name)
    rooms = Rooms(site)
    with make(site.address(link), fidelity=name, link=link) as client:
        wanted = site.gets()
        client.get_into(wanted)
        found = client.get_into(rooms.gets)
    assert values_of(found) == [(True, site.codec)] * CHUNKS
    assert rooms.taken == [[0]] * CHUNKS
    assert [rooms.joined(n) for n in range(CHUNKS)] == [bytes(get.buffer) for get in wanted]


def test_without_memory_for_one_plane_the_taker_gets_all_of_them(sites, make) -> None:
    site = sites("high")
    rooms = Rooms(site)
    rooms.gets[1].planes = finder(lambda shape: None if shape.offset else rooms.find(1, shape))
    with make(site.tcp, fidelity="high", link="tcp") as client:
        found = client.get_into(rooms.gets)
    assert values_of(found) == [(True, site.codec)] * CHUNKS
    assert rooms.taken == [[0] if n != 1 else [CHUNK_BYTES] for n in range(CHUNKS)]


def test_memory_that_does_not_fit_makes_a_miss_of_its_object_alone(sites, make) -> None:
    site = sites("high")
    rooms = Rooms(site)
    rooms.gets[2].planes = finder(lambda shape: np.zeros((shape.heads, 8), np.uint8))
    with make(site.tcp, fidelity="high", link="tcp") as client:
        found = client.get_into(rooms.gets)
    assert (found[2].hit, found[2].cause) == (False, MissCause.CORRUPT)
    assert all(found[n].hit for n in range(CHUNKS) if n != 2)
    assert rooms.taken[2] == []


def test_planes_need_a_taker(sites, make) -> None:
    site = sites("high")
    item = Get(site.keys[0], planes=lambda header: None)
    with make(site.tcp, fidelity="high", link="tcp") as client:
        with pytest.raises(FieldError, match="planes"):
            client.get_into([item])


@pytest.mark.parametrize(
    "more",
    [{"buffer": bytearray(8)}, {"buffer": np.zeros(8, np.uint8)}, {"ranges": [(0, 8)]}],
    ids=["buffer", "array", "ranges"],
)
def test_a_taker_is_for_whole_objects_without_a_buffer(sites, make, more) -> None:
    site = sites("high")
    item = Get(site.keys[0], taker=print, **more)
    with make(site.tcp, fidelity="high", link="tcp") as client:
        with pytest.raises(FieldError, match="taker"):
            client.get_into([item])
