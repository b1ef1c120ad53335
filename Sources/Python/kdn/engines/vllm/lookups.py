"""Asks the server what is there of a prompt, in threads of its own: the scheduler never waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kdn.errors import KDNError
from kdn.results import MissCause

THREADS = 2
PENDING_MAX = 4096


@dataclass
class Found:
    """What the server has: `there[p][c]` says whether chunk c of plane p can be fetched.

    `grids[p]` is the index of the writers' split whose parts are there. Leases keep the chunks
    from eviction until released or over.
    """

    there: list[list[bool]]
    grids: list[int]
    leases: list[Any] = field(default_factory=list)
    cause: MissCause = MissCause.NONE

    @property
    def whole_chunks(self) -> int:
        """Chunks from the start that every plane has, wanted by a window or not."""
        counts = [row.index(False) if False in row else len(row) for row in self.there]
        return min(counts, default=0)


def nothing(planes: int, cause: MissCause) -> Found:
    """The answer when there is none."""
    return Found([[] for _ in range(planes)], [0] * planes, cause=cause)


def find(client: Any, description: Any, hashes: Sequence[bytes], timeout: float) -> Found:
    """Asks for every plane, and for each split that its parts may have been written in.

    The engine's own split is asked for first; others only where it leaves something missing.
    """
    deadline = time.monotonic() + timeout
    found = nothing(len(description.planes), MissCause.NONE)
    limit = len(hashes)
    for plane in description.full:
        limit = _find_full(client, plane, hashes[:limit], found, deadline)
        if limit == 0:
            return found
    for plane in description.full:
        row = found.there[plane.index]
        found.there[plane.index] = row[:limit] + [False] * (len(hashes) - limit)
    for plane in description.sliding:
        _find_sliding(client, plane, hashes[:limit], found, deadline)
        row = found.there[plane.index]
        found.there[plane.index] = row + [False] * (len(hashes) - len(row))
    return found


def _remaining(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())


def _find_full(
    client: Any, plane: Any, hashes: Sequence[bytes], found: Found, deadline: float
) -> int:
    best = 0
    client.register_layout(plane.layout, timeout=_remaining(deadline))
    for index, parts in enumerate(plane.grids):
        match = client.match(
            plane.layout_id, list(hashes), list(parts), lease_ms=0, timeout=_remaining(deadline)
        )
        if match.chunks > best or index == 0:
            best = match.chunks
            found.grids[plane.index] = index
            found.there[plane.index] = [c < best for c in range(len(hashes))]
        if match.lease is not None:
            found.leases.append(match.lease)
        if match.cause is not MissCause.NONE:
            found.cause = match.cause
        if best == len(hashes) or match.cause >= MissCause.UNREACHABLE:
            break
    return best


def _find_sliding(
    client: Any, plane: Any, hashes: Sequence[bytes], found: Found, deadline: float
) -> None:
    client.register_layout(plane.layout, timeout=_remaining(deadline))
    for index, parts in enumerate(plane.grids):
        keys = [plane.key(chunk, part) for chunk in hashes for part in parts]
        bits = client.exists(keys, timeout=_remaining(deadline)) if keys else []
        row = [all(bits[i : i + len(parts)]) for i in range(0, len(bits), len(parts))]
        if index == 0 or sum(row) > sum(found.there[plane.index]):
            found.grids[plane.index], found.there[plane.index] = index, row
        if all(row):
            break


class Lookup:
    """One question; `answer` is there once it was answered or its time is up."""

    def __init__(self, future: Future[Found], planes: int, chunks: int, now: float) -> None:
        self.chunks = chunks
        self.asked_at = now
        self.waited = False
        self.taken = False
        self._future = future
        self._planes = planes

    def answer(self, now: float, timeout: float) -> Found | None:
        """What was found; nothing after `timeout` seconds; None while it is still open."""
        if self._future.done():
            if self._future.cancelled() or self._future.exception() is not None:
                return nothing(self._planes, MissCause.REFUSED)
            return self._future.result()
        if now - self.asked_at >= timeout:
            return nothing(self._planes, MissCause.OVER_DEADLINE)
        return None

    def wait(self, seconds: float) -> None:
        """Gives an answer that is about to come the time to come; bounded by `seconds`."""
        with suppress(Exception):
            self._future.exception(seconds)

    def drop(self, release: Callable[[Any], None]) -> None:
        """Gives back the leases, those too that are still to be granted."""

        def done(future: Future[Found]) -> None:
            if not future.cancelled() and future.exception() is None:
                for lease in future.result().leases:
                    release(lease)

        if not self._future.cancel():
            self._future.add_done_callback(done)


class Lookups:
    """Runs lookups and gives leases back, in a few threads with a bounded queue."""

    def __init__(
        self, client: Any, description: Any, timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._description = description
        self._timeout = timeout
        self._clock = clock
        self._pool = ThreadPoolExecutor(THREADS, "kdn-lookup")
        self._pending = threading.BoundedSemaphore(PENDING_MAX)

    def ask(self, hashes: Sequence[bytes]) -> Lookup | None:
        """Starts a lookup; None when too many are under way or the connector is closing."""
        future = self._submit(self._find, list(hashes), self._clock())
        if future is None:
            return None
        return Lookup(future, len(self._description.planes), len(hashes), self._clock())

    def release(self, lease: Any) -> None:
        """Gives a lease back in a thread; it ends by itself if that cannot be."""
        self._submit(_release, lease)

    def close(self) -> None:
        """Ends the threads; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any] | None:
        if not self._pending.acquire(blocking=False):
            return None
        try:
            future = self._pool.submit(call, *arguments)
        except RuntimeError:
            self._pending.release()
            return None
        future.add_done_callback(lambda _: self._pending.release())
        return future

    def _find(self, hashes: list[bytes], asked_at: float) -> Found:
        left = self._timeout - (self._clock() - asked_at)
        if left <= 0:
            return nothing(len(self._description.planes), MissCause.OVER_DEADLINE)
        return find(self._client, self._description, hashes, left)


def _release(lease: Any) -> None:
    with suppress(KDNError):
        lease.release()
