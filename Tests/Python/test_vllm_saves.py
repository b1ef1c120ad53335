"""The vLLM connector's stores and lookups against a real daemon."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from typing import Any

import pytest
import torch
from vllm_engines import engine
from vllm_ranks import (
    BLOCKS,
    CHUNK,
    CHUNKS,
    ELSEWHERE,
    SECONDS,
    Rank,
    chunk_hash,
    load_all,
    make_ranks,
    request_load,
    request_save,
    same,
)

import kdn
from kdn.engines.vllm.lookups import Lookups, find
from kdn.engines.vllm.metadata import ChunkLoad, RequestLoad, StepPlan
from kdn.engines.vllm.planes import describe
from kdn.results import MissCause


@pytest.fixture
def ranks(kdnd: Any) -> Any:
    yield from make_ranks(kdnd.tcp)


def test_pages_that_change_after_the_step_do_not_change_what_is_stored(ranks, monkeypatch) -> None:
    writer, reader = ranks(), ranks()
    kept = [cache.clone() for cache in writer.caches.values()]
    gate = threading.Event()
    real = writer.client.exists
    monkeypatch.setattr(writer.client, "exists", lambda *a, **k: gate.wait() and real(*a, **k))
    writer.step(saves=[request_save(writer)])
    for cache in writer.caches.values():
        cache.zero_()
    gate.set()
    assert writer.queue.flush(SECONDS)
    for cache, before in zip(writer.caches.values(), kept, strict=True):
        cache.copy_(before)
    load_all(reader, request_load(reader))
    assert same(writer, 1, reader, 21) and same(writer, 6, reader, 24)


@pytest.mark.parametrize("called", ["all", "some", "twice"])
def test_layers_copied_during_the_forward_make_the_same_objects(ranks, called: str) -> None:
    writer, reader = ranks(), ranks()
    names = list(writer.description.planes[0].layer_names)
    plan = StepPlan(1, False, [], [request_save(writer)])
    if called == "twice":
        # A forward in two parts: the first has not yet written all of the chunks' tokens.
        kept = [cache.clone() for cache in writer.caches.values()]
        for cache, name in zip(writer.caches.values(), names, strict=True):
            cache[4:].zero_()
            writer.side.save_layer(plan, name)
        wait(writer.side._copies)
        for cache, whole in zip(writer.caches.values(), kept, strict=True):
            cache.copy_(whole)
    for name in names[:2] if called == "some" else names:
        writer.side.save_layer(plan, name)
    writer.side.finish(plan)
    assert writer.queue.flush(SECONDS)
    load_all(reader, request_load(reader))
    for source, target in zip(BLOCKS, ELSEWHERE, strict=True):
        assert all(same(writer, a, reader, b) for a, b in zip(source, target, strict=True))


def test_a_full_queue_drops_and_counts(ranks) -> None:
    size = describe(engine(block=16), CHUNK).planes[0].chunk_bytes
    writer = ranks(limit=2 * size)
    gate = threading.Event()
    real = writer.client.exists
    writer.client.exists = lambda *a, **k: gate.wait() and real(*a, **k)
    writer.step(saves=[request_save(writer)])
    assert writer.counts.total["save_dropped_objects"] == 1
    gate.set()
    assert writer.queue.flush(SECONDS)
    assert writer.counts.total["save_objects"] == 2
    writer.store("later")
    assert writer.counts.total["save_dropped_objects"] == 2
    assert writer.counts.total["save_objects"] == 4


def test_what_the_server_has_is_not_sent(ranks) -> None:
    writer = ranks()
    writer.store()
    writer.store()
    assert writer.counts.total["save_objects"] == CHUNKS
    assert writer.counts.total["save_present_objects"] == CHUNKS
    assert writer.counts.total["save_failed_objects"] == 0


def test_other_roundings_of_a_stored_chunk_are_no_failure(ranks, monkeypatch) -> None:
    first, second = ranks(), ranks()
    first.store()
    for cache in second.caches.values():
        cache.view(torch.uint8).bitwise_xor_(1)
    monkeypatch.setattr(second.client, "exists", lambda keys, **k: [False] * len(keys))
    second.store()
    assert second.counts.total["save_present_objects"] == CHUNKS
    assert second.counts.total["save_failed_objects"] == 0


def test_ranks_that_hold_copies_do_not_store(ranks) -> None:
    first, copy = ranks(heads=1, tp=2, rank=0), ranks(heads=1, tp=2, rank=1)
    first.store()
    copy.store()
    assert first.counts.total["save_objects"] == CHUNKS
    assert copy.counts.total["save_objects"] + copy.counts.total["save_present_objects"] == 0


def test_a_request_whose_pages_are_held_is_reported_once_they_are_copied(ranks) -> None:
    writer = ranks()
    results = writer.step(saves=[request_save(writer, report=True)])
    assert results.sent == {"saver"}
    assert writer.step().sent == set()


def test_stored_chunks_are_noted_for_events(ranks) -> None:
    writer = ranks()
    writer.store()
    report = writer.side.report()
    assert report is not None
    assert report.stored == {chunk_hash(number): 1 for number in range(CHUNKS)}


def test_the_end_stores_what_is_queued(ranks, kdnd) -> None:
    writer = Rank(kdnd.tcp)
    writer.step(saves=[request_save(writer, "end")])
    writer.close()
    plane = writer.description.planes[0]
    with kdn.Client(kdnd.tcp) as client:
        assert client.exists([plane.key(chunk_hash(i, "end")) for i in range(CHUNKS)]) == [True] * 3


# Lookups against the server


def hashes() -> list[bytes]:
    return [chunk_hash(number) for number in range(CHUNKS)]


def test_a_lookup_finds_parts_of_another_tensor_parallel_size(ranks) -> None:
    for rank in (ranks(tp=2, rank=0), ranks(tp=2, rank=1)):
        rank.store()
    reader = ranks()
    found = find(reader.client, reader.description, hashes(), SECONDS)
    plane = reader.description.planes[0]
    assert found.there == [[True] * CHUNKS]
    assert len(plane.grids[found.grids[0]]) == 2
    load = RequestLoad(
        "r", tuple(found.grids),
        tuple(ChunkLoad(chunk_hash(i), ((ELSEWHERE[i],),)) for i in range(CHUNKS)),
    )
    assert load_all(reader, load).bad_blocks == set()


def test_a_lookup_of_half_the_parts_finds_nothing(ranks) -> None:
    ranks(tp=2, rank=0).store()
    reader = ranks()
    found = find(reader.client, reader.description, hashes(), SECONDS)
    assert found.there == [[False] * CHUNKS] and found.whole_chunks == 0


def test_a_lookup_of_windows_says_chunk_by_chunk(ranks) -> None:
    writer = ranks(windows=(0, 40, 0, 40))
    writer.store()
    sliding = writer.description.sliding[0]
    writer.client.purge([sliding.key(chunk_hash(0))])
    found = find(writer.client, writer.description, hashes(), SECONDS)
    assert found.there[sliding.index] == [False, True, True]
    assert found.there[1 - sliding.index] == [True, True, True]
    assert found.whole_chunks == 0
    assert writer.description.longest_prefix(found.there, CHUNKS * CHUNK) == CHUNKS * CHUNK


def test_a_lookup_of_windows_needs_every_part_of_a_chunk(ranks) -> None:
    windows = (0, 40, 0, 40)
    pair = [ranks(tp=2, rank=rank, windows=windows) for rank in range(2)]
    for rank in pair:
        rank.store()
    sliding = pair[1].description.sliding[0]
    pair[1].client.purge([sliding.key(chunk_hash(1))])
    found = find(pair[0].client, pair[0].description, hashes(), SECONDS)
    assert found.there[sliding.index] == [True, False, True]


def test_a_lookup_without_a_server_finds_nothing_and_says_why(ranks) -> None:
    rank = Rank("127.0.0.1:1")
    try:
        found = find(rank.client, rank.description, hashes(), SECONDS)
        assert found.whole_chunks == 0 and found.cause == MissCause.UNREACHABLE
    finally:
        rank.close()


def test_lookups_after_the_end_are_refused(ranks) -> None:
    rank = ranks()
    lookups = Lookups(rank.client, rank.description, SECONDS)
    lookup = lookups.ask(hashes())
    assert lookup is not None
    lookup.wait(SECONDS)
    assert lookup.answer(0.0, SECONDS) is not None
    lookups.close()
    assert lookups.ask(hashes()) is None
