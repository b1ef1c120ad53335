"""SmolLM2-135M's documents, learnt alone and blended, through a real daemon."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import kdn
from kdn.engines import transformers_blend as blending
from kdn.engines.transformers import prefill

TOKENS = 200  # of a document: no whole number of chunks of 64
CHUNK = 64
NAMES = ["first", "second", "third"]


@pytest.fixture(scope="module")
def model(material):
    torch.set_num_threads(2)
    loaded = AutoModelForCausalLM.from_pretrained(material / "smollm2", dtype=torch.bfloat16)
    return loaded.eval()


@pytest.fixture(scope="module")
def ids(material):
    tokenizer = AutoTokenizer.from_pretrained(material / "smollm2")
    text = (material / "lcet10.txt").read_text("utf-8", "replace")
    return tokenizer(text[20_000:26_000])["input_ids"]


@pytest.fixture
def client(kdnd):
    with kdn.Client(kdnd.tcp) as client:
        client.purge(namespace=True)
        yield client


def learn(model: Any, ids: list[int], client: Any) -> None:
    for number, name in enumerate(NAMES):
        part = ids[number * TOKENS : (number + 1) * TOKENS]
        learned = kdn.learn_document(model, part, name, client, chunk_tokens=CHUNK)
        assert learned.token_count == TOKENS


def predictions(model: Any, question: list[int], cache: Any, first: int) -> torch.Tensor:
    places = torch.arange(first, first + len(question))[None]
    with torch.inference_mode():
        found = model(torch.tensor([question]), position_ids=places, past_key_values=cache)
    return found.logits[0].float().log_softmax(-1)


def divergence(wanted: torch.Tensor, found: torch.Tensor) -> float:
    """KL in nats a token."""
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())


def test_one_document_is_answered_as_its_own_cache_is_bit_for_bit(client, model, ids):
    learn(model, ids, client)
    found = kdn.blend(model, ["first"], client)
    question = ids[TOKENS : TOKENS + 20]
    expected = predictions(model, question, prefill(model, ids[:TOKENS]), TOKENS)
    assert torch.equal(predictions(model, question, found.cache, TOKENS), expected)


def test_each_repair_brings_a_blend_nearer_to_the_full_prefill(client, model, ids):
    learn(model, ids, client)
    whole, question = ids[: 3 * TOKENS], ids[3 * TOKENS : 3 * TOKENS + 100]
    wanted = predictions(model, question, prefill(model, whole), 3 * TOKENS)
    distances = {}
    for name, share, options in (
        ("turned", 0.0, {"drop_first": False}),
        ("sinks dropped", 0.0, {}),
        ("computed anew", 0.15, {}),
        ("all of it", 1.0, {"drop_first": False}),
    ):
        found = kdn.blend(model, NAMES, client, recompute=share, **options)
        assert found.end_position == 3 * TOKENS
        assert found.row_count == 3 * TOKENS - (0 if options else 2)
        answer = predictions(model, question, found.cache, found.end_position)
        distances[name] = divergence(wanted, answer)
    turned, dropped, anew, everything = distances.values()
    # bf16 sums of other shapes than the full prefill's are not the same bits.
    assert everything < 0.004, distances
    assert everything < anew < dropped < turned, distances


def test_a_forgotten_document_answers_no_more(client, model, ids):
    learn(model, ids, client)
    assert kdn.forget("second", client) == 4
    with pytest.raises(kdn.ServerError) as caught:
        kdn.blend(model, NAMES, client)
    assert caught.value.status is kdn.Status.NOT_FOUND
    with pytest.raises(kdn.FieldError) as refused:
        kdn.blend(model, ["first", "third"], client, without=["th*"])
    assert (refused.value.field, refused.value.value) == ("forbidden", "third")
    assert kdn.blend(model, ["first", "third"], client).row_count == 2 * TOKENS - 1
