"""KDNTier under vLLM's own TieringOffloadingSpec and manager, against a real daemon.

The scheduler's part is played here, step by step; the copies between GPU and host, which need a
GPU, are writes into the primary tier's own memory.
"""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from tiering_engine import ENTRIES, PAGE_BYTES, Engine, chunks, turns
from vllm.v1.kv_offload.base import LookupResult, ReqContext
from vllm.v1.kv_offload.config import OffloadingGroupConfig, OffloadingModelConfig
from vllm.v1.kv_offload.tiering.base import SecondaryTierManager, TransferJob
from vllm.v1.kv_offload.tiering.factory import SecondaryTierFactory
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec

import kdn
from kdn.engines.vllm.tiering import LOADS, LOOKUPS, STORES, KDNTier

HIT, MISS = LookupResult.HIT, LookupResult.MISS


@pytest.fixture
def engines():
    made: list[Engine] = []

    def make(address: str, **entries) -> Engine:
        made.append(Engine(address, **entries))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def test_it_is_found_by_its_module_path_and_has_the_whole_interface():
    assert SecondaryTierFactory.get_tier_class(ENTRIES) is KDNTier
    assert issubclass(KDNTier, SecondaryTierManager) and not KDNTier.__abstractmethods__
    definitions = TieringOffloadingSpec.build_metric_definitions({"secondary_tiers": [ENTRIES]})
    assert {LOOKUPS, LOADS, STORES} <= set(definitions)


def test_what_one_engine_stored_another_loads_byte_for_byte(kdnd, engines):
    keys, contents = chunks(5)
    writer = engines(kdnd.tcp)
    writer.store(keys, contents)
    assert writer.counters[(STORES, "stored")] == 5
    reader = engines(kdnd.unix)
    context = reader.begin("r")
    assert reader.look_up(keys, context) == [HIT] * 5
    assert reader.read(keys, context) == contents
    assert reader.counters[(LOADS, "loaded")] == 5
    assert reader.counters[("vllm:kv_offload_tiering_read_bytes", "1:KDNTier")] == 5 * PAGE_BYTES
    reader.manager.on_request_finished(context)


def test_a_chunk_that_is_not_there_ends_the_prefix(kdnd, engines):
    keys, contents = chunks(3, seed=1)
    engines(kdnd.tcp).store(keys[:2], contents[:2])
    reader = engines(kdnd.tcp)
    assert reader.look_up(keys, reader.begin("r")) == [HIT, HIT, MISS]
    assert reader.counters[(LOOKUPS, "miss")] == 1


def test_the_first_lookup_defers_and_the_request_is_forgotten_at_its_end(kdnd, engines):
    keys, _ = chunks(2, seed=2)
    reader = engines(kdnd.tcp)
    context = reader.begin("r")
    assert reader.manager.lookup(keys[0], context) is LookupResult.RETRY
    assert len(reader.tier._lookups._table) == 1
    reader.manager.on_request_finished(context)
    assert len(reader.tier._lookups._table) == 0


@pytest.mark.parametrize(
    "other",
    [
        {"model_name": "tiny@2"},
        {"config": {"kv_cache_layout": "LBNHC"}},
        {"config": {"model": OffloadingModelConfig("tiny", "float16")}},
        {"config": {"groups": (OffloadingGroupConfig(16, ("layer.0",), 0),)}},
        {"config": {"kv_cache_layout": None}},
    ],
)
def test_another_engine_does_not_see_the_chunks(kdnd, engines, other):
    keys, contents = chunks(2, seed=3)
    engines(kdnd.tcp).store(keys, contents)
    reader = engines(kdnd.tcp, **other)
    assert reader.look_up(keys, reader.begin("r")) == [MISS, MISS]


def test_what_is_there_already_is_not_sent_again(kdnd, engines):
    keys, contents = chunks(4, seed=4)
    engines(kdnd.tcp).store(keys[:2], contents[:2])
    again = engines(kdnd.tcp)
    again.store(keys, contents)
    assert again.counters[(STORES, "present")] == 2
    assert again.counters[(STORES, "stored")] == 2


