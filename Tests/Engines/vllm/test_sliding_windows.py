"""A model with full and sliding layers: six KV cache groups in vLLM, two planes in KDN."""

from __future__ import annotations

import pathlib
import random
from typing import Any

import pytest
import torch
from connector_engine import ConnectorEngine

import kdn
from kdn.engines.transformers import learn, retrieve

CHUNK = 256
WINDOW = 200
NEW_TOKENS = 12
MODEL_NAME = "tiny gemma3 of the sliding window tests"
SECONDS = 60.0


def make_model(folder: pathlib.Path) -> Any:
    """A Gemma 3 whose random weights are large: every token of its window moves the next one."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(3)
    config = Gemma3TextConfig(
        vocab_size=1024, hidden_size=128, intermediate_size=256, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=4096,
        sliding_window=WINDOW, layer_types=["sliding_attention"] * 5 + ["full_attention"],
        tie_word_embeddings=False, initializer_range=0.15,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )
    model = Gemma3ForCausalLM(config).to(torch.float32).eval()
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("gemma3")


@pytest.fixture(scope="module")
def model(folder: pathlib.Path) -> Any:
    return make_model(folder)


@pytest.fixture(scope="module")
def vllm(folder: pathlib.Path, model: Any, kdnd: Any, tmp_path_factory: Any) -> Any:
    settings = {
        "kdn_model_name": MODEL_NAME, "kdn_timeout": SECONDS, "kdn_lookup_timeout": SECONDS,
    }
    options = {"skip_tokenizer_init": True, "max_model_len": 2048}
    work = tmp_path_factory.mktemp("sliding")
    with ConnectorEngine(folder, work, kdnd.tcp, kdn=settings, engine=options) as engine:
        yield engine


@pytest.fixture(scope="module")
def client(kdnd: Any) -> Any:
    with kdn.Client(kdnd.tcp, timeout=SECONDS) as found:
        yield found


def prompt(seed: int, tokens: int) -> list[int]:
    source = random.Random(seed)
    return [source.randrange(3, 1000) for _ in range(tokens)]


def greedy(model: Any, ids: list[int], cache: Any = None, done: int = 0) -> list[int]:
    """The next tokens by transformers, on top of a cache of the first `done` tokens."""
    found: list[int] = []
    rest = ids[done:]
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            output = model(input_ids=torch.tensor([rest]), past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            rest = [int(output.logits[0, -1].argmax())]
            found += rest
    return found


@pytest.mark.parametrize("length", [300, 700, 1200])
def test_a_prefix_is_loaded_with_what_its_windows_need(vllm, model, length):
    ids = prompt(length, length)
    wanted = [greedy(model, ids)]
    first = vllm.generate(ids, max_tokens=NEW_TOKENS)
    assert (first["cached"], first["tokens"]) == ([0], wanted)
    vllm.stored()
    vllm.forget()
    before = vllm("counts")
    again = vllm.generate(ids, max_tokens=NEW_TOKENS)
    chunks = length // CHUNK
    assert (again["cached"], again["tokens"]) == ([chunks * CHUNK], wanted)
    after = vllm("counts")
    # The full plane's chunks, and the one that the window reaches into of the sliding plane.
    assert after["load_objects"] - before.get("load_objects", 0) == chunks + 1
    # What was loaded is in the engine's own cache now.
    own = vllm.generate(ids, max_tokens=NEW_TOKENS)
    assert own["cached"][0] >= chunks * CHUNK
    assert own["tokens"] == wanted


def test_a_shorter_prompt_after_a_long_load_is_right(vllm, model):
    ids = prompt(7, 1200)
    vllm.generate(ids, max_tokens=1)
    vllm.stored()
    vllm.forget()
    assert vllm.generate(ids, max_tokens=1)["cached"] == [1024]
    for length in (600, 300):
        branch = ids[:length] + prompt(length, 20)
        answer = vllm.generate(branch, max_tokens=NEW_TOKENS)
        assert answer["tokens"] == [greedy(model, branch)]
        assert answer["cached"][0] >= length // CHUNK * CHUNK


def test_sliding_layers_move_between_the_engines(vllm, model, client):
    ids = prompt(20, 900)
    answer = vllm.generate(ids, max_tokens=NEW_TOKENS)
    vllm.stored()
    found = retrieve(model, ids, client=client, model_name=MODEL_NAME, timeout=SECONDS)
    assert found.tokens == 768
    assert [greedy(model, ids, found.cache, found.tokens)] == answer["tokens"]
    other = prompt(21, 900)
    learned = learn(model, other, client=client, model_name=MODEL_NAME, timeout=SECONDS)
    assert learned.tokens == 768
    loaded = vllm.generate(other, max_tokens=NEW_TOKENS)
    assert loaded["cached"] == [768]
    assert loaded["tokens"] == [greedy(model, other)]
