"""Documents through a real daemon: published, resolved, listed in pages, replaced, retired."""

import os

import pytest
from fake_server import CLIENTS

from kdn import (
    AttentionGroup,
    Document,
    FieldError,
    Key,
    Layout,
    Put,
    RoPE,
    ServerError,
    Status,
    chunk_hashes,
    document_root,
)

CHUNK = 16
LAYOUT = Layout("bf16", (AttentionGroup((0, 1), 2, 8, rope=RoPE(10000.0, 8)),))
WHOLE = LAYOUT.whole()


@pytest.fixture(params=["blocking tcp", "asyncio unix"])
def client(request, kdnd):
    kind, link = request.param.split()
    with CLIENTS[kind](kdnd.tcp if link == "tcp" else kdnd.unix) as client:
        client.register_layout(LAYOUT)
        yield client


@pytest.fixture
def prefix():
    """Names of this test's own, since the daemon outlives it."""
    return os.urandom(8).hex()


def document(name, salt=b"", tokens=40, metadata=""):
    root = document_root("model", salt)
    hashes = chunk_hashes(root, list(range(tokens)), CHUNK, tail=True)
    return Document(name, LAYOUT.id, tokens, CHUNK, tuple(hashes), metadata)


def store(client, text, chunks):
    for index in range(chunks):
        tokens = min(CHUNK, text.token_count - index * CHUNK)
        parent = text.hashes[index - 1] if index else bytes(32)
        key = Key.layout(text.hashes[index], LAYOUT.id, WHOLE)
        data = bytes(LAYOUT.bytes_per_token() * tokens)
        client.put_from([Put(key, data, parent, index * CHUNK, tokens)])


def test_a_name_stands_for_its_text_and_tells_what_of_it_is_there(client, prefix):
    text = document(f"{prefix}/handbook", prefix.encode(), metadata='{"pages": 12}')
    epoch = client.publish_document(text)
    for stored in (0, 1, 3):
        store(client, text, stored)
        found = client.resolve_document(text.name)
        assert (found.document, found.epoch, found.present_chunks) == (text, epoch, stored)


def test_a_text_published_again_replaces_the_old_at_once(client, prefix):
    name = f"{prefix}/règles"
    first = client.publish_document(document(name, b"old"))
    changed = document(name, b"new", tokens=16)
    second = client.publish_document(changed)
    found = client.resolve_document(name)
    assert second > first
    assert (found.document, found.epoch) == (changed, second)
    assert [row.name for row in client.list_documents(after=prefix)].count(name) == 1


def test_names_come_in_pages_in_the_order_of_their_bytes(client, prefix):
    names = sorted((f"{prefix}/{n}" for n in ("b", "a", "é", "Z", "10", "9")), key=str.encode)
    for name in names:
        client.publish_document(document(name))
    seen, after = [], prefix
    while page := client.list_documents(after=after, limit=2):
        seen += [row.name for row in page if row.name.startswith(prefix)]
        after = page[-1].name
    assert seen == names


def test_a_retired_name_stands_for_nothing_and_its_chunks_stay(client, prefix):
    text = document(f"{prefix}/gone", prefix.encode())
    epoch = client.publish_document(text)
    store(client, text, 3)
    assert client.retire_document(text.name) == epoch
    for ask in (client.resolve_document, client.retire_document):
        with pytest.raises(ServerError) as fault:
            ask(text.name)
        assert (fault.value.status, fault.value.field) == (Status.NOT_FOUND, "name")
    assert all(client.exists([Key.layout(h, LAYOUT.id, WHOLE) for h in text.hashes]))


def test_what_cannot_be_published_is_refused_with_the_field(client, prefix):
    with pytest.raises(ServerError) as fault:
        client.publish_document(
            Document(prefix, bytes(16), 1, CHUNK, document("x", tokens=1).hashes))
    assert (fault.value.status, fault.value.field) == (Status.NOT_FOUND, "layout")
    for text in (document(""), document("a\nb"), document("n" * 257),
                 Document("a", LAYOUT.id, 40, CHUNK, ())):
        with pytest.raises(FieldError):
            client.publish_document(text)
