"""The connector's counters: pure numbers that add up over steps, ranks and both sides."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

# Every counter with what it counts; the Prometheus metric is `vllm:kdn_<name>_total`.
MEANINGS = {
    "lookups": "Questions to the server what it has of a prompt.",
    "lookups_refused": "Lookups not made because too many were under way.",
    "lookup_none": "Lookups that found all of the prompt's chunks.",
    "lookup_never_stored": "Lookups that ended at a chunk that was never stored.",
    "lookup_evicted": "Lookups that ended at an evicted chunk.",
    "lookup_over_deadline": "Lookups that had no answer in time.",
    "lookup_unreachable": "Lookups that found no server.",
    "lookup_other": "Lookups that ended for another reason.",
    "requests_unnamed": "Requests that cannot be named, and so neither load nor store.",
    "load_requests": "Requests that began a load.",
    "load_tokens": "Tokens that loads were begun for.",
    "load_failed_requests": "Requests of whose load some chunks failed and were recomputed.",
    "load_recomputed_requests": "Requests of whose load a deadline left chunks to be computed.",
    "load_objects": "Objects received, verified and put into pages.",
    "load_bytes": "Bytes of those objects.",
    "load_failed_objects": "Objects that did not come, or not as they were stored.",
    "load_skipped_objects": "Objects not asked for because one before them failed.",
    "load_microseconds": "Time that loads took, from their start to their end.",
    "save_objects": "Objects stored by this engine.",
    "save_bytes": "Bytes of those objects.",
    "save_present_objects": "Objects that the server had already.",
    "save_dropped_objects": "Objects not stored because the queue was full.",
    "save_failed_objects": "Objects that the server or the link refused.",
    "save_microseconds": "Time that copying pages out took of the steps.",
}


class Counts:
    """Counters that any thread may add to, taken by interval."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interval: Counter[str] = Counter()
        self.total: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        """Counts; a name without a meaning of its own is one of the `other` of its kind."""
        if name not in MEANINGS:
            name = "lookup_other"
        with self._lock:
            self._interval[name] += count
            self.total[name] += count

    def take(self) -> dict[str, int]:
        """What was counted since the last call."""
        with self._lock:
            taken, self._interval = self._interval, Counter()
        return dict(taken)


def summed(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    """Both counts added, name by name."""
    return {name: a.get(name, 0) + b.get(name, 0) for name in (*a, *(n for n in b if n not in a))}
