"""Tickets: what they open, for whom, how often; and links as a client is told of them."""

from __future__ import annotations

import hashlib
import os
import pathlib

import pytest
from kdn import Key, Status, bodies, link_bodies
from kdn.link_bodies import LinkTicket
from kdn.results import Get
from kdn.wire import LinkKind, Op, Place
from raw_connection import Frame, RawConnection
from shared_memory_client import SharedMemoryClient
from shared_memory_site import TOKENS, start_site

OWN_TICKETS = 16


@pytest.fixture
def daemon(tmp_path):
    with start_site(tmp_path / "kdnd.sock") as daemon:
        yield daemon


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "kdnd.sock")


def ask(connection: RawConnection, number: int = 7) -> LinkTicket:
    frame = connection.ask(Op.LINK_TICKET, number, link_bodies.encode_link_ticket())
    assert frame.status == Status.OK, frame.error
    return link_bodies.decode_link_ticket(frame.body)


def show(connection: RawConnection, ticket: LinkTicket, namespace: str = "red") -> Frame:
    body = bodies.encode_hello(namespace, ticket.token, "integration", ticket=True)
    return connection.ask(Op.HELLO, 1, body)


def enter(address: str, namespace: str = "red") -> RawConnection:
    return RawConnection(address).hello(namespace, TOKENS[namespace])


def host_id() -> bytes:
    text = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return hashlib.sha256(text.encode()).digest()[:16]


def test_a_ticket_tells_the_host_and_where_shared_memory_is(daemon, path):
    with enter(daemon.address) as over_tcp:
        ticket = ask(over_tcp)
        assert ticket.host_id == host_id() and 0 < ticket.ms <= 60_000
        kinds = [offer.kind for offer in ticket.offers]
        assert kinds[0] == LinkKind.SHARED_MEMORY and LinkKind.TCP in kinds
        offered = {offer.address for offer in ticket.offers
                   if offer.kind in (LinkKind.SHARED_MEMORY, LinkKind.UNIX)}
        assert offered == {path}
        assert daemon.address in [
            offer.address for offer in ticket.offers if offer.kind == LinkKind.TCP]


def test_a_ticket_opens_its_namespace_on_another_link_once(daemon, path):
    key, data = Key.opaque(b"by token"), os.urandom(100_000)
    with enter(daemon.address) as over_tcp, SharedMemoryClient(path) as first:
        ticket = ask(over_tcp)
        frame = show(first, ticket)
        assert frame.status == Status.OK, frame.error
        first.limits = bodies.decode_hello(frame.body)
        assert first.limits.links & LinkKind.SHARED_MEMORY
        first.store(key, data)
        _, found = first.lease(key)
        (hit,) = found.hits
        _, slab = first.map_slab(hit.slab_id)
        assert b"".join(slab[at : at + count] for at, count in hit.extents) == data
        with RawConnection(daemon.address) as again:
            assert show(again, ticket).status == Status.UNAUTHORISED
        with RawConnection(daemon.address) as made_up:
            wrong = LinkTicket(os.urandom(32), 1, bytes(16), ())
            assert show(made_up, wrong).status == Status.UNAUTHORISED


def test_a_ticket_of_one_namespace_opens_no_other_and_is_used_up_by_trying(daemon, path):
    with enter(daemon.address) as red:
        ticket = ask(red)
        with RawConnection(f"unix://{path}") as other:
            assert show(other, ticket, "blue").status == Status.UNAUTHORISED
        with RawConnection(f"unix://{path}") as late:
            assert show(late, ticket, "red").status == Status.UNAUTHORISED


def test_a_token_is_no_ticket_and_a_ticket_no_token(daemon, path):
    with enter(daemon.address) as red:
        ticket = ask(red)
        with RawConnection(daemon.address) as confused:
            assert confused.try_hello("red", ticket.token).status == Status.UNAUTHORISED
        with RawConnection(f"unix://{path}") as right:
            assert show(right, ticket).status == Status.OK


def test_one_connection_has_so_many_tickets_and_no_more(daemon):
    with enter(daemon.address) as red, enter(daemon.address, "blue") as blue:
        tickets = {ask(red, 100 + number).ticket for number in range(OWN_TICKETS)}
        assert len(tickets) == OWN_TICKETS
        refused = red.ask(Op.LINK_TICKET, 200, link_bodies.encode_link_ticket())
        assert refused.status == Status.BUSY and refused.error.retry_after_ms > 0
        assert ask(blue).ticket not in tickets


def test_a_ticket_cannot_be_had_before_hello(daemon):
    with RawConnection(daemon.address) as stranger:
        frame = stranger.ask(Op.LINK_TICKET, 5, link_bodies.encode_link_ticket())
        assert frame.status == Status.OUT_OF_SEQUENCE


def links_of(address: str) -> LinkKind:
    with enter(address) as connection:
        return LinkKind(connection.limits.links)


def get_in_place(path: str) -> Status:
    with SharedMemoryClient(path).hello("red", TOKENS["red"]) as client:
        item = bodies.encode_get_item(Get(Key.opaque(b"any")))
        body = bodies.encode_get([item], wait=False, verify=True, place=Place.SHARED_MEMORY)
        return client.call(Op.GET, body, place=Place.SHARED_MEMORY).status


def test_hello_tells_shared_memory_where_it_is_and_over_tcp_where_it_would_be(daemon, path):
    assert LinkKind.SHARED_MEMORY in links_of(daemon.address)
    assert LinkKind.SHARED_MEMORY in links_of(f"unix://{path}")
    assert get_in_place(path) == Status.OK


@pytest.mark.parametrize("setting", ["shm=off", f"shm_uids={os.getuid() + 1}"])
def test_who_may_not_share_memory_is_not_offered_it(tmp_path, setting):
    path = str(tmp_path / "other.sock")
    with start_site(path, "--set", setting):
        assert LinkKind.SHARED_MEMORY not in links_of(f"unix://{path}")
        assert get_in_place(path) == Status.UNSUPPORTED
        with SharedMemoryClient(path).hello("red", TOKENS["red"]) as client:
            for op, body in (
                (Op.MAP_SLAB, link_bodies.encode_map_slab(1)),
                (Op.OPEN_WINDOW, link_bodies.encode_open_window(4096)),
            ):
                assert client.call(op, body).status == Status.UNSUPPORTED
            assert client.descriptors == []
            client.store(Key.opaque(b"inline"), b"goes on")
            assert client.fetch(Key.opaque(b"inline")) == b"goes on"


def test_a_user_who_is_listed_may_share_memory(tmp_path):
    path = str(tmp_path / "other.sock")
    with start_site(path, "--set", f"shm_uids={os.getuid()}"):
        assert LinkKind.SHARED_MEMORY in links_of(f"unix://{path}")
        assert get_in_place(path) == Status.OK
