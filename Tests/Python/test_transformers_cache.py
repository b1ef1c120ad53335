"""KV of tiny models through a real daemon comes back bit for bit."""

from __future__ import annotations

import pytest
import tiny_models
import torch
from tiny_caches import (  # noqa: F401 (fixtures among them)
    ALL_SLIDING,
    CHUNK,
    FULL,
    SLIDING,
    assert_same_state,
    client,
    first_tokens,
    learn,
    retrieve,
    two_threads,
)
from tiny_models import MODELS, ordinary_cache, prompt, tiny_model
from transformers import DynamicCache

from kdn.engines import transformers as engine
from kdn.results import MissCause


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_logits_on_a_retrieved_cache_are_bit_identical(client, name, dtype):
    model, ids = tiny_model(name, dtype), prompt(512 + 21)
    learned = learn(model, ids[:512], client)
    found = retrieve(model, ids, client)
    assert (found.tokens, found.total, found.cause) == (512, 533, MissCause.NONE)
    assert_same_state(found.cache, learned.cache)
    stored = tiny_models.logits(model, ids[512:], learned.cache)
    assert torch.equal(tiny_models.logits(model, ids[512:], found.cache), stored)


@pytest.mark.parametrize("name", [FULL, SLIDING, ALL_SLIDING])
def test_generation_goes_on_identically_token_by_token(client, name):
    model, ids = tiny_model(name), prompt(256 + 5)
    learned = learn(model, ids[:256], client)
    found = retrieve(model, ids, client)
    mine, own = ids[256:], ids[256:]
    for _ in range(150):  # longer than the window, so that sliding layers drop what was retrieved
        logits = tiny_models.logits(model, mine, found.cache)
        assert torch.equal(logits, tiny_models.logits(model, own, learned.cache))
        mine = own = [int(logits[-1].argmax())]


@pytest.mark.parametrize("tokens", [64, 65, 200, 256, 257, 319])
@pytest.mark.parametrize("name", [FULL, SLIDING, ALL_SLIDING, "cohere2, interleaved"])
def test_a_prompt_that_differs_in_its_tail_gets_the_common_whole_chunks(client, name, tokens):
    model, ids = tiny_model(name), prompt(512)
    reference = engine.prefill(model, ids)
    engine.store_cache(model, reference, ids, client=client, chunk_tokens=CHUNK, strict=True)
    other = ids[:tokens] + [(token + 1) % 100 + 3 for token in ids[tokens:400]]
    found = retrieve(model, other, client)
    assert found.tokens == tokens // CHUNK * CHUNK
    assert found.cause is MissCause.NEVER_STORED
    assert_same_state(found.cache, first_tokens(model, reference, found.tokens))


@pytest.mark.parametrize("name", [FULL, SLIDING, ALL_SLIDING])
def test_a_full_hit_leaves_the_last_token_to_run(client, name):
    model, ids = tiny_model(name), prompt(256)
    reference = engine.prefill(model, ids)
    engine.store_cache(model, reference, ids, client=client, chunk_tokens=CHUNK, strict=True)
    found = retrieve(model, ids, client)
    assert (found.tokens, found.cause) == (255, MissCause.NONE)
    expected = first_tokens(model, reference, 255)
    assert_same_state(found.cache, expected)
    assert torch.equal(
        tiny_models.logits(model, ids[255:], found.cache),
        tiny_models.logits(model, ids[255:], expected),
    )


def test_a_prompt_shorter_than_a_chunk_is_a_miss_with_a_usable_cache(client):
    model, ids = tiny_model(FULL), prompt(40)
    assert learn(model, ids, client).tokens == 0
    found = retrieve(model, ids, client)
    assert (found.tokens, found.cause) == (0, MissCause.NEVER_STORED)
    assert torch.equal(
        tiny_models.logits(model, ids, found.cache),
        tiny_models.logits(model, ids, DynamicCache(config=model.config)),
    )


@pytest.mark.parametrize("name", [SLIDING, ALL_SLIDING])
def test_a_cache_that_dropped_what_left_its_window_promises_and_gives_no_hit(client, name):
    model, ids = tiny_model(name), prompt(384)
    # The layers keep tokens 289 to 383: of the window before token 384, chunk 4 is not whole.
    cut = ordinary_cache(model, ids)
    stored = engine.store_cache(model, cut, ids, client=client, chunk_tokens=CHUNK, strict=True)
    assert (stored.tokens, stored.objects_failed) == (0, 0)
    assert retrieve(model, ids, client).tokens == 0
    whole = engine.prefill(model, ids)
    stored = engine.store_cache(model, whole, ids, client=client, chunk_tokens=CHUNK, strict=True)
    assert stored.tokens == 384
    assert retrieve(model, ids, client).tokens == 383


def test_weights_that_change_in_place_find_what_was_stored_for_them_and_nothing_else(client):
    model, ids = tiny_model(FULL), prompt(256)
    weight = model.model.layers[1].self_attn.k_proj.weight
    kept = weight.detach().clone()
    learn(model, ids, client)
    before = retrieve(model, ids, client)
    with torch.no_grad():
        weight[5, 7] += 0.25
    assert retrieve(model, ids, client).tokens == 0
    learn(model, ids, client)
    changed = retrieve(model, ids, client)
    with torch.no_grad():
        weight.copy_(kept)
    again = retrieve(model, ids, client)
    assert (before.tokens, changed.tokens, again.tokens) == (255, 255, 255)
    keys = [found.cache.layers[1].keys for found in (before, changed, again)]
    assert torch.equal(keys[0], keys[2]) and not torch.equal(keys[0], keys[1])


def test_learning_again_sends_nothing_and_computes_nothing(client):
    model, ids = tiny_model(SLIDING), prompt(256)
    first, second = learn(model, ids, client), learn(model, ids, client)
    assert (first.stored.objects_sent, second.stored.objects_sent) == (8, 0)
    assert (second.cache, second.tokens, second.stored.objects_present) == (None, 256, 8)


def test_a_longer_prompt_sends_only_its_new_chunks(client):
    model, ids = tiny_model(FULL), prompt(320)
    learn(model, ids[:256], client)
    stored = learn(model, ids, client).stored
    assert (stored.objects_present, stored.objects_sent) == (4, 1)


@pytest.mark.parametrize("change", ["weights", "salt", "dtype", "model name"])
def test_what_was_stored_for_another_is_never_retrieved(client, change):
    ids = prompt(256)
    learn(tiny_model(FULL), ids, client)
    model, options = tiny_model(FULL), {}
    if change == "weights":
        model = tiny_model(FULL, seed=1)
    elif change == "dtype":
        model = tiny_model(FULL, torch.bfloat16)
    else:
        options = {"salt": b"tenant"} if change == "salt" else {"model_name": "other"}
    assert retrieve(model, ids, client, **options).tokens == 0
    assert retrieve(tiny_model(FULL), ids, client).tokens == 255
