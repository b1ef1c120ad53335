"""The vLLM connector's scheduler side: what is stored, when, and what never is."""

from __future__ import annotations

import pytest
from vllm_engines import engine
from vllm_requests import CHUNK, HYBRID, LONG, Request, loading, saved, stage

from kdn.engines.vllm.events import StoredEvents
from kdn.engines.vllm.metadata import StepReport
from kdn.engines.vllm.planes import describe


def test_chunks_are_stored_in_the_step_that_completes_them() -> None:
    scene = stage(loads=False)
    request = Request("a", LONG)
    scene.side.arrived(request)
    scene.give_blocks(request, LONG)
    assert saved(scene.step((request, 0, CHUNK + 1))) == [("a", 0)]
    assert saved(scene.step((request, CHUNK + 1, CHUNK - 2))) == []
    plan = scene.step((request, 2 * CHUNK - 1, LONG - 2 * CHUNK + 1))
    assert saved(plan) == [("a", CHUNK), ("a", 2 * CHUNK), ("a", 3 * CHUNK)]
    hashes = scene.hashes(request)
    chunk = plan.saves[0].chunks[0]
    assert (chunk.hash, chunk.parent, chunk.blocks) == (hashes[1], hashes[0], (((3, 4),),))


def test_generated_tokens_are_stored_once_they_are_known() -> None:
    scene = stage(loads=False)
    request = Request("a", CHUNK + 30)
    scene.side.arrived(request)
    scene.give_blocks(request, 3 * CHUNK)
    scene.step((request, 0, CHUNK + 30))
    # Drafts are scheduled, but which of them will stand is not known.
    assert saved(scene.step((request, CHUNK + 30, 6))) == []
    request.generate(4)
    assert saved(scene.step((request, CHUNK + 33, 1))) == [("a", CHUNK)]


def test_only_prompts_are_stored_where_that_is_asked() -> None:
    scene = stage(loads=False, prompt_only=True)
    request = Request("a", CHUNK + 30)
    scene.side.arrived(request)
    scene.give_blocks(request, 3 * CHUNK)
    assert saved(scene.step((request, 0, CHUNK + 30))) == [("a", 0)]
    request.generate(40)
    assert saved(scene.step((request, CHUNK + 30, 30))) == []


def test_what_the_server_has_is_not_sent_again() -> None:
    scene = stage()
    request = Request("a", LONG)
    loading(scene, request, 2)
    scene.step()
    scene.side.reported([], [], ["a"], None)
    plan = scene.step((request, 2 * CHUNK, LONG - 2 * CHUNK))
    assert saved(plan) == [("a", 2 * CHUNK), ("a", 3 * CHUNK)]


def test_what_the_own_cache_has_and_the_server_has_not_is_stored() -> None:
    scene = stage()
    request = Request("a", LONG)
    scene.side.arrived(request)
    scene.lookups.answer(1)
    assert scene.side.matched_tokens(request, 4 * CHUNK) == (0, False)
    scene.give_blocks(request, LONG)
    plan = scene.step((request, 4 * CHUNK, 5))
    assert saved(plan) == [("a", CHUNK), ("a", 2 * CHUNK), ("a", 3 * CHUNK)]


@pytest.mark.parametrize("by_block", [True, False])
def test_chunks_that_failed_to_load_are_stored_again(by_block: bool) -> None:
    scene = stage()
    request = Request("a", LONG)
    loading(scene, request, 4)
    (load,) = scene.step().loads
    third = [5, 6]
    assert load.chunks[2].blocks == ((tuple(third),),)
    scene.side.reported(third if by_block else [], [] if by_block else ["a"], ["a"], None)
    first = 2 * CHUNK if by_block else 0
    plan = scene.step((request, first, LONG - first))
    assert saved(plan)[0] == ("a", first)
    assert len(saved(plan)) == 4 - first // CHUNK


def test_pages_that_a_window_has_left_are_not_stored() -> None:
    scene = stage(HYBRID, loads=False)
    request = Request("a", 2 * CHUNK)
    scene.side.arrived(request)
    blocks = scene.give_blocks(request, 2 * CHUNK)
    blocks[1][0] = 0
    (save,) = scene.step((request, 0, 2 * CHUNK)).saves
    assert [[bool(b) for b in chunk.blocks] for chunk in save.chunks] == [[True, False], [True] * 2]


def test_chunks_that_the_last_step_completed_are_stored_behind_it() -> None:
    scene = stage(loads=False)
    request = Request("a", CHUNK + 30)
    scene.side.arrived(request)
    blocks = scene.give_blocks(request, 3 * CHUNK)
    scene.step((request, 0, CHUNK + 30))
    request.generate(3)
    request.num_computed_tokens = 2 * CHUNK
    assert scene.side.finished(request, blocks) is True
    (tail,) = scene.step().saves
    assert tail.report and [chunk.first_token for chunk in tail.chunks] == [CHUNK]
    assert scene.step().saves == []


