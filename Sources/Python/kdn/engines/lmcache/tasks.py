"""What runs in the lanes: each task ends with exactly one result, whatever happens in between."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from lmcache.lmcache_native import Bitmap
from lmcache.logging import init_logger
from lmcache.v1.distributed.internal_api import L2StoreResult

from kdn.engines.lmcache.known import KnownObjects
from kdn.engines.lmcache.lanes import Outbox
from kdn.engines.lmcache.leases import LeaseBook
from kdn.engines.lmcache.naming import Facts, Named, name_of
from kdn.engines.lmcache.settings import KDNL2AdapterConfig
from kdn.engines.lmcache.transfers import Transfers

logger = init_logger(__name__)

Notify = Callable[[list[Any], list[int]], None]
NO_FACTS = Facts(())


class Store:
    """A store in several tiles: its result is posted when the last of them is done."""

    def __init__(self, tiles: int, post: Callable[[L2StoreResult], None]) -> None:
        self._left = tiles
        self._post = post
        self._success = True
        self._bytes = 0
        self._lock = threading.Lock()

    def tile_done(self, success: bool, nbytes: int) -> None:
        """One tile ended, having added `nbytes`."""
        with self._lock:
            self._success = self._success and success
            self._bytes += nbytes
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._post(L2StoreResult(self._success, self._bytes if self._success else 0))


class Tasks:
    """Carries out tasks over the transfers, and keeps the books of leases, objects and counts."""

    def __init__(
        self,
        settings: KDNL2AdapterConfig,
        transfers: Transfers,
        on_stored: Notify,
        on_accessed: Callable[[list[Any]], None],
    ) -> None:
        self.transfers = transfers
        self.known = KnownObjects()
        self.counts: Counter[str] = Counter()
        self._settings = settings
        self._leases = LeaseBook()
        self._lock = threading.Lock()
        self._on_stored = on_stored
        self._on_accessed = on_accessed

    def count(self, name: str, by: int = 1) -> None:
        """Adds to a counter of report_status."""
        with self._lock:
            self.counts[name] += by

    @property
    def lease_count(self) -> int:
        """How many leases are held."""
        return len(self._leases)

    def guarded(self, work: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """Runs `work`; if it fails in a way nobody foresaw, says so and runs `otherwise`."""
        try:
            work()
        except Exception:
            logger.exception("KDN: a task failed; it counts as a miss")
            self.count("unexpected_errors")
            otherwise()

    # Names

    def name(self, key: Any, facts: Facts | None) -> Named | None:
        """The object of a key; None if its shape is not known, which makes it a miss."""
        if self._settings.tag:
            return name_of(key, NO_FACTS, self._settings.tag)
        facts = facts or self.known.facts_of(key)
        return None if facts is None else name_of(key, facts)

    def _name_of_memory(self, key: Any, memory: Any) -> Named | None:
        facts = Facts.of_object(memory)
        if facts is not None:
            self.known.learn(key, facts)
        return self.name(key, facts)

    # Lookups

    def look_up(
        self, task: int, keys: Sequence[Any], layouts: dict[int, Any], deadline: float,
        outbox: Outbox[Bitmap],
    ) -> None:
        """Posts which keys are there, after leasing those that can be."""
        facts = [_facts_in(layouts, key.object_group_id) for key in keys]
        names = [self.name(key, facts) for key, facts in zip(keys, facts, strict=True)]
        if keys:
            self._check_shape(keys[0], facts[0])
        found = self.transfers.look_up(names, deadline)
        ends_at = time.monotonic() + self._settings.lease_ms / 1000
        surplus: list[Any] = []
        with self._lock:
            self._leases.drop_ended(time.monotonic())
            for lease, places in found.leases:
                surplus += self._leases.add(lease, [keys[place] for place in places], ends_at)
            self.counts["lookup_keys"] += len(keys)
            self.counts["lookup_hits"] += sum(found.bits)
            self.counts["leased_keys"] += sum(len(places) for _, places in found.leases)
        self.transfers.release(surplus)
        outbox.post(task, bitmap(found.bits))

    def _check_shape(self, key: Any, asked: Facts | None) -> None:
        """Says once why nothing is ever found, if LMCache encodes what it stores."""
        stored = self.known.facts_of(key)
        if self._settings.tag or None in (asked, stored) or asked == stored:
            return
        if not self.counts["shapes_differ"]:
            logger.warning(
                "KDN: LMCache stores %s but asks for %s: with a serde, adapter_params need a tag",
                stored, asked,
            )
        self.count("shapes_differ")

    def unlock(self, keys: Sequence[Any]) -> list[Any]:
        """The leases that nobody needs any more, to be given back with `release`."""
        with self._lock:
            return self._leases.unlock(keys)

    def release(self, leases: Sequence[Any]) -> None:
        """Gives leases back."""
        self.transfers.release(leases)
        self.count("leases_released", len(leases))

    # Loads and stores

    def load(
        self, task: int, keys: Sequence[Any], memories: Sequence[Any], deadline: float,
        outbox: Outbox[Bitmap],
    ) -> None:
        """Posts which objects are in LMCache's memory now, whole and verified."""
        names = [self._name_of_memory(k, m) for k, m in zip(keys, memories, strict=True)]
        bits = self.transfers.load(names, memories, deadline)
        loaded = [place for place, bit in enumerate(bits) if bit]
        for place in loaded:
            named = names[place]
            if named is not None:
                self.known.add(keys[place], named, memories[place].get_size(), is_stored=False)
        self.count("load_keys", len(keys))
        self.count("load_hits", len(loaded))
        self.count("load_bytes", sum(memories[place].get_size() for place in loaded))
        outbox.post(task, bitmap(bits))
        self.guarded(lambda: self._on_accessed([keys[place] for place in loaded]), _nothing)

    def store(
        self, store: Store, keys: Sequence[Any], memories: Sequence[Any], deadline: float
    ) -> None:
        """Stores one tile of a store task."""
        names = [self._name_of_memory(k, m) for k, m in zip(keys, memories, strict=True)]
        bits = self.transfers.store(names, memories, deadline)
        stored: list[Any] = []
        sizes: list[int] = []
        for key, named, memory, bit in zip(keys, names, memories, bits, strict=True):
            if bit and named is not None:
                stored.append(key)
                sizes.append(self.known.add(key, named, memory.get_size(), is_stored=True))
        self.count("store_keys", len(keys))
        self.count("stored", len(stored))
        self.count("stored_bytes", sum(sizes))
        if stored:
            self.guarded(lambda: self._on_stored(stored, sizes), _nothing)
        store.tile_done(all(bits), sum(sizes))


def bitmap(bits: Sequence[bool]) -> Bitmap:
    """LMCache's bitmap of these bits."""
    result = Bitmap(len(bits))
    for place, bit in enumerate(bits):
        if bit:
            result.set(place)
    return result


def _facts_in(layouts: dict[int, Any], group: int) -> Facts | None:
    layout = layouts.get(group)
    return None if layout is None else Facts.of(layout.shapes, layout.dtypes)


def _nothing() -> None:
    """What remains to be done when a listener failed."""
