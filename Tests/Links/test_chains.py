"""Layouts, matches, leases, pins, purges, expiry, waits and quotas mean the same on every link."""

from __future__ import annotations

import hashlib
import threading

import pytest
from kdn import Get, Key, MissCause, ObjectVerifier, Part, Put, ServerError, Status
from link_node import MEBIBYTE
from material import (
    CHUNK_BYTES,
    CROWDED,
    LAYOUT,
    TOKENS,
    WHOLE,
    chain,
    chunk_key,
    crowd,
    random_bytes,
    store,
    store_chain,
)

RED_TOKEN = "the red token"


def cause(client, key):
    return client.get_into([Get(key)])[0].cause


def test_a_chain_is_matched_to_its_longest_prefix(client, salt):
    hashes = chain(salt, 8)
    store_chain(client, hashes[:5])
    match = client.match(LAYOUT.id, hashes, [WHOLE])
    assert (match.chunks, match.cause) == (5, MissCause.NEVER_STORED)
    assert match.bytes == 5 * CHUNK_BYTES and sum(match.tiers) == 5 and match.lease is None
    assert client.match(LAYOUT.id, hashes[:5], [WHOLE]).cause is MissCause.NONE
    assert client.match(LAYOUT.id, chain(salt + b"x", 2), [WHOLE]).chunks == 0


def test_layers_are_fetched_and_verified_as_one_object(client, salt):
    hashes = chain(salt, 2)
    datas = store_chain(client, hashes)
    for digest, data in zip(hashes, datas, strict=True):
        verifier = ObjectVerifier()
        for layer, offset, length in LAYOUT.layer_ranges(WHOLE, TOKENS):
            buffer = bytearray(length)
            part = Part(layer, 1) if layer == 1 else Part(layer, 1, 0, 4)
            result = client.get_into([Get(chunk_key(digest), buffer, part=part)])[0]
            assert result.hit and buffer == data[offset : offset + length]
            verifier.feed(buffer, result)
        verifier.check()


def test_heads_are_gathered_from_every_layer(client, salt):
    (digest,) = chain(salt, 1)
    part = Part(2, 2, 0, 4)
    data = random_bytes(LAYOUT.bytes_per_token(part) * TOKENS)
    client.register_layout(LAYOUT)
    client.put(Key.layout(digest, LAYOUT.id, part), data, token_count=TOKENS)
    plane = 16 * 2 * TOKENS
    expected = b"".join(
        data[(layer * 8 + kv * 4 + head) * plane : (layer * 8 + kv * 4 + head + 1) * plane]
        for layer in range(2) for kv in range(2) for head in (1, 2))
    buffer = bytearray(len(expected))
    item = Get(Key.layout(digest, LAYOUT.id, part), buffer, part=Part(2, 2, 1, 2))
    assert client.get_into([item])[0].hit and buffer == expected


def test_wrong_sizes_and_unknown_layouts_are_refused_by_name(client, salt):
    (digest,) = chain(salt, 1)
    unknown = Key.layout(digest, bytes(range(16)), WHOLE)
    with pytest.raises(ServerError) as caught:
        client.put(unknown, b"x" * 100, token_count=TOKENS)
    assert caught.value.status is Status.NOT_FOUND
    client.register_layout(LAYOUT)
    with pytest.raises(ServerError) as caught:
        client.put(chunk_key(digest), b"x" * 100, token_count=TOKENS)
    assert caught.value.status is Status.BAD_REQUEST and "totalBytes" in str(caught.value)
    assert client.exists([chunk_key(digest)]) == [False]


def test_a_matchs_lease_keeps_its_chunks_from_eviction(start, salt):
    node = start(ram=CROWDED)
    with node.client(streams=1) as client:
        hashes = chain(salt, 3)
        datas = store_chain(client, hashes)
        match = client.match(LAYOUT.id, hashes, [WHOLE], lease_ms=60_000)
        assert match.chunks == 3 and match.lease.held and 0 < match.lease.ms <= 60_000
        crowd(client, salt)
        assert client.stats()["namespace"]["evictions_total"] > 0
        for digest, data in zip(hashes, datas, strict=True):
            assert client.get(chunk_key(digest)) == data
        match.lease.release()
        assert not match.lease.held and client.stats()["pool"]["leases"] == 0