def test_a_request_that_left_nothing_to_store_is_not_held() -> None:
    scene = stage(loads=False)
    request = Request("a", CHUNK + 5)
    scene.side.arrived(request)
    blocks = scene.give_blocks(request, 2 * CHUNK)
    scene.step((request, 0, CHUNK + 5))
    request.generate(1)
    assert scene.side.finished(request, blocks) is False


def test_a_request_that_ends_while_it_is_loaded_stores_nothing() -> None:
    scene = stage()
    request = Request("a", LONG)
    loading(scene, request, 2)
    scene.step()
    request.num_computed_tokens = LONG
    assert scene.side.finished(request, scene.blocks["a"]) is False
    assert scene.step().saves == []


def test_a_preempted_request_that_ends_stores_nothing_of_its_lost_pages() -> None:
    scene = stage()
    request = Request("a", LONG)
    scene.side.arrived(request)
    scene.lookups.answer(0)
    assert scene.side.matched_tokens(request, 0) == (0, False)
    blocks = scene.give_blocks(request, LONG)
    scene.step((request, 0, CHUNK))
    request.num_preemptions, request.num_computed_tokens = 1, 0
    assert scene.side.finished(request, blocks) is False


# Layerwise


def report(step: int, ranks: int = 1) -> StepReport:
    return StepReport(ranks, {step: ranks})


def test_nothing_is_stored_on_top_of_loads_that_may_be_bad() -> None:
    scene = stage(layerwise=True, ranks=2)
    request, other = Request("a", LONG), Request("b", CHUNK, first=9000)
    assert loading(scene, request, 2) == 2 * CHUNK
    scene.side.arrived(other)
    scene.give_blocks(other, CHUNK, first=50)
    plan = scene.step((request, 2 * CHUNK, LONG - 2 * CHUNK), (other, 0, CHUNK))
    assert plan.layerwise and plan.saves == []
    scene.side.reported([], [], [], report(plan.step))
    assert scene.step((request, LONG, 1), (other, CHUNK, 1)).saves == []
    scene.side.reported([], [], [], report(plan.step))
    plan = scene.step((request, LONG + 1, 1), (other, CHUNK + 1, 1))
    assert saved(plan) == [("a", 2 * CHUNK), ("a", 3 * CHUNK), ("b", 0)]


def test_what_was_computed_from_bad_loads_is_never_stored() -> None:
    scene = stage(layerwise=True)
    request, other = Request("a", LONG), Request("b", CHUNK + 9, first=9000)
    loading(scene, request, 2)
    scene.side.arrived(other)
    blocks = scene.give_blocks(other, 2 * CHUNK, first=50)
    plan = scene.step((request, 2 * CHUNK, LONG - 2 * CHUNK), (other, 0, CHUNK + 9))
    assert scene.side.finished(other, blocks) is True
    scene.side.reported([3], [], [], report(plan.step))
    plan = scene.step((request, CHUNK, LONG - CHUNK))
    (tail,) = [save for save in plan.saves if save.report]
    assert tail.request_id == "b" and tail.chunks == ()
    assert saved(plan) == [("a", CHUNK), ("a", 2 * CHUNK), ("a", 3 * CHUNK)]


# Roles, reset, events


def test_a_producer_does_not_load_and_a_consumer_does_not_store() -> None:
    producer, consumer = stage(loads=False), stage(saves=False)
    request = Request("a", LONG)
    producer.side.arrived(request)
    assert producer.lookups.asked == []
    assert producer.side.matched_tokens(request, 0) == (0, False)
    consumer.side.arrived(request)
    blocks = consumer.give_blocks(request, LONG)
    assert consumer.step((request, 0, LONG)).saves == []
    assert consumer.side.finished(request, blocks) is False


def test_after_a_reset_nothing_of_before_is_loaded() -> None:
    scene = stage()
    request = Request("a", LONG)
    scene.side.arrived(request)
    scene.lookups.answer(4, leases=["lease"])
    before = scene.hashes(request)
    scene.generation = "/2"
    scene.side.reset()
    assert scene.lookups.released == ["lease"]
    assert scene.side.matched_tokens(request, 0) == (None, False)
    assert set(scene.lookups.asked[-1][0]).isdisjoint(before)


def test_an_event_tells_of_a_chunk_once_every_rank_has_stored_it() -> None:
    events = StoredEvents(True)
    description = describe(engine(tp=2), CHUNK)
    scene = stage(description, loads=False, ranks=2, events=events)
    request = Request("a", 2 * CHUNK + 3)
    scene.side.arrived(request)
    scene.give_blocks(request, LONG)
    scene.step((request, 0, 2 * CHUNK))
    first, second = scene.hashes(request)
    scene.side.reported([], [], [], StepReport(2, {}, {first: 2, second: 1}))
    assert [chunk for chunk, _ in events._stored] == [first]
    scene.side.reported([], [], [], StepReport(1, {}, {second: 1}))
    assert [chunk for chunk, _ in events._stored] == [first, second]
    assert events._stored[1][1].tokens == tuple(request.all_token_ids[CHUNK : 2 * CHUNK])
    assert events._stored[1][1].parent == first
