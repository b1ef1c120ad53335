"""Loads of one request: objects straight into staging, verified, then unpacked into pages."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from kdn.engines.vllm.cover import cover
from kdn.engines.vllm.metadata import ChunkLoad, RequestLoad, real_blocks
from kdn.engines.vllm.stats import Counts
from kdn.errors import CorruptPayload
from kdn.results import GetResult, MissCause, ObjectVerifier

STAGING_BYTES = 32 << 20
STEP_BYTES = 4 << 20
# With a deadline the server chooses among the chunks of a request.
CHOICE_BYTES = 256 << 20
LEAST_SECONDS = 0.001
logger = logging.getLogger("vllm.kdn")


@dataclass(frozen=True)
class Source:
    """Where loads come from and go to: a client, the model's description, this rank's pages.

    With `deadline` (seconds from a load's start) what cannot be there by then is computed instead.
    """

    client: Any
    description: Any
    pages: Any
    counts: Counts
    timeout: float
    deadline: float | None = None
    prefill_rate: float | None = None

    def register(self) -> None:
        """Makes the layouts known to the server, if that was not done before."""
        for plane in self.description.planes:
            self.client.register_layout(plane.layout, timeout=self.timeout)


@dataclass
class Piece:
    """One plane of one chunk, the bytes it comes in, and the requests that bring them."""

    number: int
    plane: Any
    blocks: Any
    out: numpy.ndarray[Any, Any]
    cover: Any


@dataclass
class Outcome:
    """How a load ended. `bad_blocks` were not written, or not with what was stored."""

    request_id: str
    bad_blocks: set[int] = field(default_factory=set)


def load_whole(source: Source, load: RequestLoad, started: float) -> Outcome:
    """Loads whole objects, chunk by chunk; ends at the first chunk that fails.

    Never raises: whatever is wrong makes the blocks of that chunk and of those behind it bad.
    """
    deadline = started + (load.wait_ms / 1000 if load.wait_ms else source.timeout)
    good = 0
    try:
        source.register()
        for batch in _batches(source, load):
            good = _fetch(source, load, batch, deadline, _due(source, load, started))
            if good <= batch[-1].number:
                break
        else:
            good = len(load.chunks)
    except Exception as error:  # noqa: BLE001: any doubt is a load error, never the engine's end
        logger.warning("KDN: loading for %s failed: %r", load.request_id, error)
    _count_end(source, load, good, started)
    return Outcome(load.request_id, _blocks_behind(load.chunks, good))


def _due(source: Source, load: RequestLoad, started: float) -> float | None:
    """By when all is wanted; a load that waits for another engine's stores has no such time."""
    return None if source.deadline is None or load.wait_ms else started + source.deadline


def _blocks_behind(chunks: Sequence[ChunkLoad], good: int) -> set[int]:
    return {b for chunk in chunks[good:] for blocks in chunk.blocks for b in real_blocks(blocks)}


def _count_end(source: Source, load: RequestLoad, good: int, started: float) -> None:
    if good < len(load.chunks):
        source.counts.add("load_failed_objects")
        behind = sum(bool(blocks) for chunk in load.chunks[good:] for blocks in chunk.blocks)
        source.counts.add("load_skipped_objects", behind - 1)
    source.counts.add("load_microseconds", int((time.monotonic() - started) * 1e6))


_local = threading.local()


def _staging(size: int) -> numpy.ndarray[Any, Any]:
    """At least `size` bytes that this thread keeps."""
    kept = getattr(_local, "staging", None)
    if kept is None or kept.nbytes < size:
        kept = _local.staging = numpy.empty(size, numpy.uint8)
    return kept


def _batches(source: Source, load: RequestLoad) -> Iterator[list[Piece]]:
    """Pieces in the order of their chunks, as many as fit into staging at a time.

    Chunks that may still be on their way come one by one, so that each is used once it is there.
    """
    planes = source.description.planes
    most = STAGING_BYTES if source.deadline is None or load.wait_ms else CHOICE_BYTES
    batch: list[tuple[int, Any, Any]] = []
    size = 0
    for number, chunk in enumerate(load.chunks):
        for plane, blocks in zip(planes, chunk.blocks, strict=True):
            if not blocks:
                continue
            one = load.wait_ms and batch and batch[-1][0] != number
            if batch and (one or size + plane.chunk_bytes > most):
                yield _pieces(load, batch, size)
                batch, size = [], 0
            batch.append((number, plane, blocks))
            size += plane.chunk_bytes
    if batch:
        yield _pieces(load, batch, size)


def _pieces(load: RequestLoad, batch: list[tuple[int, Any, Any]], size: int) -> list[Piece]:
    staging = _staging(size)
    pieces: list[Piece] = []
    offset = 0
    for number, plane, blocks in batch:
        out = staging[offset : offset + plane.chunk_bytes]
        offset += plane.chunk_bytes
        grid = plane.grids[load.grids[plane.index]]
        pieces.append(
            Piece(number, plane, blocks, out, cover(plane, grid, load.chunks[number].hash, out))
        )
    return pieces


def _fetch(
    source: Source, load: RequestLoad, batch: list[Piece], deadline: float, due: float | None
) -> int:
    """Receives a batch and unpacks what is good; returns the first chunk that is not."""
    now = time.monotonic()
    remaining = deadline - now
    if remaining <= 0:
        return batch[0].number
    options: dict[str, float | None] = {}
    if due is not None:
        options = {"deadline": max(LEAST_SECONDS, due - now), "prefill_rate": source.prefill_rate}
    gets = [get for piece in batch for get in piece.cover.gets]
    wait = load.wait_ms > 0
    results = iter(source.client.get_into(gets, wait=wait, timeout=remaining, **options))
    for piece in batch:
        mine = [next(results) for _ in piece.cover.gets]
        if not _all_there(piece.cover.gets, mine):
            chosen = any(result.cause is MissCause.RECOMPUTE for result in mine)
            source.counts.add("load_recomputed_requests", int(chosen))
            return piece.number
        piece.cover.finish()
        source.pages.unpack(piece.plane.index, piece.blocks, piece.out)
        source.counts.add("load_objects")
        source.counts.add("load_bytes", sum(result.nbytes for result in mine))
    return batch[-1].number + 1


def _all_there(gets: Sequence[Any], results: Sequence[GetResult]) -> bool:
    """Whether each came in full; the client has checked the bytes against their checksums."""
    return all(
        result.hit and result.nbytes == memoryview(get.buffer).nbytes
        for get, result in zip(gets, results, strict=True)
    )


class LayerwiseLoad:
    """One request's load, layers in the order of the forward, which waits for each.

    A page may be read before the last byte of its object was verified: the step's end waits for
    that, and the engine throws away what a step computed from bad blocks.
    """

    def __init__(self, source: Source, load: RequestLoad) -> None:
        self.request_id = load.request_id
        self._source = source
        self._load = load
        self._good = len(load.chunks)
        names = [name for plane in source.description.planes for name in plane.layer_names]
        self._ready = {name: threading.Event() for name in names}
        self._over = threading.Event()

    def run(self) -> None:
        """Fetches everything; to be called once, in a thread of its own."""
        started = time.monotonic()
        try:
            self._source.register()
            for plane in self._source.description.planes:
                self._load_plane(plane, started + self._source.timeout)
        except Exception as error:  # noqa: BLE001: any doubt is a load error
            logger.warning("KDN: loading for %s failed: %r", self.request_id, error)
            self._good = 0
        finally:
            for event in self._ready.values():
                event.set()
            _count_end(self._source, self._load, self._good, started)
            self._over.set()

    def give_up(self) -> None:
        """Ends the load without having tried: all of its blocks are bad."""
        self._good = 0
        for event in (*self._ready.values(), self._over):
            event.set()

    def wait_layer(self, name: str) -> None:
        """Returns once the layer's pages are written, or are known to be bad."""
        event = self._ready.get(name)
        if event is not None and not event.wait(self._source.timeout * 2):
            self._good = 0

    def outcome(self) -> Outcome:
        """Waits for the end, which the load's own deadline bounds."""
        if not self._over.wait(self._source.timeout * 2):
            return Outcome(self.request_id, self._load.block_ids())
        return Outcome(self.request_id, _blocks_behind(self._load.chunks, self._good))

    def _load_plane(self, plane: Any, deadline: float) -> None:
        numbers = [n for n, chunk in enumerate(self._load.chunks) if chunk.blocks[plane.index]]
        verifiers = {number: ObjectVerifier() for number in numbers}
        for layers in _layer_steps(plane, len(numbers)):
            size = plane.layer_range(layers.start, len(layers))[1]
            count = max(1, STAGING_BYTES // size)
            for start in range(0, len(numbers), count):
                some = [n for n in numbers[start : start + count] if n < self._good]
                self._load_layers(plane, layers, some, verifiers, deadline)
            for index in layers:
                self._ready[plane.layer_names[index]].set()
        self._check(plane, verifiers)

    def _check(self, plane: Any, verifiers: dict[int, ObjectVerifier]) -> None:
        own = self._load.grids[plane.index] == 0
        for number, verifier in verifiers.items():
            if number >= self._good:
                continue
            if own and not (verifier.complete and verifier.matches()):
                self._good = number
                continue
            self._source.counts.add("load_objects")
            self._source.counts.add("load_bytes", plane.chunk_bytes)

    def _load_layers(
        self,
        plane: Any,
        layers: range,
        numbers: list[int],
        verifiers: dict[int, ObjectVerifier],
        deadline: float,
    ) -> None:
        remaining = deadline - time.monotonic()
        if not numbers or remaining <= 0:
            self._good = min([self._good, *numbers])
            return
        size = plane.layer_range(layers.start, len(layers))[1]
        staging = _staging(size * len(numbers))
        grid = plane.grids[self._load.grids[plane.index]]
        rows = [staging[i * size : (i + 1) * size] for i in range(len(numbers))]
        covers = [
            cover(plane, grid, self._load.chunks[number].hash, row, layers)
            for number, row in zip(numbers, rows, strict=True)
        ]
        gets = [get for one in covers for get in one.gets]
        results = iter(self._source.client.get_into(gets, timeout=remaining))
        for number, row, one in zip(numbers, rows, covers, strict=True):
            mine = [next(results) for _ in one.gets]
            if not _all_there(one.gets, mine) or not _fed(verifiers[number], row, mine):
                self._good = min(self._good, number)
                return
            one.finish()
            blocks = self._load.chunks[number].blocks[plane.index]
            self._source.pages.unpack(plane.index, blocks, row, layers)


def _fed(verifier: ObjectVerifier, row: Any, results: list[GetResult]) -> bool:
    """Adds a piece to its object's checksum, where the object comes as its writer wrote it."""
    if len(results) != 1:
        return True
    try:
        verifier.feed(row, results[0])
    except CorruptPayload:
        return False
    return True


def _layer_steps(plane: Any, chunks: int) -> Iterator[range]:
    """Neighbouring layers, so many that a request is about STEP_BYTES."""
    total = len(plane.layer_names)
    one = plane.layer_range(0)[1] * max(1, chunks)
    count = max(1, STEP_BYTES // max(1, one))
    for start in range(0, total, count):
        yield range(start, min(start + count, total))


