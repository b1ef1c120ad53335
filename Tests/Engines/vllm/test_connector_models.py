"""KDNConnector with small random models: windows, hybrid groups, preemption, loads by layer."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import torch
import transformers
from connector_engine import ConnectorEngine, FaultyLink

import kdn

CHUNK = 64
SHAPE = {
    "vocab_size": 1024, "hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 2048,
    "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    # Far from 0, so that the tokens said depend on all tokens before.
    "initializer_range": 0.3,
}
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, {"num_hidden_layers": 3}),
    "mistral": (
        transformers.MistralConfig,
        transformers.MistralForCausalLM,
        {"num_hidden_layers": 3, "sliding_window": 160},
    ),
    "gemma3": (
        transformers.Gemma3TextConfig,
        transformers.Gemma3ForCausalLM,
        {"num_hidden_layers": 6, "sliding_window": 160, "query_pre_attn_scalar": 32},
    ),
}
# Over the link that is spoilt, not around it.
PATIENT = {
    "kdn_link": "tcp", "kdn_chunk_tokens": CHUNK, "kdn_timeout": 60, "kdn_lookup_timeout": 60
}
OBJECT_BYTES = CHUNK * 3 * 2 * 2 * 32 * 4
EVENTS = {"enable_kv_cache_events": True, "publisher": "null"}
ENGINE = {"skip_tokenizer_init": True, "max_model_len": 1024, "block_size": 32}


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Any:
    """Makes a model's folder by its kind."""

    def make(kind: str) -> pathlib.Path:
        folder = tmp_path_factory.mktemp(kind)
        torch.manual_seed(3)
        config, model, facts = MODELS[kind]
        model(config(**{**SHAPE, **facts})).to(torch.float32).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def link(kdnd):
    """All engines of this module talk to the daemon through it."""
    link = FaultyLink(kdnd.tcp)
    yield link
    link.close()


@pytest.fixture(autouse=True)
def client(kdnd):
    """A client of the daemon, which each test finds empty."""
    with kdn.Client(kdnd.tcp) as client:
        client.purge(namespace=True)
        yield client


def prompt(number: int, length: int = 500) -> list[int]:
    return [3 + (number * 131 + i * i * 7 + i) % 1000 for i in range(length)]


def start(models: Any, kind: str, work: pathlib.Path, link: FaultyLink, **more: Any) -> Any:
    options = {**ENGINE, **more.pop("engine", {})}
    settings = {**PATIENT, **more.pop("kdn", {})}
    return ConnectorEngine(models(kind), work, link.address, kdn=settings, engine=options, **more)


@pytest.fixture(scope="module")
def gemma3(models, link, tmp_path_factory):
    with start(models, "gemma3", tmp_path_factory.mktemp("gemma3"), link) as engine:
        yield engine


@pytest.fixture(scope="module", params=["async", "layerwise"])
def llama(request, models, link, tmp_path_factory):
    """An engine with 44 blocks of 32 tokens, which publishes events."""
    options = {"num_gpu_blocks_override": 45, "kv_events_config": EVENTS}
    settings = {"kdn": {"kdn_load": request.param}, "engine": options}
    with start(models, "llama", tmp_path_factory.mktemp("llama"), link, **settings) as engine:
        yield engine


class Since:
    """How counters grew since it was made."""

    def __init__(self, engine: ConnectorEngine) -> None:
        self._engine = engine
        self._before = engine("counts")

    def __getitem__(self, name: str) -> int:
        return self._engine("counts").get(name, 0) - self._before.get(name, 0)


def check_windows(engine: ConnectorEngine, client: kdn.Client, objects: int) -> None:
    cold = engine.generate(prompt(1), prompt(2), max_tokens=24)
    assert cold["cached"] == [0, 0]
    assert cold["tokens"][0] != cold["tokens"][1]
    engine.stored()
    engine.forget()
    counts = Since(engine)
    loaded = engine.generate(prompt(1), prompt(2), max_tokens=24)
    assert loaded["tokens"] == cold["tokens"]
    assert loaded["cached"] == [448, 448]
    assert counts["load_objects"] == objects
    # Without what was stored it is all computed anew, and says the same.
    client.purge(namespace=True)
    engine.forget()
    assert engine.generate(prompt(1), max_tokens=24)["tokens"] == cold["tokens"][:1]


