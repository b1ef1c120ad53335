"""A client with a fidelity: the engine asks for whole chunks, which alone come encoded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import tiny_models
import torch
from codec_samples import PlaneFacts, Sample, exact_block, planes_of, raw_block
from conftest import require_binary, start_daemon, stop_daemon
from tiny_caches import ALL_SLIDING, CHUNK, FULL, SLIDING, assert_same_state, learn, retrieve
from tiny_models import prompt, tiny_model

from kdn import Client, Get, GetResult, Put, chain_root, chunk_hashes
from kdn.codec import Decoder
from kdn.engines import _planes
from kdn.engines._placing import Placing
from kdn.layouts import AttentionGroup, Layout
from kdn.results import MissCause


class EncodedClient(Client):
    """A client that encodes what it gets raw, and decodes that in its place.

    The daemon's encoder has tests of its own; here the path through the engine is looked at.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address, fidelity="high", link="tcp")
        self.layouts: dict[bytes, Layout] = {}
        self.spoiled: set[int] = set()
        self.asked = 0

    def get_into(
        self, items: Sequence[Get], wait: bool = False, timeout: float | None = None
    ) -> list[GetResult]:
        results = super().get_into(items, wait, timeout)
        for item, result in zip(items, results):
            assert item.ranges is None and item.part is None
            self.asked += 1
            if result.hit:
                self._through_the_codec(item, result)
        return results

    def _through_the_codec(self, item: Get, result: GetResult) -> None:
        assert item.buffer is None and item.taker is not None and result.data is not None
        layout = self.layouts[item.key.data[40:56]]
        tokens = len(result.data) // layout.bytes_per_token()
        encoded = encoded_exactly(layout, tokens, bytes(result.data))
        decoded = Decoder(back_end="numpy").decode(encoded)
        result.data = None
        result.codec, result.wire_bytes = 1, len(encoded)
        if self.asked in self.spoiled:
            result.hit, result.cause = False, MissCause.CORRUPT
            return
        item.taker(memoryview(decoded))
        # The memory is somebody else's then.
        decoded[:] = bytes(len(decoded))


def encoded_exactly(layout: Layout, tokens: int, raw: bytes) -> bytes:
    """The first plane exact, the others raw: what is slow is done once."""
    sample = Sample(layout, tokens, codec=1)
    for number, (index, _, plane, offset, length) in enumerate(
        planes_of(layout, sample.the_part, tokens)
    ):
        stored = raw[offset : offset + length]
        group = dict(layout.layers_of(sample.the_part))[sorted(layout_layers(layout))[index]]
        assert isinstance(group, AttentionGroup)
        facts = PlaneFacts(layout.dtype, group.kv_heads, group.head_dim)
        sample.blocks.append(
            raw_block(plane, index, stored)
            if number
            else exact_block(plane, index, facts, stored, 1)
        )
    return sample.bytes()


def layout_layers(layout: Layout) -> list[int]:
    return [layer for group in layout.groups for layer in group.layers]


@pytest.fixture
def encoded_client(kdnd) -> Iterator[EncodedClient]:
    with EncodedClient(kdnd.tcp) as made:
        yield made


@pytest.mark.parametrize("name", [FULL, ALL_SLIDING])
def test_whole_chunks_are_asked_for_and_come_back_bit_for_bit(encoded_client, name) -> None:
    model, ids = tiny_model(name, torch.bfloat16), prompt(2 * CHUNK + 21)
    for plane in _planes.describe(model).planes:
        encoded_client.layouts[plane.layout_id] = plane.layout
    learned = learn(model, ids[: 2 * CHUNK], encoded_client)
    found = retrieve(model, ids, encoded_client)
    assert (found.tokens, found.cause) == (2 * CHUNK, MissCause.NONE)
    assert encoded_client.asked >= 2
    assert_same_state(found.cache, learned.cache)
    stored = tiny_models.logits(model, ids[2 * CHUNK :], learned.cache)
    assert torch.equal(tiny_models.logits(model, ids[2 * CHUNK :], found.cache), stored)


def test_a_chunk_that_does_not_decode_ends_the_prefix(encoded_client) -> None:
    model, ids = tiny_model(FULL, torch.bfloat16), prompt(3 * CHUNK + 7)
    for plane in _planes.describe(model).planes:
        encoded_client.layouts[plane.layout_id] = plane.layout
    learn(model, ids[: 3 * CHUNK], encoded_client)
    encoded_client.spoiled = {2}
    found = retrieve(model, ids, encoded_client)
    assert (found.tokens, found.cause) == (CHUNK, MissCause.CORRUPT)


