"""One run of the whole SGLang engine on the CPU with KDN as HiCache storage.

usage: sglang_engine.py MODEL TEXT KDN_ADDRESS TOKENS OUT.json
Writes what was generated, and where the prompt's tokens came from.
"""

from __future__ import annotations

import json
import pathlib
import sys
import threading
import time
from typing import Any

PAGE = 64


def engine_arguments(model: str, address: str) -> dict[str, Any]:
    """The arguments of an engine that stores every page in KDN as soon as it is computed."""
    extra = {
        "backend_name": "kdn",
        "module_path": "kdn.engines.sglang",
        "class_name": "KDNHiCacheStorage",
        "interface_v1": 1,
        "kdn_address": address,
        "prefetch_threshold": PAGE,
    }
    return {
        "model_path": model,
        "device": "cpu",
        "dtype": "float32",
        "attention_backend": "torch_native",
        "sampling_backend": "pytorch",
        "disable_overlap_schedule": True,
        "disable_cuda_graph": True,
        "page_size": PAGE,
        "mem_fraction_static": 0.3,
        "max_total_tokens": 8192,
        "max_running_requests": 4,
        "random_seed": 1,
        "log_level": "info",
        "enable_metrics": True,
        "enable_cache_report": True,
        "enable_hierarchical_cache": True,
        "hicache_ratio": 2.0,
        "hicache_io_backend": "direct",
        "hicache_mem_layout": "layer_first",
        "hicache_write_policy": "write_through",
        "hicache_storage_backend": "dynamic",
        "hicache_storage_backend_extra_config": json.dumps(extra),
        "hicache_storage_prefetch_policy": "wait_complete",
    }


def stored_objects(address: str) -> int:
    """How many objects the daemon holds in this namespace."""
    import kdn

    with kdn.Client(address) as client:
        return int(client.stats()["namespace"]["objects"])


def wait_until_stored(address: str, objects: int, seconds: float = 60.0) -> int:
    """Returns once the engine's background writes have arrived; raises after `seconds`."""
    give_up, pause = time.monotonic() + seconds, threading.Event()
    while (found := stored_objects(address)) < objects:
        if time.monotonic() > give_up:
            raise TimeoutError(f"{found} of {objects} objects were stored in {seconds} s")
        pause.wait(0.2)
    return found


def generated(engine: Any, ids: list[int], salt: str | None) -> dict[str, Any]:
    """Generates from a prompt; returns the text and where the prompt's KV came from."""
    started = time.monotonic()
    sampling = {"temperature": 0.0, "max_new_tokens": 16, "ignore_eos": True}
    answer = engine.generate(input_ids=ids, sampling_params=sampling, cache_salt=salt)
    meta = answer["meta_info"]
    return {
        "text": answer["text"],
        "prompt_tokens": meta["prompt_tokens"],
        "cached_tokens": meta["cached_tokens"],
        "cached_tokens_details": meta.get("cached_tokens_details"),
        "seconds": round(time.monotonic() - started, 2),
    }


def main(model: str, text: str, address: str, tokens: str, out: str) -> None:
    import sglang
    from transformers import AutoTokenizer

    prompt = pathlib.Path(text).read_text("utf-8", "replace")
    ids = AutoTokenizer.from_pretrained(model)(prompt)["input_ids"][: int(tokens)]
    started = time.monotonic()
    engine = sglang.Engine(**engine_arguments(model, address))
    facts: dict[str, Any] = {"seconds_to_start": round(time.monotonic() - started, 2)}
    facts["plain"] = generated(engine, ids, None)
    facts["stored"] = wait_until_stored(address, (len(ids) - 1) // PAGE)
    if facts["plain"]["cached_tokens"]:
        facts["salted"] = generated(engine, ids, "another tenant")
    pathlib.Path(out).write_text(json.dumps(facts, indent=2))
    engine.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
