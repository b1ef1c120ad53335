"""The scheduler's side of the connector: what to load, what to store, when. No I/O, no vLLM."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kdn.engines.vllm.events import StoredEvents
from kdn.engines.vllm.lookups import Found, Lookup, Lookups
from kdn.engines.vllm.metadata import RequestSave, StepPlan, StepReport
from kdn.engines.vllm.requests import (
    Tracked,
    plan_chunks,
    plan_load,
    token_limit,
    wait_milliseconds,
)
from kdn.engines.vllm.stats import Counts

# A lookup that is about to be answered is given so long, once; then the scheduler goes on.
GRACE_SECONDS = 0.01
# An older answer is asked for again: its leases are over, what it found may be gone.
FRESH_SECONDS = 8.0


@dataclass
class _Unconfirmed:
    """A step whose forward needed loads: how many ranks have not said yet that they are over."""

    ranks: int
    requests: list[str]


class SchedulerSide:
    """Decides for each request, in the order in which vLLM's scheduler calls.

    `new_chain(request)` makes the chain of chunk hashes of a request, None if it cannot be named;
    `block_ids(request_id)` are its present block ids by KV cache group. `block_tokens` is the
    unit that vLLM counts cached tokens in.
    """

    def __init__(
        self,
        description: Any,
        lookups: Lookups,
        new_chain: Callable[[Any], Any | None],
        block_ids: Callable[[str], Sequence[Sequence[int]]],
        *,
        block_tokens: int,
        lookup_timeout: float = 0.5,
        loads: bool = True,
        saves: bool = True,
        layerwise: bool = False,
        prompt_only: bool = False,
        ranks: int = 1,
        counts: Counts | None = None,
        events: StoredEvents | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = counts or Counts()
        self._events = events or StoredEvents(False)
        self._description = description
        self._lookups = lookups
        self._new_chain = new_chain
        self._block_ids = block_ids
        self._block_tokens = block_tokens
        self._lookup_timeout = lookup_timeout
        self._loads = loads
        self._saves = saves
        self._layerwise = layerwise
        self._prompt_only = prompt_only
        self._ranks = ranks
        self._clock = clock
        self._tracked: dict[str, Tracked] = {}
        self._planned: dict[str, Tracked] = {}
        self._tails: list[RequestSave] = []
        self._step = 0
        self._unconfirmed: dict[int, _Unconfirmed] = {}

    # What vLLM asks

    def arrived(self, request: Any) -> None:
        """A request has come: its lookup starts, long before it is its turn."""
        chain = self._new_chain(request)
        if chain is None:
            self.counts.add("requests_unnamed")
            return
        tracked = Tracked(request, chain, wait_milliseconds(request))
        self._tracked[request.request_id] = tracked
        if self._loads and not getattr(request, "skip_reading_prefix_cache", False):
            self._ask(tracked)

    def matched_tokens(self, request: Any, computed_tokens: int) -> tuple[int | None, bool]:
        """Tokens that can be loaded behind those computed; None: ask again later."""
        tracked = self._tracked.get(request.request_id)
        if tracked is None or not self._loads:
            return 0, False
        tracked.matched = tracked.computed = 0
        if tracked.attempt == request.num_preemptions:
            return 0, False
        limit = token_limit(request.num_tokens, self._block_tokens)
        if limit <= computed_tokens or not tracked.refresh():
            return 0, False
        found = self._answer(tracked)
        if found is None:
            return None, False
        tokens = self._longest(tracked, found, limit)
        if tokens <= computed_tokens:
            return 0, False
        tracked.matched, tracked.local = tokens, computed_tokens
        return tokens - computed_tokens, not self._in_step(tracked)

    def allocated(
        self, request: Any, block_ids: Sequence[Sequence[int]], external_tokens: int
    ) -> None:
        """vLLM has given the request blocks, `external_tokens` of which are to be loaded."""
        tracked = self._tracked.get(request.request_id)
        if tracked is None or external_tokens <= 0 or tracked.matched == 0:
            return
        # vLLM may take fewer tokens than were offered, from the first on.
        first, end = tracked.local, min(tracked.local + external_tokens, tracked.matched)
        tracked.attempt = request.num_preemptions
        tracked.load = plan_load(
            tracked, self._description, block_ids, first, end, self._in_step(tracked)
        )
        self._planned[request.request_id] = tracked
        self.counts.add("load_requests")
        self.counts.add("load_tokens", external_tokens)

    def plan(self, output: Any) -> StepPlan:
        """The step's loads and saves; `output` is vLLM's SchedulerOutput."""
        self._step += 1
        idle = output.total_num_scheduled_tokens == 0
        plan = StepPlan(self._step, idle)
        for tracked in self._planned.values():
            if tracked.load is not None:
                plan.loads.append(tracked.load)
        self._planned.clear()
        if plan.layerwise:
            requests = [load.request_id for load in plan.layerwise]
            self._unconfirmed[self._step] = _Unconfirmed(self._ranks, requests)
        for request_id, computed in _computed_before(output):
            self._progress(request_id, computed + output.num_scheduled_tokens[request_id])
        # What a forward computes on top of KV that may yet turn out bad is not stored before it
        # is known to be good.
        if not self._unconfirmed:
            plan.saves += self._tails
            self._tails = []
            for request_id in output.num_scheduled_tokens:
                plan.saves += self._saves_of(request_id)
        return plan

    def reported(
        self,
        invalid_blocks: Iterable[int],
        failed: Iterable[str],
        received: Iterable[str],
        report: StepReport | None,
    ) -> None:
        """What the workers said of a step: blocks and requests that failed, loads that ended."""
        invalid = set(invalid_blocks)
        failed = set(failed)
        if invalid or failed:
            for tracked in self._tracked.values():
                self._check_load(tracked, invalid, failed)
        if invalid and self._layerwise:
            # They were computed in or behind a step whose loads were bad.
            self._tails = [RequestSave(tail.request_id, (), True) for tail in self._tails]
        for request_id in received:
            self._end_load(self._tracked.get(request_id))
        if report is not None:
            for step, ranks in report.steps.items():
                self._confirm(step, ranks)
            for chunk, objects in report.stored.items():
                self._events.stored(chunk, objects)

    def finished(self, request: Any, block_ids: Sequence[Sequence[int]]) -> bool:
        """The request is over; True: hold its blocks, chunks are still to be copied out."""
        tracked = self._tracked.pop(request.request_id, None)
        self._planned.pop(request.request_id, None)
        if tracked is None:
            return False
        self._end_load(tracked)
        # While a request is loaded, and after it lost its pages, nothing of it is computed.
        if not self._saves or tracked.computed == 0:
            return False
        # The last token was sampled; it has no KV.
        end = min(request.num_computed_tokens, request.num_tokens - 1)
        chunks = self._chunks(tracked, block_ids, end)
        if chunks:
            self._tails.append(RequestSave(request.request_id, chunks, report=True))
        return bool(chunks)

    def reset(self) -> None:
        """Requests under way get new chains: what was known of the old ones is forgotten."""
        for request_id, tracked in list(self._tracked.items()):
            self._end_load(tracked)
            chain = self._new_chain(tracked.request)
            if chain is None:
                del self._tracked[request_id]
                continue
            fresh = Tracked(tracked.request, chain, tracked.wait_ms, attempt=tracked.attempt)
            self._tracked[request_id] = fresh
        self._planned.clear()

    def close(self) -> None:
        """Ends the lookups; the server ends the leases with the connection."""
        self._lookups.close()

    def _in_step(self, tracked: Tracked) -> bool:
        """Whether the request's forward waits for its load, and not the request itself."""
        return self._layerwise and not tracked.wait_ms

    # Lookups

    def _ask(self, tracked: Tracked) -> None:
        self._drop_lookup(tracked)
        hashes = tracked.refresh()
        if hashes:
            tracked.lookup = self._lookups.ask(hashes)
            self.counts.add("lookups" if tracked.lookup is not None else "lookups_refused")

    def _answer(self, tracked: Tracked) -> Found | None:
        now = self._clock()
        lookup = tracked.lookup
        stale = lookup is not None and now - lookup.asked_at > FRESH_SECONDS
        if lookup is None or stale or lookup.chunks < len(tracked.hashes):
            self._ask(tracked)
            lookup = tracked.lookup
        if lookup is None:
            return Found([[] for _ in self._description.planes], [])
        if not lookup.waited:
            lookup.waited = True
            lookup.wait(min(GRACE_SECONDS, self._lookup_timeout))
        return self._take_answer(tracked, lookup)

    def _take_answer(self, tracked: Tracked, lookup: Lookup) -> Found | None:
        found = lookup.answer(self._clock(), self._lookup_timeout)
        if found is not None and not lookup.taken:
            lookup.taken = True
            tracked.found = found
            tracked.saved = max(tracked.saved, found.whole_chunks)
            self.counts.add(f"lookup_{found.cause.name.lower()}")
        return found

    def _longest(self, tracked: Tracked, found: Found, limit: int) -> int:
        if tracked.wait_ms:
            # All whole chunks are claimed: those that are not there are waited for.
            whole = len(tracked.hashes) * self._description.chunk_tokens
            tokens = min(whole, limit)
            if not any(any(row) for row in found.there):
                tracked.found = None
        else:
            tokens = self._description.longest_prefix(found.there, limit)
        return tokens // self._block_tokens * self._block_tokens

    def _drop_lookup(self, tracked: Tracked) -> None:
        if tracked.lookup is not None:
            tracked.lookup.drop(self._lookups.release)
            tracked.lookup = None

    # Loads that end

    def _check_load(self, tracked: Tracked, invalid: set[int], failed: set[str]) -> None:
        """Chunks that could not be loaded are computed, and then stored again."""
        load = tracked.load
        if load is None:
            return
        bad = [
            tracked.hashes.index(chunk.hash)
            for chunk in load.chunks
            if load.request_id in failed or invalid & _blocks_of(chunk)
        ]
        if bad:
            tracked.saved = min(tracked.saved, min(bad))
            self.counts.add("load_failed_requests")

    def _end_load(self, tracked: Tracked | None) -> None:
        if tracked is not None:
            tracked.load = None
            self._drop_lookup(tracked)

    def _confirm(self, step: int, ranks: int) -> None:
        """So many ranks have said how the loads of a step's forward went."""
        waiting = self._unconfirmed.get(step)
        if waiting is None:
            return
        waiting.ranks -= ranks
        if waiting.ranks <= 0:
            del self._unconfirmed[step]
            for request_id in waiting.requests:
                self._end_load(self._tracked.get(request_id))

    # Saves

    def _progress(self, request_id: str, tokens: int) -> None:
        tracked = self._tracked.get(request_id)
        if tracked is not None:
            # Tokens that are drafts, or sampled but not yet known here, are not counted.
            tracked.computed = min(tokens, tracked.request.num_tokens)

    def _saves_of(self, request_id: str) -> list[RequestSave]:
        tracked = self._tracked.get(request_id)
        if tracked is None or not self._saves:
            return []
        if tracked.lookup is not None:
            # The engine's own cache had it all, so nobody asked; what is there is not sent again.
            self._take_answer(tracked, tracked.lookup)
        if tracked.computed // self._description.chunk_tokens <= tracked.saved:
            return []
        chunks = self._chunks(tracked, self._block_ids(request_id), tracked.computed)
        return [RequestSave(request_id, chunks)] if chunks else []

    def _chunks(
        self, tracked: Tracked, block_ids: Sequence[Sequence[int]], end: int
    ) -> tuple[Any, ...]:
        if self._prompt_only:
            end = min(end, tracked.request.num_prompt_tokens)
        tracked.refresh()
        chunks = plan_chunks(tracked, self._description, block_ids, end)
        for chunk in chunks if self._events.wanted else ():
            self._announce(tracked.request, chunk)
        return chunks

    def _announce(self, request: Any, chunk: Any) -> None:
        last = chunk.first_token + self._description.chunk_tokens
        tokens = request.all_token_ids[chunk.first_token : last]
        lora = getattr(request, "lora_request", None)
        planes = zip(self._description.planes, chunk.blocks, strict=True)
        objects = sum(len(plane.grids[0]) for plane, blocks in planes if blocks)
        name = None if lora is None else lora.lora_name
        self._events.planned(chunk.hash, chunk.parent, tokens, name, objects)


def _blocks_of(chunk: Any) -> set[int]:
    return {block for blocks in chunk.blocks for ids in blocks for block in ids}


def _computed_before(output: Any) -> Iterable[tuple[str, int]]:
    """Each scheduled request with its computed tokens before the step."""
    for new in output.scheduled_new_reqs:
        yield new.req_id, new.num_computed_tokens
    cached = output.scheduled_cached_reqs
    yield from zip(cached.req_ids, cached.num_computed_tokens, strict=True)
