"""Pages and speeds as SGLang's metrics take them, kept until they are taken."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

# More than SGLang lets gather between two looks; what nobody takes is forgotten from the front.
_BATCHES_MAX = 1024
_GIB = 1 << 30


class Metrics:
    """Gathers what each batch moved, in pages and GiB/s, if SGLang's metrics are enabled."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._lock = threading.Lock()
        self._loads: deque[tuple[int, float]] = deque(maxlen=_BATCHES_MAX)
        self._saves: deque[tuple[int, float]] = deque(maxlen=_BATCHES_MAX)

    def loaded(self, pages: int, page_bytes: int, started: float) -> None:
        """A batch was read, from `started` (perf_counter seconds) until now."""
        self._note(self._loads, pages, page_bytes, started)

    def saved(self, pages: int, page_bytes: int, started: float) -> None:
        """A batch was stored, from `started` (perf_counter seconds) until now."""
        self._note(self._saves, pages, page_bytes, started)

    def take(self) -> Any:
        """SGLang's StorageMetrics of the batches since the last take; None if not enabled."""
        if not self._enabled:
            return None
        from sglang.srt.observability.metrics_collector import StorageMetrics

        with self._lock:
            loads, saves = list(self._loads), list(self._saves)
            self._loads.clear()
            self._saves.clear()
        return StorageMetrics(
            prefetch_pgs=[pages for pages, _ in loads],
            backup_pgs=[pages for pages, _ in saves],
            prefetch_bandwidth=[speed for _, speed in loads],
            backup_bandwidth=[speed for _, speed in saves],
        )

    def _note(
        self, batches: deque[tuple[int, float]], pages: int, page_bytes: int, started: float
    ) -> None:
        if self._enabled and pages:
            seconds = max(time.perf_counter() - started, 1e-9)
            with self._lock:
                batches.append((pages, pages * page_bytes / _GIB / seconds))
