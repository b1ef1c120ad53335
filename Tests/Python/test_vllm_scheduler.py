"""The vLLM connector's scheduler side: what is looked up and loaded, and when."""

from __future__ import annotations

from typing import Any

import pytest
from vllm_requests import BLOCK, CHUNK, HYBRID, LONG, Request, loading, stage

from kdn.engines.vllm.lookups import Found


# Lookups


def test_a_lookup_starts_on_arrival_and_is_answered_later() -> None:
    scene = stage()
    request = Request("a", LONG)
    scene.side.arrived(request)
    assert scene.lookups.asked[0][0] == scene.hashes(request)
    assert scene.side.matched_tokens(request, 0) == (None, False)
    scene.lookups.answer(3)
    assert scene.side.matched_tokens(request, 0) == (3 * CHUNK, True)
    assert len(scene.lookups.asked) == 1


def test_no_answer_in_time_is_a_miss() -> None:
    scene = stage()
    request = Request("a", LONG)
    scene.side.arrived(request)
    scene.now += 0.49
    assert scene.side.matched_tokens(request, 0) == (None, False)
    scene.now += 0.02
    assert scene.side.matched_tokens(request, 0) == (0, False)
    assert scene.side.counts.total["lookup_over_deadline"] == 1


def test_an_answer_whose_leases_are_over_is_asked_for_again() -> None:
    scene = stage()
    request = Request("a", LONG)
    scene.side.arrived(request)
    scene.lookups.answer(4, leases=["lease"])
    scene.now += 9.0
    assert scene.side.matched_tokens(request, 0) == (None, False)
    assert scene.lookups.released == ["lease"]
    scene.lookups.answer(2)
    assert scene.side.matched_tokens(request, 0) == (2 * CHUNK, True)


def test_too_many_lookups_are_misses() -> None:
    scene = stage()
    scene.lookups.full = True
    request = Request("a", LONG)
    scene.side.arrived(request)
    assert scene.side.matched_tokens(request, 0) == (0, False)
    assert scene.side.counts.total["lookups_refused"] == 2


@pytest.mark.parametrize(
    ("tokens", "there", "computed", "expected"),
    [
        (LONG, 4, 0, 4 * CHUNK),
        (LONG, 4, BLOCK, 4 * CHUNK - BLOCK),
        (LONG, 2, 2 * CHUNK, 0),
        (LONG, 1, 2 * CHUNK, 0),
        (LONG, 0, 0, 0),
        (4 * CHUNK, 4, 0, 4 * CHUNK - BLOCK),
        (4 * CHUNK, 4, 4 * CHUNK - BLOCK, 0),
        (CHUNK - 1, 0, 0, 0),
    ],
)
def test_a_match_is_whole_blocks_and_leaves_the_last_token(
    tokens: int, there: int, computed: int, expected: int
) -> None:
    scene = stage()
    request = Request("a", tokens)
    scene.side.arrived(request)
    if scene.lookups.asked:
        scene.lookups.answer(there)
    assert scene.side.matched_tokens(request, computed) == (expected, expected > 0)


def test_requests_without_a_name_neither_load_nor_store() -> None:
    scene = stage()
    scene.nameless.add("a")
    request = Request("a", LONG)
    scene.side.arrived(request)
    assert scene.side.matched_tokens(request, 0) == (0, False)
    scene.give_blocks(request, LONG)
    assert scene.step((request, 0, LONG)).saves == []
    assert scene.side.finished(request, scene.blocks["a"]) is False
    assert scene.side.counts.total["requests_unnamed"] == 1


# Loads


def test_a_load_names_the_blocks_of_each_chunk_and_leaves_out_what_is_there() -> None:
    scene = stage()
    request = Request("a", LONG)
    assert loading(scene, request, 3, computed=CHUNK + BLOCK) == CHUNK + BLOCK
    (load,) = scene.step().loads
    hashes = scene.hashes(request)
    assert [(chunk.hash, chunk.blocks) for chunk in load.chunks] == [
        (hashes[1], (((0, 4),),)),
        (hashes[2], (((5, 6),),)),
    ]
    assert load.grids == (0,) and load.wait_ms == 0 and not load.layerwise
    assert scene.step().loads == []