# The token at 448 sees 159 before it, which lie in three of the seven chunks.


def test_a_model_with_one_window_loads_what_lies_under_it(models, link, client, tmp_path) -> None:
    with start(models, "mistral", tmp_path, link) as engine:
        check_windows(engine, client, 2 * 3)


def test_a_model_with_windows_and_without_loads_of_each_what_it_needs(gemma3, client) -> None:
    check_windows(gemma3, client, 2 * (7 + 3))


def test_a_model_with_windows_recomputes_what_fails(gemma3, link) -> None:
    prompts = [prompt(n, 200) for n in range(10, 18)]
    cold = gemma3.generate(*prompts)
    gemma3.stored()
    gemma3.forget()
    counts = Since(gemma3)
    link.spoil(0.3, OBJECT_BYTES)
    loaded = gemma3.generate(*prompts)
    link.spoil(0.0, 1)
    assert loaded["tokens"] == cold["tokens"]
    assert 0 < counts["load_failed_requests"] <= counts["load_requests"] == 8


def test_loads_that_fail_are_recomputed_and_nothing_wrong_is_stored(llama, link, client) -> None:
    prompts = [prompt(n, 200 + 7 * n) for n in range(8)]
    longer = [p + prompt(50, 150) for p in prompts]
    truth = llama.generate(*longer)
    llama.stored()
    client.purge(namespace=True)
    llama.forget()
    llama.generate(*prompts, max_tokens=1)
    llama.stored()
    llama.forget()
    counts = Since(llama)
    link.spoil(0.3, OBJECT_BYTES)
    spoilt = llama.generate(*longer)
    link.spoil(0.0, 1)
    assert spoilt["tokens"] == truth["tokens"]
    assert 0 < counts["load_failed_requests"] <= counts["load_requests"]
    # What was stored of prompts whose beginning had failed to load is right.
    llama.stored()
    llama.forget()
    again = llama.generate(*longer)
    assert again["tokens"] == truth["tokens"]
    assert sum(again["cached"]) > sum(len(p) // CHUNK * CHUNK for p in prompts)


def test_preempted_requests_go_on_and_what_they_stored_is_right(llama) -> None:
    """Four requests need 15 blocks each, and there are 44."""
    prompts = [prompt(n, 300) for n in range(60, 64)]
    alone = [llama.generate(p, max_tokens=170, salt="alone")["tokens"][0] for p in prompts]
    counts = Since(llama)
    before = llama("metrics")["vllm:num_preemptions"]
    together = llama.generate(*prompts, max_tokens=170)
    assert llama("metrics")["vllm:num_preemptions"] > before
    assert together["tokens"] == alone
    assert counts["load_failed_requests"] == 0
    llama.stored()
    llama.forget()
    assert llama.generate(*prompts, max_tokens=170)["tokens"] == alone
    assert counts["load_requests"] >= 4


def test_chunks_are_announced_once_they_are_stored(llama) -> None:
    known = len(llama("events")["events"])
    llama.generate(prompt(80))
    llama.stored()
    # What was stored meanwhile is told of with the next step.
    llama.generate(prompt(81, 20), max_tokens=1)
    events = llama("events")["events"][known:]
    assert [(event["tokens"], event["block_size"]) for event in events] == [(CHUNK, CHUNK)] * 7
    assert len({event["hashes"][0] for event in events}) == 7


def test_after_a_reset_of_the_connector_nothing_of_before_is_loaded(llama) -> None:
    cold = llama.generate(prompt(70))
    llama.stored()
    assert llama("reset")["done"]
    again = llama.generate(prompt(70))
    assert again["tokens"] == cold["tokens"] and again["cached"] == [0]
    llama.stored()
    llama.forget()
    assert llama.generate(prompt(70))["cached"] == [448]
