"""Fidelity against the real daemon: each class over each link, never coarser than asked for."""

from __future__ import annotations

import numpy as np
import pytest
from fidelity_site import (  # noqa: F401 (fixtures among them)
    CHUNKS,
    CHUNK_BYTES,
    CLASSES,
    DISTANCE_MAX,
    HEADS,
    LAYERS,
    Site,
    distance,
    kdnd_with_chain,
    kernels,
    make,
    own_profiles,
    sites,
    values_of,
)

from kdn import FieldError, Get, MissCause, Part

LINKS = ("tcp", "unix", "shm")
RAW_BYTES = CHUNKS * CHUNK_BYTES


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", CLASSES)
def test_a_chain_comes_in_its_class_over_each_link(sites, make, name: str, link: str) -> None:
    site = sites(name)
    with make(site.address(link), fidelity=name, link=link) as client:
        gets = site.gets()
        found = client.get_into(gets)
        again = client.get_into([Get(key) for key in site.keys])
    assert values_of(found) == values_of(again) == [(True, site.codec)] * CHUNKS
    assert sum(row.wire_bytes for row in found) < RAW_BYTES * (0.7 if name == "exact" else 0.3)
    for get, row, more, stored in zip(gets, found, again, site.stored):
        assert row.nbytes == row.object_bytes == CHUNK_BYTES
        assert bytes(more.data) == bytes(get.buffer)
        assert distance(get.buffer, stored) <= (0 if name == "exact" else DISTANCE_MAX)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", ["exact", "small"])
def test_without_a_fidelity_the_daemon_decodes(sites, make, name: str, link: str) -> None:
    site = sites(name)
    with make(site.address(link), link=link) as client:
        gets = site.gets()
        found = client.get_into(gets)
    assert values_of(found) == [(True, 0)] * CHUNKS
    for get, stored in zip(gets, site.stored):
        assert distance(get.buffer, stored) <= (0 if name == "exact" else DISTANCE_MAX)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("fidelity", ["exact", "high", "balanced"])
def test_what_is_kept_coarser_than_is_asked_for_is_inexact(
    sites, make, fidelity: str, link: str
) -> None:
    site = sites("small")
    with make(site.address(link), fidelity=fidelity, link=link) as client:
        whole = client.get_into(site.gets())
        ranges = client.get_into([Get(key, ranges=[(64, 4096)]) for key in site.keys])
        parts = client.get_into([Get(key, part=Part(0, 1, 0, 1)) for key in site.keys])
    assert {row.cause for row in (*whole, *ranges, *parts)} == {MissCause.INEXACT}
    assert not any(row.hit for row in (*whole, *ranges, *parts))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("fidelity", ["small", "archive"])
def test_parts_of_what_is_kept_in_the_class_asked_for_come_out_of_the_whole(
    sites, make, fidelity: str, link: str
) -> None:
    site = sites("small")
    part, ranges = Part(1, 2, 1, 1), [(64, 4096), (CHUNK_BYTES - 8, 8)]
    with make(site.address(link), fidelity=fidelity, link=link) as client:
        whole = [bytes(row.data) for row in client.get_into([Get(key) for key in site.keys])]
        items = [
            each
            for key in site.keys
            for each in (Get(key, part=part), Get(key, bytearray(5000), ranges=ranges))
        ]
        found = client.get_into(items)
        hurried_ones = client.get_into(items, deadline=SECONDS, bandwidth=1e9, timeout=100.0)
    for some in (found, hurried_ones):
        assert all(row.hit for row in some)
        for number, data in enumerate(whole):
            values = np.frombuffer(data, np.uint16).reshape(LAYERS, 2, HEADS, -1)
            assert bytes(some[2 * number].data) == values[1:3, :, 1:2].tobytes()
            assert bytes(items[2 * number + 1].buffer[:4096]) == data[64:4160]
            assert some[2 * number + 1].nbytes == 4104
            assert bytes(items[2 * number + 1].buffer[4096:4104]) == data[-8:]


def test_a_lease_holds_nothing_that_a_loss_went_into_unless_that_was_asked_for(sites) -> None:
    site = sites("small")
    items = [Get(key) for key in site.keys]
    with site.client("high", "shm") as client, client.lease(items) as leased:
        assert {row.cause for row in leased.results} == {MissCause.INEXACT}
    with site.client(None, "shm") as client, client.lease(items) as leased:
        assert all(row.hit for row in leased.results)