def test_a_miss_says_why(start, salt):
    node = start(ram=CROWDED)
    first, purged, brief = (Key.opaque(salt + name) for name in (b"first", b"purged", b"brief"))
    with node.client(streams=1) as client:
        assert cause(client, first) is MissCause.NEVER_STORED
        for key in (first, purged):
            client.put(key, random_bytes(MEBIBYTE))
        client.put(brief, b"short-lived", ttl_ms=1)
        assert client.purge(keys=[purged]) == (1, MEBIBYTE)
        assert cause(client, purged) is MissCause.PURGED
        # Round trips take longer than the millisecond that it may live.
        assert any(client.exists([brief]) == [False] for _ in range(10_000))
        assert cause(client, brief) is MissCause.EXPIRED
        crowd(client, salt)
        assert cause(client, first) is MissCause.EVICTED


def test_pins_touches_and_prefetches_count_what_is_there(client, salt):
    there, missing = Key.opaque(salt), Key.opaque(salt + b"?")
    client.put(there, b"data")
    assert client.pin([there, missing], 60_000) == [True, False]
    assert client.unpin([there, missing]) == [True, False]
    assert client.touch([there, missing]) == 1
    assert client.prefetch([there, missing]) == (1, 0)


def test_what_is_pinned_outlives_what_is_not(start, salt):
    node = start(ram=CROWDED)
    with node.client(streams=1) as client:
        (key,), (data,) = store(client, salt, 1, MEBIBYTE)
        assert client.pin([key], 600_000) == [True]
        crowd(client, salt)
        assert client.get(key) == data


def test_a_purged_prefix_takes_all_that_builds_on_it(client, salt):
    hashes = chain(salt, 4)
    store_chain(client, hashes)
    assert client.purge(prefixes=[hashes[1]]).objects == 3
    assert client.match(LAYOUT.id, hashes, [WHOLE]).chunks == 1


def test_waiting_for_a_key_ends_when_it_is_committed(node, salt):
    key, data = Key.opaque(salt), random_bytes(10_000)
    with node.client() as reader, node.client() as writer:
        buffer = bytearray(len(data))
        results = []
        waiter = threading.Thread(
            target=lambda: results.extend(reader.get_into([Get(key, buffer)], wait=True)))
        waiter.start()
        writer.put(key, data)
        waiter.join(60)
        assert results[0].hit and buffer == data


def test_waiting_in_vain_is_a_miss_over_the_deadline(client, salt):
    result = client.get_into([Get(Key.opaque(salt), bytearray(10))], wait=True, timeout=1.0)[0]
    assert not result.hit and result.cause is MissCause.OVER_DEADLINE


def test_tenants_share_no_name_and_no_quota(start, salt):
    sha = hashlib.sha256(RED_TOKEN.encode()).hexdigest()
    node = start(
        "--set", f"namespaces=red:{sha}", "--set", "namespace_limits=red ram=8MiB",
        ram="96MiB",
    )
    key, data = Key.opaque(salt), random_bytes(3 * MEBIBYTE)
    with node.client(namespace="red", token=RED_TOKEN) as red, node.client() as anyone:
        red.put(key, data)
        assert anyone.get(key) is None and cause(anyone, key) is MissCause.NEVER_STORED
        anyone.put(key, data[::-1])
        assert (red.get(key), anyone.get(key)) == (data, data[::-1])
        keys = [Key.opaque(salt + bytes([number])) for number in range(2)]
        assert red.pin([key], 600_000) == [True]
        assert red.put_from([Put(keys[0], data)])[0].stored
        assert red.pin([keys[0]], 600_000) == [True]
        refused = red.put_from([Put(keys[1], data)])[0].error
        assert refused is not None and refused.status is Status.OVER_QUOTA
        assert red.get(key) == data
    with node.client(namespace="red", token="wrong") as stranger:
        with pytest.raises(ServerError) as caught:
            stranger.ping()
        assert caught.value.status is Status.UNAUTHORISED
