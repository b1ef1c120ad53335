"""Both clients against the real daemon."""

import os
import signal
import threading

import numpy
import pytest
from fake_server import CLIENTS
from framing import xxh3

from kdn import (
    AttentionGroup,
    ConnectionLost,
    DeadlineExceeded,
    Get,
    Key,
    LatentGroup,
    Layout,
    MissCause,
    ObjectVerifier,
    Part,
    Put,
    RoPE,
    ServerError,
    Status,
    chain_root,
    chunk_hashes,
)

LAYOUT = Layout(
    "bf16",
    (
        AttentionGroup((0, 2, 3), 4, 16, rope=RoPE(10000.0, 16)),
        LatentGroup((1,), 24, 8, rope=RoPE(10000.0, 8, pairing="interleaved")),
    ),
)
WHOLE = LAYOUT.whole()
TOKENS = 32


@pytest.fixture(params=[f"{kind} {link}" for kind in CLIENTS for link in ("tcp", "unix", "shm")])
def make(request, kdnd):
    kind, link = request.param.split()
    address = kdnd.tcp if link == "tcp" else kdnd.unix
    return lambda **options: CLIENTS[kind](address, **{"link": link, **options})


@pytest.fixture
def client(make):
    with make() as client:
        yield client


@pytest.fixture
def salt():
    """Names of this test's own, since the daemon outlives it."""
    return os.urandom(16)


def random_bytes(count):
    return numpy.random.default_rng().integers(0, 256, count, numpy.uint8).tobytes()


def chain(salt, chunks):
    tokens = numpy.arange(chunks * TOKENS, dtype=numpy.uint32)
    return chunk_hashes(chain_root("test/model@1", salt), tokens, TOKENS)


def store_chain(client, hashes, part=WHOLE):
    client.register_layout(LAYOUT)
    size = LAYOUT.bytes_per_token(part) * TOKENS
    datas = [random_bytes(size) for _ in hashes]
    parents = [None, *hashes[:-1]]
    puts = [
        Put(Key.layout(digest, LAYOUT.id, part), data, parent, index * TOKENS, TOKENS)
        for index, (digest, data, parent) in enumerate(zip(hashes, datas, parents))
    ]
    assert [result.state for result in client.put_from(puts)] == ["published"] * len(puts)
    return datas


@pytest.mark.parametrize("size", [1, 63, 4096, 1 << 20, (16 << 20) + 3])
def test_what_is_put_is_what_is_got(client, salt, size):
    key, data = Key.opaque(salt), random_bytes(size)
    assert client.get(key) is None
    assert client.exists([key]) == [False]
    result = client.put(key, data)
    assert result.state == "published" and result.object_checksum == xxh3(data)
    assert client.exists([key]) == [True]
    assert client.get(key) == data
    buffer = bytearray(size)
    got = client.get_into([Get(key, buffer)])[0]
    assert got.hit and got.nbytes == size and buffer == data
    assert got.object_checksum == xxh3(data) and got.object_bytes == size


def test_the_same_bytes_again_are_present_and_others_a_conflict(client, salt):
    key, data = Key.opaque(salt), random_bytes(5000)
    client.put(key, data)
    assert client.put(key, data).state == "present"
    with pytest.raises(ServerError) as caught:
        client.put(key, data[::-1])
    assert caught.value.status is Status.CONFLICT
    assert client.get(key) == data


def test_gathered_buffers_are_one_object(client, salt):
    data = random_bytes(3 << 20)
    view = memoryview(data)
    pieces = [view[: 1 << 20], b"", numpy.frombuffer(view[1 << 20 : 2 << 20], numpy.float32),
              view[2 << 20 :]]
    key = Key.opaque(salt)
    assert client.put_from([Put(key, pieces)])[0].state == "published"
    assert client.get(key) == data


def test_byte_ranges_arrive_in_their_order(client, salt):
    key, data = Key.opaque(salt), random_bytes(100000)
    client.put(key, data)
    ranges = [(50000, 1000), (0, 10), (99999, 1)]
    buffer = bytearray(1011)
    result = client.get_into([Get(key, buffer, ranges)])[0]
    assert result.hit and result.nbytes == 1011
    assert buffer == data[50000:51000] + data[:10] + data[99999:]