def test_a_chunk_that_is_gone_fails_alone_and_is_not_tried_again(kdnd, engines):
    keys, contents = chunks(3, seed=5)
    engines(kdnd.tcp).store(keys, contents)
    reader = engines(kdnd.tcp)
    context = reader.begin("r")
    for _ in turns():  # until the tier knows that all three are there
        if None not in [reader.tier._lookups.lookup(reader.object_key(key), "r") for key in keys]:
            break
        reader.tier.on_schedule_end(None)
    with kdn.Client(kdnd.tcp) as client:
        assert client.purge(keys=[reader.object_key(keys[1])]).objects == 1
    assert reader.look_up(keys, context) == [HIT, MISS, HIT]
    assert reader.read([keys[0], keys[2]], context) == [contents[0], contents[2]]
    assert reader.counters[(LOADS, "loaded")] == 2
    assert reader.counters[(LOADS, "purged")] == 1
    failures = ("vllm:kv_offload_tiering_promotion_job_failures", "1:KDNTier")
    assert reader.counters[failures] == 1


def test_a_daemon_that_is_gone_is_a_miss_and_comes_back(own_kdnd, engines):
    keys, contents = chunks(3, seed=6)
    engine = engines(own_kdnd.tcp, timeout=2.0)
    engine.store(keys, contents)
    own_kdnd.process.kill()
    own_kdnd.process.wait()
    reader = engines(own_kdnd.tcp, timeout=2.0)
    assert reader.look_up(keys, reader.begin("r")) == [MISS] * 3
    more, pages = chunks(2, seed=7)
    reader.store(more, pages)
    assert reader.counters[(STORES, "failed")] == 2
    assert reader.counters[("vllm:kv_offload_tiering_cascade_job_failures", "1:KDNTier")] == 1
    assert [reader.manager.lookup(key, reader.begin("x")) for key in more] == [HIT, HIT]


def test_a_daemon_that_hangs_costs_a_lookup_its_deadline_and_no_more(own_kdnd, engines):
    keys, contents = chunks(2, seed=8)
    engine = engines(own_kdnd.tcp, timeout=1.0, lookup_timeout=0.2)
    engine.store(keys, contents)
    reader = engines(own_kdnd.tcp, timeout=1.0, lookup_timeout=0.2)
    os.kill(own_kdnd.process.pid, signal.SIGSTOP)
    try:
        assert reader.look_up(keys, reader.begin("r")) == [MISS, MISS]
    finally:
        os.kill(own_kdnd.process.pid, signal.SIGCONT)


def test_a_reset_stands_for_new_weights_unless_told_otherwise(kdnd, engines):
    keys, contents = chunks(2, seed=9)
    for after_reset, expected in (("forget", MISS), ("keep", HIT)):
        engine = engines(kdnd.tcp, after_reset=after_reset)
        engine.store(keys, contents)
        engine.reset()
        assert engine.look_up(keys, engine.begin("r")) == [expected] * 2


def test_a_reset_amid_transfers_leaves_nothing_behind(kdnd, engines):
    keys, contents = chunks(12, seed=10)
    engine = engines(kdnd.tcp)
    context = engine.begin("w")
    output = engine.manager.prepare_store(keys, context)
    engine.manager.complete_store(output.keys_to_store, context)
    engine.reset()
    assert not engine.manager.has_pending_work()
    engine.manager.on_request_finished(context)
    engine.store(keys, contents, "again")
    reader = engine.begin("r")
    assert engine.read(keys, reader) == contents


def test_stores_over_the_limit_are_dropped_and_free_the_primary_tier(own_kdnd, engines):
    keys, contents = chunks(8, seed=11)
    engine = engines(own_kdnd.tcp, timeout=2.0, pending_bytes=PAGE_BYTES, streams=1)
    os.kill(own_kdnd.process.pid, signal.SIGSTOP)
    try:
        for number, key in enumerate(keys):
            context = engine.begin(f"w{number}")
            output = engine.manager.prepare_store([key], context)
            assert output is not None
            engine.rows[output.store_spec.chunk_ids[0]] = np.frombuffer(
                contents[number], np.uint8
            )
            engine.manager.complete_store([key], context)
            engine.manager.on_request_finished(context)
        engine.step()
        assert engine.counters[(STORES, "dropped")] == 7
    finally:
        os.kill(own_kdnd.process.pid, signal.SIGCONT)
    engine.settle()
    usage = ("vllm:kv_offload_tiering_primary_read_usage_perc", "1:KDNTier")
    engine.counters.pop(usage)
    engine.step()
    assert engine.counters[usage] == 0.0


