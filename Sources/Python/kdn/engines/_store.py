"""Stores the KV of a DynamicCache: one object per plane and whole chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from kdn.engines._copy import copy
from kdn.engines._planes import longest_prefix
from kdn.engines._rope import UnsupportedModel
from kdn.results import Put

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdn.engines._planes import Description, Plane

STAGING_BYTES = 32 << 20


@dataclass
class Stored:
    """What a store did. `tokens` is the longest prefix that a retrieve can now get.

    `error` is why an object failed, or why nothing was stored.
    """

    tokens: int = 0
    objects_sent: int = 0
    objects_present: int = 0
    objects_failed: int = 0
    bytes_sent: int = 0
    error: Exception | None = None


def check_cache(description: Description, cache: Any) -> None:
    """Raises UnsupportedModel unless `cache` holds one sequence of the described model."""
    expected = sum(len(plane.layers) for plane in description.planes)
    if len(cache.layers) != expected:
        raise UnsupportedModel(f"the cache has {len(cache.layers)} layers, the model {expected}")
    for plane in description.planes:
        for facts in plane.layers:
            keys, values = cache.layers[facts.number].keys, cache.layers[facts.number].values
            if keys is None or keys.numel() == 0:
                raise UnsupportedModel(f"layer {facts.number} of the cache is empty")
            found = (*keys.shape[:2], keys.shape[3], keys.dtype)
            wanted = (1, facts.kv_heads, facts.head_dim, facts.dtype)
            if found != wanted or values.shape != keys.shape or values.dtype != keys.dtype:
                raise UnsupportedModel(
                    f"layer {facts.number} of the cache has batch, heads, dim, dtype {found}, "
                    f"the model {wanted}"
                )


def kept_from(plane: Plane, cache: Any) -> int:
    """The first token of which every layer of the plane still has KV."""
    layers = [cache.layers[facts.number] for facts in plane.layers]
    return max(int(layer.get_seq_length() - layer.keys.shape[2]) for layer in layers)


def store(
    client: Any,
    description: Description,
    cache: Any,
    hashes: Sequence[bytes],
    chunk_tokens: int,
    recompute_us: int,
    timeout: float | None,
) -> Stored:
    """Stores each chunk of `hashes` that the cache holds whole and the server does not have.

    Raises the client's errors; `recompute_us` is what one chunk cost to compute, 0 if unknown.
    """
    stored = Stored()
    there: dict[Plane, list[bool]] = {}
    for plane in description.planes if hashes else ():
        client.register_layout(plane.layout)
        there[plane] = client.exists([plane.key(h) for h in hashes], timeout=timeout)
        stored.objects_present += sum(there[plane])
        first = -(-kept_from(plane, cache) // chunk_tokens)
        missing = [c for c in range(first, len(hashes)) if not there[plane][c]]
        size = plane.chunk_bytes(chunk_tokens)
        count = max(1, min(STAGING_BYTES // size, len(missing)))
        staging = torch.empty((count, size), dtype=torch.uint8)
        for start in range(0, len(missing), count):
            batch = missing[start : start + count]
            _pack(plane, cache, batch, chunk_tokens, staging)
            puts = [
                Put(
                    key=plane.key(hashes[chunk]),
                    buffers=[staging[row]],
                    parent=hashes[chunk - 1] if chunk else None,
                    first_token=chunk * chunk_tokens,
                    token_count=chunk_tokens,
                    recompute_us=recompute_us,
                )
                for row, chunk in enumerate(batch)
            ]
            for chunk, result in zip(batch, client.put_from(puts, timeout=timeout), strict=True):
                there[plane][chunk] = result.stored
                stored.objects_sent += result.stored
                stored.objects_failed += not result.stored
                stored.bytes_sent += size if result.stored else 0
                stored.error = stored.error or result.error
    stored.tokens = longest_prefix(there, chunk_tokens, len(hashes) * chunk_tokens)
    return stored


def _pack(
    plane: Plane, cache: Any, chunks: Sequence[int], chunk_tokens: int, staging: torch.Tensor
) -> None:
    """Copies the chunks' KV into the rows of `staging`, in canonical order."""
    for facts, view in plane.views(staging, plane.layers, chunk_tokens):
        layer = cache.layers[facts.number]
        kept = layer.get_seq_length() - layer.keys.shape[2]
        for row, chunk in enumerate(chunks):
            span = slice(chunk * chunk_tokens - kept, (chunk + 1) * chunk_tokens - kept)
            copy(view[row, 0], layer.keys[0, :, span])
            copy(view[row, 1], layer.values[0, :, span])
