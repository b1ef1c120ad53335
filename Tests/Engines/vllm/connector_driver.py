"""Runs vLLM in this process and obeys commands: one JSON object per line in, one per line out.

usage: connector_driver.py '{"model": …, "kdn": {…}, "role": "kv_both", "engine": {…}}'
"""

from __future__ import annotations

import json
import os
import sys

# vLLM and its libraries write to standard output: the answers go to what it was at first.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

for variable, value in {
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}.items():
    os.environ.setdefault(variable, value)

from vllm import LLM, SamplingParams  # noqa: E402
from vllm.distributed.kv_transfer import get_kv_transfer_group  # noqa: E402

SECONDS_TO_STORE = 60.0


def make_engine(spec: dict) -> LLM:
    transfer = {
        "kv_connector": "KDNConnector",
        "kv_connector_module_path": "kdn.engines.vllm",
        "kv_role": spec.get("role", "kv_both"),
        "kv_connector_extra_config": spec["kdn"],
    }
    options = {
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 4096,
        "max_num_seqs": 8,
        "distributed_executor_backend": "uni",
        "disable_log_stats": False,
        **spec.get("engine", {}),
    }
    if spec.get("plain"):
        return LLM(model=spec["model"], **options)
    return LLM(model=spec["model"], kv_transfer_config=transfer, **options)


def generate(llm: LLM, command: dict) -> dict:
    prompts = []
    for tokens in command["prompts"]:
        prompt = {"prompt_token_ids": tokens}
        if "salt" in command:
            prompt["cache_salt"] = command["salt"]
        prompts.append(prompt)
    params = SamplingParams(
        temperature=0.0,
        max_tokens=command.get("max_tokens", 8),
        ignore_eos=True,
        extra_args={"kv_transfer_params": command["transfer"]} if "transfer" in command else None,
    )
    outputs = llm.generate(prompts, params, use_tqdm=False)
    return {
        "tokens": [list(output.outputs[0].token_ids) for output in outputs],
        "cached": [output.num_cached_tokens for output in outputs],
        "preemptions": metric(llm, "vllm:num_preemptions"),
    }


def metric(llm: LLM, name: str) -> float:
    return sum(m.value for m in llm.get_metrics() if m.name == name)


def metrics(llm: LLM) -> dict:
    """The engine's own counters, the connector's among them."""
    wanted = ("vllm:external_prefix_cache", "vllm:prefix_cache", "vllm:kdn_", "vllm:num_preempt")
    return {m.name: m.value for m in llm.get_metrics() if m.name.startswith(wanted)}


def scheduler(llm: LLM):
    return llm.llm_engine.engine_core.engine_core.scheduler


class Published(list):
    """Stands for the engine's publisher of KV events, and keeps the connector's."""

    def publish(self, batch) -> None:
        self += [
            {"hashes": [h.hex() for h in e.block_hashes], "tokens": len(e.token_ids),
             "block_size": e.block_size}
            for e in batch.events
            if getattr(e, "medium", None) == "KDN"
        ]

    def shutdown(self) -> None:
        pass


def obey(llm: LLM, command: dict) -> dict:
    verb = command["do"]
    if verb == "generate":
        return generate(llm, command)
    if verb == "store":
        # Until all that was copied out of pages is stored, or refused.
        queue = get_kv_transfer_group()._worker._queue
        return {"stored": queue.flush(SECONDS_TO_STORE)}
    if verb == "forget":
        # Only the engine's own cache: what the connector stored stays.
        return {"done": llm.llm_engine.reset_prefix_cache(), "reset": "own"}
    if verb == "reset":
        return {"done": llm.llm_engine.reset_prefix_cache(reset_connector=True), "reset": "all"}
    if verb == "metrics":
        return metrics(llm)
    if verb == "events":
        return {"events": scheduler(llm).kv_event_publisher}
    if verb == "counts":
        return dict(scheduler(llm).connector._counts.total + get_kv_transfer_group()._counts.total)
    raise ValueError(f"unknown command {verb}")


def main() -> None:
    llm = make_engine(json.loads(sys.argv[1]))
    scheduler(llm).kv_event_publisher = Published()
    answers.write(json.dumps({"ready": True}) + "\n")
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "exit":
            llm.llm_engine.engine_core.shutdown()
            break
        answers.write(json.dumps(obey(llm, command)) + "\n")
    answers.close()
    # Interpreters with engines in them hang or crash at their end; the test is over here.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
