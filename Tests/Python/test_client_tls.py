"""Both clients inside TLS, against a scripted server: whom they trust, and that bytes arrive."""

import asyncio
import pathlib
import socket
import ssl
import struct
import sys

import pytest
from fake_server import CLIENTS, FakeServer
from framing import xxh3

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "Scripts" / "lib"))
from test_certificates import Authority  # noqa: E402

from kdn import AsyncClient, Client, ConnectionLost, FieldError, Get, Key, Put  # noqa: E402
from kdn.address import Address  # noqa: E402
from kdn.secure import PROTOCOL, SecureSocket  # noqa: E402

KEY = Key.opaque(b"key")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server_context(authority):
    return make_server_context(authority.sign("server"))


def make_server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key)
    context.set_alpn_protocols([PROTOCOL])
    context.num_tickets = 0
    return context


def secure(server):
    return f"tls://{server.address}"


def serve_one_object(data):
    def script(peer):
        peer.hello()
        while True:
            request = peer.receive()
            assert request.op == "GET"
            peer.reply_get(request, [data])

    return script


@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS.keys())
@pytest.mark.parametrize("size", [1, 1000, 16 << 10, 1_000_003])
def test_an_object_arrives_in_the_callers_buffer(make, size, authority, server_context):
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    with (
        FakeServer(serve_one_object(data), server_context) as server,
        make(secure(server), ca=authority.path) as client,
    ):
        for _ in range(3):
            buffer = bytearray(size)
            assert client.get_into([Get(KEY, buffer)])[0].hit
            assert buffer == data
        assert server.connections == 1


@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS.keys())
def test_an_object_is_stored_from_the_callers_buffer(make, authority, server_context):
    data = bytes(range(256)) * 12_000
    stored = []

    def script(peer):
        peer.hello()
        begin = peer.expect("PUT_BEGIN")
        peer.reply(begin, struct.pack("<B7xQ", 1, 0))
        while sum(map(len, stored)) < len(data):
            stored.append(peer.expect("PUT_DATA").payload)
        commit = peer.expect("PUT_COMMIT")
        peer.reply(commit, struct.pack("<B7xQ", 1, xxh3(data)))

    with (
        FakeServer(script, server_context) as server,
        make(secure(server), ca=authority.path) as client,
    ):
        assert client.put_from([Put(KEY, data)])[0].state == "published"
        assert b"".join(stored) == data


@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS.keys())
def test_a_server_of_a_strange_authority_is_refused(make, authority, server_context, tmp_path):
    with FakeServer(lambda peer: None, server_context) as server:
        for ca in (Authority(tmp_path, "other").path, None):
            with (
                make(secure(server), ca=ca) as client,
                pytest.raises(ConnectionLost, match="certificate verify failed"),
            ):
                client.ping()


@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS.keys())
def test_a_server_of_another_name_is_refused(make, authority):
    context = make_server_context(authority.sign("elsewhere", names="DNS:example.org"))
    with (
        FakeServer(lambda peer: None, context) as server,
        make(secure(server), ca=authority.path) as client,
        pytest.raises(ConnectionLost, match="not valid for '127.0.0.1'"),
    ):
        client.ping()


@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS.keys())
def test_a_server_of_tls_1_2_is_refused(make, authority):
    context = make_server_context(authority.sign("old"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        FakeServer(lambda peer: None, context) as server,
        make(secure(server), ca=authority.path) as client,
        pytest.raises(ConnectionLost, match="(?i)protocol.version"),
    ):
        client.ping()


@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS.keys())
def test_the_client_shows_its_certificate(make, authority):
    own = authority.sign("client", subject="/CN=worker")
    context = make_server_context(authority.sign("server2"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.path)
    seen = []

    def script(peer):
        seen.append((peer.sock.getpeercert()["subject"], peer.sock.selected_alpn_protocol()))
        serve_one_object(b"x")(peer)

    with FakeServer(script, context) as server:
        with make(
            secure(server), ca=authority.path, certificate=own.path, key=own.key
        ) as client:
            assert client.get(KEY) == b"x"
        assert seen == [(((("commonName", "worker"),),), PROTOCOL)]
        with make(secure(server), ca=authority.path) as client:
            with pytest.raises(ConnectionLost, match="(?i)certificate.required|closed|broke"):
                client.ping()
        assert len(seen) == 1


def test_a_server_that_never_answers_costs_the_time_for_connecting(authority):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tls://127.0.0.1:{listener.getsockname()[1]}"
        with Client(address, ca=authority.path, connect_timeout=0.2) as client:
            with pytest.raises(ConnectionLost, match="no connection in 0.2 s"):
                client.ping()

        async def ask():
            async with AsyncClient(address, ca=authority.path, connect_timeout=0.2) as client:
                with pytest.raises(ConnectionLost, match="no connection in 0.2 s"):
                    await client.ping()

        asyncio.run(ask())


def test_arguments_that_cannot_be_used_are_named(authority, tmp_path):
    own = authority.sign("half")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    missing = str(tmp_path / "missing.pem")
    for field, arguments in (
        ("ca", {"ca": missing}),
        ("ca", {"ca": str(empty)}),
        ("certificate", {"certificate": missing}),
        ("certificate", {"certificate": own.path, "key": str(empty)}),
        ("key", {"key": own.key}),
    ):
        with pytest.raises(FieldError) as error:
            Client("tls://127.0.0.1:1", **arguments)
        assert error.value.field == field
    for field in ("ca", "certificate", "key"):
        with pytest.raises(FieldError) as error:
            Client("127.0.0.1:1", **{field: own.path})
        assert error.value.field == field


def test_addresses_say_whether_they_are_secured():
    assert Address.parse("tls://example.org:9443") == Address("example.org", 9443, tls=True)
    assert Address.parse("tls://[::1]:7") == Address("::1", 7, tls=True)
    assert not Address.parse("example.org:9443").tls
    for text in ("tls://", "tls://:1", "tls://host:0", "tls://host:x"):
        with pytest.raises(FieldError):
            Address.parse(text)


class ChokedSocket:
    """An SSL socket that takes nothing at every other write, and insists on the same bytes then."""

    def __init__(self):
        self.taken = bytearray()
        self.refused = None

    def send(self, data):
        if self.refused is None:
            self.refused = bytes(data)
            raise ssl.SSLWantWriteError
        assert bytes(data) == self.refused
        self.refused = None
        count = min(len(data), 10_000)
        self.taken += data[:count]
        return count


def test_a_write_that_was_not_taken_is_made_again_with_the_same_bytes():
    sock = ChokedSocket()
    secured = SecureSocket(sock)
    views = [memoryview(bytes([n]) * size) for n, size in enumerate((5, 300, 40_000, 7, 20_000))]
    expected = b"".join(views)
    while views:
        try:
            count = secured.sendmsg(views)
        except BlockingIOError:
            # More may be queued before the socket takes anything.
            views.append(memoryview(b"!"))
            expected += b"!"
            if len(expected) > 60_400:
                views.pop()
                expected = expected[:-1]
            continue
        while count:
            step = min(count, len(views[0]))
            views[0] = views[0][step:]
            count -= step
            if not views[0]:
                views.pop(0)
    assert bytes(sock.taken) == expected