def test_the_engines_own_backpressure_is_passed_on(kdnd, engines):
    pressure = {
        "backpressure_cls": "EMABackpressureDetector", "policy_cls": "DropStorePolicy",
        "high_water_s": 1e-9, "low_water_s": 0.0, "warmup_completions": 1,
    }
    engine = engines(kdnd.tcp, backpressure=pressure)
    for number in range(4):
        keys, contents = chunks(1, seed=20 + number)
        engine.store(keys, contents, f"w{number}")
    dropped = ("vllm:kv_offload_tiering_backpressure_stores_dropped", "1:KDNTier")
    assert engine.counters[dropped] >= 1
    assert engine.counters[(STORES, "stored")] < 4


def test_events_name_what_was_stored_in_this_tier(kdnd, engines):
    keys, contents = chunks(2, seed=12)
    engine = engines(kdnd.tcp, enable_kv_events=True, locality="REMOTE")
    engine.store(keys, contents)
    (event,) = [e for e in engine.manager.take_events() if e.locality is not None]
    assert (list(event.keys), event.removed, event.locality.value) == (keys, False, "REMOTE")
    assert [e for e in engine.manager.take_events()] == []


def test_a_touch_reaches_the_daemon(kdnd, engines):
    keys, contents = chunks(2, seed=13)
    engine = engines(kdnd.tcp)
    engine.store(keys, contents)
    touched: list = []
    real = engine.tier._asker.touch
    engine.tier._lookups._touch = lambda names: touched.append(real(names))
    engine.manager.touch(keys, engine.begin("r"))
    for _ in turns():
        engine.step()
        if touched:
            break
    assert touched == [2]


def test_jobs_of_older_and_of_broken_shape_end_and_never_raise(kdnd, engines):
    keys, _ = chunks(2, seed=14)
    engine = engines(kdnd.tcp)

    class OlderJob:
        job_id, req_context = 70, ReqContext("r")
        block_ids = np.array([0, 1], np.int32)
        is_promotion = True

    OlderJob.keys = keys
    engine.tier.submit_load(OlderJob)
    outside = TransferJob(71, keys, np.array([0, 99], np.int32), True, ReqContext("r"))
    engine.tier.submit_load(outside)
    weak = TransferJob(72, [bytes(20)], np.array([0], np.int32), False, ReqContext("r"))
    engine.tier.submit_store(weak)
    engine.tier._transfers.drain()
    results = {result.job_id: result for result in engine.tier.get_finished_jobs()}
    assert sorted(results) == [70, 71, 72]
    assert not any(result.success or result.successful_keys for result in results.values())
    assert engine.manager.lookup(bytes(20), ReqContext("r")) is MISS


@pytest.mark.parametrize(
    "entries", [{"model_name": ""}, {"adress": "x"}, {"timeout": 0}, {"address": "nowhere:x"}]
)
def test_wrong_settings_are_told_at_start(kdnd, entries):
    with pytest.raises(kdn.FieldError):
        Engine(**{"address": kdnd.tcp, **entries})


def test_many_requests_at_once_each_get_their_own_bytes(kdnd, engines):
    keys, contents = chunks(48, seed=15)
    writer = engines(kdnd.tcp, chunks=64)
    for first in range(0, 48, 6):
        writer.store(keys[first : first + 6], contents[first : first + 6], f"w{first}")
    reader = engines(kdnd.tcp, chunks=64)
    requests = {
        f"r{first}": slice(first, first + 6) for first in (0, 6, 12, 18, 24, 30, 36, 42)
    }
    contexts = {name: reader.begin(name) for name in requests}
    for name, some in requests.items():
        for key in keys[some]:
            reader.manager.lookup(key, contexts[name])
    for name, some in requests.items():
        assert reader.look_up(keys[some], contexts[name]) == [HIT] * 6
        assert reader.read(keys[some], contexts[name]) == contents[some]
    assert reader.counters[(LOADS, "loaded")] == 48
