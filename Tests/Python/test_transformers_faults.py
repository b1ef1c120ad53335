"""What is missing, corrupt, late or gone makes a shorter prefix or a miss, never wrong KV."""

from __future__ import annotations

import pytest
import tiny_models
import torch
from tiny_caches import (  # noqa: F401 (fixtures among them)
    ALL_SLIDING,
    CHUNK,
    FULL,
    SLIDING,
    Wrapped,
    assert_same_state,
    client,
    first_tokens,
    learn,
    retrieve,
    two_threads,
)
from tiny_models import ordinary_cache, prompt, tiny_model

import kdn
from kdn.engines import transformers as engine
from kdn.engines._planes import describe
from kdn.results import MissCause


def plane_key(model, ids, window, chunk):
    (plane,) = (plane for plane in describe(model).planes if plane.window == window)
    return plane.key(engine._hashes(model, ids, b"", CHUNK, None)[chunk])


@pytest.mark.parametrize(
    ("name", "window", "chunk", "tokens"),
    [
        (FULL, 0, 0, 0),
        (FULL, 0, 3, 192),
        (SLIDING, 0, 3, 192),
        # Window 96: the token at 512 needs chunks 6 and 7, at 448 chunks 5 and 6, and so on.
        (SLIDING, 96, 7, 448),
        (SLIDING, 96, 6, 384),
        (SLIDING, 96, 5, 512),
        (ALL_SLIDING, 96, 7, 448),
        (ALL_SLIDING, 96, 0, 512),
    ],
)
@pytest.mark.parametrize("how", ["purged", "corrupt", "evicted between match and get"])
def test_without_one_chunk_the_longest_prefix_that_can_do_without_it_is_used(
    client, name, window, chunk, tokens, how
):
    model, ids = tiny_model(name), prompt(512 + 9)
    reference = engine.prefill(model, ids[:512])
    engine.store_cache(model, reference, ids[:512], client=client, chunk_tokens=CHUNK)
    key = plane_key(model, ids, window, chunk)
    wrapped = Wrapped(client)
    if how == "purged":
        assert client.purge(keys=[key]).objects == 1
    else:

        def spoil(item, result):
            if item.key == key and how == "corrupt":
                item.buffer[-1] ^= 1
            elif item.key == key:
                result.hit, result.cause = False, MissCause.EVICTED

        wrapped.after = spoil
    found = retrieve(model, ids, wrapped)
    assert found.tokens == tokens
    expected = first_tokens(model, reference, tokens) if tokens else None
    if expected is not None:
        assert_same_state(found.cache, expected)
    if tokens < 512:
        causes = {
            "purged": (MissCause.PURGED, MissCause.NEVER_STORED),
            "corrupt": (MissCause.CORRUPT,),
        }
        assert found.cause in causes.get(how, (MissCause.EVICTED,))


def test_purging_a_chunk_by_prefix_takes_all_that_builds_on_it(client):
    model, ids = tiny_model(SLIDING), prompt(512)
    learn(model, ids, client)
    hashes = engine._hashes(model, ids, b"", CHUNK, None)
    assert client.purge(prefixes=[hashes[2]]).objects == 2 * 6
    assert retrieve(model, ids, client).tokens == 128


def test_a_sliding_layer_fetches_only_the_chunks_under_its_window(client):
    model, ids = tiny_model(ALL_SLIDING), prompt(520)
    learn(model, ids[:512], client)
    wrapped = Wrapped(client)
    assert retrieve(model, ids, wrapped).tokens == 512
    expected = {plane_key(model, ids, 96, chunk).data for chunk in (6, 7)}
    assert set(wrapped.fetched) == expected


def test_pieces_of_two_different_objects_are_never_put_together(client, monkeypatch):
    monkeypatch.setattr("kdn.engines._fetch.STEP_BYTES", 1)
    model, ids = tiny_model(FULL), prompt(70)
    learn(model, ids[:64], client)
    wrapped, seen = Wrapped(client), []

    def replace_later_pieces(item, result):
        seen.append(item)
        if len(seen) > 1:
            result.object_checksum ^= 1

    wrapped.after = replace_later_pieces
    found = retrieve(model, ids, wrapped)
    assert len(seen) > 1
    assert (found.tokens, found.cause) == (0, MissCause.CORRUPT)


@pytest.mark.parametrize("step_bytes", [1, 20_000, 100_000])
@pytest.mark.parametrize("name", [FULL, SLIDING])
def test_the_size_of_requests_changes_nothing(client, monkeypatch, name, step_bytes):
    monkeypatch.setattr("kdn.engines._fetch.STEP_BYTES", step_bytes)
    model, ids = tiny_model(name), prompt(512 + 7)
    learned = learn(model, ids[:512], client)
    assert_same_state(retrieve(model, ids, client).cache, learned.cache)


def test_beyond_the_original_context_length_dependent_scalings_are_not_stored(client):
    model, ids = tiny_model("phi3, longrope"), prompt(2100)
    assert learn(model, ids[:2040], client).tokens == 1984
    assert learn(model, [*ids[:100], *ids[:2000]], client).stored.objects_sent == 0
    assert retrieve(model, ids[:2047], client).tokens == 1984
    assert retrieve(model, ids[:2048], client).tokens == 0


def test_a_server_that_is_not_there_is_a_miss_and_an_error_only_if_asked():
    model, ids = tiny_model(FULL), prompt(200)
    client = kdn.Client("127.0.0.1:9", connect_timeout=0.5)
    found = retrieve(model, ids, client)
    assert (found.tokens, found.cause) == (0, MissCause.UNREACHABLE)
    learned = engine.learn(model, ids, client=client, chunk_tokens=CHUNK)
    assert isinstance(learned.stored.error, kdn.errors.ConnectionLost)
    assert torch.equal(
        tiny_models.logits(model, [5], learned.cache),
        tiny_models.logits(model, [5], ordinary_cache(model, ids)),
    )
    with pytest.raises(kdn.errors.ConnectionLost):
        retrieve(model, ids, client, strict=True)
    with pytest.raises(kdn.errors.ConnectionLost):
        learn(model, ids, client)


def test_a_deadline_that_has_passed_is_a_miss(client):
    model, ids = tiny_model(FULL), prompt(200)
    learn(model, ids, client)
    found = retrieve(model, ids, client, timeout=0.0)
    assert (found.tokens, found.cause) == (0, MissCause.OVER_DEADLINE)


def test_a_cache_of_another_model_is_refused(client):
    other = ordinary_cache(tiny_model("qwen3"), prompt(64))
    with pytest.raises(engine.UnsupportedModel, match="layer 0 of the cache"):
        engine.store_cache(tiny_model(FULL), other, prompt(64), client=client)


def test_the_two_calls_are_reachable_from_the_package(client):
    model, ids = tiny_model(FULL), prompt(80)
    kdn.learn(model, ids, client=client, chunk_tokens=CHUNK, strict=True)
    assert kdn.retrieve(model, torch.tensor([ids]), client=client, chunk_tokens=CHUNK).tokens == 64


def test_a_text_is_read_by_the_tokenizer(client):
    def tokenizer(text):
        return {"input_ids": [ord(character) for character in text]}

    model, text = (
        tiny_model(FULL),
        "sixty characters of a text make a little less than a chunk. " * 2,
    )
    learned = learn(model, text, client, tokenizer=tokenizer)
    assert (learned.tokens, learned.total) == (64, 120)
    assert retrieve(model, text, client, tokenizer=tokenizer).tokens == 64
    with pytest.raises(ValueError, match="tokenizer"):
        retrieve(model, text, client)