def test_fewer_tokens_than_offered_are_loaded_from_the_first_on() -> None:
    scene = stage()
    request = Request("a", LONG)
    scene.side.arrived(request)
    scene.lookups.answer(4)
    assert scene.side.matched_tokens(request, BLOCK) == (4 * CHUNK - BLOCK, True)
    scene.side.allocated(request, scene.give_blocks(request, LONG), CHUNK)
    (load,) = scene.step().loads
    assert [chunk.blocks for chunk in load.chunks] == [(((0, 2),),), (((3, 0),),)]


def test_a_chunk_that_ends_behind_the_prompt_is_padded() -> None:
    scene = stage()
    request = Request("a", 2 * CHUNK)
    assert loading(scene, request, 2) == 2 * CHUNK - BLOCK
    (load,) = scene.step().loads
    assert load.chunks[1].blocks == (((3, 0),),)


def test_a_sliding_window_loads_only_what_lies_under_it() -> None:
    scene = stage(HYBRID)
    request = Request("a", LONG)
    loading(scene, request, 4, 4)
    (load,) = scene.step().loads
    full = [bool(chunk.blocks[0]) for chunk in load.chunks]
    sliding = [bool(chunk.blocks[1]) for chunk in load.chunks]
    assert full == [True] * 4
    # The token at 128 sees 39 before it: from 89 on, in the third chunk.
    assert sliding == [False, False, True, True]


def test_a_sliding_plane_that_lacks_old_chunks_still_matches() -> None:
    scene = stage(HYBRID)
    request = Request("a", LONG)
    scene.side.arrived(request)
    hashes, future = scene.lookups.asked[0]
    future.set_result(Found([[True] * 4, [False, False, True, True]], [0, 0]))
    assert scene.side.matched_tokens(request, 0) == (4 * CHUNK, True)


def test_each_stay_of_a_request_loads_once() -> None:
    scene = stage()
    request = Request("a", LONG)
    loading(scene, request, 4)
    scene.step()
    scene.side.reported([], ["a"], ["a"], None)
    assert scene.side.matched_tokens(request, 0) == (0, False)
    request.num_preemptions += 1
    assert scene.side.matched_tokens(request, 0) == (None, False)
    scene.lookups.answer(4)
    assert scene.side.matched_tokens(request, 0) == (4 * CHUNK, True)


def test_leases_are_held_until_the_load_has_ended() -> None:
    scene = stage()
    request = Request("a", LONG)
    scene.side.arrived(request)
    scene.lookups.answer(4, leases=["lease"])
    scene.side.matched_tokens(request, 0)
    scene.side.allocated(request, scene.give_blocks(request, LONG), 4 * CHUNK)
    scene.step()
    assert scene.lookups.released == []
    scene.side.reported([], [], ["a"], None)
    assert scene.lookups.released == ["lease"]


def test_a_lease_that_is_granted_too_late_is_given_back() -> None:
    scene = stage()
    request = Request("a", LONG)
    scene.side.arrived(request)
    _, future = scene.lookups.asked[0]
    assert future.set_running_or_notify_cancel()
    scene.side.finished(request, [[]])
    scene.lookups.answer(4, leases=["late"])
    assert scene.lookups.released == ["late"]


@pytest.mark.parametrize("value", [1, 500, 10**9])
def test_a_hand_over_claims_every_whole_chunk_and_waits(value: int) -> None:
    scene = stage(layerwise=True)
    request = Request("a", LONG, transfer={"kdn_wait_ms": value})
    assert loading(scene, request, 1) == 4 * CHUNK
    (load,) = scene.step().loads
    assert load.wait_ms == min(value, 600_000) and len(load.chunks) == 4
    assert not load.layerwise


@pytest.mark.parametrize("value", [0, -1, True, "500", 1.5, None])
def test_a_wait_that_is_no_time_is_no_wait(value: Any) -> None:
    scene = stage()
    request = Request("a", LONG, transfer={"kdn_wait_ms": value})
    assert loading(scene, request, 1) == CHUNK
