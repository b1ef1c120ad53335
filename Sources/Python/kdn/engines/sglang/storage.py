"""The backend that SGLang's HiCache loads: its pages are opaque objects in KDN."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sglang.srt.mem_cache.hicache_storage import (
    HiCacheStorage,
    HiCacheStorageConfig,
    PoolName,
    PoolTransfer,
    PoolTransferResult,
)

from kdn.engines.sglang import sidecars
from kdn.engines.sglang.backing import Backing
from kdn.engines.sglang.metrics import Metrics
from kdn.engines.sglang.naming import PageNames
from kdn.engines.sglang.pages import Pages
from kdn.engines.sglang.pools import PagePort, is_materialised
from kdn.engines.sglang.settings import Settings
from kdn.engines.sglang.transfers import Transfers

logger = logging.getLogger(__name__)
Method = TypeVar("Method", bound=Callable[..., Any])


def _on_trouble(outcome: Callable[..., Any]) -> Callable[[Method], Method]:
    """Makes a method give `outcome` of its arguments instead of raising, and counts the trouble."""

    def wrap(method: Method) -> Method:
        @functools.wraps(method)
        def guarded(self: KDNHiCacheStorage, *args: Any, **kwargs: Any) -> Any:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:
                # Whatever it is: an exception here would end the engine's storage thread.
                self._note_trouble(method.__name__, error)
                return outcome(*args, **kwargs)

        return guarded  # type: ignore[return-value]

    return wrap


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


def _no(*args: Any, **kwargs: Any) -> bool:
    return False


def _no_pages(*args: Any, **kwargs: Any) -> int:
    return 0


def _none_of(keys: Sequence[str], *args: Any, **kwargs: Any) -> list[bool]:
    return [False] * len(keys)


def _no_tensors(keys: Sequence[str], *args: Any, **kwargs: Any) -> list[Any]:
    return [None] * len(keys)


def _none_of_transfers(
    transfers: Sequence[PoolTransfer], *args: Any, **kwargs: Any
) -> dict[str, list[bool]]:
    return {transfer.name: [False] * len(transfer.keys or []) for transfer in transfers}


def _no_prefix(*args: Any, **kwargs: Any) -> PoolTransferResult:
    return PoolTransferResult(0, {}, [])


class KDNHiCacheStorage(HiCacheStorage):  # type: ignore[misc]
    """SGLang's L3 in KDN, for one rank.

    Made as `StorageBackendFactory` makes dynamic backends. Raises FieldError for settings that
    are wrong, or where the weights have no name; a daemon that is not there is no error. After
    that nothing raises: trouble is a miss, or a page that is not stored, within the deadlines of
    the settings.
    """

    def __init__(
        self,
        storage_config: HiCacheStorageConfig | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.settings = Settings.of(getattr(storage_config, "extra_config", None))
        self._backing = Backing.of(storage_config, self.settings)
        self._client = self.settings.client()
        transfers = Transfers(
            self._client, self.settings.timeout, self.settings.lookup_timeout, self.settings.ttl
        )
        self.counters = transfers.counters
        self._metrics = Metrics(bool(getattr(storage_config, "enable_storage_metrics", False)))
        self._pages = Pages(transfers, self._metrics)
        self._troubles: set[tuple[str, str]] = set()
        self.mem_pool_host: Any = None
        # Such a pool only hands out indices; the bytes of its pages come by the pools beside it.
        self._is_logical = False
        self.registered_pools: dict[str, Any] = {}
        self._ports: dict[str, PagePort] = {}
        logger.info("KDN storage at %s: %s", self.settings.address, self._backing.summary)

    # Pools

    @_on_trouble(_nothing)
    def register_mem_pool_host(self, mem_pool_host: Any) -> None:
        """Learns where the KV pages lie; they are in the pool's memory for as long as it lives."""
        self.mem_pool_host = mem_pool_host
        self._is_logical = not is_materialised(mem_pool_host)
        self._backing.learn_kv_pool(mem_pool_host)

    @_on_trouble(_nothing)
    def register_mem_host_pool_v2(self, host_pool: Any, host_pool_name: str) -> None:
        """Learns of a pool beside the KV pool, or of the KV pool under its name."""
        name = str(host_pool_name)
        self.registered_pools[name] = host_pool
        self._ports.pop(name, None)
        if host_pool is not self.mem_pool_host:
            self._ports[name] = self._backing.side_port(host_pool, name)

    # Pages by their addresses (v1)

    @_on_trouble(_no_pages)
    def batch_exists(self, keys: list[str], extra_info: Any = None) -> int:
        """How many pages from the start are there, each with all of its objects."""
        return sidecars.leading(self._pages.there(self._kv, keys))

    @_on_trouble(_none_of)
    def batch_get_v1(
        self, keys: list[str], host_indices: Any, extra_info: Any = None
    ) -> list[bool]:
        """Receives pages into the KV pool; the contents of a page that is False are undefined."""
        if self._is_logical:
            return [True] * len(keys)
        return self._pages.load(self._backing.kv_port, keys, host_indices)

    @_on_trouble(_none_of)
    def batch_set_v1(
        self, keys: list[str], host_indices: Any, extra_info: Any = None
    ) -> list[bool]:
        """Stores pages out of the KV pool; True for those that are there afterwards."""
        if self._is_logical:
            return [True] * len(keys)
        return self._pages.save(self._backing.kv_port, keys, host_indices)

    # Pages of several pools (v2)

    @_on_trouble(_no_prefix)
    def batch_exists_v2(
        self,
        keys: list[str],
        pool_transfers: list[PoolTransfer] | None = None,
        extra_info: Any = None,
    ) -> PoolTransferResult:
        """The prefixes that every pool can restore, and how far each pool alone would go."""
        by_kv = len(keys) if self._is_logical else self.batch_exists(keys, extra_info)
        if not by_kv or (self._is_logical and not pool_transfers):
            return _no_prefix()
        reach: dict[str, int] = {PoolName.KV: by_kv}
        restorable = list(range(1, by_kv + 1))
        for transfer in pool_transfers or []:
            names = self._names_of(transfer.name)
            there = self._pages.there(names, keys[:by_kv]) if names else [False] * by_kv
            policy = str(getattr(transfer.hit_policy, "value", transfer.hit_policy))
            allowed = sidecars.restorable_prefixes(there, by_kv, policy, len(transfer.keys or []))
            if allowed is None:
                continue
            if allowed:
                reach[transfer.name] = allowed[-1]
            restorable = sorted(set(restorable).intersection(allowed))
        return PoolTransferResult(restorable[-1] if restorable else 0, reach, restorable)

    @_on_trouble(_none_of_transfers)
    def batch_get_v2(
        self, transfers: list[PoolTransfer], extra_info: Any = None
    ) -> dict[str, list[bool]]:
        """Receives pages into each transfer's pool."""
        return {
            transfer.name: self._pages.load(
                self._port_of(transfer.name), transfer.keys or [], transfer.host_indices
            )
            for transfer in transfers
        }

    @_on_trouble(_none_of_transfers)
    def batch_set_v2(
        self, transfers: list[PoolTransfer], extra_info: Any = None
    ) -> dict[str, list[bool]]:
        """Stores pages out of each transfer's pool."""
        return {
            transfer.name: self._pages.save(
                self._port_of(transfer.name), transfer.keys or [], transfer.host_indices
            )
            for transfer in transfers
        }

    # Pages as flat tensors

    @_on_trouble(_nothing)
    def get(self, key: str, target_location: Any = None, target_sizes: Any = None) -> Any:
        """A page: `target_location` filled, or without one a tensor of bytes; None for a miss.

        A location may be an address with its size.
        """
        if target_location is None:
            return self._pages.fetch_flat(self._flat, key)
        return self._pages.load_flat(self._flat, [key], [target_location], [target_sizes])[0]

    @_on_trouble(_no_tensors)
    def batch_get(
        self, keys: list[str], target_locations: Any = None, target_sizes: Any = None
    ) -> list[Any]:
        """Pages, each as `get` gives it, in one batch."""
        if target_locations is None:
            return [self.get(key) for key in keys]
        return self._pages.load_flat(
            self._flat, keys, target_locations, target_sizes or [None] * len(keys)
        )

    @_on_trouble(_no)
    def set(
        self, key: str, value: Any = None, target_location: Any = None, target_sizes: Any = None
    ) -> bool:
        """Stores a page: the bytes of the tensor `value`, or at an address."""
        source = value if value is not None else target_location
        return self._pages.save_flat(self._flat, [key], [source], [target_sizes])

    @_on_trouble(_no)
    def batch_set(
        self,
        keys: list[str],
        values: Any = None,
        target_locations: Any = None,
        target_sizes: Any = None,
    ) -> bool:
        """Stores pages in one batch; True if all are there afterwards."""
        sources = values if values is not None else target_locations
        return self._pages.save_flat(self._flat, keys, sources, target_sizes or [None] * len(keys))

    @_on_trouble(_no)
    def exists(self, key: str) -> bool:
        """Whether a page is there."""
        return self._pages.there(self._kv, [key])[0]

    # Administration

    @_on_trouble(_no)
    def clear(self) -> bool:
        """Purges the namespace, whoever else stores in it; True if that was done."""
        self._client.purge(namespace=True, timeout=self.settings.timeout)
        return True

    @_on_trouble(_nothing)
    def get_stats(self) -> Any:
        """What moved since the last call, as SGLang's metrics want it, if they are enabled."""
        return self._metrics.take()

    @_on_trouble(_nothing)
    def close(self) -> None:
        """Ends the connections; what is called afterwards misses."""
        self._client.close()
        logger.info("KDN storage closed: %s", self.counters.snapshot())

    # What the methods share

    @property
    def _kv(self) -> Sequence[PageNames]:
        return self._backing.kv_names

    @property
    def _flat(self) -> PageNames:
        return self._backing.flat_names

    def _port_of(self, name: str) -> PagePort | None:
        if str(name) in self._ports:
            return self._ports[str(name)]
        return self._backing.kv_port if str(name) == str(PoolName.KV) else None

    def _names_of(self, name: str) -> Sequence[PageNames]:
        if str(name) == str(PoolName.KV):
            return self._backing.kv_names
        port = self._port_of(name)
        return () if port is None else port.names

    def _note_trouble(self, method: str, error: Exception) -> None:
        """Counts trouble, and tells of each kind once."""
        self.counters.add(errors=1)
        kind = (method, type(error).__name__)
        if kind not in self._troubles:
            self._troubles.add(kind)
            logger.warning("KDN storage: %s: %s; taken as a miss", method, error)
