"""SmolLM2-135M through a real daemon, in and across processes."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

import kdn
from kdn.engines import transformers as engine
from kdn.results import MissCause

ROOT = pathlib.Path(__file__).resolve().parents[3]
TOKENS = 600
WHOLE = 512  # tokens in whole chunks of 256
BYTES_PER_TOKEN = 30 * 2 * 3 * 64 * 2


@pytest.fixture(scope="session")
def model(material):
    torch.set_num_threads(2)
    loaded = AutoModelForCausalLM.from_pretrained(material / "smollm2", dtype=torch.bfloat16)
    return loaded.eval()


@pytest.fixture(scope="session")
def ids(material):
    tokenizer = AutoTokenizer.from_pretrained(material / "smollm2")
    return tokenizer((material / "lcet10.txt").read_text("utf-8", "replace"))["input_ids"]


@pytest.fixture
def client(kdnd):
    with kdn.Client(kdnd.tcp) as client:
        client.purge(namespace=True)
        yield client


def run(model: Any, ids: list[int], cache: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), past_key_values=cache).logits[0]


def first_tokens(model: Any, cache: Any, tokens: int) -> DynamicCache:
    """A copy of the first `tokens` tokens of a cache."""
    copy = DynamicCache(config=model.config)
    for number, layer in enumerate(cache.layers):
        copy.update(layer.keys[:, :, :tokens], layer.values[:, :, :tokens], number)
    return copy


def process(step: str, kdnd: Any, material: pathlib.Path, work: pathlib.Path) -> Any:
    """Runs one step of the quickstart in a fresh process; returns the facts it wrote."""
    script = ROOT / "Scripts" / "lib" / "quickstart.py"
    command = [sys.executable, script, "--material", material, "--work", work]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    socket = kdnd.unix.removeprefix("unix://")
    options = ["--server", kdnd.tcp, "--socket", socket, "--tokens", str(TOKENS), step]
    subprocess.run([*command, *options], check=True, env=environment, timeout=300)
    return json.loads((work / f"{step}.json").read_text())


def test_what_one_process_stored_another_retrieves_bit_for_bit(client, kdnd, material, tmp_path):
    learned = process("learn", kdnd, material, tmp_path)
    assert (learned["tokens"], learned["bytes"]) == (WHOLE, WHOLE * BYTES_PER_TOKEN)
    found = process("retrieve", kdnd, material, tmp_path)
    assert (found["tokens"], found["cause"]) == (WHOLE, "none")
    stored = (tmp_path / "learn.logits").read_bytes()
    assert len(stored) == learned["question_tokens"] * 49152 * 2
    assert (tmp_path / "retrieve.logits").read_bytes() == stored


def test_a_text_that_differs_in_its_tail_hits_in_its_common_chunks(client, model, ids):
    learned = engine.learn(model, ids[:TOKENS], client=client, strict=True)
    assert learned.tokens == WHOLE
    other = [*ids[:400], *ids[5000:5200]]
    found = engine.retrieve(model, other, client=client)
    assert (found.tokens, found.cause) == (256, MissCause.NEVER_STORED)
    assert found.bytes == 256 * BYTES_PER_TOKEN
    expected = run(model, other[256:], first_tokens(model, learned.cache, 256))
    assert torch.equal(run(model, other[256:], found.cache), expected)


def test_another_text_is_a_miss(client, model, ids):
    engine.learn(model, ids[:TOKENS], client=client, strict=True)
    found = engine.retrieve(model, ids[1 : TOKENS + 1], client=client)
    assert (found.tokens, found.bytes, found.cause) == (0, 0, MissCause.NEVER_STORED)


def test_a_killed_daemon_is_a_miss_and_the_model_goes_on(own_kdnd, model, ids):
    with kdn.Client(own_kdnd.tcp, connect_timeout=1.0) as client:
        learned = engine.learn(model, ids[:TOKENS], client=client, strict=True)
        assert engine.retrieve(model, ids[:TOKENS], client=client).tokens == WHOLE
        own_kdnd.process.kill()
        own_kdnd.process.wait()
        found = engine.retrieve(model, ids[:TOKENS], client=client)
        assert (found.tokens, found.cause) == (0, MissCause.UNREACHABLE)
        recomputed = run(model, ids[:TOKENS], found.cache)
        again = engine.learn(model, ids[:TOKENS], client=client)
    assert isinstance(again.stored.error, kdn.ConnectionLost)
    assert torch.equal(again.cache.layers[29].keys, learned.cache.layers[29].keys)
    assert torch.equal(recomputed, run(model, ids[:TOKENS], DynamicCache(config=model.config)))


def test_a_daemon_killed_in_the_middle_of_a_retrieve_is_a_miss(own_kdnd, model, ids, monkeypatch):
    # One layer a request, so that the daemon dies with most of them still to come.
    monkeypatch.setattr("kdn.engines._fetch.STEP_BYTES", 1)
    with kdn.Client(own_kdnd.tcp, connect_timeout=1.0) as client:
        engine.learn(model, ids[:TOKENS], client=client, strict=True)
        fetch, calls = client.get_into, []

        def kill_at_the_tenth(items, **options):
            calls.append(items)
            if len(calls) == 10:
                own_kdnd.process.kill()
                own_kdnd.process.wait()
            return fetch(items, **options)

        monkeypatch.setattr(client, "get_into", kill_at_the_tenth)
        found = engine.retrieve(model, ids[:TOKENS], client=client)
    assert len(calls) >= 10
    assert (found.tokens, found.cause) == (0, MissCause.UNREACHABLE)
    assert found.cache.get_seq_length() == 0
