"""Stores a prompt's KV under its ordinary chain so that nobody ever sees half of it.

A prefix is had as far as its chunks are there from the first on. So chunks are stored from the
last to the first: until the first is there, none of the others is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from kdn.engines import _store
from kdn.errors import KDNError, ServerError, Status
from kdn.results import Put

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdn.engines._planes import Plane
    from kdn.engines._watch import Watch


@dataclass(frozen=True)
class ChainStored:
    """Of the chunks of a chain, `present` leading ones were there before."""

    present: int
    sent: int
    bytes_sent: int


def store_chain(
    client: Any,
    plane: Plane,
    cache: Any,
    hashes: Sequence[bytes],
    chunk_tokens: int,
    watch: Watch,
    timeout: float | None,
) -> ChainStored:
    """Stores the chunks of `hashes` that are missing, the first missing one last.

    What was there from the first chunk on stays as it is: it is exact, or a former blend's.
    Chunks behind the first missing one belong to no prefix that anybody can have; they were left
    by an attempt that did not end, or by eviction, and are dropped first, so that what is had
    together is of one blend. Raises Stopped between chunks, the client's errors, and what a chunk
    was refused with: the prefix is then as long as it was.
    """
    client.register_layout(plane.layout)
    keys = [plane.key(chunk) for chunk in hashes]
    there = client.exists(keys, timeout=timeout)
    first = there.index(False) if False in there else len(keys)
    left = [key for key, present in zip(keys[first:], there[first:], strict=True) if present]
    if left:
        client.purge(keys=left, timeout=timeout)
    staging = torch.empty((1, plane.chunk_bytes(chunk_tokens)), dtype=torch.uint8)
    sent = 0
    for chunk in range(len(keys) - 1, first - 1, -1):
        watch.step()
        _store._pack(plane, cache, [chunk], chunk_tokens, staging)
        put = Put(
            key=keys[chunk],
            buffers=[staging[0]],
            parent=hashes[chunk - 1] if chunk else None,
            first_token=chunk * chunk_tokens,
            token_count=chunk_tokens,
        )
        sent += _store_one(client, put, timeout)
    return ChainStored(first, sent, sent * plane.chunk_bytes(chunk_tokens))


def _store_one(client: Any, put: Put, timeout: float | None) -> bool:
    """Stores a chunk; False if an engine has stored its own meanwhile, which is as good."""
    result = client.put_from([put], timeout=timeout)[0]
    if result.stored:
        return True
    error = result.error
    if isinstance(error, ServerError) and error.status is Status.CONFLICT:
        return False
    raise error or KDNError("a chunk of the prompt was not stored")
