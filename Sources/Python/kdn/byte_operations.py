"""The verbs that move bytes: gets, gets in place, and stores, over memory that is shared or not."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from kdn import bodies
from kdn.bodies import RATES_BYTES
from kdn.buffers import gathered_views, writable_view
from kdn.errors import FieldError, KDNError, LinkUnavailable
from kdn.fidelity import Terms
from kdn.get_job import Delivery, GetEntry, GetJob, ProfileJob
from kdn.jobs import Job
from kdn.keys import Key
from kdn.operations import Operation, miss_cause
from kdn.put_job import PutJob
from kdn.results import Counters, Get, GetResult, MissCause, Put, PutResult
from kdn.shared_jobs import LeaseJob, Placed, PlacedGetJob
from kdn.slabs import SharedMemory
from kdn.widening import Widened, widen
from kdn.window_jobs import WindowPutJob
from kdn.wire import Limits

# Where memory is shared, up to this much still goes through the socket in one request.
INLINE_BYTES_MAX = 64 << 10
_GET_HEAD_BYTES = 16


class GetOperation(Operation[list[GetResult]]):
    """GET of any number of items, in as few requests as limits and credit allow."""

    def __init__(
        self,
        items: Sequence[Get],
        *,
        wait: bool,
        verify: bool,
        strict: bool,
        delivery: Delivery | None = None,
    ) -> None:
        for item in items:
            others = (item.buffer, item.ranges, item.part)
            if item.taker is not None and any(other is not None for other in others):
                raise FieldError("taker", "given", "None with a buffer, ranges or a part")
            if item.planes is not None and item.taker is None:
                raise FieldError("planes", "given", "None without a taker")
        self.entries = [
            GetEntry(
                item,
                bodies.encode_get_item(item),
                None if item.buffer is None else writable_view(item.buffer),
                GetResult(False, MissCause.NEVER_STORED),
            )
            for item in items
        ]
        self._wait = wait
        self._verify = verify
        self._strict = strict
        self._delivery = delivery or Delivery()
        self._widened: list[Widened] = []

    @property
    def is_adaptive(self) -> bool:
        """Whether the server chooses what is there in time."""
        return self._delivery.adapt is not None

    @property
    def expected_bytes(self) -> int:
        """How many bytes the call is to receive, as far as it is known."""
        return sum(entry.expected_bytes for entry in self.entries)

    def plan(
        self, limits: Limits, deadline: float, shared: SharedMemory | None = None
    ) -> list[Job]:
        # After a broken connection, what has arrived and was verified is not fetched again.
        missing = [entry for entry in self.entries if not entry.result.hit]
        # Parts of objects come raw, and would have whole ones come so too.
        batches = [
            batch
            for is_whole in (True, False)
            for batch in self._batches([e for e in missing if e.whole is is_whole], limits)
        ]
        return [
            self._job(batch, deadline)
            if shared is None or is_small(batch)
            else PlacedGetJob(
                batch, wait=self._wait, verify=self._verify, deadline=deadline, shared=shared,
                delivery=self._delivery,
            )
            for batch in batches
        ]

    def _job(self, batch: list[GetEntry], deadline: float) -> GetJob:
        return GetJob(
            batch, wait=self._wait, verify=self._verify, deadline=deadline, delivery=self._delivery
        )

    def _batches(self, entries: list[GetEntry], limits: Limits) -> list[list[GetEntry]]:
        batches: list[list[GetEntry]] = []
        rates_bytes = 0 if self._delivery.adapt is None else RATES_BYTES
        body_left = keys_left = credit_left = 0
        for entry in entries:
            size, expected = len(entry.encoded), entry.expected_bytes
            if not batches or size > body_left or keys_left == 0 or expected > credit_left:
                batches.append([])
                body_left = limits.body_bytes - _GET_HEAD_BYTES - rates_bytes
                keys_left, credit_left = limits.keys_per_request, limits.credit_bytes
            batches[-1].append(entry)
            body_left -= size
            keys_left -= 1
            credit_left -= expected
        return batches

    def follow_up(self, jobs: list[Job], deadline: float) -> list[Job]:
        """What was over the credit is asked for again, alone; and inline what cannot be mapped.

        Leases that are held in place use up a credit of their own, which inline does not know.
        """
        again: list[GetEntry] = []
        for job in jobs:
            if not isinstance(job, GetJob) or job.error is not None:
                continue
            in_place = isinstance(job, PlacedGetJob)
            if in_place or len(job.entries) > 1:
                over = MissCause.OVER_CREDIT
                again += [entry for entry in job.entries if entry.result.cause == over]
            if isinstance(job, PlacedGetJob):
                again += job.unplaced
        return [self._job([entry], deadline) for entry in again] + self._wider(jobs, deadline)

    def _wider(self, jobs: list[Job], deadline: float) -> list[Job]:
        """Asks for all of the objects of whose parts only coded ones are there.

        Parts always come raw, which hides their class: that of a whole object is told.
        """
        terms = self._delivery.terms
        if terms.exact or not terms.exact_parts or self._delivery.decoders is None:
            return []
        wider: list[Job] = []
        for job in jobs:
            if not isinstance(job, GetJob) or job.error is not None or job.entries[0].whole:
                continue
            causes = [entry.result.cause for entry in job.entries]
            if MissCause.INEXACT not in causes:
                continue
            # By a deadline all behind the first miss is left out, whatever it is.
            left = (MissCause.INEXACT, MissCause.RECOMPUTE)
            widened = widen([e for e, cause in zip(job.entries, causes) if cause in left])
            self._widened += widened
            wider.append(self._job([each.whole for each in widened], deadline))
        return wider

    def collect(self, jobs: list[Job]) -> list[GetResult]:
        for job in jobs:
            if job.error is None:
                continue
            if self._strict:
                raise job.error
            assert isinstance(job, GetJob)
            for entry in job.entries:
                entry.result.hit = False
                entry.result.cause = miss_cause(job.error)
        return [entry.result for entry in self.entries]

    def miss(self, error: KDNError) -> list[GetResult]:
        for entry in self.entries:
            if not entry.result.hit:
                entry.result.cause = miss_cause(error)
                entry.result.data = None
        return [entry.result for entry in self.entries]

    @property
    def decodings(self) -> list[Future[Any]]:
        """What `finish_decoding` waits for."""
        return [
            entry.decoding.future
            for entry in (*self.entries, *(each.whole for each in self._widened))
            if entry.result.hit and entry.decoding is not None and entry.decoding.future is not None
        ]

    def finish_decoding(self, deadline: float) -> None:
        """Waits for what came encoded, but not beyond the deadline (monotonic seconds).

        After it nobody writes to the callers' buffers.
        """
        for entry in self.entries:
            _finish(entry, deadline)
        widened, self._widened = self._widened, []
        for each in widened:
            decoding = each.whole.decoding
            _finish(each.whole, deadline)
            each.header = None if decoding is None else decoding.header
            each.fill()

    def count(self, counters: Counters) -> None:
        """Adds the outcome to a client's counters."""
        count_results([entry.result for entry in self.entries], counters)


