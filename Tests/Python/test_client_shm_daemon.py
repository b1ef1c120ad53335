"""Shared memory of a real daemon: leases, stores by window, forks, restarts."""

import os
import signal
import threading
import time

import numpy
import pytest
from conftest import start_daemon
from fake_server import CLIENTS

from kdn import Client, Get, Key, LeaseExpired, Put
from kdn.slabs import WINDOW_BYTES

MEBIBYTE = 1 << 20


@pytest.fixture(params=CLIENTS)
def make(request, kdnd):
    return lambda address=kdnd.unix, **options: CLIENTS[request.param](address, **options)


@pytest.fixture
def salt():
    """Names of this test's own, since the daemon outlives it."""
    return os.urandom(16)


def random_bytes(count):
    return numpy.random.default_rng().integers(0, 256, count, numpy.uint8).tobytes()


def link_of(client):
    return client.link if isinstance(client, Client) else client.inner.link


def copied(client):
    rows = client.stats()["links"]
    return next(row["copied_bytes_total"] for row in rows if row["kind"] == "shm")


def test_from_tcp_a_client_comes_to_shared_memory_by_itself(make, kdnd, salt):
    data = random_bytes(MEBIBYTE)
    with make(kdnd.tcp) as client:
        client.put(Key.opaque(salt), data)
        assert client.get(Key.opaque(salt)) == data
        assert link_of(client).kind == "shm", str(link_of(client))
        before = copied(client)
        assert client.get(Key.opaque(salt)) == data
        assert copied(client) == before, "the daemon did not touch the bytes"


def test_more_is_stored_than_the_window_holds(make, salt):
    datas = [random_bytes(size) for size in (WINDOW_BYTES + 12_345, 5, MEBIBYTE)]
    with make(streams=1, timeout=30) as client:
        puts = [Put(Key.opaque(salt + bytes([i])), data) for i, data in enumerate(datas)]
        assert [result.state for result in client.put_from(puts)] == ["published"] * 3
        assert [client.get(put.key) for put in puts] == datas


def test_many_threads_share_the_streams_of_one_client(kdnd, salt):
    keys = [Key.opaque(salt + bytes([i])) for i in range(8)]
    datas = [random_bytes(300_000 + i) for i in range(8)]
    failures = []

    def work(number):
        try:
            for turn in range(6):
                index = (number + turn) % 8
                client.put(keys[index], datas[index])
                buffer = bytearray(len(datas[index]))
                assert client.get_into([Get(keys[index], buffer)])[0].hit
                assert buffer == datas[index]
                with client.lease([Get(keys[index])]) as leased:
                    assert leased.view(0) == datas[index]
        except BaseException as error:
            failures.append(error)

    with Client(kdnd.unix, streams=3, timeout=30) as client:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not failures


def test_large_gets_use_several_streams_at_once(make, salt):
    data = random_bytes(12 * MEBIBYTE)
    keys = [Key.opaque(salt + bytes([i])) for i in range(4)]
    with make(streams=2, timeout=30) as client:
        assert all(each.stored for each in client.put_from([Put(key, data) for key in keys]))
        buffers = [bytearray(len(data)) for _ in keys]
        results = client.get_into([Get(key, buffer) for key, buffer in zip(keys, buffers)])
        assert all(result.hit for result in results) and set(map(bytes, buffers)) == {data}
        client.purge(keys=keys)


def test_a_lease_keeps_a_purged_object_readable(kdnd, salt):
    data = random_bytes(MEBIBYTE)
    with Client(kdnd.unix) as client:
        client.put(Key.opaque(salt), data)
        with client.lease([Get(Key.opaque(salt))]) as leased:
            array = leased.numpy(0, "uint32")
            client.purge(keys=[Key.opaque(salt)])
            for _ in range(4):
                client.put(Key.opaque(os.urandom(8)), random_bytes(MEBIBYTE))
            assert array.tobytes() == data and leased.valid


def test_a_child_connects_anew_and_the_parent_goes_on(kdnd, salt):
    data = random_bytes(MEBIBYTE)
    with Client(kdnd.unix) as client:
        client.put(Key.opaque(salt), data)
        leased = client.lease([Get(Key.opaque(salt))])
        child = os.fork()
        if child == 0:
            try:
                right = client.get(Key.opaque(salt)) == data and not leased.valid
                right = right and client.put(Key.opaque(salt + b"c"), data).stored
                os._exit(0 if right else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert leased.valid and leased.view(0) == data
        leased.release()
        assert client.get(Key.opaque(salt + b"c")) == data


def test_after_a_restart_there_are_new_slabs_and_a_new_window(own_kdnd, make, tmp_path, salt):
    old, new = random_bytes(MEBIBYTE), random_bytes(MEBIBYTE)
    path = own_kdnd.unix.removeprefix("unix://")
    with make(own_kdnd.unix, streams=1) as client, Client(own_kdnd.unix) as holder:
        client.put(Key.opaque(salt), old)
        assert client.get(Key.opaque(salt)) == old
        leased = holder.lease([Get(Key.opaque(salt))])
        array = leased.numpy(0)
        own_kdnd.process.send_signal(signal.SIGKILL)
        own_kdnd.process.wait(10)
        own_kdnd.log.close()
        again = start_daemon(own_kdnd_binary(own_kdnd), tmp_path / "t")
        os.replace(tmp_path / "t", path)
        own_kdnd.process, own_kdnd.log = again.process, again.log
        assert client.get(Key.opaque(salt)) is None
        client.put(Key.opaque(salt), new)
        assert client.get(Key.opaque(salt)) == new
        assert array.tobytes() == old, "memory of a daemon that is gone stays as it was"
        assert not leased.valid
        with pytest.raises(LeaseExpired):
            leased.check()
        leased.release()
        with holder.lease([Get(Key.opaque(salt))]) as fresh:
            assert fresh.view(0) == new


def own_kdnd_binary(daemon):
    return daemon.process.args[0]


def test_a_lease_ends_by_its_time_though_nobody_asks(kdnd, salt):
    with Client(kdnd.unix) as client:
        client.put(Key.opaque(salt), random_bytes(MEBIBYTE))
        leased = client.lease([Get(Key.opaque(salt))], lease_ms=50)
        assert 0 < leased.lease_ms <= 50
        deadline = time.monotonic() + 10
        while leased.valid:
            assert time.monotonic() < deadline
        with pytest.raises(LeaseExpired):
            leased.views
