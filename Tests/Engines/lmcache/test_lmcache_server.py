"""vLLM, `lmcache server` and kdnd end to end, asserted on LMCache's own counters."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from lmcache_daemon import RespDaemon
from lmcache_processes import Engine, LMCacheServer, plugin, resp, stop_all, until

CHUNK = 256
CHUNKS = 5
PROMPT_TOKENS = CHUNK * CHUNKS + 100


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest) -> pathlib.Path:
    if "KDN_MODEL" in os.environ:
        return pathlib.Path(os.environ["KDN_MODEL"])
    return pathlib.Path(request.getfixturevalue("material")) / "smollm2"


@pytest.fixture(scope="session")
def prompts(request: pytest.FixtureRequest, model: pathlib.Path) -> list[list[int]]:
    """Three prompts of five whole chunks and a rest."""
    from transformers import AutoTokenizer

    text = (pathlib.Path(request.getfixturevalue("material")) / "lcet10.txt").read_text("latin-1")
    ids = AutoTokenizer.from_pretrained(model).encode(text[:40_000])
    return [ids[start : start + PROMPT_TOKENS] for start in (0, 3000, 6000)]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RespDaemon]:
    daemon = RespDaemon(tmp_path_factory.mktemp("kdnd"))
    yield daemon
    daemon.stop()


@pytest.fixture(scope="module")
def first_run(
    tmp_path_factory: pytest.TempPathFactory, daemon: RespDaemon, model: pathlib.Path,
    prompts: list[list[int]],
) -> list[int]:
    """Tokens of a run that computed everything, and left it in KDN by both ways."""
    folder = tmp_path_factory.mktemp("first")
    server = LMCacheServer(folder, plugin(daemon.tcp), resp(daemon.resp_port))
    engine = Engine(folder, model, server.port)
    try:
        server.wait_ready()
        engine.wait_ready()
        result = engine.generate(prompts[0])
        assert result["cached"] == 0
        assert server.wait_counter("l2_store_completed_objects_chunks", 2 * CHUNKS) == 2 * CHUNKS
        assert server.counter("lookup_hit_l2_keys") == 0
        return list(result["tokens"])
    finally:
        stop_all(engine, server)


@pytest.fixture
def running(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, daemon: RespDaemon,
    model: pathlib.Path, first_run: list[int],
) -> Iterator[tuple[LMCacheServer, Engine]]:
    """A new server and a new engine, on a daemon that was restarted after the first run."""
    daemon.drain()
    daemon.start()
    adapter = plugin(daemon.tcp) if request.param == "plugin" else resp(daemon.resp_port)
    server = LMCacheServer(tmp_path, adapter)
    engine = Engine(tmp_path, model, server.port)
    try:
        yield server.wait_ready(), engine.wait_ready()
    finally:
        stop_all(engine, server)


def check_all_from_kdn(
    server: LMCacheServer, engine: Engine, prompt: list[int], tokens: list[int]
) -> None:
    assert engine.generate(prompt) == {"tokens": tokens, "cached": CHUNK * CHUNKS}
    assert server.counter("lookup_hit_l2_keys") == CHUNKS
    assert server.counter("lookup_hit_l1_keys") == 0
    assert server.wait_counter("l2_prefetch_load_completed_chunks", CHUNKS) == CHUNKS


def store_another(server: LMCacheServer, engine: Engine, prompt: list[int]) -> dict[str, Any]:
    """What a prompt gives that nobody has seen; it is in KDN when this returns."""
    cold = engine.generate(prompt)
    assert cold["cached"] == 0
    assert server.wait_counter("l2_store_completed_objects_chunks", CHUNKS) == CHUNKS
    return cold


@pytest.mark.parametrize("running", ["resp"], indirect=True)
def test_by_resp_all_chunks_come_from_kdn_after_restarts_and_tokens_are_equal(
    running: tuple[LMCacheServer, Engine], daemon: RespDaemon, prompts: list[list[int]],
    first_run: list[int],
) -> None:
    server, engine = running
    check_all_from_kdn(server, engine, prompts[0], first_run)
    cold = store_another(server, engine, prompts[1])
    # LMCache's native client does not connect anew: what it does then is miss, and go on.
    daemon.drain()
    daemon.start()
    server.clear_l1()
    assert engine.generate(prompts[1]) == cold
    assert server.adapter_status()["is_healthy"]


@pytest.mark.parametrize("running", ["plugin"], indirect=True)
def test_by_plugin_all_chunks_come_from_kdn_after_restarts_and_after_a_crash_again(
    running: tuple[LMCacheServer, Engine], daemon: RespDaemon, prompts: list[list[int]],
    first_run: list[int],
) -> None:
    server, engine = running
    check_all_from_kdn(server, engine, prompts[0], first_run)
    check_leases(server)
    cold = store_another(server, engine, prompts[2])
    daemon.kill()
    server.clear_l1()
    assert engine.generate(prompts[2]) == cold, "without KDN it is computed anew"
    daemon.start()
    hit = {**cold, "cached": CHUNK * CHUNKS}
    results = []
    # The first lookups may come before the adapter dials again, which it does after 2 s at most.
    while len(results) < 20 and hit not in results:
        server.clear_l1()
        results.append(engine.generate(prompts[2]))
        until(lambda: server.adapter_status()["is_reachable"] is True, 1)
    assert hit in results
    assert all(result["tokens"] == cold["tokens"] for result in results)
    assert server.adapter_status()["reconnects"] > 0


def check_leases(server: LMCacheServer) -> None:
    assert until(lambda: server.adapter_status()["leases"] == 0, 20)
    counters = server.adapter_status()["counters"]
    assert (counters["leased_keys"], counters["load_hits"]) == (CHUNKS, CHUNKS)
    assert counters["leases_released"] == 1
