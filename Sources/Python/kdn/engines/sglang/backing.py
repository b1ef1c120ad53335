"""What this rank stores: the names of its pages, and the ports to its pools."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from kdn.engines.sglang.naming import PageNames, Shard
from kdn.engines.sglang.pools import (
    DirectPages,
    PagePort,
    StagedPages,
    is_direct,
    is_flat,
    is_materialised,
    page_tokens,
    pool_facts,
    rank_shard,
)
from kdn.engines.sglang.runtime import engine_facts
from kdn.engines.sglang.settings import Settings
from kdn.engines.sglang.sidecars import is_replicated

logger = logging.getLogger(__name__)
_KV = "kv"
# The order of bytes in an object: as the pool's own flat page, or as it tells its pieces.
_PAGE, _PIECES = "page", "pieces"


@dataclass(frozen=True)
class Ranks:
    """This rank's place in the engine; `latent`: tensor-parallel ranks hold the same KV."""

    index: int = 0
    count: int = 1
    latent: bool = False
    split_count: int | None = None
    is_split: bool = False

    @staticmethod
    def of(config: Any) -> Ranks:
        """The place that SGLang's storage configuration says; a lone rank without one."""
        return Ranks(
            index=getattr(config, "tp_rank", 0),
            count=getattr(config, "tp_size", 1),
            latent=bool(getattr(config, "is_mla_model", False)),
            split_count=getattr(config, "tp_lcm_size", None),
            is_split=bool(getattr(config, "should_split_heads", False)),
        )

    def kv_shards(self) -> list[Shard | None]:
        """The slices of a KV page that this rank holds.

        With heads split for ranks of several engines (`tp_lcm_size`) a page is as many objects
        as the largest engine has ranks for each one here, so that all of them share.
        """
        if not self.is_split or self.split_count is None:
            return [rank_shard(self.index, self.count, self.latent)]
        split = self.split_count // self.count
        return [Shard(self.index * split + part, self.split_count) for part in range(split)]


@dataclass
class Backing:
    """Names and ports; `facts` are those of the engine and of this rank's stage."""

    facts: Mapping[str, Any]
    ranks: Ranks
    by_address: bool
    kv_port: PagePort | None = None
    kv_names: Sequence[PageNames] = ()
    flat_names: PageNames = field(init=False)

    def __post_init__(self) -> None:
        self.flat_names = self._names(None, _KV, _PAGE, self._own_shard())
        self.kv_names = (self.flat_names,)

    @staticmethod
    def of(config: Any, settings: Settings) -> Backing:
        """The backing of the rank that `config` (HiCacheStorageConfig) describes.

        Raises FieldError where the weights have no name.
        """
        facts = engine_facts(settings, getattr(config, "model_name", None))
        facts["stage"] = [getattr(config, "pp_rank", 0), getattr(config, "pp_size", 1)]
        facts["context"] = [getattr(config, "attn_cp_rank", 0), getattr(config, "attn_cp_size", 1)]
        facts["decode_context"] = [getattr(config, "dcp_rank", 0), getattr(config, "dcp_size", 1)]
        return Backing(facts, Ranks.of(config), settings.interface_v1)

    @property
    def summary(self) -> str:
        """What tells this rank's pages from others', for the log."""
        shard = self._own_shard()
        part = "shared by all ranks" if shard is None else f"slice {shard.index} of {shard.count}"
        return f"model {self.facts['model']}, {part}"

    def learn_kv_pool(self, pool: Any) -> None:
        """Names and addresses the pages of the KV pool; without memory it has names only."""
        self.flat_names = self._names(pool, _KV, _PAGE, self._own_shard())
        self.kv_names = (self.flat_names,)
        if not is_materialised(pool):
            return
        shards = self.ranks.kv_shards()
        if self.by_address and len(shards) > 1:
            names = [self._names(pool, _KV, _PAGE, shard, len(shards)) for shard in shards]
            self.kv_port = DirectPages(pool, names, len(shards))
        else:
            self.kv_port = self._port(pool, _KV, shards[0], self.by_address)
        if self.kv_port is not None:
            self.kv_names = self.kv_port.names

    def side_port(self, pool: Any, name: str) -> PagePort:
        """The port of a pool beside the KV pool."""
        replicated = is_replicated(name, pool, self.ranks.latent)
        shard = rank_shard(self.ranks.index, self.ranks.count, replicated)
        return self._port(pool, name, shard, True)

    def _port(self, pool: Any, name: str, shard: Shard | None, by_address: bool) -> PagePort:
        flat = is_flat(pool)
        sample = torch.arange(page_tokens(pool), dtype=torch.int64)
        if (flat or by_address) and is_direct(pool, sample):
            form = _PAGE if flat else _PIECES
            return DirectPages(pool, [self._names(pool, name, form, shard)])
        return StagedPages(pool, self._names(pool, name, _PAGE, shard))

    def _own_shard(self) -> Shard | None:
        return rank_shard(self.ranks.index, self.ranks.count, self.ranks.latent)

    def _names(
        self, pool: Any, name: str, form: str, shard: Shard | None, split: int = 1
    ) -> PageNames:
        described = {} if pool is None else pool_facts(pool, name, form, split)
        return PageNames.of({**self.facts, **described}, shard)
