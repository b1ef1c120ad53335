"""Encoded KV on its way: altered, cut off, a few bytes at a time, or late."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from fidelity_proxy import BitFlip, Drip, Gate, Relay
from fidelity_site import (  # noqa: F401 (fixtures among them)
    CHUNKS,
    CHUNK_BYTES,
    DISTANCE_MAX,
    LAYERS,
    distance,
    encoded_bytes,
    kernels,
    make,
    own_profiles,
    sites,
    values_of,
)

from kdn import AsyncClient, MissCause

HEADER, INDEX = 20, 700


@pytest.mark.parametrize("offset", [4, HEADER, INDEX, 2500, 9000])
@pytest.mark.parametrize("name", ["exact", "high", "small"])
def test_a_bit_that_flips_on_the_way_makes_a_miss_and_never_other_bytes(
    sites, make, name: str, offset: int
) -> None:
    site = sites(name)
    flip = BitFlip(min(offset, encoded_bytes(site) - 1))
    with Relay(site.tcp, flip) as relay, make(relay.address, fidelity=name, link="tcp") as client:
        found = client.get_into(site.gets())
        again = client.get_into(site.gets())
    assert flip.flipped
    assert (found[0].hit, found[0].cause) == (False, MissCause.CORRUPT)
    assert values_of(found[1:]) == [(True, site.codec)] * (CHUNKS - 1)
    assert values_of(again) == [(True, site.codec)] * CHUNKS


@pytest.mark.parametrize("name", ["exact", "small"])
@pytest.mark.parametrize("count", [1, 977])
def test_bytes_that_come_a_few_at_a_time_are_decoded_as_they_come(
    sites, make, name: str, count: int
) -> None:
    site = sites(name)
    with (
        Relay(site.tcp, Drip(count)) as relay,
        make(relay.address, fidelity=name, link="tcp", timeout=60.0) as client,
    ):
        gets = site.gets()[:2]
        assert values_of(client.get_into(gets)) == [(True, site.codec)] * 2
    assert distance(gets[1].buffer, site.stored[1]) <= DISTANCE_MAX


def test_the_first_layers_are_decoded_while_the_last_are_on_their_way(sites, make) -> None:
    site = sites("high")
    gate = Gate(encoded_bytes(site) - 1)
    with Relay(site.tcp, gate) as relay, make(relay.address, fidelity="high", link="tcp") as client:
        gets = site.gets()[:1]
        asking = threading.Thread(target=lambda: found.extend(client.get_into(gets)))
        found: list = []
        asking.start()
        assert gate.reached.wait(30)
        ours = memoryview(gets[0].buffer)[: CHUNK_BYTES - CHUNK_BYTES // LAYERS]
        until = time.monotonic() + 30
        while not all(any(ours[at : at + 4096]) for at in range(0, len(ours), 4096)):
            assert time.monotonic() < until, "nothing is decoded before the last byte is there"
        assert not found
        gate.open()
        asking.join(30)
    assert values_of(found) == [(True, 2)]
    assert distance(gets[0].buffer, site.stored[0]) <= DISTANCE_MAX


def test_a_connection_that_ends_within_an_object_is_made_anew(sites, make) -> None:
    site = sites("small")
    gate = Gate(encoded_bytes(site) // 2, cuts=True)
    with (
        Relay(site.tcp, gate) as relay,
        make(relay.address, fidelity="small", link="tcp", streams=1) as client,
    ):
        gets = site.gets()
        found = client.get_into(gets)
        assert relay.connections > 1
    assert values_of(found) == [(True, 4)] * CHUNKS
    for get, stored in zip(gets, site.stored):
        assert distance(get.buffer, stored) <= DISTANCE_MAX


@pytest.mark.parametrize("name", ["high", "small"])
def test_time_that_runs_out_within_an_object_is_a_miss_and_the_buffer_is_left_alone(
    sites, make, name: str
) -> None:
    site = sites(name)
    with make(site.tcp, fidelity=name, link="tcp") as warm:
        warm.get_into(site.gets()[:1])
    gate = Gate(encoded_bytes(site) - 1)
    with (
        Relay(site.tcp, gate) as relay,
        make(relay.address, fidelity=name, link="tcp", on_error="miss", streams=1) as client,
    ):
        gets = site.gets()[:1]
        (found,) = client.get_into(gets, timeout=1.0)
        before = bytes(gets[0].buffer)
        gate.open()
        assert values_of(client.get_into(site.gets())) == [(True, site.codec)] * CHUNKS
        assert bytes(gets[0].buffer) == before
    assert (found.hit, found.cause) == (False, MissCause.OVER_DEADLINE)


def test_a_cancelled_call_leaves_its_buffer_alone_and_its_connection_usable(sites) -> None:
    site = sites("high")
    gate = Gate(encoded_bytes(site) - 1)

    async def run(relay: Relay) -> None:
        async with AsyncClient(relay.address, fidelity="high", link="tcp", streams=1) as client:
            gets = site.gets()[:1]
            asking = asyncio.create_task(client.get_into(gets))
            assert await asyncio.to_thread(gate.reached.wait, 30)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            before = bytes(gets[0].buffer)
            gate.open()
            assert values_of(await client.get_into(site.gets())) == [(True, 2)] * CHUNKS
            assert bytes(gets[0].buffer) == before
            assert relay.connections == 1

    with Relay(site.tcp, gate) as relay:
        asyncio.run(run(relay))
