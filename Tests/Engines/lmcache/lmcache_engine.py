"""vLLM with LMCache's connector, in a process of its own: reads requests, writes results.

usage: lmcache_engine.py MODEL PORT. Each line of stdin is a JSON list of token ids; each answer
is a line of JSON behind MARK. vLLM's own prefix cache is off: what is cached comes from LMCache.
"""

from __future__ import annotations

import json
import sys

from vllm import LLM, SamplingParams
from vllm.config import KVTransferConfig

MARK = "RESULT "
NEW_TOKENS = 16


def main(model: str, port: int) -> None:
    place = {"lmcache.mp.host": "tcp://127.0.0.1", "lmcache.mp.port": port}
    llm = LLM(
        model=model,
        dtype="float32",  # bf16 results depend on how a prompt was cut up
        distributed_executor_backend="uni",
        enable_prefix_caching=False,
        enforce_eager=True,
        max_model_len=4096,
        max_num_seqs=8,
        kv_transfer_config=KVTransferConfig(
            kv_connector="LMCacheMPConnector",
            kv_role="kv_both",
            kv_connector_extra_config=place,
        ),
    )
    answer({"ready": True})
    for line in sys.stdin:
        prompt = json.loads(line)
        sampling = SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS, ignore_eos=True)
        result = llm.generate([{"prompt_token_ids": prompt}], sampling, use_tqdm=False)[0]
        tokens = list(result.outputs[0].token_ids)
        answer({"tokens": tokens, "cached": result.num_cached_tokens})


def answer(value: object) -> None:
    print(MARK + json.dumps(value), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
