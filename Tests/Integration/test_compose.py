"""Blends over real links: TCP, a Unix socket, shared memory; and a client that dies meanwhile."""

from __future__ import annotations

import math
import os
import struct

import pytest
from kdn import (
    AttentionGroup,
    Client,
    Document,
    Get,
    Key,
    Layout,
    RoPE,
    ServerError,
    chunk_hashes,
    document_root,
)
from kdn.errors import Status

LAYERS, HEADS, DIMS, CHUNK_TOKENS = 3, 2, 8, 32
THETA = 10_000.0
LAYOUT = Layout(
    "f32",
    (AttentionGroup(tuple(range(LAYERS)), HEADS, DIMS, rope=RoPE(theta=THETA, rotary_dims=DIMS)),),
)
PLANE = 4 * DIMS


def chunk_bytes(tokens: int) -> bytes:
    """Small numbers: neither huge nor NaN."""
    count = LAYERS * 2 * HEADS * tokens * DIMS
    return struct.pack(f"<{count}f", *(byte / 64 - 2 for byte in os.urandom(count)))


def learn(client: Client, name: str, tokens: int) -> list[bytes]:
    """Stores a document's chunks, publishes it, and returns their bytes."""
    client.register_layout(LAYOUT)
    ids = [int.from_bytes(os.urandom(3), "little") for _ in range(tokens)]
    hashes = chunk_hashes(document_root("compose"), ids, CHUNK_TOKENS, tail=True)
    chunks = []
    for index, digest in enumerate(hashes):
        start = index * CHUNK_TOKENS
        count = min(CHUNK_TOKENS, tokens - start)
        chunks.append(chunk_bytes(count))
        parent = hashes[index - 1] if index else None
        key = Key.layout(digest, LAYOUT.id, LAYOUT.whole())
        client.put(key, chunks[-1], parent=parent, first_token=start, token_count=count)
    client.publish_document(Document(name, LAYOUT.id, tokens, CHUNK_TOKENS, tuple(hashes)))
    return chunks


def row(chunks: list[bytes], layer: int, half: int, head: int, token: int) -> tuple[float, ...]:
    """One token's keys or values of one head."""
    data = chunks[token // CHUNK_TOKENS]
    count = len(data) // (LAYERS * 2 * HEADS * PLANE)
    place = ((layer * 2 + half) * HEADS + head) * count + token % CHUNK_TOKENS
    return struct.unpack_from(f"<{DIMS}f", data, place * PLANE)


def turned(values: tuple[float, ...], distance: int) -> tuple[float, ...]:
    """Keys moved by a distance, in f64: the daemon's f32 comes close to it."""
    half = DIMS // 2
    result = list(values)
    for pair in range(half):
        angle = distance * THETA ** (-2 * pair / DIMS)
        cosine, sine = math.cos(angle), math.sin(angle)
        a, b = values[pair], values[pair + half]
        result[pair] = a * cosine - b * sine
        result[pair + half] = b * cosine + a * sine
    return tuple(result)


def check(client: Client, plan, documents: list[list[bytes]]) -> None:
    """All layers hold the rows of all documents: values bit for bit, keys to 1e-5."""
    for layer in range(LAYERS):
        [result] = client.get_into([Get(plan.key(layer, HEADS))], wait=True)
        assert result.hit and result.data is not None
        data = bytes(result.data)
        assert len(data) == plan.byte_count // LAYERS == 2 * HEADS * plan.row_count * PLANE
        place = 0
        for half in range(2):
            for head in range(HEADS):
                for piece, chunks in zip(plan.pieces, documents, strict=True):
                    dropped = {t for span in piece.dropped for t in range(*span)}
                    for token in range(piece.token_count):
                        if token in dropped:
                            continue
                        found = struct.unpack_from(f"<{DIMS}f", data, place)
                        values = row(chunks, layer, half, head, token)
                        if half == 0:
                            values = turned(values, piece.first_position)
                            assert found == pytest.approx(values, abs=1e-5)
                        else:
                            assert found == values
                        place += PLANE


@pytest.fixture
def site(start, tmp_path):
    """A daemon on TCP and on a Unix socket."""
    path = tmp_path / "kdn.sock"
    return start("--unix", str(path)), path


@pytest.mark.parametrize("link", ["tcp", "unix", "shm"])
def test_documents_are_blended_over_every_link(site, link):
    daemon, path = site
    address = daemon.address if link == "tcp" else f"unix://{path}"
    with Client(address, link=link) as client:
        one, two = learn(client, "one", 70), learn(client, "two", 33)
        plan = client.compose(LAYOUT.id, ["one", "two", "one"], recompute_permille=100)
        assert plan.row_count == 70 + 32 + 69 and plan.end_position == 70 + 33 + 70
        check(client, plan, [one, two, one])
        again = client.compose(LAYOUT.id, ["one", "two", "one"])
        assert again.hash == plan.hash
        assert client.stats()["blends"]["hits_total"] == 1
        with pytest.raises(ServerError) as refused:
            client.compose(LAYOUT.id, ["one", "two"], forbidden=["two"])
        assert refused.value.status == Status.FORBIDDEN and refused.value.field == "name"


def test_a_client_that_is_gone_leaves_nothing_behind(client, daemon, eventually):
    document = learn(client, "one", 70)
    before = client.stats()
    with Client(daemon.address) as doomed:
        plan = doomed.compose(LAYOUT.id, ["one"], first_position=7)
    eventually(lambda: client.stats()["blends"]["under_way"] == 0)
    after = client.stats()
    assert after["pool"]["waiters"] == before["pool"]["waiters"] == 0
    assert after["pool"]["reservations"] == 0
    # What was made is there for others, and goes with its document.
    check(client, plan, [document])
    client.retire_document("one")
    assert client.get(plan.key(0, HEADS)) is None
    assert client.stats()["blends"]["kept"] == 0