def _finish(entry: GetEntry, deadline: float) -> None:
    """Waits until what came encoded is decoded, or gives it up."""
    decoding, entry.decoding = entry.decoding, None
    if decoding is None:
        return
    result = entry.result
    if not result.hit:
        decoding.settle()
        return
    result.cause = decoding.outcome(deadline)
    result.hit = result.cause is MissCause.NONE
    if result.hit:
        result.nbytes, result.object_checksum = result.object_bytes, decoding.checksum
    else:
        result.data = None


class ProfileOperation(Operation[GetResult]):
    """CODEC_PROFILE of one profile, by its hash."""

    def __init__(self, profile: bytes, *, strict: bool) -> None:
        self._profile = profile
        self._strict = strict
        self._result = GetResult(False, MissCause.NEVER_STORED)

    def plan(
        self, limits: Limits, deadline: float, shared: SharedMemory | None = None
    ) -> list[Job]:
        entry = GetEntry(Get(Key.of_profile(self._profile)), b"", None, self._result)
        return [ProfileJob(entry, self._profile, deadline)]

    def collect(self, jobs: list[Job]) -> GetResult:
        error = jobs[0].error
        if error is not None and self._strict:
            raise error
        if error is not None:
            return self.miss(error)
        return self._result

    def miss(self, error: KDNError) -> GetResult:
        return GetResult(False, miss_cause(error))


