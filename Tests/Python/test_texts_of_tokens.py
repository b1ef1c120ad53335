"""What a tokenizer's tokens stand for, and what a document that is learned keeps of it."""

from __future__ import annotations

import pytest
from blend_samples import CHUNK, client, loud_model, one_thread  # noqa: F401 (fixtures)
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import kdn
from kdn.engines._texts import texts_of
from kdn.errors import FieldError

TEXT = "Ein Preis von 5 €, oder ☃? Ja: 🤷🏽‍♀️ kostet 5 € mehr.\n"
PHRASES = ["Preis", "☃", "☃?", "🤷🏽‍♀️ kostet", ": 🤷", "mehr.\n", TEXT.strip()]


def byte_tokenizer(prefix: bool = False) -> PreTrainedTokenizerFast:
    """A token of each byte, but for a few words; special tokens at both ends."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {letter: number for number, letter in enumerate(letters)}
    merges = [("Ġ", "P"), ("ĠP", "r"), ("Ġ", "â")]
    for left, right in merges:
        words[left + right] = len(words)
    tokenizer = Tokenizer(models.BPE(words, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")],
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Words alone, in lower case and without what is between them."""
    words = ["[UNK]", "ein", "preis", "von", "5", "oder", "ja", "kostet", "mehr"]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


def bytes_of(tokenizer, ids):
    """The bytes that byte-level tokens stand for, found without offsets."""
    letters = dict(zip(BYTE_LETTERS, range(256), strict=True))
    names = tokenizer.convert_ids_to_tokens(ids)
    return [b"" if name in ("<s>", "</s>") else bytes(letters[c] for c in name) for name in names]


def _byte_letters():
    """GPT-2's letter of each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


BYTE_LETTERS = _byte_letters()


@pytest.mark.parametrize("prefix", [False, True])
def test_each_token_has_a_byte_of_each_character_that_it_is_part_of(prefix):
    tokenizer = byte_tokenizer(prefix)
    ids = tokenizer(TEXT)["input_ids"]
    texts = texts_of(tokenizer, TEXT, ids)
    assert texts.text == TEXT.encode() and len(texts.ends) == len(ids)
    true_bytes = bytes_of(tokenizer, ids)
    for phrase in PHRASES:
        ((start, end),) = texts.spans(phrase)
        inside = b"".join(true_bytes[start:end])
        assert phrase.encode() in inside
        # No token could be left out.
        assert phrase.encode() not in b"".join(true_bytes[start + 1 : end])
        assert phrase.encode() not in b"".join(true_bytes[start : end - 1])
    assert len(texts.spans("5 €", everywhere=True)) == 2
    assert texts_of(tokenizer, None, ids).spans("☃") == texts.spans("☃")


def test_words_that_were_changed_are_found_as_they_were_written():
    tokenizer = word_tokenizer()
    ids = tokenizer(TEXT)["input_ids"]
    texts = texts_of(tokenizer, TEXT, ids)
    assert texts.spans("Preis von") == ((1, 3),)
    assert texts.spans("mehr.") == ((len(ids) - 2, len(ids)),)
    # The white space at the end belongs to no token.
    assert texts.text == TEXT.strip().encode()


def test_what_cannot_be_told_is_not_told():
    tokenizer = byte_tokenizer()
    ids = tokenizer(TEXT)["input_ids"]
    assert texts_of(tokenizer, TEXT, ids[:-1]) is None
    assert texts_of(tokenizer, TEXT + "!", ids) is None
    assert texts_of(lambda text, **_: {"input_ids": [1]}, TEXT, [1]) is None
    assert texts_of(lambda text: {"input_ids": [1]}, TEXT, [1]) is None


def test_a_document_learned_from_text_is_edited_by_phrase(client):  # noqa: F811
    tokenizer = byte_tokenizer()
    # The tiny model knows as many tokens as there are letters of a byte, and not the words.
    model = loud_model("llama")
    text = "the key is 7 and the lock is 9"
    ids = [one % 128 for one in tokenizer(text)["input_ids"]]

    class Small:
        """The tokenizer, with tokens that the model knows."""

        def __call__(self, given, **options):
            return {**tokenizer(given, **options), "input_ids": list(ids)}

    learned = kdn.learn_document(
        model, text, "note", client, tokenizer=Small(), chunk_tokens=CHUNK
    )
    found = client.find_text("note", "7")
    assert found.epoch == learned.epoch
    client.add_edit("note", kdn.Edit.emphasise(found.spans), found.epoch)
    blended = kdn.blend(model, ["note"], client)
    plain = kdn.blend(model, ["note"], client, edits=False)
    changed = (blended.cache.layers[0].keys - plain.cache.layers[0].keys).abs().sum((0, 1, 3)) > 0
    assert changed.nonzero().flatten().tolist() == list(range(*found.spans[0]))
    with pytest.raises(FieldError, match="text") as caught:
        client.find_text("note", " is ")
    assert caught.value.value == 2

    # What was learned from token ids alone has no texts, until somebody brings them.
    kdn.forget("note", client)
    kdn.learn_document(model, ids, "note", client, chunk_tokens=CHUNK)
    with pytest.raises(FieldError, match="texts"):
        client.find_text("note", "7")
    again = kdn.learn_document(model, text, "note", client, tokenizer=Small(), chunk_tokens=CHUNK)
    assert again.bytes_sent == 0 and client.find_text("note", "7").spans == found.spans
