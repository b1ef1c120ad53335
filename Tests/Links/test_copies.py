"""What the daemon's processor does with the bytes, by its own counters."""

from __future__ import annotations

from kdn import Get
from link_node import MEBIBYTE
from material import store

COUNT = 4


def row(client, kind):
    """The link's numbers in STATS."""
    return next(row for row in client.stats()["links"] if row["kind"] == kind)


def test_the_counters_tell_how_payload_moves(node, client, salt):
    total = COUNT * MEBIBYTE
    keys, datas = (store(client, salt, COUNT, MEBIBYTE))
    with node.over_tcp() as aside:
        before = row(aside, node.link)
        buffers = [bytearray(MEBIBYTE) for _ in keys]
        items = [Get(key, buffer) for key, buffer in zip(keys, buffers, strict=True)]
        assert all(result.hit for result in client.get_into(items)) and buffers == datas
        got = row(aside, node.link)
        store(client, salt + b"more", COUNT, MEBIBYTE)
        put = row(aside, node.link)
    assert got["sent_bytes_total"] - before["sent_bytes_total"] >= total
    assert put["received_bytes_total"] - got["received_bytes_total"] >= total
    # A copy into the socket; none where the client reads the daemon's memory, or the device does.
    copied_by_get = {"tcp": total, "unix": total, "shm": 0, "rdma": 0}[node.link]
    # A window is copied once, so that a client cannot change what it has published.
    copied_by_put = {"tcp": total, "unix": total, "shm": total, "rdma": 0}[node.link]
    assert got["copied_bytes_total"] - before["copied_bytes_total"] == copied_by_get
    assert put["copied_bytes_total"] - got["copied_bytes_total"] == copied_by_put
    assert put["hashed_bytes_total"] - got["hashed_bytes_total"] == total