def test_a_range_beyond_the_object_is_refused_and_the_link_goes_on(client, salt):
    key = Key.opaque(salt)
    client.put(key, b"x" * 100)
    with pytest.raises(ServerError) as caught:
        client.get_into([Get(key, bytearray(20), [(90, 20)])])
    assert caught.value.status is Status.BAD_REQUEST
    assert client.get(key) == b"x" * 100


def test_a_chain_is_matched_to_its_longest_prefix(client, salt):
    hashes = chain(salt, 8)
    store_chain(client, hashes[:5])
    match = client.match(LAYOUT.id, hashes, [WHOLE])
    assert (match.chunks, match.cause) == (5, MissCause.NEVER_STORED)
    assert match.bytes == 5 * TOKENS * LAYOUT.bytes_per_token(WHOLE)
    assert sum(match.tiers) == 5 and match.lease is None
    assert client.match(LAYOUT.id, hashes[:5], [WHOLE]).cause is MissCause.NONE
    assert client.match(LAYOUT.id, chain(salt + b"x", 2), [WHOLE]).chunks == 0


def test_layers_are_streamed_and_verified_as_one_object(client, salt):
    hashes = chain(salt, 2)
    datas = store_chain(client, hashes)
    rows = LAYOUT.layer_ranges(WHOLE, TOKENS)
    for digest, data in zip(hashes, datas):
        verifier = ObjectVerifier()
        for layer, offset, length in rows:
            buffer = bytearray(length)
            item = Get(Key.layout(digest, LAYOUT.id, WHOLE), buffer, part=Part(layer, 1, 0, 4))
            if layer == 1:
                item.part = Part(layer, 1)
            result = client.get_into([item])[0]
            assert result.hit and buffer == data[offset : offset + length]
            verifier.feed(buffer, result)
        verifier.check()


def test_heads_are_gathered_from_every_layer(client, salt):
    (digest,) = chain(salt, 1)
    part = Part(2, 2, 0, 4)
    (data,) = store_chain(client, [digest], part)
    plane = 16 * 2 * TOKENS
    expected = b"".join(
        data[(layer * 8 + kv * 4 + head) * plane : (layer * 8 + kv * 4 + head + 1) * plane]
        for layer in range(2) for kv in range(2) for head in (1, 2))
    buffer = bytearray(len(expected))
    item = Get(Key.layout(digest, LAYOUT.id, part), buffer, part=Part(2, 2, 1, 2))
    assert client.get_into([item])[0].hit and buffer == expected


def test_a_wrong_size_for_the_layout_is_refused(client, salt):
    client.register_layout(LAYOUT)
    key = Key.layout(chain(salt, 1)[0], LAYOUT.id, WHOLE)
    with pytest.raises(ServerError) as caught:
        client.put(key, b"x" * 100, token_count=TOKENS)
    assert (caught.value.status, caught.value.field) == (Status.BAD_REQUEST, "totalBytes")


def test_an_unknown_layout_is_not_found(client, salt):
    key = Key.layout(chain(salt, 1)[0], bytes(range(16)), WHOLE)
    with pytest.raises(ServerError) as caught:
        client.put(key, b"x" * 100, token_count=TOKENS)
    assert caught.value.status is Status.NOT_FOUND


def test_leases_are_granted_and_released(client, salt):
    hashes = chain(salt, 3)
    store_chain(client, hashes)
    match = client.match(LAYOUT.id, hashes, [WHOLE], lease_ms=5000)
    assert match.chunks == 3 and match.lease.held and 0 < match.lease.ms <= 5000
    released = match.lease.release()
    if released is not None:
        client.run(released)
    assert not match.lease.held
    assert client.counters.errors == {}


def test_many_items_in_one_call(client, salt):
    keys = [Key.opaque(salt + b"%d" % index) for index in range(300)]
    datas = [random_bytes(1 + index * 37) for index in range(300)]
    puts = [Put(key, data) for key, data in zip(keys[:200], datas)]
    assert {result.state for result in client.put_from(puts)} == {"published"}
    assert client.exists(keys) == [True] * 200 + [False] * 100
    buffers = [bytearray(len(data)) for data in datas]
    results = client.get_into([Get(key, buffer) for key, buffer in zip(keys, buffers)])
    assert [result.hit for result in results] == [True] * 200 + [False] * 100
    assert buffers[:200] == datas[:200]
    assert {result.cause for result in results[200:]} == {MissCause.NEVER_STORED}


