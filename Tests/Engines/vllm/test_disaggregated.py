"""Disaggregated prefill: one vLLM process computes prompts, another decodes them, through kdnd."""

from __future__ import annotations

import os
import time

import peer_engine
import pytest
from peer_engine import PeerEngine

import kdn

CHUNK = 64
PROMPT_TOKENS = 500
WHOLE = 448  # of the prompt's tokens, in whole chunks
DEAD_AFTER = 3  # chunks
LIMIT = 60.0


def prompt(seed: int) -> list[int]:
    return [3 + (seed * 131 + 7 * i * i + i) % 1000 for i in range(PROMPT_TOKENS)]


def transfer(address: str, role: str) -> dict:
    return {
        "kv_connector": "KDNConnector", "kv_connector_module_path": "kdn.engines.vllm",
        "kv_role": role,
        "kv_connector_extra_config": {"kdn_address": address, "kdn_chunk_tokens": CHUNK},
    }


def rise(before: dict, after: dict, name: str) -> float:
    return after["counters"].get(name, 0) - before["counters"].get(name, 0)


def wait_until(condition) -> None:
    """Polls a number of the daemon's: there is no event to wait for."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        os.sched_yield()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return peer_engine.make_tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def engines(tiny, kdnd):
    """Starts engines that compute at most two chunks a step."""
    made: list[PeerEngine] = []

    def make(role: str, **more) -> PeerEngine:
        engine = PeerEngine(
            tiny, transfer(kdnd.tcp, role), max_num_batched_tokens=2 * CHUNK, **more
        )
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()


def test_a_decoder_waits_for_what_is_being_prefilled_and_recomputes_what_never_comes(
    kdnd, engines
):
    decoder, prefiller = engines("kv_consumer"), engines("kv_producer")
    decoder.ready()
    prefiller.ready()
    idle = decoder.generate([5, 6, 7], tokens=1)
    with kdn.Client(kdnd.tcp) as client:

        def waiters() -> int:
            return client.stats()["pool"]["waiters"]

        # The decoder is asked first, and waits; each chunk reaches it as soon as it is computed.
        first = prompt(1)
        decoder.send_generate(first, kdn_wait_ms=120_000)
        wait_until(lambda: waiters() > 0)
        alone = prefiller.generate(first)
        handed = decoder.answer()
        assert handed["tokens"] == alone["tokens"] and len(alone["tokens"]) == 8
        check_prefiller(alone)
        check_hand_over(idle, handed)

        # The prefiller dies in the middle of the prompt: what it has not stored never comes.
        second = prompt(2)
        expected = prefiller.generate(second)["tokens"]
        prefiller.close()
        client.purge(namespace=True)
        mortal = engines("kv_producer", die_after_objects=DEAD_AFTER).ready()
        mortal.generate([5, 6, 7], tokens=1)  # too short to be stored: only to be quick later
        decoder.send_generate(second, kdn_wait_ms=8_000)
        wait_until(lambda: waiters() > 0)
        mortal.send_generate(second)
        assert mortal.wait_for_death() == -9
        rescued = decoder.answer()
        assert rescued["tokens"] == expected
        check_rescue(handed, rescued)

        # The decoder lives on: a prompt that nobody waits for is computed, or loaded.
        last = decoder.generate(second)
        assert last["tokens"] == expected


def check_prefiller(alone: dict) -> None:
    counters = alone["counters"]
    assert alone["cached"] == 0
    assert counters["vllm:external_prefix_cache_hits"] == 0
    assert counters["vllm:kdn_save_objects"] >= WHOLE // CHUNK


def check_hand_over(before: dict, after: dict) -> None:
    """Everything but the tail came from the other engine."""
    assert after["cached"] == WHOLE
    assert rise(before, after, "vllm:external_prefix_cache_hits") == WHOLE
    source = "vllm:prompt_tokens_by_source"
    assert rise(before, after, f"{source}{{external_kv_transfer}}") == WHOLE
    assert rise(before, after, f"{source}{{local_compute}}") == PROMPT_TOKENS - WHOLE
    assert rise(before, after, "vllm:kdn_load_objects") == WHOLE // CHUNK
    assert rise(before, after, "vllm:kdn_load_failed_objects") == 0
    # A decoder stores nothing of its own.
    assert after["counters"].get("vllm:kdn_save_objects", 0) == 0


def check_rescue(before: dict, after: dict) -> None:
    """What had been stored was used, the rest was computed after the deadline."""
    assert rise(before, after, "vllm:kdn_load_objects") == DEAD_AFTER
    assert rise(before, after, "vllm:kdn_load_failed_objects") >= 1
    lost = rise(before, after, "vllm:kdn_load_failed_objects")
    lost += rise(before, after, "vllm:kdn_load_skipped_objects")
    assert lost == WHOLE // CHUNK - DEAD_AFTER
    assert rise(before, after, "vllm:kdn_load_failed_requests") == 1
    assert rise(before, after, "vllm:request_success{length}") == 1
