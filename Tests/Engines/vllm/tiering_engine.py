"""vLLM's tiering manager with KDNTier behind it, and a scheduler that tests play step by step."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator

import numpy as np
from vllm.v1.kv_offload.base import (
    LookupResult,
    ReqContext,
    ScheduleEndContext,
    make_offload_key,
)
from vllm.v1.kv_offload.config import (
    OffloadingCacheConfig,
    OffloadingConfig,
    OffloadingGroupConfig,
    OffloadingModelConfig,
    OffloadingParallelConfig,
)
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec

import kdn

PAGE_BYTES = 8192
LIMIT = 60.0  # seconds until a test that waits for the tier gives up
ENTRIES = {"type": "KDNTier", "module_path": "kdn.engines.vllm.tiering", "model_name": "tiny@1"}


def offloading_config(tier: dict, chunks: int = 16, **changes) -> OffloadingConfig:
    facts = {
        "groups": (OffloadingGroupConfig(16, ("layer.0", "layer.1"), 0),),
        "worker_kv_bytes_per_block": PAGE_BYTES,
        "enable_kv_cache_events": True,
        "extra_config": {"cpu_bytes_to_use": chunks * PAGE_BYTES, "secondary_tiers": [tier]},
        "engine_id": uuid.uuid4().hex,
        "model": OffloadingModelConfig("tiny", "float32"),
        "cache": OffloadingCacheConfig(tokens_per_hash=16, blocks_per_chunk=1),
        "parallel": OffloadingParallelConfig(
            rank=0, world_size=1, tp_size=1, pp_size=1, pcp_size=1, dcp_size=1,
            data_parallel_index=0, data_parallel_size=1, data_parallel_rank_local=None,
            is_parallelism_agnostic=True,
        ),
        "kv_cache_layout": "LBHNC",
    }
    return OffloadingConfig(**{**facts, **changes})


def turns() -> Iterator[None]:
    """Lets the tier's threads run between steps; raises when nothing comes of it."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        os.sched_yield()
        yield
    raise AssertionError("the tier did not end what it began")


class Engine:
    """vLLM's tiering manager with KDN behind it, and the scheduler's calls."""

    def __init__(self, address: str, chunks: int = 16, **entries) -> None:
        changes = entries.pop("config", {})
        tier = {**ENTRIES, "address": address, "lookup_timeout": 10.0, **entries}
        self.spec = TieringOffloadingSpec(offloading_config(tier, chunks, **changes))
        self.manager = self.spec.get_manager()
        self.tier = self.manager.secondary_tiers[0]
        self.rows = np.asarray(self.manager.primary_tier.get_kv_memoryview()).view(np.uint8)
        self.counters: dict[tuple, float] = {}

    def step(self) -> None:
        self.manager.on_schedule_end(ScheduleEndContext((), ()))
        stats = self.manager.get_stats()
        for name, values in (stats.data["data"] if stats else {}).items():
            for labels, value in values.items():
                if not isinstance(value, list):
                    counter = (name, *labels)
                    self.counters[counter] = self.counters.get(counter, 0) + value

    def settle(self) -> None:
        for _ in turns():
            self.step()
            if not self.manager.has_pending_work():
                return

    def reset(self) -> None:
        """A reset, and the workers' word (from vLLM 0.33 on) that they are through with it."""
        self.manager.reset_cache()
        getattr(self.manager, "on_reset_flushed", lambda: None)()

    def begin(self, name: str) -> ReqContext:
        context = ReqContext(name)
        self.manager.on_new_request(context)
        return context

    def store(self, keys: list, contents: list[bytes], name: str = "w") -> None:
        """What the scheduler and the GPU do for a prompt whose chunks are new."""
        context = self.begin(name)
        output = self.manager.prepare_store(keys, context)
        where = dict(zip(output.keys_to_store, output.store_spec.chunk_ids, strict=True))
        for key, content in zip(keys, contents, strict=True):
            self.rows[where[key]] = np.frombuffer(content, np.uint8)
        self.manager.complete_store(output.keys_to_store, context)
        self.manager.on_request_finished(context)
        self.settle()

    def look_up(self, keys: list, context: ReqContext) -> list[LookupResult]:
        """Asks as the scheduler does, again in each step, until nothing is deferred."""
        for _ in turns():
            found = [self.manager.lookup(key, context) for key in keys]
            if not {LookupResult.RETRY, LookupResult.HIT_PENDING} & set(found):
                self.step()
                return found
            self.step()

    def read(self, keys: list, context: ReqContext) -> list[bytes]:
        chunk_ids = self.manager.prepare_load(keys, context).chunk_ids
        contents = [self.rows[chunk].tobytes() for chunk in chunk_ids]
        self.manager.complete_load(keys, context)
        return contents

    def close(self) -> None:
        self.rows = None
        self.manager.shutdown()

    def object_key(self, key: bytes) -> kdn.Key:
        """What a chunk of this engine is called in KDN."""
        return self.tier.object_key(key)


def chunks(count: int, seed: int = 0):
    """Keys as vLLM makes them, and a page of bytes for each."""
    generator = np.random.default_rng([seed, count])
    keys = [make_offload_key(generator.bytes(32), 0) for _ in range(count)]
    return keys, [generator.bytes(PAGE_BYTES) for _ in range(count)]
