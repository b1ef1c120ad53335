"""Which keys are in KDN, asked in the background: the scheduler is never kept waiting."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from kdn.keys import Key

BATCH_KEYS = 4096
TOUCHES_MAX = 16_384

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    deadline: float
    found: bool | None = None
    requests: set[str] = field(default_factory=set)


class LookupTable:
    """What is known about keys, for as long as a request that asked for them lives.

    Pure: time is an argument. `keys_max` bounds the table; what does not fit is not there.
    """

    def __init__(self, patience: float, keys_max: int) -> None:
        self.counts: Counter[str] = Counter()
        self._patience = patience
        self._keys_max = keys_max
        self._entries: dict[Key, _Entry] = {}
        self._by_request: dict[str, set[Key]] = {}
        self._unasked: list[Key] = []

    def lookup(self, key: Key, request: str, now: float) -> bool | None:
        """Whether the key is there; None while that is being asked, at most for the patience."""
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= self._keys_max:
                self.counts["overflow"] += 1
                return False
            entry = self._entries[key] = _Entry(now + self._patience)
            self._unasked.append(key)
        if request not in entry.requests:
            entry.requests.add(request)
            self._by_request.setdefault(request, set()).add(key)
        if entry.found is None and now >= entry.deadline:
            entry.found = False
            self.counts["late"] += 1
        return entry.found

    @property
    def waiting(self) -> bool:
        """Whether there are keys to ask for."""
        return bool(self._unasked)

    def take(self, limit: int) -> list[Key]:
        """The next keys to ask for, at most `limit`; each is given out once."""
        some, self._unasked = self._unasked[:limit], self._unasked[limit:]
        return [key for key in some if (e := self._entries.get(key)) and e.found is None]

    def settle(self, keys: Sequence[Key], found: Sequence[bool]) -> None:
        """Answers of the server; one that is too late changes nothing."""
        for key, is_there in zip(keys, found, strict=True):
            entry = self._entries.get(key)
            if entry is not None and entry.found is None:
                entry.found = is_there
                self.counts["hit" if is_there else "miss"] += 1

    def mark_missing(self, keys: Iterable[Key]) -> None:
        """Keys that could not be loaded: not to be tried again by the requests that asked."""
        for key in keys:
            entry = self._entries.get(key)
            if entry is not None:
                entry.found = False

    def forget(self, request: str) -> None:
        """A request is over: what only it asked for is forgotten, in flight or not."""
        for key in self._by_request.pop(request, ()):
            entry = self._entries[key]
            entry.requests.discard(request)
            if not entry.requests:
                del self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)


class LookupThread:
    """A table, and a thread that asks `exists` for what is in it and passes touches on.

    `exists(keys)` answers one bool a key, `touch(keys)` nothing; either may block.
    """

    def __init__(
        self,
        table: LookupTable,
        exists: Callable[[list[Key]], list[bool]],
        touch: Callable[[list[Key]], object],
    ) -> None:
        self._table = table
        self._exists = exists
        self._touch = touch
        self._touched: dict[Key, None] = {}
        self._changed = threading.Condition()
        self._flushed = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="kdn-tier-lookup", daemon=True)
        self._thread.start()

    def lookup(self, key: Key, request: str) -> bool | None:
        """Whether the key is there, None while that is not known yet. Does not block."""
        with self._changed:
            return self._table.lookup(key, request, time.monotonic())

    def flush(self) -> None:
        """The step is over: asks for all keys of it in one go."""
        with self._changed:
            if self._table.waiting or self._touched:
                self._flushed = True
                self._changed.notify()

    def touch(self, keys: Iterable[Key]) -> None:
        """Counts as a use of the keys, soon; forgets some when too many come at once."""
        with self._changed:
            for key in keys:
                if len(self._touched) >= TOUCHES_MAX:
                    return
                self._touched[key] = None

    def mark_missing(self, keys: Iterable[Key]) -> None:
        """See LookupTable."""
        with self._changed:
            self._table.mark_missing(keys)

    def forget(self, request: str) -> None:
        """See LookupTable."""
        with self._changed:
            self._table.forget(request)

    def take_counts(self) -> Counter[str]:
        """Keys by answer since the last call: hit, miss, late, overflow (the table was full)."""
        with self._changed:
            counts, self._table.counts = self._table.counts, Counter()
        return counts

    def close(self) -> None:
        """Stops the thread, which may be in a call until its deadline."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            keys, touched = work
            self._answer(keys)
            if touched:
                self._quietly(self._touch, touched)

    def _next(self) -> tuple[list[Key], list[Key]] | None:
        with self._changed:
            while not self._flushed and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            keys = self._table.take(BATCH_KEYS)
            touched = list(self._touched)
            self._touched.clear()
            self._flushed = self._table.waiting
            return keys, touched

    def _answer(self, keys: list[Key]) -> None:
        if not keys:
            return
        found = self._quietly(self._exists, keys)
        if not isinstance(found, list) or len(found) != len(keys):
            found = [False] * len(keys)
        with self._changed:
            self._table.settle(keys, found)

    def _quietly(self, call: Callable[[list[Key]], object], keys: list[Key]) -> object:
        try:
            return call(keys)
        except Exception:
            logger.exception("asking KDN for %d keys failed: they count as missing", len(keys))
            return None
