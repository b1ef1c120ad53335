"""The vLLM connector's loads against a real daemon: pages come in whole, or are load errors."""

from __future__ import annotations

import threading
from typing import Any

import numpy
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
    same,
)

from kdn.engines.vllm import loads
from kdn.engines.vllm.metadata import RequestSave, StepPlan
from kdn.engines.vllm.planes import describe
from kdn.engines.vllm.worker import RefusingWorker
from kdn.results import MissCause


@pytest.fixture
def ranks(kdnd: Any) -> Any:
    yield from make_ranks(kdnd.tcp)


@pytest.fixture(params=[False, True], ids=["async", "layerwise"])
def layerwise(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_pages_stored_by_one_rank_are_loaded_bit_equal_by_another(ranks, layerwise) -> None:
    writer, reader = ranks(), ranks()
    writer.store()
    untouched = [cache.clone() for cache in reader.caches.values()]
    results = load_all(reader, request_load(reader, layerwise=layerwise))
    assert results.bad_blocks == set() and not results.failed
    for source, target in zip(BLOCKS, ELSEWHERE, strict=True):
        assert all(same(writer, a, reader, b) for a, b in zip(source, target, strict=True))
    written = {block for ids in ELSEWHERE for block in ids}
    for cache, before in zip(reader.caches.values(), untouched, strict=True):
        kept = [n for n in range(len(cache)) if n not in written]
        assert torch.equal(cache[kept].view(torch.uint8), before[kept].view(torch.uint8))
    assert reader.counts.total["load_objects"] == CHUNKS
    assert reader.counts.total["load_bytes"] == CHUNKS * reader.description.planes[0].chunk_bytes


def test_blocks_left_out_are_not_written(ranks, layerwise) -> None:
    writer, reader = ranks(), ranks()
    writer.store()
    before = reader.block(21)
    blocks = [(0, 20), *ELSEWHERE[1:]]
    load_all(reader, request_load(reader, blocks=blocks, layerwise=layerwise))
    assert same(writer, 2, reader, 20)
    for now, was in zip(reader.block(21), before, strict=True):
        assert numpy.array_equal(now, was)


@pytest.mark.parametrize("missing", range(CHUNKS))
def test_a_chunk_that_is_gone_makes_its_blocks_and_those_behind_it_bad(
    ranks, layerwise, missing: int
) -> None:
    writer, reader = ranks(), ranks()
    writer.store()
    plane = writer.description.planes[0]
    assert writer.client.purge([plane.key(chunk_hash(missing))]).objects == 1
    results = load_all(reader, request_load(reader, layerwise=layerwise))
    assert results.bad_blocks == {b for ids in ELSEWHERE[missing:] for b in ids}
    for source, target in zip(BLOCKS[:missing], ELSEWHERE[:missing], strict=True):
        assert all(same(writer, a, reader, b) for a, b in zip(source, target, strict=True))


def test_bytes_that_are_not_those_stored_are_bad_blocks(ranks, layerwise, monkeypatch) -> None:
    """A client that does not verify stands for one whose link lies: the connector must see it."""
    writer, reader = ranks(), ranks()
    writer.store()
    real = reader.client.get_into

    def lying(items: Any, **more: Any) -> Any:
        results = real(items, **more)
        if layerwise:
            numpy.asarray(items[1].buffer)[7] ^= 1
        else:
            results[1].hit, results[1].cause = False, MissCause.CORRUPT
        return results

    monkeypatch.setattr(reader.client, "get_into", lying)
    results = load_all(reader, request_load(reader, layerwise=layerwise))
    assert results.bad_blocks == {b for ids in ELSEWHERE[1:] for b in ids}


def test_an_object_of_another_length_is_not_unpacked(ranks, layerwise) -> None:
    reader = ranks()
    plane = reader.description.planes[0]
    reader.client.register_layout(plane.layout)
    half = describe(engine(block=16), CHUNK // 2).planes[0]
    data = numpy.ones(half.chunk_bytes, numpy.uint8)
    for number in range(CHUNKS):
        key = plane.key(chunk_hash(number))
        assert reader.client.put(key, data, token_count=CHUNK // 2).stored
    before = reader.block(21)
    results = load_all(reader, request_load(reader, layerwise=layerwise))
    assert results.bad_blocks == {b for ids in ELSEWHERE for b in ids}
    for now, was in zip(reader.block(21), before, strict=True):
        assert numpy.array_equal(now, was)


def test_without_a_server_every_block_is_bad_and_nothing_raises(ranks, layerwise) -> None:
    rank = Rank("127.0.0.1:1")
    try:
        results = load_all(rank, request_load(rank, layerwise=layerwise))
        assert results.bad_blocks == {b for ids in ELSEWHERE for b in ids}
        rank.store()
        assert rank.counts.total["save_failed_objects"] == CHUNKS
    finally:
        rank.close()


def test_whatever_raises_in_a_load_is_a_load_error(ranks, layerwise, monkeypatch) -> None:
    reader = ranks()
    monkeypatch.setattr(reader.client, "get_into", lambda *a, **k: 1 / 0)
    results = load_all(reader, request_load(reader, layerwise=layerwise))
    assert results.bad_blocks == {b for ids in ELSEWHERE for b in ids}


def test_a_model_with_windows_fails_by_request(ranks) -> None:
    reader = ranks(windows=(0, 40, 0, 40))
    results = load_all(reader, request_load(reader))
    assert results.failed == results.received == {"loader"} and not results.bad_blocks


def test_a_layerwise_load_is_over_when_the_step_is_and_reports_the_step(ranks) -> None:
    writer, reader = ranks(), ranks()
    writer.store()
    results = reader.step(loads=[request_load(reader, layerwise=True)], number=7)
    assert results.received == set()
    report = reader.side.report()
    assert report is not None and report.steps == {7: 1}
    assert reader.side.report() is None


def test_loads_are_reported_once(ranks) -> None:
    writer, reader = ranks(), ranks()
    writer.store()
    names = ["one", "two", "three"]
    loads = [request_load(reader, request=name) for name in names]
    reader.step(loads=loads)
    assert reader.ended(*names).received == set(names)
    assert reader.step().received == set()


def test_loads_larger_than_staging_come_in_pieces(ranks, monkeypatch) -> None:
    writer, reader = ranks(), ranks()
    writer.store()
    monkeypatch.setattr(loads, "STAGING_BYTES", reader.description.planes[0].chunk_bytes + 1)
    monkeypatch.setattr(loads, "STEP_BYTES", 1)
    for layerwise in (False, True):
        results = load_all(reader, request_load(reader, layerwise=layerwise))
        assert results.bad_blocks == set()
        assert same(writer, 6, reader, 24)


def test_a_hand_over_waits_for_chunks_that_are_stored_meanwhile(ranks) -> None:
    writer, reader = ranks(), ranks()
    waiting = threading.Event()
    real = reader.client.get_into

    def told(items: Any, **more: Any) -> Any:
        assert more["wait"] is True
        waiting.set()
        return real(items, **more)

    reader.client.get_into = told
    reader.step(loads=[request_load(reader, wait_ms=int(SECONDS * 1000))])
    assert waiting.wait(SECONDS)
    assert reader.step().received == set()
    writer.store()
    assert reader.ended("loader").bad_blocks == set()
    assert all(
        same(writer, a, reader, b)
        for source, target in zip(BLOCKS, ELSEWHERE, strict=True)
        for a, b in zip(source, target, strict=True)
    )


def test_a_hand_over_that_does_not_come_ends_at_its_deadline(ranks) -> None:
    reader = ranks()
    reader.step(loads=[request_load(reader, wait_ms=50)])
    assert reader.ended("loader").bad_blocks == {b for ids in ELSEWHERE for b in ids}


def test_what_a_deadline_leaves_out_is_bad_blocks_to_be_computed(ranks) -> None:
    # So long that a busy machine changes nothing: room for one chunk and a half of three.
    seconds = SECONDS / 2
    a = ranks(link="tcp")
    b = ranks(link="tcp", deadline=seconds, prefill_rate=1e6)
    a.store()
    (plane,) = b.description.planes
    b.client.rates.arrival = 1.5 * plane.chunk_bytes / seconds
    load_all(b, request_load(b))
    assert b.seen.bad_blocks == {n for blocks in ELSEWHERE[1:] for n in blocks}
    assert same(a, BLOCKS[0][0], b, ELSEWHERE[0][0]) and same(a, BLOCKS[0][1], b, ELSEWHERE[0][1])
    assert b.counts.total["load_recomputed_requests"] == 1
    b.client.rates.arrival = 1e9
    load_all(b, request_load(b))
    assert not b.seen.bad_blocks
    assert b.counts.total["load_recomputed_requests"] == 1


def test_a_rank_that_is_off_ends_every_load_and_holds_no_pages(ranks) -> None:
    reader, off = ranks(), RefusingWorker()
    one = request_load(reader, request="async")
    other = request_load(reader, request="in step", layerwise=True)
    plan = StepPlan(4, False, [one, other], [RequestSave("tail", (), True)])
    off.start_loads(plan)
    off.finish(plan)
    results = off.results()
    assert results.received == results.failed == {"async"}
    assert results.bad_blocks == other.block_ids()
    assert results.sent == {"tail"}
    report = off.report()
    assert report is not None and report.steps == {4: 1}
    assert off.results().received == set() and off.report() is None