@pytest.mark.parametrize("fidelity", ["small", "archive"])
def test_what_is_kept_finer_than_is_asked_for_comes_as_it_is(sites, make, fidelity: str) -> None:
    site = sites("high")
    with make(site.tcp, fidelity=fidelity, link="tcp") as client:
        assert values_of(client.get_into(site.gets())) == [(True, 2)] * CHUNKS


@pytest.mark.parametrize("fidelity", [None, "exact", "high", "small"])
def test_whole_objects_and_parts_of_them_go_in_one_call(sites, make, fidelity) -> None:
    site = sites("exact")
    with make(site.tcp, fidelity=fidelity, link="tcp") as client:
        items = [Get(site.keys[0]), Get(site.keys[1], ranges=[(10, 100)]), Get(site.keys[2])]
        found = client.get_into(items)
    expected = 0 if fidelity is None else 1
    assert values_of(found) == [(True, expected), (True, 0), (True, expected)]
    assert bytes(found[0].data) == site.stored[0]
    assert bytes(found[1].data) == site.stored[1][10:110]
    assert bytes(found[2].data) == site.stored[2]


# Deadlines: numbers such that seconds of delay change nothing

SECONDS = 50.0
BYTES_A_SECOND = 12_000


def hurried(client, site: Site, **more):
    hints = {"deadline": SECONDS, "bandwidth": BYTES_A_SECOND, "timeout": 100.0, **more}
    return client.get_into(site.gets(), **hints)


@pytest.mark.parametrize("link", ["tcp", "unix"])
def test_a_deadline_that_raw_bytes_miss_is_met_by_a_prefix_and_the_rest_is_to_be_computed(
    make, link: str, kdnd_with_chain: Site
) -> None:
    site = kdnd_with_chain
    with make(site.address(link), fidelity="small", link=link) as client:
        found = hurried(client, site, prefill_rate=1e6)
        unhurried = client.get_into(site.gets(), deadline=SECONDS, bandwidth=1e9, timeout=100.0)
    room = int(SECONDS * BYTES_A_SECOND) // CHUNK_BYTES
    assert values_of(found) == [(True, 0)] * room + [(False, 0)] * (CHUNKS - room)
    assert {row.cause for row in found[room:]} == {MissCause.RECOMPUTE}
    assert all(row.hit for row in unhurried)


@pytest.mark.parametrize("link", ["tcp", "unix"])
def test_a_deadline_that_raw_bytes_miss_is_met_by_encoded_ones(sites, make, link: str) -> None:
    site = sites("small")
    assert RAW_BYTES > SECONDS * BYTES_A_SECOND
    with make(site.address(link), fidelity="small", link=link) as client:
        assert values_of(hurried(client, site)) == [(True, 4)] * CHUNKS


def test_what_is_computed_sooner_than_sent_is_left_to_the_engine(sites, make) -> None:
    site = sites("small")
    with make(site.tcp, fidelity="small", link="tcp") as client:
        found = hurried(client, site, deadline=5.0, bandwidth=10, prefill_rate=1e6)
    assert {row.cause for row in found} == {MissCause.RECOMPUTE}


def test_over_shared_memory_nothing_travels_and_all_comes(sites, make, kdnd_with_chain) -> None:
    for site, codec in ((sites("high"), 2), (kdnd_with_chain, 0)):
        with make(site.unix, fidelity="high", link="shm") as client:
            found = hurried(client, site, bandwidth=10)
        assert values_of(found) == [(True, codec)] * CHUNKS


def test_speeds_are_measured_and_told(sites, make) -> None:
    site = sites("small")
    with make(site.tcp, fidelity="small", link="tcp") as client:
        inner = getattr(client, "inner", client)
        client.get_into(site.gets())
        assert inner.rates.transforming > 0 and inner.rates.decoding == 0
        # A decoder of one megabyte a second is late with the first chunk; computing takes no time.
        inner.rates.transforming = 1e6
        found = hurried(client, site, deadline=0.1, bandwidth=1e9, prefill_rate=1e6)
    assert {row.cause for row in found} == {MissCause.RECOMPUTE}


@pytest.mark.parametrize(
    "wrong",
    [
        {"deadline": 0.0},
        {"deadline": float("inf")},
        {"deadline": 1.0, "bandwidth": -1.0},
        {"bandwidth": 1e6},
        {"prefill_rate": 1e3},
        {"deadline": 1.0, "wait": True},
    ],
)
def test_a_hurry_that_makes_no_sense_is_refused(sites, make, wrong) -> None:
    site = sites("high")
    with make(site.tcp, link="tcp") as client, pytest.raises(FieldError):
        client.get_into(site.gets(), **wrong)
