"""Tiny models whose tokens matter to each other, documents of them, and full prefills."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny_models import ordinary_cache, prompt, tiny_model

import kdn
from kdn.engines import transformers_blend as blending

CHUNK = 64
SEVERAL_PLANES = ("gemma3", "cohere2, interleaved")
SLIDING = "mistral, all layers sliding"
LENGTHS = {"a": 150, "b": 100, "c": 40}
# As they come random weights make attention even and small: a blend without repair would pass.
LOUDNESS = 6.0


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Models this small are faster on one."""
    torch.set_num_threads(1)


@pytest.fixture
def client(kdnd: Any) -> Iterator[Any]:
    """A client of a daemon that knows no document."""
    with kdn.Client(kdnd.tcp) as client:
        client.purge(namespace=True)
        for listing in client.list_documents():
            client.retire_document(listing.name)
        yield client


def loud_model(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """A tiny model in which what stands before a token changes its KV much."""
    model = tiny_model(name, torch.float32)
    with torch.no_grad():
        for weight_name, weight in model.named_parameters():
            if "proj" in weight_name:
                weight.mul_(LOUDNESS)
    return model.to(dtype)


def texts(limit: int = 4096) -> dict[str, list[int]]:
    """The token ids of the documents a, b and c."""
    return {
        name: prompt(min(length, limit), seed)
        for seed, (name, length) in enumerate(LENGTHS.items())
    }


def learn_all(model: Any, client: Any, limit: int = 4096, **options: Any) -> dict[str, list[int]]:
    """Learns the documents a, b and c; returns their tokens."""
    learned = texts(limit)
    for name, ids in learned.items():
        blending.learn_document(model, ids, name, client, chunk_tokens=CHUNK, **options)
    return learned


def full_prefill(model: Any, ids: list[int]) -> Any:
    """The cache that the model makes of all tokens in one pass."""
    return ordinary_cache(model, ids)


def difference(found: Any, expected: Any) -> float:
    """The largest relative error of any layer's K or V."""
    worst = 0.0
    for mine, own in zip(found.layers, expected.layers, strict=True):
        for a, b in ((mine.keys, own.keys), (mine.values, own.values)):
            worst = max(worst, float((a.double() - b.double()).norm() / b.double().norm()))
    return worst
