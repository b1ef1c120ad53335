"""Events of chunks that the server has now, for routers that send requests where their KV is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MEDIUM = "KDN"
# Chunks that were planned to be stored and of which no worker has said yet that they are.
PENDING_MAX = 65_536


@dataclass(frozen=True)
class PendingChunk:
    """What a router is to know of a chunk once it is stored, and the ranks that still store it."""

    parent: bytes | None
    tokens: tuple[int, ...]
    lora_name: str | None
    ranks: int


class StoredEvents:
    """Remembers planned chunks, and makes an event of each that every writing rank has stored.

    There are no events of removals: what the server evicts, it does not tell its clients.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self._pending: OrderedDict[bytes, PendingChunk] = OrderedDict()
        self._stored: list[tuple[bytes, PendingChunk]] = []

    def planned(
        self, chunk: bytes, parent: bytes | None, tokens: Sequence[int], lora_name: str | None,
        objects: int,
    ) -> None:
        """A chunk is about to be stored, as so many objects."""
        if not self.wanted:
            return
        self._pending[chunk] = PendingChunk(parent, tuple(tokens), lora_name, objects)
        self._pending.move_to_end(chunk)
        while len(self._pending) > PENDING_MAX:
            self._pending.popitem(last=False)

    def stored(self, chunk: bytes, objects: int) -> None:
        """So many more of a chunk's objects are there."""
        pending = self._pending.pop(chunk, None)
        if pending is None:
            return
        left = pending.ranks - objects
        if left > 0:
            self._pending[chunk] = PendingChunk(
                pending.parent, pending.tokens, pending.lora_name, left
            )
        else:
            self._stored.append((chunk, pending))

    def take(self) -> list[Any]:
        """vLLM's BlockStored events since the last call, one per chunk."""
        if not self._stored:
            return []
        from vllm.distributed.kv_events import BlockStored

        stored, self._stored = self._stored, []
        return [
            BlockStored(
                block_hashes=[chunk],
                parent_block_hash=pending.parent,
                token_ids=list(pending.tokens),
                block_size=len(pending.tokens),
                lora_id=None,
                medium=MEDIUM,
                lora_name=pending.lora_name,
            )
            for chunk, pending in stored
        ]
