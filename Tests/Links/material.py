"""Layouts, chains and random bytes that the tests store."""

from __future__ import annotations

import numpy
from kdn import (
    AttentionGroup,
    Client,
    Key,
    LatentGroup,
    Layout,
    Put,
    RoPE,
    chain_root,
    chunk_hashes,
)

TOKENS = 32
# So little RAM that `crowd` has others evicted.
CROWDED = "32MiB"
_CROWD = 40
LAYOUT = Layout(
    "bf16",
    (
        AttentionGroup((0, 2, 3), 4, 16, rope=RoPE(10000.0, 16)),
        LatentGroup((1,), 24, 8, rope=RoPE(10000.0, 8, pairing="interleaved")),
    ),
)
WHOLE = LAYOUT.whole()
CHUNK_BYTES = LAYOUT.bytes_per_token(WHOLE) * TOKENS


def random_bytes(count: int) -> bytes:
    """Bytes that compress to nothing and recur nowhere."""
    return numpy.random.default_rng().integers(0, 256, count, numpy.uint8).tobytes()


def chain(salt: bytes, chunks: int) -> list[bytes]:
    """The hashes of a chain that only this salt has."""
    tokens = numpy.arange(chunks * TOKENS, dtype=numpy.uint32)
    return chunk_hashes(chain_root("test/model@1", salt), tokens, TOKENS)


def chunk_key(digest: bytes) -> Key:
    return Key.layout(digest, LAYOUT.id, WHOLE)


def store_chain(client: Client, hashes: list[bytes], durability: str = "ram") -> list[bytes]:
    """Random bytes for every chunk of a chain, published."""
    client.register_layout(LAYOUT)
    datas = [random_bytes(CHUNK_BYTES) for _ in hashes]
    parents = [None, *hashes[:-1]]
    puts = [
        Put(chunk_key(digest), data, parent, index * TOKENS, TOKENS, durability=durability)
        for index, (digest, data, parent) in enumerate(zip(hashes, datas, parents, strict=True))
    ]
    assert {result.state for result in client.put_from(puts)} == {"published"}
    return datas


def store(
    client: Client, salt: bytes, count: int, byte_count: int, durability: str = "ram"
) -> tuple[list[Key], list[bytes]]:
    """Opaque objects of random bytes, published."""
    keys = [Key.opaque(salt + b"/%d" % index) for index in range(count)]
    datas = [random_bytes(byte_count) for _ in keys]
    puts = [Put(key, data, durability=durability) for key, data in zip(keys, datas, strict=True)]
    assert {result.state for result in client.put_from(puts)} == {"published"}
    return keys, datas


def crowd(client: Client, salt: bytes) -> None:
    """Stores more than a daemon with `CROWDED` holds."""
    data = random_bytes(1 << 20)
    for number in range(_CROWD):
        client.put(Key.opaque(salt + b"crowd/%d" % number), data)
