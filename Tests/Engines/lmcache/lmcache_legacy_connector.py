"""LMCache's legacy remote connectors against a URL: stores, asks, loads, compares.

usage: lmcache_legacy_connector.py URL. Prints what it saw as a line of JSON behind MARK.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from typing import Any

import torch
from lmcache.utils import CacheEngineKey
from lmcache.v1.config import LMCacheEngineConfig
from lmcache.v1.memory_management import MemoryFormat
from lmcache.v1.metadata import LMCacheMetadata
from lmcache.v1.storage_backend.connector import CreateConnector
from lmcache.v1.storage_backend.local_cpu_backend import LocalCPUBackend

MARK = "RESULT "
SECONDS = 60.0
SHAPE = (2, 30, 256, 192)  # K and V, layers, tokens, KV heads times their dimension
DTYPE = torch.bfloat16


def key(number: int) -> CacheEngineKey:
    return CacheEngineKey("model", 1, 0, 0x1234_5678 + number, DTYPE)


def main(url: str) -> None:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    config = LMCacheEngineConfig.from_defaults(chunk_size=256, max_local_cpu_size=0.25)
    metadata = LMCacheMetadata(
        model_name="model",
        world_size=1,
        local_world_size=1,
        worker_id=0,
        local_worker_id=0,
        kv_dtype=DTYPE,
        kv_shape=(30, 2, 256, 3, 64),
    )
    local = LocalCPUBackend(config, metadata, dst_device="cpu")
    connector: Any = CreateConnector(url, loop, local, config, metadata)

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(SECONDS)

    stored = local.allocate(torch.Size(SHAPE), DTYPE, MemoryFormat.KV_2LTD)
    size = stored.get_size()
    stored.raw_data[:size] = torch.randint(0, 256, (size,), dtype=torch.uint8)
    before = run(connector.exists(key(1)))
    run(connector.put(key(1), stored))
    loaded = run(connector.get(key(1)))
    print(MARK + json.dumps({
        "before": bool(before),
        "after": bool(run(connector.exists(key(1)))),
        "at_once": bool(connector.exists_sync(key(1))),
        "other": bool(run(connector.exists(key(2)))),
        "bytes": size,
        "equal": bool(torch.equal(loaded.raw_data[:size], stored.raw_data[:size])),
    }), flush=True)
    os._exit(0)  # the connectors' own close() does not end


if __name__ == "__main__":
    main(sys.argv[1])
