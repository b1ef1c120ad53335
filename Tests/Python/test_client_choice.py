"""Which link clients take: by the address, by what a server offers, and by what they are told."""

import hashlib
import pathlib
import struct

import pytest
from fake_memory import SharedServer, Slab
from fake_server import CLIENTS, FakeServer
from framing import text

from kdn import AsyncClient, Client, ConnectionLost, FieldError, Get, Key, LinkUnavailable
from kdn.address import Address
from kdn.dialling import Dialler
from kdn.link import check_choice, direct_link, own_host_id, ways
from kdn.link_bodies import LinkOffer, LinkTicket
from kdn.wire import Limits, LinkKind

KEY = Key.opaque(b"key")
DATA = b"bytes of an object" * 999
BOOT = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
HERE = hashlib.sha256(BOOT.encode()).digest()[:16]
TICKET = bytes(range(32))
TCP, UNIX, SHM, RDMA = LinkKind


@pytest.fixture(params=CLIENTS)
def make(request):
    return CLIENTS[request.param]


def link_of(client):
    return client.link if isinstance(client, Client) else client.inner.link


def ticket_body(offers, host=HERE, ticket=TICKET):
    body = struct.pack("<32sII16s", ticket, 10000, len(offers), host)
    return body + b"".join(struct.pack("<I", kind) + text(place) for kind, place in offers)


class Front:
    """A server on TCP that tells of others, and answers pings itself."""

    def __init__(self, offers, links=TCP | SHM, host=HERE, refuse=0, server=0):
        self.offers, self.links, self.host, self.refuse = offers, links, host, refuse
        self.server = server
        self.tickets = 0

    def __call__(self, peer):
        request = peer.expect("HELLO")
        body = struct.pack(
            "<HHIIIQIIQIIIIQ", 1, 0, self.links, 1 << 20, 1 << 20, 1 << 28, 512, 64, 1 << 26,
            10000, 60000, 60000, 60000, 1,
        )
        peer.reply(request, body + bytes([self.server]) * 16 + text("fake/1"))
        while True:
            request = peer.receive()
            if request.op == "EXISTS":
                peer.reply(request, struct.pack("<II", 0, 0))
            elif self.refuse:
                peer.refuse(request, self.refuse)
            else:
                assert request.op == "LINK_TICKET" and request.body == bytes(8)
                self.tickets += 1
                peer.reply(request, ticket_body(self.offers, self.host))


def answer_pings(peer, **limits):
    hello = peer.hello(**limits)
    assert struct.unpack_from("<HHI", hello.body) == (1, 1, 1)
    assert TICKET.hex().encode() in hello.body and b"secret" not in hello.body
    while True:
        peer.reply(peer.expect("EXISTS"), struct.pack("<II", 0, 0))


def test_a_client_on_the_servers_host_goes_on_in_shared_memory_by_a_ticket(make, tmp_path):
    slab = Slab(1)
    place = slab.add(DATA)

    def script(peer):
        hello = peer.hello()
        assert TICKET.hex().encode() in hello.body and b"secret" not in hello.body
        peer.reply_in_place(peer.expect("GET"), [(slab, [place], DATA)])
        peer.pass_slab(slab)
        peer.expect_release()
        peer.receive()

    with SharedServer(script, tmp_path) as near:
        front = Front([(SHM, str(near.path))])
        with FakeServer(front) as server, make(server.address, token="secret") as client:
            assert link_of(client).kind == ""
            assert client.get_into([Get(KEY)])[0].data == DATA
            assert link_of(client).kind == "shm" and str(near.path) in link_of(client).reason
            assert front.tickets == 1
    slab.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"links": TCP}, "offers nothing better"),
        ({"host": bytes(16)}, "on another host"),
        ({"offers": []}, "no such Unix socket"),
        ({"offers": [(SHM, "relative/path")]}, "nothing better"),
        ({"offers": [(SHM, "/nowhere/at/all")]}, "cannot connect"),
        ({"refuse": 4}, "busy"),
        ({"offers": [(RDMA, "10.0.0.1:9442")], "links": TCP | RDMA}, "no RDMA"),
        ({"server": 1}, "another server"),
    ],
)
def test_a_client_that_finds_nothing_better_stays_and_says_why(
    make, tmp_path, monkeypatch, change, reason
):
    monkeypatch.setenv("KDN_LIBRARY", "/nowhere/libkdn.so.1")
    with SharedServer(answer_pings, tmp_path) as near:
        front = Front(**{"offers": [(SHM, str(near.path))], **change})
        with FakeServer(front) as server, make(server.address) as client:
            client.ping()
            client.ping()
            assert link_of(client).kind == "tcp" and reason in link_of(client).reason
            assert server.connections == 1


