"""The client over libkdn: what it hands to the library, and what it makes of its answers."""

import os
import subprocess

import pytest
from fake_library import FakeLibrary
from framing import xxh3

from kdn import (
    Client,
    ConnectionLost,
    DeadlineExceeded,
    FieldError,
    Get,
    Key,
    LinkUnavailable,
    MissCause,
    ProtocolError,
    Put,
    ServerError,
    Status,
    _library,
    fabric,
)
from kdn.address import Address
from kdn.buffers import address_of

KEY, OTHER = Key.opaque(b"key"), Key.opaque(b"other")
DATA = bytes(range(256)) * 20


@pytest.fixture
def library(monkeypatch):
    library = FakeLibrary()
    monkeypatch.setattr(_library, "load", lambda: library)
    return library


@pytest.fixture
def client(library):
    with Client("10.0.0.1:9440", "space", "secret", link="rdma") as client:
        yield client


def test_verbs_go_through_the_library(client, library):
    assert client.exists([KEY, OTHER]) == [False, False]
    result = client.put_from([Put(KEY, [DATA[:9], bytearray(DATA[9:])]), Put(OTHER, b"12")])
    assert [each.state for each in result] == ["published", "published"]
    assert result[0].object_checksum == xxh3(DATA)
    assert client.put(KEY, memoryview(DATA)).state == "present"
    assert client.exists([KEY, OTHER]) == [True, True]
    buffer = bytearray(len(DATA) + 5)
    got = client.get_into([Get(KEY, buffer), Get(OTHER), Get(Key.opaque(b"none"))])
    assert [each.hit for each in got] == [True, True, False]
    assert buffer[: len(DATA)] == DATA and got[0].nbytes == got[0].object_bytes == len(DATA)
    assert got[1].data == b"12" and got[2].cause is MissCause.NEVER_STORED
    assert client.get(KEY) == DATA
    assert client.link.kind == "rdma" and "a route exists" in client.link.reason
    client.ping()


def test_what_is_told_to_the_library(library):
    options = {"ca": "/ca.pem", "certificate": "/own.pem", "key": "/own.key"}
    files = tuple(options.values())
    fabric.FabricConnection.dial(
        Address.parse("tls://[::1]:9443"), "space", "secret", files, True, 1e18
    ).close()
    told = library.options
    assert told["address"] == b"tls://[::1]:9443" and told["link"] == b"rdma"
    assert (told["namespace_name"], told["token"]) == (b"space", b"secret")
    assert told["tls_authorities"] == b"/ca.pem" and told["tls_key"] == b"/own.key"
    assert told["flags"] == _library.CONNECT_RDMA_TRUSTED and library.closed == 1


def test_a_client_that_does_not_verify_tells_the_library(library):
    with Client("10.0.0.1:1", link="rdma", verify=False) as client:
        client.get_into([Get(KEY)], wait=True)
    assert library.flags == [_library.GET_WAIT | _library.GET_UNVERIFIED]


def test_a_buffer_too_small_and_an_object_that_grows_meanwhile_are_misses(client, library):
    library.objects[KEY.data] = DATA
    small = client.get_into([Get(KEY, bytearray(3))])[0]
    assert not small.hit and small.cause is MissCause.BUFFER_TOO_SMALL
    library.grow_between = True
    grown = client.get_into([Get(KEY)])[0]
    assert not grown.hit and grown.cause is MissCause.BUFFER_TOO_SMALL and grown.data is None


def test_a_refused_store_says_why_and_others_go_on(client, library):
    library.status, library.retry = Status.BUSY, 50
    results = client.put_from([Put(KEY, b"unwanted"), Put(OTHER, DATA)])
    assert results[0].state == "failed" and results[1].state == "published"
    error = results[0].error
    assert isinstance(error, ServerError)
    assert (error.status, error.retry_after_ms, error.message) == (Status.BUSY, 50, "by the script")
    assert (error.field, error.value, error.limit) == ("a field", 7, 9)
    # The library tells the details of the last one only.
    first, last = client.put_from([Put(KEY, b"unwanted"), Put(Key.opaque(b"c"), b"unwanted")])
    assert (first.error.status, first.error.field) == (Status.BUSY, "")
    assert last.error.field == "a field"


@pytest.mark.parametrize("verb", ["kdn_request", "kdn_get_into", "kdn_put_from"])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (_library.DEADLINE, DeadlineExceeded), (_library.PROTOCOL, ProtocolError),
        (_library.NO_ROOM, ProtocolError), (_library.INVALID, FieldError),
        (_library.UNSENDABLE, FieldError), (-99, ConnectionLost),
    ],
)
def test_each_failure_is_an_error_of_its_kind_and_ends_the_connection(library, verb, code, kind):
    call = {
        "kdn_request": lambda client: client.purge(keys=[KEY]),
        "kdn_get_into": lambda client: client.get(KEY),
        "kdn_put_from": lambda client: client.put(KEY, DATA),
    }[verb]
    with Client("10.0.0.1:1", link="rdma") as client:
        client.ping()
        library.fail[verb] = code
        if code == -99 and verb != "kdn_request":
            # Told apart from a dead link: the call is made once more, anew.
            call(client)
            assert library.closed == 1
            return
        with pytest.raises(kind):
            call(client)
        assert library.closed == 1


def test_a_refused_request_leaves_the_connection(client, library):
    library.status = Status.NOT_ALLOWED
    client.ping()
    library.fail["kdn_request"] = _library.REFUSED
    with pytest.raises(ServerError, match="not_allowed"):
        client.exists([KEY])
    assert client.exists([KEY]) == [False] and library.closed == 0


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (_library.CANNOT_CONNECT, LinkUnavailable), (_library.UNSUPPORTED, LinkUnavailable),
        (_library.REFUSED, ServerError), (_library.DEADLINE, DeadlineExceeded),
    ],
)
def test_a_connection_that_cannot_be_made_says_why(library, code, kind):
    library.status = Status.UNAUTHORISED
    library.fail["kdn_connect"] = code
    with pytest.raises(kind, match="by the script"):
        fabric.FabricConnection.dial(
            Address.parse("10.0.0.1:1"), "space", "", (None, None, None), False, 1e18
        )


def test_a_connection_that_has_ended_is_made_anew(client, library):
    client.ping()
    library.open = False
    client.ping()
    assert client.counters.reconnects == 1


def test_a_forked_child_does_not_touch_the_parents_handle(client, library):
    client.ping()
    child = os.fork()
    if child == 0:
        try:
            client.close()
            os._exit(library.closed)
        finally:
            os._exit(9)
    assert os.waitpid(child, 0)[1] == 0
    client.ping()


def test_a_library_of_another_version_is_not_used(tmp_path, monkeypatch):
    source = "unsigned kdn_abi_version(void) { return 9; }\n" + "".join(
        f"void {name}(void) {{}}\n" for name in _library._FUNCTIONS if name != "kdn_abi_version"
    )
    (tmp_path / "lib.c").write_text(source)
    path = tmp_path / "libkdn.so.1"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, tmp_path / "lib.c"], check=True)
    monkeypatch.setenv("KDN_LIBRARY", str(path))
    assert fabric.obstacle() == "libkdn has ABI version 9, this client needs 1"
    monkeypatch.setenv("KDN_LIBRARY", str(tmp_path / "none"))
    assert fabric.obstacle().startswith("libkdn cannot be loaded")


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"bytes"), memoryview(b"--bytes")[2:]])
def test_addresses_are_those_of_the_bytes(data):
    import ctypes

    assert ctypes.string_at(address_of(memoryview(data)), 5) == b"bytes"
    assert address_of(memoryview(b"")) == 0
