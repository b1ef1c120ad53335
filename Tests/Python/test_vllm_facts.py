"""What is read off vLLM's objects before anything is stored, and which engines are refused."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from vllm_engines import (
    CpuKernel,
    cache_config,
    engine_config,
    install_fake_vllm,
    llama_config,
    spec,
)

from kdn.engines._rope import UnsupportedModel
from kdn.engines.vllm.facts import TRANSPOSED, UNKNOWN, read_facts
from kdn.engines.vllm.planes import describe
from kdn.keys import Part


@pytest.fixture
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> CpuKernel:
    return install_fake_vllm(monkeypatch)


def test_facts_of_a_plain_engine_are_read_off_its_configuration(fake_vllm: CpuKernel) -> None:
    settings = engine_config(tp=2, heads=8)
    facts = read_facts(settings, cache_config((list(range(4)), spec())), tp_rank=1)
    assert (facts.tp_size, facts.tp_rank, facts.kv_heads, facts.block_count) == (2, 1, 8, 64)
    assert facts.key_packing == "plain"
    assert [layer.block_bytes for layer in facts.layers] == [4 * 16 * 16 * 4] * 4
    assert describe(facts).planes[0].part == Part(0, 4, 4, 4)


@pytest.mark.parametrize(
    "facts",
    [
        {"kind": "MambaSpec"},
        {"kind": "ChunkedLocalAttentionSpec"},
        {"kind": "CrossAttentionSpec"},
        {"kind": "SlidingWindowMLASpec"},
        {"kind": "SinkFullAttentionSpec"},
        {"attention_chunk_size": 128},
        {"kind": "SlidingWindowSpec", "sliding_window": 64, "extra_retained_tokens": 4},
        {"is_draft": True},
        {"non_causal": True},
        {"tokens_per_state": 4},
        {"kv_quant_mode": SimpleNamespace(name="INT8_PER_TOKEN_HEAD")},
        {"kv_quant_mode": SimpleNamespace(name="NVFP4")},
    ],
)
def test_caches_that_are_not_plain_attention_are_refused(
    facts: dict[str, Any], fake_vllm: CpuKernel
) -> None:
    kind = facts.pop("kind", "FullAttentionSpec")
    with pytest.raises(UnsupportedModel):
        read_facts(engine_config(), cache_config(([0, 1], spec(kind, **facts))))


@pytest.mark.parametrize(
    "changes",
    [
        {"parallel_config__decode_context_parallel_size": 2},
        {"parallel_config__prefill_context_parallel_size": 2},
        {"engine__speculative_config": SimpleNamespace(method="eagle3")},
        {"engine__speculative_config": SimpleNamespace(method="mtp")},
        {"engine__speculative_config": SimpleNamespace(method="draft_model")},
        {"model_config__is_encoder_decoder": True},
    ],
)
def test_engines_whose_kv_is_not_a_prefixs_alone_are_refused(
    changes: dict[str, Any], fake_vllm: CpuKernel
) -> None:
    with pytest.raises(UnsupportedModel):
        read_facts(engine_config(**changes), cache_config(([0, 1], spec())))


@pytest.mark.parametrize(
    "flags", [{"is_eagle_group": True}, {"enable_kv_transfer": False}, {"host_resident": True}]
)
def test_groups_that_are_not_to_be_moved_are_refused(
    flags: dict[str, bool], fake_vllm: CpuKernel
) -> None:
    with pytest.raises(UnsupportedModel):
        read_facts(engine_config(), cache_config(([0], spec()), **flags))


def test_guesses_without_kv_of_their_own_are_served(fake_vllm: CpuKernel) -> None:
    settings = engine_config(engine__speculative_config=SimpleNamespace(method="ngram"))
    assert read_facts(settings, cache_config(([0], spec()))).layers


@pytest.mark.parametrize(
    "facts",
    [
        {"kv_quant_mode": SimpleNamespace(name="FP8_PER_TENSOR"), "dtype": torch.uint8},
        {"kind": "MLAAttentionSpec", "head_size_v": 0, "num_kv_heads": 1},
        {"num_head_slots": 8},
        {"state_content_bytes": 80},
        {"head_size_v": 16},
    ],
)
def test_blocks_of_more_than_plain_keys_and_values_are_opaque(
    facts: dict[str, Any], fake_vllm: CpuKernel
) -> None:
    kind = facts.pop("kind", "FullAttentionSpec")
    found = describe(read_facts(engine_config(), cache_config(([0, 1], spec(kind, **facts)))))
    assert found.mode == "opaque"


@pytest.mark.parametrize(
    "changes",
    [
        {"model_config__max_model_len": 8192},
        {"cache_config__cache_dtype": "fp8"},
        {"attention_config__backend": "FLASHINFER"},
        {"parallel_config__tensor_parallel_size": 2},
        {"model_config__dtype": torch.float16},
    ],
)
def test_whatever_pages_depend_on_is_in_the_page_format(
    changes: dict[str, Any], fake_vllm: CpuKernel
) -> None:
    blocks = cache_config(([0, 1], spec()))
    plain = read_facts(engine_config(), blocks).page_format
    assert plain == read_facts(engine_config(), blocks).page_format
    assert plain != read_facts(engine_config(**changes), blocks).page_format
    assert len(plain) < 160


def test_two_caches_of_one_layer_or_a_cache_of_no_layer_are_refused(fake_vllm: CpuKernel) -> None:
    with pytest.raises(UnsupportedModel):
        read_facts(engine_config(), cache_config(([0, 0], spec())))
    nameless = cache_config(([0], spec()))
    nameless.kv_cache_groups[0].layer_names = ["layers.0.experts.1.attn"]
    with pytest.raises(UnsupportedModel):
        read_facts(engine_config(), nameless)


def test_the_packing_of_a_cpu_engine_is_measured_by_its_own_kernel(
    fake_vllm: CpuKernel
) -> None:
    settings = engine_config(device_config__device_type="cpu")
    blocks = cache_config(([0, 1], spec()))
    assert read_facts(settings, blocks).key_packing == TRANSPOSED
    fake_vllm.keys = "mixed up"
    facts = read_facts(settings, blocks)
    assert (facts.key_packing, describe(facts).mode) == (UNKNOWN, "opaque")
    fake_vllm.keys = "missing"
    assert read_facts(settings, blocks).key_packing == UNKNOWN
    fake_vllm.keys, fake_vllm.values_turned = "transposed", True
    assert read_facts(settings, blocks).key_packing == UNKNOWN


def test_a_group_that_keeps_all_tokens_has_no_window_though_its_layers_slide(
    fake_vllm: CpuKernel,
) -> None:
    kinds = ["sliding_attention", "full_attention"] * 2
    settings = engine_config(model_config__hf_text_config=llama_config(layer_types=kinds))
    facts = read_facts(settings, cache_config((list(range(4)), spec(sliding_window=48))))
    assert [layer.window for layer in facts.layers] == [48, 0, 48, 0]
    found = describe(facts)
    assert [plane.window for plane in found.planes] == [0, 0]
    assert [plane.layout.groups[0].sliding_window for plane in found.planes] == [48, 0]
