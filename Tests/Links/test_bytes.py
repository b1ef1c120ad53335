"""What is stored over a link comes back over it, byte for byte, in every size and selection."""

from __future__ import annotations

import numpy
import pytest
import xxhash
from kdn import Get, Key, MissCause, Put, ServerError, Status
from link_node import SLAB, WINDOW
from material import random_bytes, store

SIZES = [
    1, 7, 63, 64, 511, 4095, 4096, 4097, 65_537, WINDOW - 1, WINDOW, WINDOW + 1,
    2 * WINDOW + 4097, SLAB + 12_345,
]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_put_is_what_is_got(client, salt, size):
    key, data = Key.opaque(salt), random_bytes(size)
    assert client.get(key) is None
    assert client.exists([key]) == [False]
    result = client.put(key, data)
    assert result.state == "published"
    assert result.object_checksum == xxhash.xxh3_64_intdigest(data)
    assert client.exists([key]) == [True]
    assert client.get(key) == data
    buffer = bytearray(size)
    got = client.get_into([Get(key, buffer)])[0]
    assert got.hit and (got.nbytes, got.object_bytes) == (size, size) and buffer == data
    assert got.object_checksum == result.object_checksum


def test_what_one_link_stores_another_delivers(client, node, salt):
    ours, theirs = Key.opaque(salt + b"ours"), Key.opaque(salt + b"theirs")
    data, other = random_bytes(300_000), random_bytes(WINDOW + 99)
    with node.over_tcp() as aside:
        client.put(ours, data)
        aside.put(theirs, other)
        assert aside.get(ours) == data
        assert client.get(theirs) == other


def test_the_same_bytes_again_are_present_and_others_a_conflict(client, salt):
    key, data = Key.opaque(salt), random_bytes(5000)
    client.put(key, data)
    assert client.put(key, data).state == "present"
    with pytest.raises(ServerError) as caught:
        client.put(key, data[::-1])
    assert caught.value.status is Status.CONFLICT
    assert client.get(key) == data


def test_gathered_buffers_are_one_object(client, salt):
    data = random_bytes(WINDOW + (1 << 20))
    view = memoryview(data)
    pieces = [
        view[:1], b"", numpy.frombuffer(view[1 : 1 + (1 << 20)], numpy.float32),
        view[1 + (1 << 20) :],
    ]
    key = Key.opaque(salt)
    assert client.put_from([Put(key, pieces)])[0].state == "published"
    assert client.get(key) == data


def test_a_buffer_that_changes_after_the_put_changes_nothing(client, salt):
    key, data = Key.opaque(salt), bytearray(random_bytes(100_000))
    stored = bytes(data)
    client.put(key, data)
    data[:] = bytes(len(data))
    assert client.get(key) == stored


def test_byte_ranges_arrive_in_their_order(client, salt):
    key, data = Key.opaque(salt), random_bytes(SLAB + 5000)
    client.put(key, data)
    ranges = [(SLAB - 500, 1000), (0, 10), (len(data) - 1, 1), (50_001, 70_000)]
    expected = b"".join(data[offset : offset + length] for offset, length in ranges)
    buffer = bytearray(len(expected))
    result = client.get_into([Get(key, buffer, ranges)])[0]
    assert result.hit and result.nbytes == len(expected) and buffer == expected


def test_a_range_beyond_the_object_is_refused_and_the_link_goes_on(client, salt):
    key = Key.opaque(salt)
    client.put(key, b"x" * 100)
    with pytest.raises(ServerError) as caught:
        client.get_into([Get(key, bytearray(20), [(90, 20)])])
    assert caught.value.status is Status.BAD_REQUEST
    assert client.get(key) == b"x" * 100


def test_many_items_in_one_call(client, salt):
    keys = [Key.opaque(salt + b"%d" % index) for index in range(150)]
    datas = [random_bytes(1 + index * 131) for index in range(150)]
    puts = [Put(key, data) for key, data in zip(keys[:100], datas[:100], strict=True)]
    assert {result.state for result in client.put_from(puts)} == {"published"}
    assert client.exists(keys) == [True] * 100 + [False] * 50
    buffers = [bytearray(len(data)) for data in datas]
    items = [Get(key, buffer) for key, buffer in zip(keys, buffers, strict=True)]
    results = client.get_into(items)
    assert [result.hit for result in results] == [True] * 100 + [False] * 50
    assert buffers[:100] == datas[:100]
    assert {result.cause for result in results[100:]} == {MissCause.NEVER_STORED}


def test_a_buffer_too_small_takes_nothing_and_its_neighbours_are_served(client, salt):
    keys, datas = store(client, salt, 3, 10_000)
    guard = bytes(range(250)) * 4
    buffers = [bytearray(10_000), bytearray(guard), bytearray(10_000)]
    results = client.get_into([Get(key, buffer) for key, buffer in zip(keys, buffers, strict=True)])
    assert [result.hit for result in results] == [True, False, True]
    assert results[1].cause is MissCause.BUFFER_TOO_SMALL
    assert (buffers[0], buffers[2]) == (datas[0], datas[2])
    assert client.get(keys[1]) == datas[1]


def test_arrays_are_filled_in_place(client, salt):
    key, data = Key.opaque(salt), random_bytes(1 << 20)
    client.put(key, data)
    array = numpy.zeros(1 << 18, numpy.float32)
    assert client.get_into([Get(key, array)])[0].hit
    assert array.tobytes() == data


def test_a_call_beyond_the_credit_is_answered_in_pieces(start, salt):
    node = start("--set", "credit=2MiB", "--set", "max_object=1MiB")
    with node.client() as client:
        keys, datas = store(client, salt, 6, 1 << 20)
        buffers = [bytearray(1 << 20) for _ in keys]
        items = [Get(key, buffer) for key, buffer in zip(keys, buffers, strict=True)]
        assert [result.hit for result in client.get_into(items)] == [True] * 6
        assert buffers == datas
        with pytest.raises(ServerError) as caught:
            client.put(Key.opaque(salt), random_bytes((1 << 20) + 1))
        assert caught.value.status is Status.TOO_LARGE
        assert client.get(keys[0]) == datas[0]
