"""The vLLM engine of engine_bench.py, in a process of its own.

usage: engine_bench_engine.py SPEC

SPEC: a file of JSON with `model`, `dtype`, `transfer` (kv_transfer_config or null), `warm_up` and
`prompts` (token ids), `lengths`, and `times` that each prompt is measured.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import time
from typing import Any

MARK = "RESULT "
ANSWER_TOKENS = 8


def serve_engine(spec: dict[str, Any]) -> None:
    """Measures each prompt once, and once more if the spec says so; one line of JSON each."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # vLLM and its libraries write to standard output
    from vllm import LLM, SamplingParams

    transfer = {"kv_transfer_config": spec["transfer"]} if spec["transfer"] else {}
    llm = LLM(
        model=spec["model"],
        dtype=spec["dtype"],
        distributed_executor_backend="uni",
        enforce_eager=True,
        max_model_len=8192,
        max_num_batched_tokens=8192,
        max_num_seqs=8,
        disable_log_stats=False,
        **transfer,
    )
    params = SamplingParams(temperature=0.0, max_tokens=ANSWER_TOKENS, ignore_eos=True)
    for number in range(2):
        first_token(llm, f"warm-up-{number}", spec["warm_up"][number:], params)
    for again in range(spec["times"]):
        for length, prompt in zip(spec["lengths"], spec["prompts"], strict=True):
            before = counters(llm)
            seconds, tokens, cached = first_token(llm, f"{length}-{again}", prompt, params)
            counted = {name: value - before[name] for name, value in counters(llm).items()}
            row = {"length": length, "again": again, "seconds": seconds, "cached": cached}
            answers.write(MARK + json.dumps({**row, "answer": tokens, **counted}) + "\n")
    answers.write(MARK + json.dumps({"measured": True}) + "\n")
    sys.stdin.read()  # what was computed may still be on its way into the store
    # Interpreters with engines in them hang or crash at their end; all is written.
    os._exit(0)


def first_token(llm: Any, name: str, prompt: list[int], params: Any) -> tuple[float, Any, int]:
    """Seconds to the first token, all tokens, and how many of the prompt's were not computed."""
    engine = llm.llm_engine
    started = time.perf_counter()
    engine.add_request(name, {"prompt_token_ids": prompt}, params)
    seconds = 0.0
    while True:
        for output in engine.step():
            if not seconds and output.outputs[0].token_ids:
                seconds = time.perf_counter() - started
            if output.finished:
                return seconds, list(output.outputs[0].token_ids), output.num_cached_tokens


def counters(llm: Any) -> dict[str, float]:
    """The engine's own counts of tokens that it did not have to compute."""
    names = {
        "vllm:prefix_cache_hits": "own_hits",
        "vllm:external_prefix_cache_hits": "external_hits",
    }
    found = dict.fromkeys(names.values(), 0.0)
    for metric in llm.get_metrics():
        if metric.name in names:
            found[names[metric.name]] += metric.value
    return found


if __name__ == "__main__":
    serve_engine(json.loads(pathlib.Path(sys.argv[1]).read_text()))
