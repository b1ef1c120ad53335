"""Which leases keep which keys until LMCache unlocks them. Pure: `now` is an argument."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

LEASES_MAX = 4096


@dataclass(eq=False)
class Holding:
    """A lease on the server and the keys that still need it."""

    lease: Any
    ends_at: float
    keys: list[Hashable] = field(default_factory=list)


class LeaseBook:
    """Leases by key: a key may be in several, and each unlock gives back one of them.

    At most LEASES_MAX are remembered; one that is forgotten is given back.
    """

    def __init__(self) -> None:
        self._by_key: defaultdict[Hashable, list[Holding]] = defaultdict(list)
        self._all: OrderedDict[int, Holding] = OrderedDict()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, lease: Any, keys: Sequence[Hashable], ends_at: float) -> list[Any]:
        """Remembers a lease on `keys`; returns leases to give back for want of room."""
        if not keys:
            return [lease]
        holding = Holding(lease, ends_at, list(keys))
        self._all[id(holding)] = holding
        for key in keys:
            self._by_key[key].append(holding)
        dropped: list[Any] = []
        while len(self._all) > LEASES_MAX:
            oldest = next(iter(self._all.values()))
            self._forget(oldest)
            dropped.append(oldest.lease)
        return dropped

    def unlock(self, keys: Sequence[Hashable]) -> list[Any]:
        """One lock less on each key; returns the leases that no key needs any more."""
        done: list[Any] = []
        for key in keys:
            holdings = self._by_key.get(key)
            if not holdings:
                continue
            holding = holdings.pop(0)
            if not holdings:
                del self._by_key[key]
            holding.keys.remove(key)
            if not holding.keys:
                del self._all[id(holding)]
                done.append(holding.lease)
        return done

    def drop_ended(self, now: float) -> int:
        """Forgets leases whose time is over; returns how many."""
        ended = [holding for holding in self._all.values() if holding.ends_at <= now]
        for holding in ended:
            self._forget(holding)
        return len(ended)

    def clear(self) -> list[Any]:
        """Forgets all; returns the leases to give back."""
        leases = [holding.lease for holding in self._all.values()]
        self._all.clear()
        self._by_key.clear()
        return leases

    def _forget(self, holding: Holding) -> None:
        del self._all[id(holding)]
        for key in set(holding.keys):
            rest = [other for other in self._by_key[key] if other is not holding]
            if rest:
                self._by_key[key] = rest
            else:
                del self._by_key[key]
