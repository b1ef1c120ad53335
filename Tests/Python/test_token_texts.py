"""Texts of tokens against the vectors, and both clients that find a phrase by them."""

import pytest
from conftest import load_vectors
from fake_server import CLIENTS
from test_documents_daemon import document

from kdn import AttentionGroup, Edit, FieldError, Layout, RoPE, ServerError, Status, TokenTexts
from kdn.token_texts import PHRASE_BYTES_MAX, texts_key

VECTORS = load_vectors("texts.json")
TEXTS = {row["name"]: row for row in VECTORS["texts"]}
LAYOUT = Layout("bf16", (AttentionGroup((0, 1), 2, 8, rope=RoPE(10000.0, 8)),))


def find(row):
    texts = TokenTexts.decode(bytes.fromhex(TEXTS[row["texts"]]["hex"]))
    number = row["occurrence"]
    return texts.spans(
        row["phrase"], occurrence=number or None, everywhere=number == 0
    )


@pytest.mark.parametrize("row", VECTORS["texts"], ids=lambda row: row["name"])
def test_texts_have_the_vectors_bytes(row):
    texts = TokenTexts(tuple(row["ends"]), bytes.fromhex(row["text"]))
    assert texts.encode().hex() == row["hex"]
    assert TokenTexts.decode(bytes.fromhex(row["hex"])) == texts


@pytest.mark.parametrize("row", VECTORS["invalidTexts"], ids=lambda row: row["name"])
def test_what_is_wrong_is_refused_by_its_field(row):
    with pytest.raises(FieldError) as caught:
        TokenTexts.decode(bytes.fromhex(row["hex"]))
    assert caught.value.field == row["field"]


def test_an_object_that_ends_early_is_refused():
    whole = bytes.fromhex(TEXTS["words"]["hex"])
    for count in range(len(whole)):
        with pytest.raises(FieldError):
            TokenTexts.decode(whole[:count])


@pytest.mark.parametrize("row", VECTORS["finds"], ids=lambda row: row["phrase"])
def test_a_phrase_is_found_in_the_tokens_that_stand_for_it(row):
    assert [list(span) for span in find(row)] == row["spans"]


@pytest.mark.parametrize("row", VECTORS["findFaults"], ids=lambda row: row["phrase"][:20])
def test_a_phrase_that_is_not_there_or_not_one_is_refused_with_how_often_it_is(row):
    with pytest.raises(FieldError) as caught:
        find(row)
    assert (caught.value.field, caught.value.value) == (row["field"], row["value"])


def test_all_and_one_of_them_are_not_asked_for_together():
    texts = TokenTexts((1, 2), b"aa")
    with pytest.raises(FieldError, match="occurrence"):
        texts.spans("a", occurrence=1, everywhere=True)
    assert texts.spans("a", everywhere=True) == ((0, 2),)
    with pytest.raises(FieldError, match="text"):
        texts.spans("a" * (PHRASE_BYTES_MAX + 1))


@pytest.mark.parametrize("row", VECTORS["keys"], ids=lambda row: row["hash"][:8])
def test_the_key_is_the_vectors(row):
    text = document("any", tokens=1)
    named = type(text)("any", text.layout_id, 1, 16, (bytes.fromhex(row["lastChunk"]),))
    assert texts_key(named).data[8:40].hex() == row["hash"]


@pytest.mark.parametrize(
    "data, field", [(TokenTexts((1, 2), b"ab").encode(), "texts"), (b"x" * 40, "magic")]
)
@pytest.mark.parametrize("kind", CLIENTS)
def test_what_is_not_the_texts_of_the_document_is_refused(kind, data, field, kdnd):
    text = document(f"other texts/{kind}", kind.encode() + data, tokens=3)
    with CLIENTS[kind](kdnd.tcp) as client:
        client.register_layout(LAYOUT)
        client.publish_document(text)
        client.put(texts_key(text), data)
        with pytest.raises(FieldError) as caught:
            client.find_text(text.name, "b")
        assert caught.value.field == field


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_phrase_in_a_document_is_edited_and_retiring_it_takes_its_texts(kind, kdnd):
    text = document(f"texts/{kind}", kind.encode(), tokens=3)
    with CLIENTS[kind](kdnd.tcp) as client:
        client.register_layout(LAYOUT)
        epoch = client.publish_document(text)
        with pytest.raises(FieldError, match="token ranges") as caught:
            client.find_text(text.name, "b")
        assert caught.value.field == "texts"
        client.put(texts_key(text), TokenTexts((1, 2, 4), b"abba").encode())
        found = client.find_text(text.name, "b", occurrence=2)
        assert (found.epoch, found.spans) == (epoch, ((2, 3),))
        client.add_edit(text.name, Edit.emphasise(found.spans), found.epoch)
        assert [row.edit for row in client.list_edits(text.name)] == [
            Edit.scale_keys(1.75, [(2, 3)])
        ]
        with pytest.raises(ServerError) as refused:
            client.find_text("nothing", "b")
        assert refused.value.status is Status.NOT_FOUND

        # As long as a document with the same tokens is there its texts are, too.
        twin = type(text)(
            text.name + " 2", text.layout_id, text.token_count, text.chunk_tokens, text.hashes
        )
        client.publish_document(twin)
        client.retire_document(text.name)
        assert client.get(texts_key(text)) is not None
        client.retire_document(twin.name)
        assert client.get(texts_key(text)) is None
