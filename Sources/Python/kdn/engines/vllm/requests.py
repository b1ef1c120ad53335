"""What the scheduler's side keeps of one request, and how its chunks map to blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kdn.engines.vllm.lookups import Found, Lookup
from kdn.engines.vllm.metadata import (
    NULL_BLOCK,
    Blocks,
    ChunkLoad,
    ChunkSave,
    RequestLoad,
    real_blocks,
)

WAIT_MS_MAX = 600_000


@dataclass
class Tracked:
    """A request from its arrival to its end.

    `matched` tokens were offered to vLLM, of which it had `local` itself. `saved` chunks from the
    start are stored or on their way there; `computed` tokens have KV once the steps planned so far
    are done. `attempt` is the count of preemptions at which the last load began: each stay of a
    request loads at most once, so that a failed load is not repeated.
    """

    request: Any
    chain: Any
    wait_ms: int = 0
    lookup: Lookup | None = None
    found: Found | None = None
    matched: int = 0
    local: int = 0
    saved: int = 0
    computed: int = 0
    attempt: int = -1
    load: RequestLoad | None = None
    hashes: list[bytes] = field(default_factory=list)

    def refresh(self) -> list[bytes]:
        """The hashes of all whole chunks that the request's tokens make so far."""
        self.hashes = self.chain.extend(self.request.all_token_ids)
        return self.hashes


def wait_milliseconds(request: Any) -> int:
    """How long a hand-over's decode side asked to wait for chunks; 0: it did not, or wrongly."""
    parameters = getattr(request, "kv_transfer_params", None) or {}
    value = parameters.get("kdn_wait_ms", 0) if isinstance(parameters, dict) else 0
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        return 0
    return min(value, WAIT_MS_MAX)


def token_limit(num_tokens: int, block_tokens: int) -> int:
    """The longest prefix that may be loaded: whole blocks, the last token left to the engine."""
    return (num_tokens - 1) // block_tokens * block_tokens


def plan_load(
    tracked: Tracked,
    description: Any,
    block_ids: Sequence[Sequence[int]],
    first_token: int,
    end_token: int,
    layerwise: bool = False,
) -> RequestLoad:
    """The load of tokens `first_token ..< end_token` into the request's blocks.

    Blocks that hold other tokens are left out: the engine's own cache has filled them, and shares
    them with other requests.
    """
    size = description.chunk_tokens
    needed = [description.chunks_needed(plane, end_token) for plane in description.planes]
    tokens = range(first_token, end_token)
    chunks: list[ChunkLoad] = []
    for chunk in range(first_token // size, -(-end_token // size)):
        blocks = tuple(
            _targets(plane, chunk, block_ids, tokens) if chunk in needed[plane.index] else ()
            for plane in description.planes
        )
        if any(blocks):
            chunks.append(ChunkLoad(tracked.hashes[chunk], blocks))
    grids = tuple(tracked.found.grids) if tracked.found else (0,) * len(description.planes)
    return RequestLoad(
        tracked.request.request_id, grids, tuple(chunks), tracked.wait_ms, layerwise
    )


def _targets(
    plane: Any, chunk: int, block_ids: Sequence[Sequence[int]], tokens: range
) -> Blocks:
    """The chunk's blocks, with the null block in place of those that hold none of `tokens`."""
    rows = []
    for ids, size in zip(plane.blocks(chunk, block_ids), plane.group_blocks, strict=True):
        count = plane.chunk_tokens // size
        padded = [*ids, *[NULL_BLOCK] * (count - len(ids))]
        starts = range(chunk * plane.chunk_tokens, (chunk + 1) * plane.chunk_tokens, size)
        rows.append(
            tuple(
                block if start in tokens else NULL_BLOCK
                for start, block in zip(starts, padded, strict=True)
            )
        )
    return tuple(rows) if real_blocks(tuple(rows)) else ()


def plan_chunks(
    tracked: Tracked, description: Any, block_ids: Sequence[Sequence[int]], end_token: int
) -> tuple[ChunkSave, ...]:
    """The chunks to store now that tokens up to `end_token` are computed."""
    size = description.chunk_tokens
    last = min(end_token // size, len(tracked.hashes))
    saves: list[ChunkSave] = []
    for chunk in range(tracked.saved, last):
        blocks = tuple(
            tuple(map(tuple, plane.blocks(chunk, block_ids)))
            if plane.has_blocks(chunk, block_ids)
            else ()
            for plane in description.planes
        )
        if any(blocks):
            parent = tracked.hashes[chunk - 1] if chunk else None
            saves.append(ChunkSave(tracked.hashes[chunk], parent, chunk * size, blocks))
    tracked.saved = max(tracked.saved, last)
    return tuple(saves)
