"""Loads and stores of a tier in the background, from and into rows of the primary tier."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdn.errors import KDNError, ServerError, Status
from kdn.keys import Key
from kdn.results import Get, GetResult, MissCause, Put, PutResult

BATCH_BYTES = 64 << 20
JOBS_MAX = 4096
# After one of these the rest of a job is not tried: each try could cost a deadline.
TROUBLE = {MissCause.UNREACHABLE, MissCause.OVER_DEADLINE, MissCause.REFUSED}

logger = logging.getLogger(__name__)


@dataclass
class Job:
    """One transfer: keys and, of the same count, rows of bytes to read or to fill."""

    job_id: int
    is_load: bool
    keys: Sequence[Key]
    rows: Sequence[memoryview]
    tag: Any = None

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return sum(map(len, self.rows))


@dataclass
class Done:
    """How a job ended: `good[i]` says whether its i-th key was loaded, or is in KDN now."""

    job: Job
    good: list[bool]
    seconds: float = 0.0
    nbytes: int = 0


class JobQueue:
    """Loads before stores, and stores never on all workers. Pure.

    `pending_bytes` bounds what queued and running stores hold, JOBS_MAX the number of jobs.
    """

    def __init__(self, workers: int, pending_bytes: int) -> None:
        self._stores_max = max(1, workers - 1)
        self._pending_bytes = pending_bytes
        self._loads: deque[Job] = deque()
        self._stores: deque[Job] = deque()
        self._held = 0
        self._storing = 0
        self.running = 0

    def offer(self, job: Job) -> bool:
        """Takes a job, unless it is over a limit; the first store is never too large."""
        if len(self._loads) + len(self._stores) >= JOBS_MAX:
            return False
        if job.is_load:
            self._loads.append(job)
            return True
        if self._held > 0 and self._held + job.nbytes > self._pending_bytes:
            return False
        self._held += job.nbytes
        self._stores.append(job)
        return True

    def take(self) -> Job | None:
        """The next job that may run now."""
        if self._loads:
            job = self._loads.popleft()
        elif self._stores and self._storing < self._stores_max:
            job = self._stores.popleft()
            self._storing += 1
        else:
            return None
        self.running += 1
        return job

    def ended(self, job: Job) -> None:
        """A job that was taken is over."""
        self.running -= 1
        if not job.is_load:
            self._storing -= 1
            self._held -= job.nbytes

    def cancel(self) -> list[Job]:
        """Gives up all that has not begun."""
        cancelled = [*self._loads, *self._stores]
        self._held -= sum(job.nbytes for job in self._stores)
        self._loads.clear()
        self._stores.clear()
        return cancelled


@dataclass
class TransferCounts:
    """Objects by outcome, since the last take."""

    loads: Counter[str] = field(default_factory=Counter)
    stores: Counter[str] = field(default_factory=Counter)


class Transfers:
    """Worker threads over a client to whom trouble is a miss; no method blocks but drain, close."""

    def __init__(self, client: Any, workers: int, pending_bytes: int, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._queue = JobQueue(workers, pending_bytes)
        self._changed = threading.Condition()
        self._finished: deque[Done] = deque()
        self._counts = TransferCounts()
        self._draining = False
        self._closed = False
        self._reachable = True
        self._threads = [
            threading.Thread(target=self._work, name=f"kdn-tier-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Queues a job, or ends it at once if there is too much to do."""
        with self._changed:
            if not self._closed and not self._draining and self._queue.offer(job):
                self._changed.notify()
                return
            self._give_up(job, "dropped")

    def finished(self) -> list[Done]:
        """Jobs that ended since the last call."""
        with self._changed:
            some = list(self._finished)
            self._finished.clear()
        return some

    def take_counts(self) -> TransferCounts:
        """Objects by outcome since the last call."""
        with self._changed:
            counts, self._counts = self._counts, TransferCounts()
        return counts

    def drain(self) -> None:
        """Returns when no job runs: gives up the queued, and lets the running end their batch."""
        with self._changed:
            self._draining = True
            for job in self._queue.cancel():
                self._give_up(job, "cancelled")
            while self._queue.running:
                self._changed.wait()
            self._draining = False

    def close(self) -> None:
        """Drains, and ends the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.drain()
        for thread in self._threads:
            thread.join()

    def _give_up(self, job: Job, why: str) -> None:
        counts = self._counts.loads if job.is_load else self._counts.stores
        counts[why] += len(job.keys)
        self._finished.append(Done(job, [False] * len(job.keys)))

    # On the worker threads

    def _work(self) -> None:
        while (job := self._next()) is not None:
            done = Done(job, [False] * len(job.keys))
            begin = time.perf_counter()
            try:
                self._run(job, done)
            except Exception:
                logger.exception("a transfer of %d chunks failed", len(job.keys))
            done.seconds = time.perf_counter() - begin
            with self._changed:
                self._queue.ended(job)
                self._finished.append(done)
                self._changed.notify_all()

    def _next(self) -> Job | None:
        with self._changed:
            while not self._closed:
                job = self._queue.take()
                if job is not None:
                    return job
                self._changed.wait()
        return None

    def _run(self, job: Job, done: Done) -> None:
        for batch in _batches(job):
            if self._draining:
                return
            step = self._load if job.is_load else self._store
            if not step(job, batch, done):
                return

    def _load(self, job: Job, batch: range, done: Done) -> bool:
        """Fetches a batch into its rows; False if the rest need not be tried."""
        items = [Get(job.keys[i], job.rows[i]) for i in batch]
        results = self._client.get_into(items, timeout=self._timeout)
        outcomes: Counter[str] = Counter()
        for i, result in zip(batch, results, strict=True):
            # A shorter object would leave bytes of another chunk in the row.
            done.good[i] = result.hit and result.nbytes == len(job.rows[i])
            done.nbytes += len(job.rows[i]) if done.good[i] else 0
            outcomes["loaded" if done.good[i] else _cause(result)] += 1
        self._note(outcomes, Counter())
        trouble = any(result.cause in TROUBLE for result in results)
        self._say_whether_reachable(not trouble)
        return not trouble

    def _store(self, job: Job, batch: range, done: Done) -> bool:
        """Stores what of a batch is not there yet; False if the rest need not be tried."""
        there = self._client.exists([job.keys[i] for i in batch], timeout=self._timeout)
        missing = [i for i, is_there in zip(batch, there, strict=True) if not is_there]
        puts = [Put(job.keys[i], job.rows[i]) for i in missing]
        results = self._client.put_from(puts, timeout=self._timeout) if puts else []
        outcomes: Counter[str] = Counter(present=len(there) - len(missing))
        for i, is_there in zip(batch, there, strict=True):
            done.good[i] = is_there
        for i, result in zip(missing, results, strict=True):
            outcome = _outcome(result)
            done.good[i] = outcome != "failed"
            done.nbytes += len(job.rows[i]) if outcome == "stored" else 0
            outcomes[outcome] += 1
        self._note(Counter(), outcomes)
        broken = any(_is_broken(result.error) for result in results)
        self._say_whether_reachable(not broken)
        return not broken

    def _note(self, loads: Counter[str], stores: Counter[str]) -> None:
        with self._changed:
            self._counts.loads.update(loads)
            self._counts.stores.update(stores)

    def _say_whether_reachable(self, reachable: bool) -> None:
        with self._changed:
            changed, self._reachable = self._reachable != reachable, reachable
        if changed and not reachable:
            logger.warning("KDN does not answer: its chunks are misses until it does")
        elif changed:
            logger.info("KDN answers again")


def _batches(job: Job) -> Iterator[range]:
    """Neighbouring indices of at most BATCH_BYTES, at least one each."""
    first = nbytes = 0
    for index, row in enumerate(job.rows):
        if index > first and nbytes + len(row) > BATCH_BYTES:
            yield range(first, index)
            first, nbytes = index, 0
        nbytes += len(row)
    if first < len(job.rows):
        yield range(first, len(job.rows))


def _cause(result: GetResult) -> str:
    return "wrong_size" if result.hit else result.cause.name.lower()


def _outcome(result: PutResult) -> str:
    """Other bytes under the key are another engine's rounding of the same KV: as good."""
    if result.stored:
        return "stored" if result.state == "published" else "present"
    error = result.error
    if isinstance(error, ServerError) and error.status == Status.CONFLICT:
        return "present"
    return "failed"


def _is_broken(error: KDNError | None) -> bool:
    """Whether the link, and not one object, is at fault."""
    return error is not None and not isinstance(error, ServerError)
