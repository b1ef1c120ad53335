"""A worker's side of the connector: carries out the scheduler's plan on this rank's pages."""

from __future__ import annotations

import logging
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kdn.engines.vllm.loads import LayerwiseLoad, Outcome, Source, load_whole
from kdn.engines.vllm.metadata import ChunkSave, RequestLoad, StepPlan, StepReport
from kdn.engines.vllm.saves import SaveItem, SaveQueue

# Loads that wait for another engine's stores hold a connection each; they have so many.
WAITERS = 16
# A step without a forward gives loads under way so long to end, instead of asking at once again.
IDLE_SECONDS = 0.002
logger = logging.getLogger("vllm.kdn")


@dataclass
class Results:
    """What happened since the last step, in the terms of vLLM's connector interface."""

    sent: set[str] = field(default_factory=set)
    received: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    bad_blocks: set[int] = field(default_factory=set)


@dataclass
class _Packing:
    """One object of a step: its buffer, and which layers were copied into it."""

    plane: Any
    blocks: Any
    item: SaveItem
    packed: set[int] = field(default_factory=set)
    good: bool = True


class WorkerSide:
    """Loads and saves of one rank.

    `by_blocks`: vLLM takes failures as block ids; otherwise a request fails as a whole.
    `waiting` is a client for loads that wait, as its calls hold connections for long.
    """

    def __init__(
        self, source: Source, waiting: Source, queue: SaveQueue, streams: int, *,
        by_blocks: bool, note_stored: bool = False,
    ) -> None:
        self._source = source
        self._waiting = waiting
        self._queue = queue
        self._by_blocks = by_blocks
        self._note_stored = note_stored
        self._pool = ThreadPoolExecutor(max(2, streams), "kdn-load")
        self._waiters = ThreadPoolExecutor(WAITERS, "kdn-wait")
        self._copier = ThreadPoolExecutor(1, "kdn-copy")
        self._loads: dict[str, Future[Outcome]] = {}
        self._layerwise: list[LayerwiseLoad] = []
        self._packings: list[_Packing] | None = None
        self._copies: list[Future[None]] = []
        self._results = Results()
        self._report = StepReport()

    # The step, in the order of vLLM's calls

    def start_loads(self, plan: StepPlan) -> None:
        """Starts the step's loads, and returns at once."""
        now = time.monotonic()
        for load in plan.loads:
            if load.layerwise:
                one = LayerwiseLoad(self._source, load)
                self._layerwise.append(one)
                try:
                    self._pool.submit(one.run)
                except RuntimeError:
                    one.give_up()
            else:
                self._loads[load.request_id] = self._start(load, now)

    def _start(self, load: RequestLoad, now: float) -> Future[Outcome]:
        source, pool = (
            (self._waiting, self._waiters) if load.wait_ms else (self._source, self._pool)
        )
        try:
            return pool.submit(load_whole, source, load, now)
        except RuntimeError:  # the pool is shut down, or there is no thread to be had
            failed: Future[Outcome] = Future()
            failed.set_result(Outcome(load.request_id, load.block_ids()))
            return failed

    def wait_layer(self, name: str) -> None:
        """Returns once the layer's pages that this step's forward reads are written."""
        for load in self._layerwise:
            load.wait_layer(name)

    def save_layer(self, plan: StepPlan, name: str) -> None:
        """Starts to copy a layer's pages out, while the forward goes on with the next layer."""
        if self._packings is None:
            self._packings = self._open(plan)
        for packing in self._packings:
            if name in packing.plane.layer_names:
                index = packing.plane.layer_names.index(name)
                self._copies.append(self._copier.submit(self._pack, packing, index))

    def finish(self, plan: StepPlan) -> None:
        """Ends the step: the loads that its forward needed, and the copies of its pages."""
        self._results.sent |= {save.request_id for save in plan.saves if save.report}
        self._finish_layerwise(plan)
        started = time.monotonic()
        if self._packings is None:
            self._packings = self._open(plan)
        packings, self._packings = self._packings, None
        copies, self._copies = self._copies, []
        wait(copies)
        for packing in packings:
            self._pack(packing, None)
            if not packing.good:
                self._queue.give_back(packing.item.data)
        self._queue.put([packing.item for packing in packings if packing.good])
        if packings:
            self._source.counts.add("save_microseconds", int((time.monotonic() - started) * 1e6))
        if plan.idle and self._loads:
            wait(list(self._loads.values()), IDLE_SECONDS, "FIRST_COMPLETED")

    def results(self) -> Results:
        """What ended since the last call; each load is reported exactly once."""
        results, self._results = self._results, Results()
        for request_id, future in list(self._loads.items()):
            if not future.done():
                continue
            del self._loads[request_id]
            results.received.add(request_id)
            bad = future.result().bad_blocks
            if bad and self._by_blocks:
                results.bad_blocks |= bad
            elif bad:
                results.failed.add(request_id)
        return results

    def report(self) -> StepReport | None:
        """What the scheduler's side is to know beside that; None if it is nothing."""
        if self._note_stored:
            self._report.stored = dict(Counter(self._queue.take_stored()))
        if not self._report.steps and not self._report.stored:
            return None
        report, self._report = self._report, StepReport()
        return report

    def close(self, timeout: float) -> None:
        """Ends the threads; stores what was copied, for at most `timeout` seconds."""
        for pool in (self._pool, self._waiters, self._copier):
            pool.shutdown(wait=False, cancel_futures=True)
        self._queue.close(timeout)

    # Parts of a step

    def _finish_layerwise(self, plan: StepPlan) -> None:
        loads, self._layerwise = self._layerwise, []
        for load in loads:
            self._results.bad_blocks |= load.outcome().bad_blocks
        if plan.layerwise:
            self._report.steps[plan.step] = 1

    def _open(self, plan: StepPlan) -> list[_Packing]:
        """Borrows a buffer for each object of the step; what finds no room is dropped."""
        packings: list[_Packing] = []
        for save in plan.saves:
            for chunk in save.chunks:
                for plane, blocks in zip(
                    self._source.description.planes, chunk.blocks, strict=True
                ):
                    if not blocks or not plane.writes:
                        continue
                    data = self._queue.borrow(plane.chunk_bytes)
                    if data is not None:
                        packings.append(_Packing(plane, blocks, _item(plane, chunk, data)))
        return packings

    def _pack(self, packing: _Packing, layer: int | None) -> None:
        """Copies one layer, or all that were not copied yet; trouble drops the object."""
        plane, data = packing.plane, packing.item.data
        every = range(len(plane.layer_names))
        rest = every if layer is None else (layer,)
        try:
            if layer is None and not packing.packed:
                self._source.pages.pack(plane.index, packing.blocks, data)
                return
            for index in rest:
                # A forward in several parts calls more than once for a layer: the last counts.
                if layer is None and index in packing.packed:
                    continue
                packing.packed.add(index)
                offset, size = plane.layer_range(index)
                part, one = data[offset : offset + size], range(index, index + 1)
                self._source.pages.pack(plane.index, packing.blocks, part, one)
        except Exception as error:  # noqa: BLE001: a chunk that is not stored is a later miss
            packing.good = False
            self._source.counts.add("save_failed_objects")
            logger.warning("KDN: copying a chunk out failed: %r", error)


