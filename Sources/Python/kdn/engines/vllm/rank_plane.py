"""One rank's share of a plane: its layers, its part of the layout, and where its bytes lie."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdn.keys import Key, Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdn.engines.vllm.facts import CacheLayer
    from kdn.layouts import Layout

NULL_BLOCK = 0

# A set of parts that make up a whole.
Grid = tuple[Part, ...]


@dataclass(frozen=True, eq=False)
class RankPlane:
    """One object per chunk and rank: `part` of `layout`, and the layers that it comes from.

    `window` is what the engine keeps: 0 where it keeps blocks for every token, though the layers
    may slide. `groups` are the KV cache groups that the layers' blocks belong to, `layer_groups`
    the place among them of each layer's. Ranks with `writes` False hold copies of another's heads.
    Each of `grids` is a set of parts that make up the whole; the first is this engine's own.
    """

    index: int
    chunk_tokens: int
    layers: tuple[CacheLayer, ...]
    groups: tuple[int, ...]
    group_blocks: tuple[int, ...]
    layout: Layout
    part: Part
    writes: bool
    grids: tuple[Grid, ...]

    @property
    def window(self) -> int:
        return self.layers[0].kept_window

    @property
    def layer_names(self) -> tuple[str, ...]:
        """vLLM's names of the layers, in payload order."""
        return tuple(layer.name for layer in self.layers)

    @functools.cached_property
    def layer_groups(self) -> tuple[int, ...]:
        """For each layer the place of its KV cache group in `groups`."""
        return tuple(self.groups.index(layer.group) for layer in self.layers)

    @property
    def block_tokens(self) -> int:
        """The least number of tokens that is whole blocks in every group of the plane."""
        return math.lcm(*self.group_blocks)

    @property
    def layout_id(self) -> bytes:
        return self.layout.id

    @functools.cached_property
    def _offsets(self) -> tuple[int, ...]:
        rows = self.layout.layer_ranges(self.part, self.chunk_tokens)
        return (*(offset for _, offset, _ in rows), sum(length for *_, length in rows))

    @property
    def chunk_bytes(self) -> int:
        """Bytes of this rank's part of a chunk."""
        return self._offsets[-1]

    def layer_range(self, index: int, count: int = 1) -> tuple[int, int]:
        """(offset, length) in the payload of `count` layers from `layer_names[index]` on."""
        return self._offsets[index], self._offsets[index + count] - self._offsets[index]

    def key(self, chunk_hash: bytes, part: Part | None = None) -> Key:
        """The key of this rank's object of a chunk, or of another rank's `part`."""
        return Key.layout(chunk_hash, self.layout_id, part or self.part)

    def blocks(self, chunk: int, block_ids: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
        """The ids of a chunk's blocks in each of `groups`; `block_ids` are by KV cache group.

        Fewer ids than the chunk has blocks if the request has no more.
        """
        found = []
        for group, tokens in zip(self.groups, self.group_blocks, strict=True):
            count = self.chunk_tokens // tokens
            found.append(tuple(block_ids[group][chunk * count : (chunk + 1) * count]))
        return tuple(found)

    def has_blocks(self, chunk: int, block_ids: Sequence[Sequence[int]]) -> bool:
        """Whether all blocks of a chunk are there; those behind a window are not."""
        counts = [self.chunk_tokens // tokens for tokens in self.group_blocks]
        found = self.blocks(chunk, block_ids)
        return all(
            len(ids) == count and NULL_BLOCK not in ids
            for ids, count in zip(found, counts, strict=True)
        )
