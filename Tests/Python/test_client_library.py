"""The client over the real libkdn and a real daemon: what holds on RDMA, on links at hand."""

import os
import signal
import threading

import numpy
import pytest
from conftest import ROOT
from test_client_daemon import LAYOUT, chain, store_chain

from kdn import (
    Client,
    Get,
    Key,
    KDNError,
    LinkUnavailable,
    MissCause,
    Part,
    Put,
    ServerError,
    Status,
    fabric,
)


def library_path():
    """The library that KDN_LIBRARY names, or the one to be shipped."""
    named = os.environ.get("KDN_LIBRARY", str(ROOT / ".build" / "release" / "libkdn.so.1"))
    assert os.path.exists(named), f"no {named}: build it by Scripts/lib/release KDNLibrary"
    return named


@pytest.fixture(params=["tcp", "unix", "shm"])
def link(request):
    return request.param


@pytest.fixture
def over(monkeypatch, link):
    """Has clients told rdma use the library over another link: their code is the same."""
    monkeypatch.setenv("KDN_LIBRARY", library_path())
    dial = fabric.FabricConnection.dial
    monkeypatch.setattr(
        fabric.FabricConnection, "dial", staticmethod(lambda *given: dial(*given, link=link))
    )

    def make(daemon, **options):
        address = daemon.tcp if link == "tcp" else daemon.unix
        return Client(address, **{"link": "rdma", "timeout": 20.0, **options})

    return make


@pytest.fixture
def client(over, kdnd):
    with over(kdnd) as client:
        yield client


@pytest.fixture
def salt():
    """Names of this test's own, since the daemon outlives it."""
    return os.urandom(16)


def random_bytes(count):
    return numpy.random.default_rng().integers(0, 256, count, numpy.uint8).tobytes()


def test_what_is_put_is_what_is_got(client, salt, link):
    datas = [random_bytes(size) for size in (1, 4097, 3 << 20)]
    puts = [Put(Key.opaque(salt + bytes([i])), [d[:1], d[1:]]) for i, d in enumerate(datas)]
    assert [each.state for each in client.put_from(puts)] == ["published"] * 3
    assert [each.state for each in client.put_from(puts)] == ["present"] * 3
    buffers = [bytearray(len(data)) for data in datas]
    items = [Get(put.key, buffer) for put, buffer in zip(puts, buffers)]
    results = client.get_into([*items, Get(Key.opaque(salt + b"none")), Get(puts[1].key)])
    assert [each.hit for each in results] == [True] * 3 + [False, True] and buffers == datas
    assert results[3].cause is MissCause.NEVER_STORED and results[4].data == datas[1]
    assert [each.object_bytes for each in results[:3]] == [len(data) for data in datas]
    assert client.link.kind == link and client.exists([puts[0].key]) == [True]


def test_ranges_parts_and_matches(client, salt):
    hashes = chain(salt, 3)
    datas = store_chain(client, hashes)
    part = LAYOUT.whole()
    found = client.match(LAYOUT.id, hashes, [part], lease_ms=2000)
    assert found.chunks == 3 and found.lease is not None and found.lease.held
    found.lease.release()
    key = Key.layout(hashes[1], LAYOUT.id, part)
    whole = client.get_into([Get(key)])[0]
    some = client.get_into([Get(key, ranges=[(3, 5), (0, 2)]), Get(key, part=Part(2, 1, 0, 4))])
    assert whole.data == datas[1] and some[0].data == datas[1][3:8] + datas[1][:2]
    assert some[1].hit and bytes(some[1].data) in datas[1]


def test_what_the_daemon_refuses_says_why(client, salt):
    client.put(Key.opaque(salt), b"one")
    with pytest.raises(ServerError) as refused:
        client.put(Key.opaque(salt), b"two")
    assert refused.value.status is Status.CONFLICT and refused.value.field
    assert refused.value.limit == client.put(Key.opaque(salt), b"one").object_checksum
    with pytest.raises(ServerError) as missing:
        client.resolve_document("nowhere")
    assert missing.value.status is Status.NOT_FOUND
    assert client.get(Key.opaque(salt)) == b"one"


def test_a_wrong_token_and_a_dead_address_are_told(over, kdnd, tmp_path):
    with over(kdnd, namespace="nobody", token="wrong") as client:
        with pytest.raises(ServerError) as refused:
            client.ping()
        assert refused.value.status is Status.UNAUTHORISED


def test_a_killed_daemon_is_a_lost_connection_and_one_that_is_back_is_found(over, own_kdnd, salt):
    with over(own_kdnd, on_error="miss") as client:
        client.ping()
        own_kdnd.process.send_signal(signal.SIGKILL)
        own_kdnd.process.wait(10)
        assert client.get(Key.opaque(salt)) is None
        with pytest.raises(KDNError):
            client.ping()
    own_kdnd.log.close()


def test_threads_and_a_forked_child(client, kdnd, salt):
    keys = [Key.opaque(salt + bytes([i])) for i in range(4)]
    data = random_bytes(200_000)
    failures = []

    def work(key):
        try:
            for _ in range(5):
                client.put(key, data)
                assert client.get(key) == data
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if client.get(keys[0]) == data else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert client.get(keys[1]) == data


def test_rdma_itself_is_unavailable_without_a_device_and_says_so(monkeypatch, kdnd):
    monkeypatch.setenv("KDN_LIBRARY", library_path())
    with Client(kdnd.tcp, link="rdma") as client, pytest.raises(LinkUnavailable, match="rdma"):
        client.ping()
