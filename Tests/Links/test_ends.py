"""Durability, restarts, drains and damaged bytes, as each link shows them."""

from __future__ import annotations

import pathlib

import pytest
from kdn import ConnectionLost, DeadlineExceeded, Get, Key, MissCause, ServerError
from link_node import MEBIBYTE
from material import chain, chunk_key, random_bytes, store, store_chain

SIZES = [1, 4097, 65_536, MEBIBYTE + 3]


@pytest.mark.parametrize("clean", [False, True], ids=["kill", "stop"])
def test_what_was_acknowledged_as_durable_is_there_after_the_end(start, salt, tmp_path, clean):
    node = start(disk=tmp_path / "disk")
    with node.client() as client:
        keys = [Key.opaque(salt + b"%d" % size) for size in SIZES]
        datas = [random_bytes(size) for size in SIZES]
        for key, data in zip(keys, datas, strict=True):
            assert client.put(key, data, durability="disk").state == "published"
        hashes = chain(salt, 2)
        chunks = store_chain(client, hashes, durability="disk")
    node.restart(clean)
    with node.client() as client:
        assert [client.get(key) for key in keys] == datas
        assert [client.get(chunk_key(digest)) for digest in hashes] == chunks
        assert client.put(keys[0], datas[0]).state == "present"


def test_a_client_finds_the_daemon_again_after_a_restart(start, salt, eventually):
    node = start()
    with node.client() as client, node.client(on_error="miss") as lenient:
        (key,), (data,) = store(client, salt, 1, 200_000)
        assert lenient.get(key) == data
        tcp = node.tcp
        node.end(clean=False)
        with pytest.raises((ConnectionLost, DeadlineExceeded)):
            client.get(key)
        result = lenient.get_into([Get(key, bytearray(len(data)))])[0]
        assert not result.hit and result.cause is MissCause.UNREACHABLE
        node.flags[1] = tcp
        node.start()
        with node.client() as fresh:
            assert fresh.get(key) is None, "it was in RAM only"
            fresh.put(key, data)
        eventually(lambda: lenient.get(key) == data)


def test_a_daemon_that_drains_serves_what_it_holds_and_exits_cleanly(start, salt):
    node = start()
    with node.client() as client:
        keys, datas = store(client, salt, 4, MEBIBYTE)
        buffers = [bytearray(MEBIBYTE) for _ in keys]
        items = [Get(key, buffer) for key, buffer in zip(keys, buffers, strict=True)]
        assert all(result.hit for result in client.get_into(items)) and buffers == datas
        node.end(clean=True)
        with pytest.raises((ConnectionLost, DeadlineExceeded, ServerError)):
            client.get(keys[0])


def test_bytes_damaged_on_disk_are_a_miss_and_not_an_answer(start, salt, tmp_path):
    folder = tmp_path / "disk"
    node = start(disk=folder)
    with node.client() as client:
        keys, datas = store(client, salt, 3, 300_000, durability="disk")
    node.end(clean=True)
    flip_a_bit(folder, datas[1], 123_456)
    node.start()
    with node.client() as client:
        buffers = [bytearray(len(data)) for data in datas]
        items = [Get(key, buffer) for key, buffer in zip(keys, buffers, strict=True)]
        results = client.get_into(items)
        assert [result.hit for result in results] == [True, False, True]
        assert (buffers[0], buffers[2]) == (datas[0], datas[2])
        assert client.get(keys[1]) is None


def flip_a_bit(folder: pathlib.Path, data: bytes, offset: int) -> None:
    """Damages one byte of an object where it lies in a segment file."""
    for file in folder.glob("segment-*"):
        place = file.read_bytes().find(data)
        if place >= 0:
            with file.open("r+b") as opened:
                opened.seek(place + offset)
                opened.write(bytes([data[offset] ^ 1]))
            return
    raise AssertionError("a durable object is in no segment")
