"""What this server has seen of KDN's objects: shapes by group, and keys with their sizes.

KDN's own keys are hashes, which cannot be turned back into LMCache's: listing and counting by
tenant are of the keys that were stored or loaded here. Both tables are bounded; the oldest go.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

from kdn.engines.lmcache.naming import Facts, Named

KEYS_MAX = 131_072
GROUPS_MAX = 4096


@dataclass(frozen=True)
class KnownObject:
    """An object that was stored or loaded; `serial` orders the listing."""

    serial: int
    named: Named
    nbytes: int
    is_counted: bool


class KnownObjects:
    """Thread-safe tables of what has passed through this adapter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: OrderedDict[Any, KnownObject] = OrderedDict()
        self._facts: OrderedDict[tuple[str, int, int], Facts] = OrderedDict()
        self._bytes: Counter[str] = Counter()
        self._next_serial = 1

    def __len__(self) -> int:
        return len(self._objects)

    def learn(self, key: Any, facts: Facts) -> None:
        """Remembers the shape of the key's group, for lookups that come without it."""
        group = (key.model_name, key.kv_rank, key.object_group_id)
        with self._lock:
            self._facts[group] = facts
            self._facts.move_to_end(group)
            while len(self._facts) > GROUPS_MAX:
                self._facts.popitem(last=False)

    def facts_of(self, key: Any) -> Facts | None:
        """The shape that objects of the key's group had last."""
        with self._lock:
            return self._facts.get((key.model_name, key.kv_rank, key.object_group_id))

    def add(self, key: Any, named: Named, nbytes: int, is_stored: bool) -> int:
        """Remembers an object; `is_stored` counts it as stored by this server.

        Returns the bytes that are newly counted: 0 if it was, or is not to be.
        """
        with self._lock:
            before = self._objects.get(key)
            counted = before is not None and before.is_counted
            serial = before.serial if before is not None else self._next_serial
            if before is None:
                self._next_serial += 1
            self._objects[key] = KnownObject(serial, named, nbytes, counted or is_stored)
            added = nbytes if is_stored and not counted else 0
            self._count(key, added)
            if len(self._objects) > KEYS_MAX:
                oldest, known = self._objects.popitem(last=False)
                self._count(oldest, -known.nbytes if known.is_counted else 0)
        return added

    def bytes_by_salt(self) -> dict[str, int]:
        """Bytes stored by this server and not deleted since, by LMCache's cache salt."""
        with self._lock:
            return {salt: count for salt, count in self._bytes.items() if count > 0}

    def get(self, key: Any) -> KnownObject | None:
        """What is known of an object."""
        with self._lock:
            return self._objects.get(key)

    def remove(self, key: Any) -> KnownObject | None:
        """Forgets an object; returns what was known of it."""
        with self._lock:
            known = self._objects.pop(key, None)
            if known is not None and known.is_counted:
                self._count(key, -known.nbytes)
            return known

    def page(
        self, model_name: str | None, after: int, limit: int
    ) -> list[tuple[Any, KnownObject]]:
        """At most `limit` objects behind serial `after`, oldest first, of a model if named."""
        with self._lock:
            rows = [
                (key, known)
                for key, known in self._objects.items()
                if known.serial > after and model_name in (None, key.model_name)
            ]
        return rows[:limit]

    def _count(self, key: Any, nbytes: int) -> None:
        if nbytes:
            self._bytes[key.cache_salt] += nbytes
            if not self._bytes[key.cache_salt]:
                del self._bytes[key.cache_salt]
