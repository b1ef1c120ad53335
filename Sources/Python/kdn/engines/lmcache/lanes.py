"""Lanes: a few threads with a bounded queue each, and the results that LMCache polls for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from lmcache.logging import init_logger
from lmcache.v1.platform import create_event_notifier

logger = init_logger(__name__)

Result = TypeVar("Result")


class Lane:
    """Runs jobs in order of arrival on `threads` threads; at most `limit` of them wait."""

    def __init__(self, name: str, threads: int, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"kdn-{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether every thread of the lane is at work."""
        return not self._closed and all(thread.is_alive() for thread in self._threads)

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._jobs)

    def submit(self, *jobs: Callable[[], None]) -> bool:
        """Takes all of the jobs, or none of them if there is no room."""
        with self._changed:
            if self._closed or len(self._jobs) + len(jobs) > self._limit:
                return False
            self._jobs.extend(jobs)
            self._changed.notify(len(jobs))
        return True

    def close(self, deadline: float) -> bool:
        """Drops what waits and awaits what runs; False if some of it still runs at the deadline."""
        with self._changed:
            self._closed = True
            self._jobs.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._jobs.popleft()
            try:
                job()
            except Exception:
                # A job answers for its own errors; the thread must outlive those it did not expect.
                logger.exception("KDN: a task failed unexpectedly")


class Outbox(Generic[Result]):
    """Results by task, with a descriptor that is readable while some are new."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notifier = create_event_notifier()
        self._results: dict[int, Result] = {}
        self._closed = False

    def fileno(self) -> int:
        """The descriptor; the caller polls it and clears it."""
        return int(self._notifier.fileno())

    def post(self, task_id: int, result: Result) -> None:
        """Makes a result known; does nothing once closed."""
        with self._lock:
            if not self._closed:
                self._results[task_id] = result
                self._notifier.notify()

    def take(self, task_id: int) -> Result | None:
        """A task's result, once."""
        with self._lock:
            return self._results.pop(task_id, None)

    def take_all(self) -> dict[int, Result]:
        """Every result that was not taken yet."""
        with self._lock:
            results, self._results = self._results, {}
        return results

    def close(self) -> None:
        """Closes the descriptor."""
        with self._lock:
            self._closed = True
            self._results.clear()
            self._notifier.close()