@pytest.mark.parametrize("tokens", [CHUNK // 2, 2 * CHUNK])
def test_a_raw_chunk_of_another_length_ends_the_prefix(kdnd, tokens: int) -> None:
    model, ids = tiny_model(FULL, torch.bfloat16), prompt(3 * CHUNK + 7)
    (plane,) = _planes.describe(model).planes
    chain = chunk_hashes(chain_root(f"lengths {tokens}", b""), ids, CHUNK)
    with Client(kdnd.tcp, link="tcp", fidelity="small") as client:
        client.register_layout(plane.layout)
        for number, count in enumerate([CHUNK, tokens, CHUNK]):
            data = torch.rand(plane.chunk_bytes(count) // 2).to(torch.bfloat16)
            parent = chain[number - 1] if number else None
            key = plane.key(chain[number])
            (stored,) = client.put_from([Put(key, data, parent, number * CHUNK, count)])
            assert stored.stored
        found = retrieve(model, ids, client, model_name=f"lengths {tokens}")
    assert found.tokens == CHUNK
    assert found.cause in (MissCause.CORRUPT, MissCause.BUFFER_TOO_SMALL)


def test_tensors_elsewhere_are_filled_by_the_thread_that_asks_for_them(kdnd, monkeypatch) -> None:
    model, ids = tiny_model(FULL, torch.bfloat16), prompt(3 * CHUNK + 7)
    threads: set[int] = set()
    put = Placing.put

    def noting(placing: Placing, *arguments) -> None:
        threads.add(threading.get_ident())
        put(placing, *arguments)

    monkeypatch.setattr(Placing, "is_here", False)
    monkeypatch.setattr(Placing, "put", noting)
    with Client(kdnd.tcp, link="tcp", fidelity="high") as client:
        client.purge(namespace=True)
        learned = learn(model, ids[: 3 * CHUNK], client)
        found = retrieve(model, ids, client)
    assert (found.tokens, threads) == (3 * CHUNK, {threading.get_ident()})
    assert_same_state(found.cache, learned.cache)


# In bytes a second, and a deadline in seconds: so long that a busy machine changes nothing.
SECONDS = 50.0


@pytest.mark.parametrize("name", [FULL, SLIDING])
def test_by_a_deadline_a_shorter_prefix_comes_and_the_engine_computes_the_rest(kdnd, name) -> None:
    model, ids = tiny_model(name), prompt(6 * CHUNK + 21)
    planes = _planes.describe(model).planes
    chunk_bytes = max(plane.chunk_bytes(CHUNK) for plane in planes)
    with Client(kdnd.tcp, link="tcp", fidelity="small", timeout=100.0) as client:
        learn(model, ids[: 6 * CHUNK], client)
        hints = {"deadline": SECONDS, "timeout": 100.0, "prefill_rate": 1e6}
        # Room for three and a half of six chunks of the largest plane.
        found = retrieve(model, ids, client, bandwidth=3.5 * chunk_bytes / SECONDS, **hints)
        whole = retrieve(model, ids, client, bandwidth=1e9, **hints)
        assert client.rates.prefill > 0
        unhurried = retrieve(model, ids[: found.tokens + 1], client)
    assert (whole.tokens, whole.cause) == (6 * CHUNK, MissCause.NONE)
    assert found.cause is MissCause.RECOMPUTE
    assert 0 < found.tokens <= 3 * CHUNK
    rest = ids[found.tokens :]
    expected = tiny_models.logits(model, rest, unhurried.cache)
    assert torch.equal(tiny_models.logits(model, rest, found.cache), expected)


def test_kv_that_the_daemon_keeps_encoded_comes_near_in_fewer_bytes_and_in_time(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("KDN_PROFILES", str(tmp_path / "profiles"))
    model, ids = tiny_model(FULL, torch.bfloat16), prompt(4 * CHUNK + 21)
    (plane,) = _planes.describe(model).planes
    raw = 4 * plane.chunk_bytes(CHUNK)
    settings = ("--set", "codec_ram=high", "--set", "codec_age=0")
    daemon = start_daemon(require_binary(), tmp_path / "s", settings)
    try:
        with Client(daemon.tcp, link="tcp", fidelity="high", timeout=100.0) as client:
            learned = learn(model, ids[: 4 * CHUNK], client)
            until = time.monotonic() + 60
            while retrieve(model, ids, client).bytes > raw / 2:
                assert time.monotonic() < until, "the daemon never encoded it"
            # Raw bytes would not be there by then.
            hints = {"deadline": SECONDS, "timeout": 100.0, "bandwidth": raw / 2 / SECONDS}
            found = retrieve(model, ids, client, prefill_rate=1e6, **hints)
        with Client(daemon.tcp, link="tcp", fidelity="exact") as strict:
            none = retrieve(model, ids, strict)
    finally:
        stop_daemon(daemon)
    assert (found.tokens, found.cause) == (4 * CHUNK, MissCause.NONE)
    assert (none.tokens, none.cause) == (0, MissCause.INEXACT)
    assert learned.cache is not None
    for mine, own in zip(found.cache.layers, learned.cache.layers, strict=True):
        for ours, theirs in ((mine.keys, own.keys), (mine.values, own.values)):
            error = (ours.float() - theirs.float()).square().mean().sqrt()
            assert 0 < error < 0.15 * theirs.float().std()
