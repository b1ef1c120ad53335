"""Chunk hashes and keys against the vectors."""

from array import array

import numpy
import pytest
from conftest import load_vectors
from hypothesis import given
from hypothesis import strategies as st

from kdn import FieldError, Key, Part, chain_root, chunk_hashes, document_root

VECTORS = load_vectors("hashes.json")


def named(rows):
    return [pytest.param(row, id=row["name"]) for row in rows]


@pytest.mark.parametrize("row", named(VECTORS["chains"]))
def test_chain_has_the_vectors_hashes(row):
    fields = row["fields"]
    salt = bytes.fromhex(fields["salt"])
    for make, root, hashes, tail in (
        (chain_root, "root", "hashes", "tail"),
        (document_root, "documentRoot", "documentHashes", "documentTail"),
    ):
        start = make(fields["model"], salt)
        assert start.hex() == row[root]
        tokens, size = fields["tokens"], fields["chunkTokens"]
        assert [h.hex() for h in chunk_hashes(start, tokens, size)] == row[hashes]
        with_tail = row[hashes] + ([row[tail]] if row[tail] else [])
        assert [h.hex() for h in chunk_hashes(start, tokens, size, tail=True)] == with_tail


@pytest.mark.parametrize("row", named(VECTORS["invalidChains"]))
def test_invalid_chain_names_the_field_at_fault(row):
    fields = row["fields"]
    with pytest.raises(FieldError) as caught:
        root = chain_root(fields["model"], bytes.fromhex(fields["salt"]))
        chunk_hashes(root, [1] * 5000, fields.get("chunkTokens", 256))
    assert caught.value.field == row["field"]


@pytest.mark.parametrize("row", named(VECTORS["keys"]))
def test_key_has_the_vectors_bytes(row):
    fields = row["fields"]
    if fields["kind"] == "opaque":
        key = Key.opaque(bytes.fromhex(fields["clientKey"]))
        assert key.part is None
    else:
        numbers = fields["part"]
        part = Part(
            numbers["firstLayer"],
            numbers["layerCount"],
            numbers["firstKVHead"],
            numbers["kvHeadCount"],
        )
        key = Key.layout(
            bytes.fromhex(fields["hash"]), bytes.fromhex(fields["layoutID"]), part,
            fields["variant"],
        )
        assert key.part == part
    assert bytes(key).hex() == row["hex"]
    assert Key(bytes.fromhex(row["hex"])) == key


@pytest.mark.parametrize("row", named(VECTORS["invalidKeys"]))
def test_invalid_key_names_the_field_at_fault(row):
    with pytest.raises(FieldError) as caught:
        Key(bytes.fromhex(row["hex"]))
    assert caught.value.field == row["field"]


@pytest.mark.parametrize("bad", [[-1], [2**32], [1.5], ["1"], [None]])
def test_tokens_out_of_range_are_refused(bad):
    with pytest.raises(FieldError) as caught:
        chunk_hashes(chain_root("m"), bad * 16, 16)
    assert caught.value.field == "tokens"


@pytest.mark.parametrize("root", [b"", b"x" * 31, b"x" * 33])
def test_root_of_another_length_is_refused(root):
    with pytest.raises(FieldError):
        chunk_hashes(root, [1] * 16, 16)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=100), st.integers(16, 40))
def test_hashes_do_not_depend_on_the_sequence_type(tokens, size):
    root = chain_root("m")
    expected = chunk_hashes(root, tokens, size, tail=True)
    assert chunk_hashes(root, tuple(tokens), size, tail=True) == expected
    assert chunk_hashes(root, array("I", tokens), size, tail=True) == expected
    assert chunk_hashes(root, numpy.array(tokens, numpy.uint32), size, tail=True) == expected
    assert chunk_hashes(root, numpy.array(tokens, numpy.int64), size, tail=True) == expected


@given(st.lists(st.integers(0, 2**32 - 1), min_size=32, max_size=100))
def test_chain_goes_on_from_any_of_its_hashes(tokens):
    whole = chunk_hashes(chain_root("m"), tokens, 16)
    assert whole[:1] + chunk_hashes(whole[0], tokens[16:], 16) == whole