def is_small(entries: Sequence[GetEntry]) -> bool:
    """Whether what is asked for is known to be quicker copied than leased and given back."""
    sizes = [entry.expected_bytes for entry in entries]
    return all(sizes) and sum(sizes) <= INLINE_BYTES_MAX


def count_results(results: Sequence[GetResult], counters: Counters) -> None:
    """Adds the outcome of gets to a client's counters."""
    for result in results:
        if result.hit:
            counters.hits += 1
        else:
            counters.misses[result.cause] += 1


@dataclass(slots=True)
class Held:
    """Outcome of a get in place: a result per item, and where the hits lie; lease 0: none is held.

    `expires_at` is in seconds of the monotonic clock.
    """

    results: list[GetResult]
    placed: list[Placed] = field(default_factory=list)
    lease_id: int = 0
    lease_ms: int = 0
    expires_at: float = 0.0


class LeaseOperation(Operation[Held]):
    """GET in place of items whose bytes are to stay where they are, under one lease."""

    def __init__(
        self,
        items: Sequence[Get],
        *,
        lease_ms: int,
        wait: bool,
        verify: bool,
        exact: bool = False,
    ) -> None:
        if not items:
            raise FieldError("items", 0, "at least one")
        if any(item.buffer is not None for item in items):
            raise FieldError("buffer", "given", "None: bytes stay where they are")
        if any(item.taker is not None for item in items):
            raise FieldError("taker", "given", "None: bytes stay where they are")
        if not 0 <= lease_ms <= 0xFFFFFFFF:
            raise FieldError("lease_ms", lease_ms, "0 to 4294967295")
        self.entries = [
            GetEntry(
                item, bodies.encode_get_item(item), None, GetResult(False, MissCause.NEVER_STORED)
            )
            for item in items
        ]
        self._delivery = Delivery(Terms(exact=exact, exact_parts=exact))
        self._lease_ms = lease_ms
        self._wait = wait
        self._verify = verify

    def plan(
        self, limits: Limits, deadline: float, shared: SharedMemory | None = None
    ) -> list[Job]:
        if shared is None:
            raise LinkUnavailable("this link shares no memory with the server")
        if len(self.entries) > limits.keys_per_request:
            raise FieldError("items", len(self.entries), f"at most {limits.keys_per_request}")
        return [
            LeaseJob(
                self.entries, wait=self._wait, verify=self._verify, deadline=deadline,
                shared=shared, lease_ms=self._lease_ms, delivery=self._delivery,
            )
        ]

    def collect(self, jobs: list[Job]) -> Held:
        job = jobs[0]
        assert isinstance(job, LeaseJob)
        if job.error is not None:
            raise job.error
        for entry in job.unplaced:
            entry.result.cause = MissCause.UNREACHABLE
        return Held(
            [entry.result for entry in self.entries], job.placed, job.lease_id, job.lease_ms,
            job.expires_at,
        )

    def miss(self, error: KDNError) -> Held:
        for entry in self.entries:
            entry.result.hit = False
            entry.result.cause = miss_cause(error)
        return Held([entry.result for entry in self.entries])


class PutOperation(Operation[list[PutResult]]):
    """Stores of any number of items; each has an outcome of its own."""

    stores = True

    def __init__(self, items: Sequence[Put]) -> None:
        self._items = [(item, gathered_views(item.buffers)) for item in items]
        for item, views in self._items:
            bodies.encode_put_begin(item, sum(map(len, views)))

    def plan(
        self, limits: Limits, deadline: float, shared: SharedMemory | None = None
    ) -> list[Job]:
        window = None if shared is None else shared.window
        if window is None:
            return [PutJob(item, views, deadline) for item, views in self._items]
        return [WindowPutJob(item, views, deadline, window) for item, views in self._items]

    def collect(self, jobs: list[Job]) -> list[PutResult]:
        return [job.result for job in jobs if isinstance(job, PutJob)]

    def miss(self, error: KDNError) -> list[PutResult]:
        return [PutResult("failed", error) for _ in self._items]
