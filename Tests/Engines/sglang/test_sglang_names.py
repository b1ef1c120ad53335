"""Whose pages are whose: salts, adapters, ranks, models, layouts."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
import sglang_hashes
import sglang_parts as parts
import torch
from sglang.srt.mem_cache.cpp_utils import native_hash
from sglang.srt.mem_cache.hicache_storage import PoolName, PoolTransfer
from sglang.srt.mem_cache.radix_cache import RadixKey
from sglang.srt.mem_cache.utils import get_storage_hash_str

from kdn.engines.sglang.sidecars import is_replicated


@pytest.fixture(autouse=True)
def python_hashes(monkeypatch):
    monkeypatch.setattr(native_hash, "_load_native_hash_module", lambda: sglang_hashes.MODULE)


def page_hashes(salt: str | None = None, extra_key: str | None = None) -> list[str]:
    key = RadixKey(array("q", range(128)), extra_key, cache_salt=salt)
    return get_storage_hash_str(key, None, page_size=64)


def test_the_hashes_of_these_tests_are_those_of_sglangs_compiled_code():
    assert page_hashes(salt="a") == [
        "0f0bb86d5c57fb79f94b7db57603a4ec7aea7da6d248d7e585061ffd2cd5327b",
        "e461b1e8c5b6eaa3fa2c8f8658fcfcd3a77730b99d3337cd9dfa08e4575a90ab",
    ]


def test_no_tenant_finds_pages_under_anothers_salt_or_adapter(attach):
    pool = parts.mha_pool("page_first")
    backend = attach(pool)
    namespaces = [
        {}, {"salt": "a"}, {"salt": "b"}, {"extra_key": "a"}, {"extra_key": "b"},
        {"salt": "a", "extra_key": "b"}, {"salt": "b", "extra_key": "a"},
        {"salt": "ab"}, {"extra_key": "ab"}, {"extra_key": "0a1b2c3d" * 4},
    ]  # fmt: skip
    for number, own in enumerate(namespaces):
        keys = page_hashes(**own)
        assert backend.batch_set_v1(keys, parts.indices(pool, [0, 1])) == [True, True]
        for other in namespaces[number + 1 :]:
            assert backend.batch_exists(page_hashes(**other)) == 0
            assert not any(backend.batch_get_v1(page_hashes(**other), parts.indices(pool, [2, 3])))
    for own in namespaces:
        assert backend.batch_exists(page_hashes(**own)) == 2


OTHERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("rank", {}, {"tp_rank": 1, "tp_size": 2}),
    ("ranks", {}, {"tp_size": 2}),
    ("stage", {}, {"pp_rank": 1, "pp_size": 2}),
    ("stages", {}, {"pp_size": 2}),
    ("context", {}, {"attn_cp_rank": 1, "attn_cp_size": 2}),
    ("model", {}, {"model_name": "another"}),
    ("named-model", {}, {"extra": {"kdn_model_name": "another"}}),
    ("layout", {"layout": "page_first_direct"}, {}),
    ("dtype", {"dtype": torch.float16}, {}),
    ("heads", {"heads": 2}, {}),
    ("latent", {"latent": True}, {"is_mla_model": True}),
]


@pytest.mark.parametrize(("pool", "facts"), [pytest.param(*o[1:], id=o[0]) for o in OTHERS])
def test_an_engine_that_differs_finds_nothing(attach, pool, facts):
    keys = parts.hashes("other", 1)
    own = parts.mha_pool("page_first")
    assert attach(own).batch_set_v1(keys, parts.indices(own, [0])) == [True]
    if pool.pop("latent", False):
        other = parts.mla_pool("page_first")
    else:
        other = parts.mha_pool(**{"layout": "page_first", **pool})
    reader = attach(other, **facts)
    assert reader.batch_exists(keys) == 0
    assert reader.batch_get_v1(keys, parts.indices(other, [1])) == [False]
    assert attach(own).batch_exists(keys) == 1


def test_another_page_size_finds_nothing(attach, monkeypatch):
    keys = parts.hashes("size", 1)
    own = parts.mha_pool("page_first")
    assert attach(own).batch_set_v1(keys, parts.indices(own, [0])) == [True]
    monkeypatch.setattr(parts, "PAGE", 8)
    assert attach(parts.mha_pool("page_first")).batch_exists(keys) == 0


def test_weights_that_were_updated_in_place_find_nothing_of_the_former(attach, monkeypatch):
    pool, keys = parts.mha_pool("page_first"), parts.hashes("version", 2)
    backend = attach(pool)
    assert all(backend.batch_set_v1(keys, parts.indices(pool, [0, 1])))
    monkeypatch.setattr("kdn.engines.sglang.pages.weights_version", lambda: "step-2")
    assert backend.batch_exists(keys) == 0
    assert backend.batch_get_v1(keys, parts.indices(pool, [2, 3])) == [False, False]
    assert not backend.exists(keys[0])


def test_every_rank_of_a_latent_model_finds_what_one_has_stored(attach):
    keys = parts.hashes("latent", 2)
    writer = parts.mla_pool("page_first")
    parts.fill(writer, 9)
    first = attach(writer, is_mla_model=True, tp_size=4)
    assert first.batch_set_v1(keys, parts.indices(writer, [1, 2])) == [True, True]
    for rank, count in ((1, 4), (3, 4), (0, 1), (7, 8)):
        pool = parts.mla_pool("page_first")
        reader = attach(pool, is_mla_model=True, tp_rank=rank, tp_size=count)
        assert reader.batch_get_v1(keys, parts.indices(pool, [3, 4])) == [True, True]
        assert parts.page_bytes(pool, 3) == parts.page_bytes(writer, 1)


def test_recurrent_states_are_each_ranks_own_even_beside_latent_kv(attach):
    keys, states = parts.hashes("state", 1), parts.mamba_pool()
    stored = [PoolTransfer(PoolName.MAMBA, parts.indices(states, [1]), keys=keys)]
    for rank in (0, 1):
        pool = parts.mla_pool("page_first")
        backend = attach(pool, is_mla_model=True, tp_rank=rank, tp_size=2)
        backend.register_mem_host_pool_v2(states, PoolName.MAMBA)
        assert backend.batch_get_v2(stored) == {PoolName.MAMBA: [False]}
        assert backend.batch_set_v2(stored) == {PoolName.MAMBA: [True]}
        assert backend.counters.saved == 1


@pytest.mark.parametrize(
    ("name", "draft_is_latent", "replicated"),
    [
        ("kv", False, True), ("indexer", False, True), ("swa", False, True),
        ("deepseek_v4_c4", False, True), ("mamba", False, False), ("draft", True, True),
        ("draft", False, False), ("draft_swa", False, False), ("auxiliary_swa", False, False),
    ],
)  # fmt: skip
def test_which_pools_ranks_share_beside_latent_kv(name, draft_is_latent, replicated):
    pool = parts.mla_pool("page_first") if draft_is_latent else parts.mha_pool("page_first")
    assert is_replicated(name, pool, latent_model=True) is replicated
    assert not is_replicated(name, pool, latent_model=False)