def test_a_large_call_fans_out(make, salt):
    with make(streams=2) as client:
        datas = [random_bytes(8 << 20) for _ in range(5)]
        keys = [Key.opaque(salt + bytes([index])) for index in range(5)]
        client.put_from([Put(key, data) for key, data in zip(keys, datas)])
        buffers = [bytearray(8 << 20) for _ in keys]
        results = client.get_into([Get(key, buffer) for key, buffer in zip(keys, buffers)])
        assert all(result.hit for result in results) and buffers == datas
        client.purge(keys=keys)


def test_waiting_for_a_key_ends_when_it_is_committed(make, salt):
    key, data = Key.opaque(salt), random_bytes(10000)
    with make() as reader, make() as writer:
        buffer = bytearray(len(data))
        results = []
        waiter = threading.Thread(
            target=lambda: results.extend(reader.get_into([Get(key, buffer)], wait=True)))
        waiter.start()
        writer.put(key, data)
        waiter.join(20)
        assert results[0].hit and buffer == data


def test_waiting_in_vain_is_a_miss_over_the_deadline(client, salt):
    result = client.get_into([Get(Key.opaque(salt), bytearray(10))], wait=True, timeout=0.4)[0]
    assert not result.hit and result.cause is MissCause.OVER_DEADLINE


def test_pins_touches_and_prefetches_count_what_is_there(client, salt):
    there, missing = Key.opaque(salt), Key.opaque(salt + b"?")
    client.put(there, b"data")
    assert client.pin([there, missing], 60000) == [True, False]
    assert client.unpin([there, missing]) == [True, False]
    assert client.touch([there, missing]) == 1
    assert client.prefetch([there, missing]) == (1, 0)


def test_purges_remove_what_they_name(client, salt):
    key = Key.opaque(salt)
    client.put(key, b"x" * 100)
    assert client.purge(keys=[key, Key.opaque(salt + b"?")]) == (1, 100)
    result = client.get_into([Get(key)])[0]
    assert not result.hit and result.cause in (MissCause.PURGED, MissCause.NEVER_STORED)
    hashes = chain(salt, 4)
    store_chain(client, hashes)
    purged = client.purge(prefixes=[hashes[1]])
    assert purged.objects == 3
    assert client.match(LAYOUT.id, hashes, [WHOLE]).chunks == 1


def test_an_object_that_expired_is_a_miss(client, salt):
    key = Key.opaque(salt)
    client.put(key, b"short-lived", ttl_ms=1)
    # A thousand round trips take longer than the millisecond that it may live.
    assert any(client.exists([key]) == [False] for _ in range(10000))
    assert client.get(key) is None


def test_stats_and_ping(client):
    client.ping()
    assert client.stats()["schema"] == 1


def test_a_killed_daemon_is_a_miss_or_an_error(own_kdnd, salt):
    address = own_kdnd.tcp
    with CLIENTS["blocking"](address) as strict, CLIENTS["blocking"](
        address, on_error="miss"
    ) as lenient:
        key = Key.opaque(salt)
        strict.put(key, b"data")
        assert lenient.get(key) == b"data"
        own_kdnd.process.send_signal(signal.SIGKILL)
        own_kdnd.process.wait(10)
        with pytest.raises((ConnectionLost, DeadlineExceeded)):
            strict.get(key)
        result = lenient.get_into([Get(key, bytearray(4))])[0]
        assert not result.hit and result.cause is MissCause.UNREACHABLE
    own_kdnd.log.close()


def test_a_terminated_daemon_drains_and_exits(own_kdnd, salt):
    with CLIENTS["blocking"](own_kdnd.tcp) as client:
        client.put(Key.opaque(salt), b"data")
        own_kdnd.process.send_signal(signal.SIGTERM)
        assert own_kdnd.process.wait(30) == 0
        with pytest.raises((ConnectionLost, ServerError)):
            client.get(Key.opaque(salt))
    own_kdnd.log.close()
