"""A llama.cpp server of its own process, by xllamacpp; prints its URL, then serves until killed.

usage: llama_server.py MODEL SLOTS_DIR [CACHE_TYPE]
"""

from __future__ import annotations

import sys
import threading

import xllamacpp

CONTEXT = 2048
SLOTS = 2


def main(model: str, slots_dir: str, cache_type: str = "f16") -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = CONTEXT * SLOTS
    params.n_parallel = SLOTS
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.slot_save_path = slots_dir.rstrip("/") + "/"
    params.endpoint_slots = True
    params.warmup = False
    kinds = {"f16": xllamacpp.ggml_type.GGML_TYPE_F16, "q8_0": xllamacpp.ggml_type.GGML_TYPE_Q8_0}
    params.cache_type_k = params.cache_type_v = kinds[cache_type]
    # More threads spin while they wait, which costs a shared machine most.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
