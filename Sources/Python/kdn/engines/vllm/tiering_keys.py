"""Names of vLLM's offloaded chunks in KDN: opaque keys under a fingerprint of the engine."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from kdn.keys import Key

# A block hash of fewer bytes is not a cryptographic one: two prompts could be made to share it.
HASH_BYTES_MIN = 32
GROUP_BYTES = 4
FORMAT = "kdn/vllm-tier/1"

_PARALLEL = ("tp_size", "pp_size", "pcp_size", "dcp_size", "world_size")


def engine_facts(config: Any, chunk_bytes: int) -> dict[str, Any]:
    """What decides about the bytes of a chunk, from vLLM's OffloadingConfig.

    `chunk_bytes` is the length of a row of the primary tier, all ranks and padding included.
    Parallel sizes count for nothing only where vLLM certifies the canonical layout as free of
    them; the engine's own claim about the direct layout is not relied upon.
    """
    canonical = bool(getattr(config, "canonical_layout", False))
    portable = canonical and bool(config.parallel.is_parallelism_agnostic)
    parallel = {name: getattr(config.parallel, name, 1) for name in _PARALLEL}
    return {
        "dtype": str(config.model.dtype),
        "groups": [
            {"tokens_per_block": group.tokens_per_block, "layers": list(group.layer_names)}
            for group in config.groups
        ],
        "tokens_per_hash": config.cache.tokens_per_hash,
        "blocks_per_chunk": config.cache.blocks_per_chunk,
        "parallel": "portable" if portable else parallel,
        "bytes_per_block": 0 if portable else config.worker_kv_bytes_per_block,
        "replicated": bool(getattr(config, "replicated_layout", False)),
        "canonical": canonical,
        "layout": getattr(config, "kv_cache_layout", None),
        "chunk_bytes": chunk_bytes,
    }


def fingerprint(model_name: str, facts: dict[str, Any], epoch: bytes = b"") -> bytes:
    """32 bytes that two engines share only if every fact is the same.

    `epoch` sets an engine apart from all others, itself of before included.
    """
    text = json.dumps([FORMAT, model_name, facts], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode())
    digest.update(epoch)
    return digest.digest()


def object_key(engine: bytes, offload_key: bytes) -> Key | None:
    """The key of a chunk (`offload_key`: block hash, then the group in 4 bytes), None for a hash
    that is not collision resistant."""
    if len(offload_key) < HASH_BYTES_MIN + GROUP_BYTES:
        return None
    return Key.opaque(engine + bytes(offload_key))
