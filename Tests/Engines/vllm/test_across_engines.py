"""One store for two engines: transformers learns and vLLM retrieves, and the other way round."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import pytest
import torch
from connector_engine import ConnectorEngine
from transformers import AutoModelForCausalLM, AutoTokenizer

import kdn
from kdn.engines.transformers import learn, prefill, retrieve

CHUNK = 256
LENGTH = 1500
WHOLE = LENGTH // CHUNK * CHUNK
NEW_TOKENS = 16
MODEL_NAME = "SmolLM2-135M-Instruct in fp32, for both engines"
PATIENT = 60.0


@pytest.fixture(scope="module")
def smollm2(material: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(os.environ.get("KDN_MODEL", material / "smollm2"))


@pytest.fixture(scope="module")
def text(material: pathlib.Path, smollm2: pathlib.Path) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    return tokenizer((material / "lcet10.txt").read_text("utf-8", "replace"))["input_ids"]


@pytest.fixture(scope="module")
def model(smollm2: pathlib.Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def client(kdnd: Any) -> Any:
    with kdn.Client(kdnd.tcp, timeout=PATIENT) as found:
        yield found


@pytest.fixture(scope="module")
def vllm(smollm2: pathlib.Path, kdnd: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    settings = {
        "kdn_model_name": MODEL_NAME,
        "kdn_timeout": PATIENT,
        "kdn_lookup_timeout": PATIENT,
    }
    work = tmp_path_factory.mktemp("across")
    with ConnectorEngine(smollm2, work, kdnd.tcp, kdn=settings) as engine:
        yield engine


def greedy(model: Any, ids: list[int], cache: Any = None, done: int = 0) -> list[int]:
    """The next tokens by transformers, on top of a cache of the first `done` tokens."""
    cache = prefill(model, ids[:-1]) if cache is None else cache
    rest = ids[done:] if done else ids[-1:]
    found: list[int] = []
    with torch.no_grad():
        for _ in range(NEW_TOKENS):
            logits = model(input_ids=torch.tensor([rest]), past_key_values=cache).logits
            rest = [int(logits[0, -1].argmax())]
            found += rest
    return found


def hits(engine: ConnectorEngine) -> float:
    return engine("metrics").get("vllm:external_prefix_cache_hits", 0)


def test_vllm_retrieves_what_transformers_learned(vllm, model, client, text):
    ids = text[:LENGTH]
    learned = learn(model, ids, client=client, model_name=MODEL_NAME, timeout=PATIENT)
    assert (learned.tokens, learned.stored.objects_sent) == (WHOLE, WHOLE // CHUNK)
    before, counts = hits(vllm), vllm("counts")
    answer = vllm.generate(ids, max_tokens=NEW_TOKENS)
    assert answer["cached"] == [WHOLE]
    assert hits(vllm) - before == WHOLE
    now = vllm("counts")
    assert now["load_objects"] - counts.get("load_objects", 0) == WHOLE // CHUNK
    assert now.get("load_failed_objects", 0) == counts.get("load_failed_objects", 0)
    assert answer["tokens"] == [greedy(model, ids)]


def test_transformers_retrieves_what_vllm_stored(vllm, model, client, text):
    ids = text[5000 : 5000 + LENGTH]
    answer = vllm.generate(ids, max_tokens=NEW_TOKENS)
    assert answer["cached"] == [0]
    vllm.stored()
    found = retrieve(model, ids, client=client, model_name=MODEL_NAME, timeout=PATIENT)
    assert found.tokens == WHOLE
    own = prefill(model, ids)
    for mine, theirs in zip(own.layers, found.cache.layers, strict=True):
        for a, b in ((mine.keys, theirs.keys), (mine.values, theirs.values)):
            a = a[:, :, :WHOLE]
            assert float((a - b).abs().max()) < 1e-4 * float(a.abs().max())
    assert [greedy(model, ids, found.cache, found.tokens)] == answer["tokens"]


def test_a_salt_is_the_same_secret_in_both_engines(vllm, model, client, text):
    ids = text[9000 : 9000 + 2 * CHUNK + 10]
    learn(model, ids, client=client, model_name=MODEL_NAME, salt=b"tenant", timeout=PATIENT)
    assert vllm.generate(ids, salt="other")["cached"] == [0]
    vllm.forget()
    assert vllm.generate(ids, salt="tenant")["cached"] == [2 * CHUNK]


def test_another_model_name_does_not_hit(vllm, model, client, text):
    ids = text[12000 : 12000 + CHUNK + 10]
    learn(model, ids, client=client, model_name="another model", timeout=PATIENT)
    assert vllm.generate(ids)["cached"] == [0]
    vllm.stored()
    unnamed = retrieve(model, ids, client=client, timeout=PATIENT)
    assert unnamed.tokens == 0
