"""KDNTier in a running vLLM engine: its connector, scheduler and manager, on the CPU."""

from __future__ import annotations

import peer_engine
import pytest

PROMPT = [3 + (7 * i * i + i) % 1000 for i in range(200)]
WHOLE = 192  # tokens in whole blocks of 32


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return peer_engine.make_tiny_llama(tmp_path_factory.mktemp("tiny"))


def transfer(address: str, **entries) -> dict:
    tier = {
        "type": "KDNTier", "module_path": "kdn.engines.vllm.tiering", "address": address,
        "model_name": "tiny@0", "lookup_timeout": 10.0, **entries,
    }
    return {
        "kv_connector": "OffloadingConnector", "kv_role": "kv_both",
        "kv_connector_extra_config": {
            "spec_name": "HostTieringSpec", "spec_module_path": "host_offloading",
            "cpu_bytes_to_use": 8 << 20, "secondary_tiers": [tier],
        },
    }


def run_again(engine: peer_engine.PeerEngine) -> dict:
    """The prompt once more, after both of the engine's own caches were emptied."""
    engine.send(op="reset", connector=True)
    assert engine.answer() == {"reset": True}
    return engine.generate(PROMPT)


def test_a_fresh_engine_finds_the_prompt_in_kdn_and_one_that_was_reset_does_not(kdnd, tiny):
    engine = peer_engine.PeerEngine(tiny, transfer(kdnd.tcp)).ready()
    try:
        cold = engine.generate(PROMPT)
        engine.generate(PROMPT[:8])  # further steps, in which the stores end
        distrustful = run_again(engine)
    finally:
        engine.close()
    engine = peer_engine.PeerEngine(tiny, transfer(kdnd.unix, after_reset="keep")).ready()
    try:
        warm = engine.generate(PROMPT)
        trustful = run_again(engine)
    finally:
        engine.close()
    assert [run["cached"] for run in (cold, distrustful, warm, trustful)] == [0, 0, WHOLE, WHOLE]
    assert distrustful["tokens"] == warm["tokens"] == trustful["tokens"] == cold["tokens"]
    assert distrustful["counters"]["vllm:external_prefix_cache_hits"] == 0
    assert cold["counters"]["vllm:kv_offload_kdn_stores{stored}"] == WHOLE // 32
    assert warm["counters"]["vllm:external_prefix_cache_hits"] == WHOLE
    assert warm["counters"]["vllm:kv_offload_kdn_loads{loaded}"] == WHOLE // 32
