"""Pools beside the KV pool (v2): recurrent states, sliding windows, and anchors without memory."""

from __future__ import annotations

import random
from typing import Any

import pytest
import sglang_parts as parts
from sglang.srt.mem_cache.hicache_storage import (
    HiCacheFile,
    PoolHitPolicy,
    PoolName,
    PoolTransfer,
    PoolTransferResult,
)
from sglang.srt.mem_cache.memory_pool_host import LogicalHostPool

TRAILING = PoolHitPolicy.TRAILING_PAGES


def transfer(name: PoolName, pool: Any, pages: list[int], keys: list[str]) -> PoolTransfer:
    return PoolTransfer(name, host_indices=parts.indices(pool, pages), keys=keys)


@pytest.mark.parametrize("side_states", [False, True])
def test_recurrent_states_come_back_with_all_their_parts(attach, side_states):
    kv, states = parts.mha_pool("page_first"), parts.mamba_pool(side_states=side_states)
    parts.fill(states, 1)
    expected = [parts.page_bytes(states, page) for page in (3, 5)]
    backend = attach(kv)
    backend.register_mem_host_pool_v2(states, PoolName.MAMBA)
    keys = parts.hashes("state", 2)
    stored = backend.batch_set_v2([transfer(PoolName.MAMBA, states, [3, 5], keys)])
    assert stored == {PoolName.MAMBA: [True, True]}
    parts.wipe(states)
    missing = [*keys, *parts.hashes("missing", 1)]
    found = backend.batch_get_v2([transfer(PoolName.MAMBA, states, [2, 9, 4], missing)])
    assert found == {"mamba": [True, True, False]}
    assert [parts.page_bytes(states, page) for page in (2, 9)] == expected
    assert not any(parts.page_bytes(states, 4))


def test_several_pools_go_in_one_call_and_never_take_each_others_pages(attach):
    kv, window = parts.mha_pool("page_first"), parts.mha_pool("page_first")
    states = parts.mamba_pool()
    backend = attach(kv)
    for pool, name in ((kv, PoolName.KV), (window, PoolName.SWA), (states, PoolName.MAMBA)):
        backend.register_mem_host_pool_v2(pool, name)
    pools = ((PoolName.KV, kv), (PoolName.SWA, window), (PoolName.MAMBA, states))
    keys = parts.hashes("same", 2)
    expected = {}
    for seed, (name, pool) in enumerate(pools):
        parts.fill(pool, seed)
        expected[name] = [parts.page_bytes(pool, page) for page in (1, 2)]
    stored = backend.batch_set_v2([transfer(name, pool, [1, 2], keys) for name, pool in pools])
    assert stored == {name: [True, True] for name, _ in pools}
    assert backend.counters.saved == 6
    found = backend.batch_get_v2([transfer(name, pool, [5, 6], keys) for name, pool in pools])
    assert found == stored
    for name, pool in pools:
        assert [parts.page_bytes(pool, page) for page in (5, 6)] == expected[name]


def test_pools_that_are_not_registered_and_batches_that_do_not_fit_are_misses(attach):
    kv, states = parts.mha_pool("page_first"), parts.mamba_pool()
    backend = attach(kv)
    keys = parts.hashes("x", 2)
    unknown = transfer(PoolName.MAMBA, states, [0, 1], keys)
    assert backend.batch_set_v2([unknown]) == {PoolName.MAMBA: [False, False]}
    assert backend.batch_get_v2([unknown]) == {PoolName.MAMBA: [False, False]}
    backend.register_mem_host_pool_v2(states, PoolName.MAMBA)
    for pages in ([0], [0, 1, 2]):
        uneven = transfer(PoolName.MAMBA, states, pages, keys)
        assert backend.batch_set_v2([uneven]) == {PoolName.MAMBA: [False, False]}
    assert backend.batch_set_v2([PoolTransfer(PoolName.MAMBA, keys=keys)]) == {
        PoolName.MAMBA: [False, False]
    }
    assert backend.batch_set_v1(keys, parts.indices(kv, [0])) == [False, False]
    assert backend.batch_get_v1(keys, None) == [False, False]