@pytest.mark.parametrize("links", [2, 6])
def test_a_unix_socket_is_shared_memory_if_the_server_says_so(make, tmp_path, links):
    def script(peer):
        peer.hello(links=links)
        peer.reply(peer.expect("EXISTS"), struct.pack("<II", 0, 0))
        peer.receive()

    with SharedServer(script, tmp_path) as server, make(server.address) as client:
        client.ping()
        assert link_of(client).kind == ("shm" if links == 6 else "unix")


def test_a_client_told_tcp_asks_for_nothing_else(make):
    front = Front([(SHM, "/anywhere")])
    with FakeServer(front) as server, make(server.address, link="tcp") as client:
        client.ping()
        assert link_of(client).kind == "tcp" and front.tickets == 0


def test_a_client_told_unix_follows_a_ticket_and_shares_nothing(make, tmp_path):
    with SharedServer(answer_pings, tmp_path) as near:
        front = Front([(SHM, "/nowhere"), (UNIX, str(near.path))])
        with FakeServer(front) as server, make(server.address, link="unix") as client:
            client.ping()
            assert link_of(client).kind == "unix"


def test_a_client_told_shm_gets_nothing_less(make, tmp_path):
    with SharedServer(lambda peer: answer_pings(peer, links=2), tmp_path) as near:
        with FakeServer(Front([(SHM, str(near.path))])) as server:
            with make(server.address, link="shm") as client:
                with pytest.raises(LinkUnavailable, match="shares no memory"):
                    client.ping()
                with pytest.raises(ConnectionLost, match="next is allowed"):
                    client.ping()
            with make(server.address, link="shm", on_error="miss") as client:
                assert client.get(KEY) is None


def test_rdma_without_the_library_says_so_and_asyncio_has_none(monkeypatch):
    monkeypatch.setenv("KDN_LIBRARY", "/nowhere/libkdn.so.1")
    with Client("127.0.0.1:1", link="rdma") as client, pytest.raises(LinkUnavailable):
        client.ping()
    with pytest.raises(FieldError):
        AsyncClient("127.0.0.1:1", link="rdma")


# The choice by itself


@pytest.mark.parametrize(
    ("choice", "address"),
    [("ipc", "h:1"), ("tcp", "unix:///s"), ("shm", "rdma://h:1"), ("tcp", "rdma://h:1"), ("", "h")],
)
def test_a_choice_that_the_address_rules_out_is_refused(choice, address):
    with pytest.raises(FieldError):
        check_choice(choice, Address.parse(address))


@pytest.mark.parametrize(
    ("address", "choice", "trusted", "stays"),
    [
        ("tls://h:1", "auto", False, True),
        ("tls://h:1", "auto", True, False),
        ("tls://h:1", "rdma", False, False),
        ("h:1", "auto", False, False),
    ],
)
def test_nobody_is_moved_off_tls_unasked(address, choice, trusted, stays):
    dialler = Dialler(
        Address.parse(address), "default", "", choice, None, (None, None, None), trusted
    )
    assert ("TLS was asked for" in dialler._obstacle()) == stays


def test_the_host_is_named_by_its_boot():
    assert own_host_id() == HERE


@pytest.mark.parametrize(
    ("choice", "address", "links", "kind"),
    [
        ("auto", "h:1", TCP, "tcp"), ("auto", "h:1", TCP | SHM, None), ("auto", "h:1", 8, None),
        ("auto", "h:1", 1 << 20 | 1, "tcp"), ("tcp", "h:1", 15, "tcp"), ("shm", "h:1", 1, None),
        ("auto", "unix:///s", 4, "shm"), ("auto", "unix:///s", 2, "unix"),
        ("unix", "unix:///s", 4, "unix"), ("shm", "unix:///s", 4, "shm"),
        ("shm", "unix:///s", 2, None), ("auto", "unix:///s", 8 | 2, "unix"),
    ],
)
def test_the_link_of_the_address_itself(choice, address, links, kind):
    link = direct_link(choice, Address.parse(address), Limits(links=links))
    assert (link and link.kind) == kind


def test_memory_comes_before_rdma_and_the_servers_order_is_kept():
    offers = (
        LinkOffer(RDMA, "a:1"), LinkOffer(RDMA, "b:1"), LinkOffer(SHM, "/s"), LinkOffer(TCP, "c:1")
    )
    found = ways("auto", LinkTicket(TICKET, 1, HERE, offers), HERE, str)
    assert [offer.address for offer in found.offers] == ["/s", "a:1", "b:1"]
    found = ways("auto", LinkTicket(TICKET, 1, bytes(16), offers), HERE, lambda: "it is broken")
    assert found.offers == () and found.reasons == (
        "the server is on another host", "no RDMA: it is broken"
    )
    found = ways("shm", LinkTicket(TICKET, 1, b"", offers), b"", str)
    assert found.offers == (), "a host that cannot be told is never the same"
