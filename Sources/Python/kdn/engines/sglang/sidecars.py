"""Pools beside the KV pool: which ranks share their pages, and how much of a prefix they allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kdn.engines.sglang.pools import is_latent

# Side pools of models with latent KV that hold the same bytes on every tensor-parallel rank.
_REPLICATED_BESIDE_LATENT = ("kv", "swa", "indexer", "draft_indexer")
_REPLICATED_PREFIX = "deepseek_v4_"
_DRAFTS = ("draft", "draft_swa")


def is_replicated(name: str, pool: Any, latent_model: bool) -> bool:
    """Whether all tensor-parallel ranks hold the pool's pages in full.

    Only a model with latent KV has such pools; recurrent state is sliced even there, and a draft
    model may have heads. A pool that is not known counts as sliced: then at worst a page is not
    found.
    """
    if not latent_model:
        return False
    if name in _DRAFTS:
        return is_latent(pool)
    return name in _REPLICATED_BESIDE_LATENT or name.startswith(_REPLICATED_PREFIX)


def leading(there: Sequence[bool]) -> int:
    """How many are there from the start without a gap."""
    return next((index for index, present in enumerate(there) if not present), len(there))


def restorable_prefixes(
    there: Sequence[bool], prefix: int, policy: str, trailing: int
) -> list[int] | None:
    """The lengths, 1 to `prefix` pages, of prefixes that a pool with these pages can restore.

    Under `all_pages` it needs all of a prefix, under `trailing_pages` the last `trailing` pages of
    it. None for a policy under which the pool has no say.
    """
    allows = _POLICIES.get(policy)
    return None if allows is None else allows(there, prefix, trailing)


def _all_pages(there: Sequence[bool], prefix: int, trailing: int) -> list[int]:
    return list(range(1, leading(there[:prefix]) + 1))


def _trailing_pages(there: Sequence[bool], prefix: int, trailing: int) -> list[int]:
    width = max(1, trailing)
    return [end for end in range(1, prefix + 1) if all(there[max(0, end - width) : end])]


_POLICIES: dict[str, Callable[[Sequence[bool], int, int], list[int]]] = {
    "all_pages": _all_pages,
    "trailing_pages": _trailing_pages,
}
