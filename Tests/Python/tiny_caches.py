"""Caches of tiny models, stored to and retrieved from a real daemon in chunks of 64 tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache

import kdn
from kdn.engines import transformers as engine

CHUNK = 64
FULL, SLIDING, ALL_SLIDING = "llama", "gemma3", "mistral, all layers sliding"


@pytest.fixture(autouse=True)
def two_threads():
    torch.set_num_threads(2)


@pytest.fixture
def client(kdnd):
    with kdn.Client(kdnd.tcp) as client:
        client.purge(namespace=True)
        yield client


class Wrapped:
    """A client whose GETs can be tampered with; everything else passes through."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.fetched: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def get_into(self, items: Any, **options: Any) -> Any:
        results = self.client.get_into(items, **options)
        for item, result in zip(items, results, strict=True):
            self.fetched.append(item.key.data)
            self.after(item, result)
        return results

    def after(self, item: Any, result: Any) -> None:
        """Called with each item and its result."""


def learn(model, ids, client, **options):
    return engine.learn(model, ids, client=client, chunk_tokens=CHUNK, strict=True, **options)


def retrieve(model, ids, client, **options):
    return engine.retrieve(model, ids, client=client, chunk_tokens=CHUNK, **options)


def first_tokens(model, reference, tokens):
    """A cache as the model would have it after `tokens`, from one that kept every token."""
    cache = DynamicCache(config=model.config)
    for number, layer in enumerate(reference.layers):
        cache.update(layer.keys[:, :, :tokens], layer.values[:, :, :tokens], number)
    return cache


def assert_same_state(found, expected):
    for mine, own in zip(found.layers, expected.layers, strict=True):
        assert type(mine) is type(own)
        assert mine.get_seq_length() == own.get_seq_length()
        assert mine.get_mask_sizes(3) == own.get_mask_sizes(3)
        assert torch.equal(mine.keys, own.keys)
        assert torch.equal(mine.values, own.values)