def verdict(result: PoolTransferResult) -> tuple[int, dict[str, int], list[int] | None]:
    hits = {str(name): pages for name, pages in result.extra_pool_hit_pages.items()}
    return result.kv_hit_pages, hits, result.restorable_prefix_pages


@pytest.mark.parametrize("seed", range(12))
def test_what_is_restorable_is_what_sglangs_own_file_backend_says(attach, tmp_path, seed):
    """Random pages of three pools in both backends; the answers must be the same."""
    draw = random.Random(seed)
    kv, window = parts.mha_pool("page_first"), parts.mha_pool("page_first")
    states = parts.mamba_pool()
    pools = {PoolName.KV: kv, PoolName.SWA: window, PoolName.MAMBA: states}
    extra = {"file_storage_path": str(tmp_path)}
    ours, theirs = attach(kv), HiCacheFile(parts.config("127.0.0.1:1", extra=extra))
    theirs.register_mem_pool_host(kv)
    for backend in (ours, theirs):
        for name, pool in pools.items():
            backend.register_mem_host_pool_v2(pool, name)
    count = draw.randint(1, 8)
    keys = parts.hashes(f"{seed}", count)
    for name, pool in pools.items():
        kept = [key for key in keys if draw.random() < 0.85]
        if kept:
            moved = transfer(name, pool, list(range(len(kept))), kept)
            assert ours.batch_set_v2([moved]) == theirs.batch_set_v2([moved])
    asked = [
        PoolTransfer(PoolName.SWA, keys=keys[: draw.randint(1, 3)], hit_policy=TRAILING),
        PoolTransfer(PoolName.MAMBA, keys=keys[:1], hit_policy=TRAILING),
    ]
    for transfers in (None, asked[:1], asked, [PoolTransfer(PoolName.SWA)]):
        expected = verdict(theirs.batch_exists_v2(keys, transfers))
        found = verdict(ours.batch_exists_v2(keys, transfers))
        if expected[0] == 0 and found[0] == 0:
            continue
        assert found == expected


def test_an_anchor_without_memory_leaves_the_verdict_to_the_other_pools(attach):
    anchor, states = LogicalHostPool(64, parts.PAGE), parts.mamba_pool()
    parts.fill(states, 2)
    backend = attach(anchor)
    backend.register_mem_host_pool_v2(states, PoolName.MAMBA)
    keys = parts.hashes("logical", 3)
    assert backend.batch_set_v1(keys, parts.indices(anchor, [0, 1, 2])) == [True] * 3
    assert backend.batch_get_v1(keys, parts.indices(anchor, [0, 1, 2])) == [True] * 3
    assert backend.counters.saved == backend.counters.loaded == 0
    backend.batch_set_v2([transfer(PoolName.MAMBA, states, [4], keys[1:2])])
    asked = [PoolTransfer(PoolName.MAMBA, keys=keys[:1], hit_policy=TRAILING)]
    assert verdict(backend.batch_exists_v2(keys, asked)) == (2, {"kv": 3, "mamba": 2}, [2])
    assert backend.batch_exists_v2(keys, None).kv_hit_pages == 0


def test_a_policy_that_gates_nothing_has_no_say(attach):
    kv, states = parts.mha_pool("page_first"), parts.mamba_pool()
    backend = attach(kv)
    backend.register_mem_host_pool_v2(states, PoolName.MAMBA)
    keys = parts.hashes("groups", 2)
    backend.batch_set_v1(keys, parts.indices(kv, [0, 1]))
    asked = [PoolTransfer(PoolName.MAMBA, keys=keys, hit_policy=PoolHitPolicy.BLOCK_GROUPS)]
    assert verdict(backend.batch_exists_v2(keys, asked)) == (2, {"kv": 2}, [1, 2])


def test_without_a_registered_pool_nothing_is_stored_or_claimed(attach):
    backend, pool = attach(), parts.mha_pool("page_first")
    keys = parts.hashes("early", 2)
    assert backend.batch_set_v1(keys, parts.indices(pool, [0, 1])) == [False, False]
    assert backend.batch_get_v1(keys, parts.indices(pool, [0, 1])) == [False, False]
    assert backend.batch_exists(keys) == 0