class RefusingWorker:
    """Stands where a rank cannot work with its pages: every load fails, nothing is stored.

    The scheduler's side may not know of it, and each load that it planned must come to an end.
    """

    def __init__(self) -> None:
        self._results = Results()
        self._steps: dict[int, int] = {}

    def start_loads(self, plan: StepPlan) -> None:
        """Fails the loads: in blocks where a forward needs them, else by request."""
        for load in plan.loads:
            if load.layerwise:
                self._results.bad_blocks |= load.block_ids()
                self._steps[plan.step] = 1
            else:
                self._results.received.add(load.request_id)
                self._results.failed.add(load.request_id)

    def wait_layer(self, name: str) -> None:
        """Nothing to wait for."""

    def save_layer(self, plan: StepPlan, name: str) -> None:
        """Nothing to copy."""

    def finish(self, plan: StepPlan) -> None:
        """Lets go of pages that are held to be copied."""
        self._results.sent |= {save.request_id for save in plan.saves if save.report}

    def results(self) -> Results:
        """What failed since the last call."""
        results, self._results = self._results, Results()
        return results

    def report(self) -> StepReport | None:
        """The steps whose loads failed."""
        steps, self._steps = self._steps, {}
        return StepReport(1, steps) if steps else None

    def close(self, timeout: float) -> None:
        """Nothing to end."""


def _item(plane: Any, chunk: ChunkSave, data: Any) -> SaveItem:
    return SaveItem(
        key=plane.key(chunk.hash),
        layout=plane.layout,
        chunk_hash=chunk.hash,
        data=data,
        parent=chunk.parent,
        first_token=chunk.first_token,
        token_count=plane.chunk_tokens,
    )


def close_quietly(client: Any) -> None:
    """Closes a client at the end, when nobody is left to be told of trouble."""
    with suppress(Exception):
        client.close()
