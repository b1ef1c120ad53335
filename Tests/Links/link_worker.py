"""A client process that does what its role says until it is killed.

usage: link_worker.py ROLE ADDRESS LINK HEX     HEX: the prefix of its names, in hexadecimal
"""

from __future__ import annotations

import sys

from kdn import Client, Get, Key, Put
from link_node import connect
from material import LAYOUT, WHOLE, chain, store_chain


def say_there() -> None:
    print("there", flush=True)


def looping(client: Client, salt: bytes) -> None:
    """Stores, reads and purges without an end, so that it is killed in the middle of something."""
    data = bytes(range(256)) * 8192
    buffer = bytearray(len(data))
    turn = 0
    while True:
        key = Key.opaque(salt + b"loop/%d" % (turn % 4))
        client.put_from([Put(key, data)])
        client.get_into([Get(key, buffer)])
        client.purge(keys=[key])
        if turn == 1:
            say_there()
        turn += 1


def leasing(client: Client, salt: bytes) -> None:
    """Holds a lease on a chain of two chunks."""
    hashes = chain(salt, 2)
    store_chain(client, hashes)
    found = client.match(LAYOUT.id, hashes, [WHOLE], lease_ms=60_000)
    assert found.lease is not None and found.chunks == 2
    say_there()
    sys.stdin.read()


def main() -> None:
    role, address, link, salt = sys.argv[1:]
    roles = {"looping": looping, "leasing": leasing}
    roles[role](connect(address, link=link), bytes.fromhex(salt))


if __name__ == "__main__":
    main()
