"""A client process that gets into the middle of something, says so, and waits to be killed.

usage: doomed_client.py ROLE ADDRESS HEX     HEX: the name of the object, in hexadecimal;
                                             ADDRESS: HOST:PORT, for `sharing` a socket's path
"""

from __future__ import annotations

import os
import sys

from kdn import AttentionGroup, Client, Key, Layout, Put, chain_root, chunk_hashes
from raw_connection import RawConnection
from shared_memory_client import SharedMemoryClient

OBJECT_BYTES = 24 << 20
SENT_BYTES = 3 << 20
LEASE_MS = 60_000


def putting(address: str, name: bytes) -> object:
    """Has sent a part of an object, and no COMMIT."""
    connection = RawConnection(address).hello()
    connection.begin(2, Key.opaque(name), OBJECT_BYTES)
    connection.data(3, 2, 0, bytes(SENT_BYTES))
    connection.ping(4)
    return connection


def leasing(address: str, name: bytes) -> object:
    """Holds a lease on a chain of two chunks."""
    layout = Layout("bf16", (AttentionGroup((0, 1), 2, 8),))
    hashes = chunk_hashes(chain_root("integration", name), range(64), 32)
    client = Client(address)
    client.register_layout(layout)
    size = layout.bytes_per_token() * 32
    for index, digest in enumerate(hashes):
        parent = hashes[index - 1] if index else None
        key = Key.layout(digest, layout.id, layout.whole())
        client.put_from([Put(key, os.urandom(size), parent, index * 32, 32)])
    found = client.match(layout.id, hashes, [layout.whole()], lease_ms=LEASE_MS)
    assert found.lease is not None and found.chunks == 2
    return client, found


def waiting(address: str, name: bytes) -> object:
    """Waits for an object that nobody stores."""
    connection = RawConnection(address).hello()
    connection.send_get(2, Key.opaque(name), wait=True, deadline_ms=60_000)
    connection.ping(3)
    return connection


def reading(address: str, name: bytes) -> object:
    """Has asked for a large object, which somebody stored, and reads none of its answer."""
    connection = RawConnection(address, receive_buffer=4096).hello()
    connection.send_get(2, Key.opaque(name))
    connection.receive_exactly(1)
    return connection


def sharing(address: str, name: bytes) -> object:
    """Has leased an object in place and mapped its slab, filled a part of a transfer from its
    window, and not read a part of what it asked for."""
    client = SharedMemoryClient(address).hello()
    key = Key.opaque(name)
    leases = [client.lease(key, LEASE_MS)[1] for _ in range(10)]
    mapped = client.map_slab(leases[0].hits[0].slab_id)
    window = client.open_window(SENT_BYTES)
    window[1][:] = bytes(len(window[1]))
    transfer = client.begin_put(Key.opaque(name + b" never"), OBJECT_BYTES)
    client.data_from_window(transfer, 0, 0, len(window[1]))
    client.synchronise()
    for _ in range(10):
        client.send_get(client.next_id(), key)
    return client, leases, mapped, window


ROLES = {
    "putting": putting, "leasing": leasing, "waiting": waiting, "reading": reading,
    "sharing": sharing,
}


if __name__ == "__main__":
    role, address, name = sys.argv[1:]
    held = ROLES[role](address, bytes.fromhex(name))
    print("there", flush=True)
    sys.stdin.read()
