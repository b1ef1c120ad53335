"""What kdn.engines.vllm stores of a model: planes, parts, and when it must not."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

# Read when torch is loaded: threads that wait must not spin, which costs a busy machine most.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import MODELS, tiny_model
from vllm_engines import engine, llama_config

from kdn.engines import _planes
from kdn.engines._rope import UnsupportedModel
from kdn.engines.vllm.facts import UNKNOWN
from kdn.engines.vllm.planes import describe
from kdn.engines.vllm.rotary import KNOWN_TYPES
from kdn.errors import FieldError
from kdn.keys import Part, chain_root
from kdn.layouts import OpaqueGroup

KNOWN_MODELS = [
    "llama",
    "llama, linear",
    "llama, llama3",
    "llama, yarn",
    "qwen2",
    "qwen3",
    "mistral",
    "mistral, all layers sliding",
    "gemma3",
    "phi3, half of each head rotated",
]
OTHER_FAMILIES = {"gemma": "Gemma", "gemma2": "Gemma2", "granite": "Granite", "mixtral": "Mixtral"}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
OTHER_OPTIONS: dict[str, dict[str, Any]] = {
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "sliding_window": 96},
    "mixtral": {"num_local_experts": 2, "sliding_window": None},
}


def facts_like(model: Any) -> Any:
    """The facts of a vLLM engine that serves `model`, as its layers measure."""
    measured = [layer for plane in _planes.describe(model).planes for layer in plane.layers]
    measured.sort(key=lambda layer: layer.number)
    return engine(
        heads=measured[0].kv_heads,
        layers=len(measured),
        dim=measured[0].head_dim,
        windows=tuple(layer.window for layer in measured),
        groups=tuple(int(layer.window > 0) for layer in measured),
        config=model.config,
    )


def check_same_planes(model: Any) -> None:
    found = describe(facts_like(model), mode="canonical")
    wanted = {plane.layout_id: plane for plane in _planes.describe(model).planes}
    assert {plane.layout_id for plane in found.planes} == set(wanted)
    for plane in found.planes:
        assert plane.part == wanted[plane.layout_id].part
        assert plane.window == wanted[plane.layout_id].window
        assert plane.chunk_bytes == wanted[plane.layout_id].chunk_bytes(found.chunk_tokens)
        assert plane.key(bytes(32)) == wanted[plane.layout_id].key(bytes(32))


@pytest.mark.parametrize("name", KNOWN_MODELS)
def test_planes_are_those_that_the_transformers_adapter_measures(name: str) -> None:
    check_same_planes(tiny_model(name))


@pytest.mark.parametrize("kind", sorted(OTHER_FAMILIES))
def test_planes_of_further_types_are_those_that_the_transformers_adapter_measures(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = (OTHER_FAMILIES[kind], OTHER_OPTIONS.get(kind, {}))
    monkeypatch.setitem(MODELS, kind, entry)
    check_same_planes(tiny_model(kind))


@pytest.mark.parametrize("family", ["Qwen2Moe", "Qwen3Moe"])
def test_planes_of_expert_models_are_those_that_the_transformers_adapter_measures(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, family, (family, {**MOE, "head_dim": 16}))
    check_same_planes(tiny_model(family))


def test_every_type_in_the_table_of_rotations_is_measured_by_a_test() -> None:
    tested = {tiny_model(name).config.model_type for name in KNOWN_MODELS}
    assert tested | set(OTHER_FAMILIES) | {"qwen2_moe", "qwen3_moe"} == KNOWN_TYPES


@pytest.mark.parametrize(
    "name",
    [
        "llama, dynamic",
        "phi3, longrope",
        "smollm3, last layer without rotation",
        "cohere2, interleaved",
    ],
)
def test_a_rotation_that_is_not_certain_makes_the_mode_opaque(name: str) -> None:
    facts = facts_like(tiny_model(name))
    found = describe(facts)
    assert found.mode == "opaque"
    assert found.reason
    with pytest.raises(UnsupportedModel):
        describe(facts, mode="canonical")


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_parameters": None},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1]}},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "truncate": 0}},
        {"rope_parameters": {"rope_type": "ntk", "rope_theta": 1e4, "factor": 2.0}},
        {"dual_chunk_attention_config": {"chunk_size": 64}},
        {"model_type": "model of tomorrow"},
    ],
)
def test_unknown_facts_of_rotation_are_not_guessed(changes: dict[str, Any]) -> None:
    facts = engine(config=llama_config(**changes))
    with pytest.raises(UnsupportedModel):
        describe(facts, mode="canonical")
    assert describe(facts).mode == "opaque"


@given(
    heads=st.sampled_from([1, 2, 3, 4, 6, 8, 12]),
    tp=st.sampled_from([1, 2, 3, 4, 6, 8, 16, 24]),
    cut=st.none() | st.integers(1, 5),
)
def test_the_parts_of_all_ranks_are_the_grid_and_make_up_every_head_of_every_layer_once(
    heads: int, tp: int, cut: int | None
) -> None:
    stages = ((0, 6),) if cut is None else ((0, cut), (cut, 6))
    if heads % tp and tp % heads:
        facts = engine(heads=heads, tp=tp, layers=6)
        with pytest.raises(UnsupportedModel):
            describe(facts, mode="canonical")
        return
    ranks = [
        describe(engine(heads, tp, rank, 6, stages=stages, stage=stage), mode="canonical")
        for stage in range(len(stages))
        for rank in range(tp)
    ]
    planes = [rank.planes[0] for rank in ranks]
    assert len({plane.layout_id for plane in planes}) == 1
    assert len({plane.grids for plane in planes}) == 1
    written = [plane.part for plane in planes if plane.writes]
    assert sorted(map(repr, written)) == sorted(map(repr, planes[0].grids[0]))
    assert all(plane.part in written for plane in planes)
    for grid in planes[0].grids:
        cells = [
            (layer, head)
            for part in grid
            for layer in range(part.first_layer, part.first_layer + part.layer_count)
            for head in range(part.first_kv_head, part.first_kv_head + part.kv_head_count)
        ]
        assert sorted(cells) == [(layer, head) for layer in range(6) for head in range(heads)]


def test_the_layout_does_not_depend_on_the_parallel_size_and_one_rank_holds_the_whole() -> None:
    whole = describe(engine(heads=4)).planes[0]
    share = describe(engine(heads=4, tp=2, rank=1)).planes[0]
    assert whole.layout_id == share.layout_id
    assert whole.part == whole.layout.whole()
    assert share.part == Part(0, 4, 2, 2)
    assert share.grids[:2] == ((Part(0, 4, 0, 2), Part(0, 4, 2, 2)), (Part(0, 4, 0, 4),))
    assert share.chunk_bytes * 2 == whole.chunk_bytes


def test_ranks_beyond_the_heads_hold_copies_that_only_the_first_stores() -> None:
    planes = [describe(engine(heads=2, tp=8, rank=rank)).planes[0] for rank in range(8)]
    assert [plane.part.first_kv_head for plane in planes] == [0] * 4 + [1] * 4
    assert [plane.writes for plane in planes] == [True, False, False, False] * 2


def test_layers_of_one_window_in_several_groups_are_one_plane() -> None:
    facts = engine(layers=6, windows=(32, 32, 0) * 2, groups=(0, 1, 2) * 2)
    found = describe(facts, chunk_tokens=32)
    sliding, full = found.planes
    assert (sliding.window, sliding.groups, sliding.layer_groups) == (32, (0, 1), (0, 1, 0, 1))
    assert (full.window, full.groups) == (0, (2,))
    ids = [[1, 2, 3, 4], [5, 6, 7, 8], [0, 0, 11, 12]]
    assert sliding.blocks(1, ids) == ((3, 4), (7, 8))
    assert full.blocks(0, ids) == ((0, 0),)
    assert sliding.has_blocks(1, ids) and not sliding.has_blocks(2, ids)
    assert full.has_blocks(1, ids) and not full.has_blocks(0, ids)


def test_a_sliding_plane_needs_only_the_chunks_under_its_window() -> None:
    found = describe(engine(layers=2, windows=(40, 0), groups=(0, 1)), chunk_tokens=32)
    sliding, full = found.planes
    assert found.chunks_needed(full, 128) == range(4)
    assert found.chunks_needed(sliding, 128) == range(2, 4)
    assert found.chunks_needed(sliding, 104) == range(2, 4)
    assert found.chunks_needed(sliding, 103) == range(2, 4)
    assert found.chunks_needed(sliding, 102) == range(1, 4)
    assert found.first_token_needed(sliding, 128) == 128 - 39


@given(st.data())
def test_the_longest_prefix_is_the_longest_of_which_all_needed_chunks_are_there(data: Any) -> None:
    window = data.draw(st.integers(2, 200))
    found = describe(engine(layers=2, windows=(window, 0), groups=(0, 1)), chunk_tokens=32)
    count = data.draw(st.integers(0, 8))
    row = st.lists(st.booleans(), min_size=count, max_size=count)
    there = [data.draw(row), data.draw(row)]
    limit = data.draw(st.integers(0, 32 * 9))
    possible = [min(end * 32, limit) for end in range(1, count + 1)]
    good = [
        tokens
        for tokens in possible
        if all(
            there[plane.index][chunk]
            for plane in found.planes
            for chunk in found.chunks_needed(plane, tokens)
        )
    ]
    assert found.longest_prefix(there, limit) == max(good, default=0)


def test_a_chunk_is_rounded_up_to_whole_blocks_of_every_group() -> None:
    facts = engine(block=48)
    assert describe(facts, chunk_tokens=256).chunk_tokens == 288
    with pytest.raises(UnsupportedModel):
        describe(engine(block=8192))
    for size in (0, 8, 5000):
        with pytest.raises(FieldError):
            describe(facts, chunk_tokens=size)
    with pytest.raises(FieldError):
        describe(facts, mode="canon")


def test_opaque_pages_have_a_layer_of_their_own_for_each_rank_and_a_root_of_their_own() -> None:
    ranks = [describe(engine(tp=2, rank=rank, plain=False)) for rank in range(2)]
    first, second = (rank.planes[0] for rank in ranks)
    assert first.layout_id == second.layout_id
    assert (first.part, second.part) == (Part(0, 4), Part(4, 4))
    assert first.grids == ((Part(0, 4), Part(4, 4)),)
    group = first.layout.groups[0]
    assert isinstance(group, OpaqueGroup)
    assert group.bytes_per_token == 2 * 2 * 8 * 4
    assert ranks[0].root("m") != chain_root("m")
    assert describe(engine()).root("m", b"salt") == chain_root("m", b"salt")


def test_unknown_packing_of_blocks_is_opaque() -> None:
    found = describe(engine(packing=UNKNOWN))
    assert (found.mode, found.page_format) == ("opaque", "vllm-pages-test")


def test_latents_are_opaque_and_stored_once_for_all_ranks() -> None:
    planes = [describe(engine(tp=4, rank=r, latent=True)).planes[0] for r in range(4)]
    assert {plane.part for plane in planes} == {Part(0, 4)}
    assert [plane.writes for plane in planes] == [True, False, False, False]


def test_opaque_pages_of_copied_heads_are_stored_once() -> None:
    ranks = [describe(engine(heads=2, tp=4, rank=r, plain=False)).planes[0] for r in range(4)]
    assert [plane.part for plane in ranks] == [Part(0, 4)] * 2 + [Part(4, 4)] * 2
    assert [plane.writes for plane in ranks] == [True, False] * 2


def test_a_group_of_latents_and_heads_is_stored_by_each_rank() -> None:
    planes = []
    for rank in range(4):
        facts = engine(heads=2, tp=4, rank=rank, plain=False)
        latents = engine(heads=2, tp=4, rank=rank, latent=True).layers
        mixed = replace(facts, layers=(*facts.layers[:2], *latents[2:]))
        planes.append(describe(mixed).planes[0])
    assert [plane.part for plane in planes] == [Part(4 * rank, 4) for rank in range(4)]
    assert all(plane.writes for plane in planes)


def test_heads_that_are_not_split_evenly_are_opaque_with_a_part_for_each_rank() -> None:
    planes = [describe(engine(heads=4, tp=3, rank=rank)).planes[0] for rank in range(3)]
    assert [plane.part for plane in planes] == [Part(0, 4), Part(4, 4), Part(8, 4)]


def test_a_kind_that_no_layout_can_state_is_refused() -> None:
    with pytest.raises(UnsupportedModel):
        describe(engine(heads=64, tp=64, layers=128, plain=False))
    with pytest.raises(UnsupportedModel):
        describe(engine(layers=4, windows=(0, 8, 0, 8), stages=((0, 2), (2, 4))))
