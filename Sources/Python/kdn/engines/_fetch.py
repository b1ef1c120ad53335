"""Fetches the longest usable prefix of a prompt, layer by layer, and verifies every chunk."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from kdn.engines._memory import empty_bytes
from kdn.engines._placing import Placing, PlaneTensors
from kdn.engines._planes import longest_prefix
from kdn.errors import CorruptPayload, DeadlineExceeded, KDNError
from kdn.results import Get, GetResult, MissCause, ObjectVerifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdn.engines._measure import LayerFacts
    from kdn.engines._planes import Description, Plane

STEP_BYTES = 4 << 20
# What comes encoded takes a few times less on its way.
STAGED_STEP_BYTES = 16 << 20
STEPS_IN_FLIGHT = 2
# Where chunks are put to their places as soon as they are decoded, a step is kept only if it comes
# raw; where a deadline is to be met, the server chooses among all of its chunks. So it is as large
# as memory should hold, and the next one follows it: decoding is at work all the time, and would
# only be held up by the bytes of two.
LARGE_STEP_BYTES = 256 << 20
# What is left of a deadline that has passed: whatever is there first, then.
LEAST_SECONDS = 0.001

Bytes = npt.NDArray[np.uint8]
# What came of each chunk that was asked for, and its bytes unless they were put to their place.
Fetched = dict[int, tuple[GetResult, Union[Bytes, None]]]


@dataclass(frozen=True)
class Step:
    """One request: some neighbouring layers, the same byte range in each of some chunks.

    `whole`: all of the chunks, which the server may then send encoded.
    """

    layers: tuple[LayerFacts, ...]
    offset: int
    length: int
    chunks: range
    whole: bool = False


@dataclass(frozen=True)
class Hurry:
    """By when (monotonic seconds) all is to be there, and hints: see Client.get_into."""

    due: float
    bandwidth: float | None = None
    prefill_rate: float | None = None

    def options(self) -> dict[str, float | None]:
        """What a GET says of it now."""
        return {
            "deadline": max(LEAST_SECONDS, self.due - time.monotonic()),
            "bandwidth": self.bandwidth,
            "prefill_rate": self.prefill_rate,
        }


class Prefix:
    """One retrieve: finds out what is there, fetches it, and shortens the prefix on any doubt.

    `total_tokens` is the prompt's length; at least its last token is left to the engine, which
    needs that token's logits. In a `hurry` the prefix is as long as the server can bring in time.
    """

    def __init__(
        self,
        client: Any,
        description: Description,
        hashes: Sequence[bytes],
        chunk_tokens: int,
        total_tokens: int,
        timeout: float,
        hurry: Hurry | None = None,
    ) -> None:
        self.client = client
        self.description = description
        self.hashes = hashes
        self.chunk_tokens = chunk_tokens
        self.total_tokens = total_tokens
        self.cause = MissCause.NEVER_STORED
        self.bytes = 0
        self._hurry = hurry
        # Only whole objects come encoded.
        self._encoded = getattr(client, "fidelity", None) is not None
        self._deadline = time.monotonic() + timeout
        self._there: dict[Plane, list[bool]] = {}

    def fetch(self) -> tuple[int, dict[Plane, PlaneTensors]]:
        """The number of tokens that hit and their KV; (0, {}) is a miss, `cause` says why.

        Raises the client's errors.
        """
        if not self.hashes:
            return 0, {}
        with ExitStack() as leases:
            self._find(leases)
            tensors: dict[Plane, PlaneTensors] = {}
            for plane in self.description.full:
                tokens = self._longest()
                tensors[plane] = self._fetch_plane(plane, tokens)
            # Which chunks a sliding layer needs depends on where the prefix ends: begin again
            # whenever a chunk turns out bad. What is there only shrinks, so this ends.
            pending = list(self.description.sliding)
            tokens = self._longest()
            while pending and tokens:
                plane = pending.pop()
                tensors[plane] = self._fetch_plane(plane, tokens)
                if self._longest() != tokens:
                    tokens = self._longest()
                    pending = list(self.description.sliding)
        return (tokens, tensors) if tokens else (0, {})

    def _remaining(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceeded("the retrieve's time is up")
        return remaining

    def _find(self, leases: ExitStack) -> None:
        """Asks which chunks are there; leases the full layers' so that none is evicted."""
        limit = len(self.hashes)
        for plane in self.description.full:
            match = self.client.match(
                plane.layout_id,
                list(self.hashes[:limit]),
                [plane.part],
                lease_ms=0,
                timeout=self._remaining(),
            )
            if match.lease is not None:
                leases.callback(_release, match.lease)
            self._note(match.cause)
            limit = match.chunks
            self._there[plane] = [chunk < limit for chunk in range(len(self.hashes))]
        for plane in self.description.sliding:
            keys = [plane.key(h) for h in self.hashes[:limit]]
            found = self.client.exists(keys, timeout=self._remaining()) if keys else []
            self._there[plane] = found + [False] * (len(self.hashes) - limit)

    def _note(self, cause: MissCause) -> None:
        if cause is not MissCause.NONE:
            self.cause = cause

    def _longest(self) -> int:
        return longest_prefix(self._there, self.chunk_tokens, self.total_tokens - 1)

    def _fetch_plane(self, plane: Plane, tokens: int) -> PlaneTensors:
        """Fetches what the plane needs for a prefix of `tokens`; marks chunks that fail."""
        chunks = plane.chunks_needed(tokens, self.chunk_tokens)
        first = plane.first_token_needed(tokens)
        placing = Placing(plane, first, tokens, self.chunk_tokens)
        verifiers = {chunk: ObjectVerifier() for chunk in chunks}
        there = self._there[plane]
        placed = set()
        for step, fetched in self._receive(plane, chunks, placing):
            for chunk, (result, piece) in fetched.items():
                if piece is None:
                    # Who decoded it has checked it, and put it to its place.
                    self.bytes += result.wire_bytes
                    placed.add(chunk)
                elif there[chunk] and self._verified(verifiers[chunk], piece, result, step):
                    placing.put(chunk, step.layers, piece)
                else:
                    there[chunk] = False
            if plane.window and not all(there[chunk] for chunk in chunks):
                return placing.tensors
        for chunk, verifier in verifiers.items():
            if verifier.complete and not verifier.matches():
                self.cause = MissCause.CORRUPT
            whole = chunk in placed or verifier.complete and verifier.matches()
            there[chunk] = there[chunk] and whole
        return placing.tensors

    def _verified(
        self, verifier: ObjectVerifier, piece: Bytes, result: GetResult, step: Step
    ) -> bool:
        if not result.hit or not result.nbytes == len(piece) == step.length:
            self._note(result.cause if not result.hit else MissCause.CORRUPT)
            return False
        try:
            verifier.feed(piece, result)
        except CorruptPayload:
            self.cause = MissCause.CORRUPT
            return False
        self.bytes += result.wire_bytes or result.nbytes
        return True

    def _receive(
        self, plane: Plane, chunks: range, placing: Placing
    ) -> Iterator[tuple[Step, Fetched]]:
        """Yields what came of each step while the next steps are under way."""
        staged = not self._encoded or not placing.is_here
        steps = deque(self._steps(plane, chunks, staged))
        # In a hurry each is promised all of the connection.
        in_flight = STEPS_IN_FLIGHT if staged and self._hurry is None else 1
        buffers = min(len(steps), in_flight + 1) if staged else 0
        size = max((step.length * len(step.chunks) for step in steps), default=0)
        free: deque[Bytes | None] = deque(empty_bytes(size).numpy() for _ in range(buffers))
        pending: deque[tuple[Step, Bytes | None, Future[Fetched]]] = deque()
        with ThreadPoolExecutor(in_flight) as pool:
            while steps or pending:
                while steps and len(pending) < in_flight:
                    step, staging = steps.popleft(), free.popleft() if free else None
                    future = pool.submit(self._request, plane, step, staging, placing)
                    pending.append((step, staging, future))
                # Made while bytes are on their way.
                _ = placing.tensors
                step, staging, future = pending.popleft()
                yield step, future.result()
                free.append(staging)

    def _steps(self, plane: Plane, chunks: range, staged: bool) -> Iterator[Step]:
        if self._hurry is not None:
            return _whole_steps(plane, chunks, self.chunk_tokens, LARGE_STEP_BYTES)
        if self._encoded:
            size = STAGED_STEP_BYTES if staged else LARGE_STEP_BYTES
            return _whole_steps(plane, chunks, self.chunk_tokens, size)
        return _steps(plane, chunks, self.chunk_tokens)

    def _request(
        self, plane: Plane, step: Step, staging: Bytes | None, placing: Placing
    ) -> Fetched:
        """Receives one step into `staging`, or has it put where it goes as soon as it is decoded.

        Chunks that failed before are not asked for.
        """
        there = self._there[plane]
        wanted = [
            chunk for chunk in step.chunks if all(there[step.chunks.start : chunk + 1])
        ]
        if not wanted:
            return {}
        ranges = None if step.whole else [(step.offset, step.length)]
        pieces: dict[int, Bytes] = {}
        gets = []
        for row, chunk in enumerate(wanted):
            get = Get(plane.key(self.hashes[chunk]), ranges=ranges)
            if staging is None:
                get.taker, get.size = partial(self._take, placing, chunk, step), step.length
                get.planes = partial(placing.rooms, chunk)
            else:
                pieces[chunk] = staging[row * step.length : (row + 1) * step.length]
                get.buffer = pieces[chunk]
            gets.append(get)
        options = {} if self._hurry is None else self._hurry.options()
        results = self.client.get_into(gets, timeout=self._remaining(), **options)
        fetched: Fetched = {}
        for chunk, result in zip(wanted, results, strict=True):
            piece = pieces.get(chunk)
            if staging is None and not (result.hit and result.codec):
                piece = np.frombuffer(result.data or b"", np.uint8)
            fetched[chunk] = result, piece
        return fetched

    @staticmethod
    def _take(placing: Placing, chunk: int, step: Step, data: memoryview) -> None:
        """Puts a chunk that was decoded and checked to its place; in the thread that decoded it.

        No bytes: it was decoded there.
        """
        if not data:
            return
        if len(data) != step.length:
            raise CorruptPayload(f"a chunk of {len(data)} bytes instead of {step.length}")
        placing.put(chunk, step.layers, np.frombuffer(data, np.uint8))


def _release(lease: Any) -> None:
    """Gives a lease back; it ends by itself soon, so trouble here does not spoil a hit."""
    with suppress(KDNError):
        lease.release()


def _steps(plane: Plane, chunks: range, chunk_tokens: int) -> Iterator[Step]:
    """Requests of about STEP_BYTES each, layers in payload order for every chunk."""
    rows = max(1, len(chunks))
    offset = 0
    batch: list[LayerFacts] = []
    length = 0
    for facts in plane.layers:
        size = plane.layer_bytes(facts, chunk_tokens)
        if batch and (length + size) * rows > STEP_BYTES:
            yield from _split(tuple(batch), offset, length, chunks)
            offset += length
            batch, length = [], 0
        batch.append(facts)
        length += size
    yield from _split(tuple(batch), offset, length, chunks)


def _whole_steps(
    plane: Plane, chunks: range, chunk_tokens: int, step_bytes: int
) -> Iterator[Step]:
    """Requests of whole chunks, about `step_bytes` each."""
    length = plane.chunk_bytes(chunk_tokens)
    count = max(1, step_bytes // length)
    for start in range(chunks.start, chunks.stop, count):
        some = range(start, min(start + count, chunks.stop))
        yield Step(plane.layers, 0, length, some, whole=True)


def _split(
    layers: tuple[LayerFacts, ...], offset: int, length: int, chunks: range
) -> Iterator[Step]:
    """Splits a step by chunks where even one layer of all chunks is too much for a request."""
    count = max(1, 4 * STEP_BYTES // length)
    for start in range(chunks.start, chunks.stop, count):
        yield Step(layers, offset, length, range(start, min(start + count, chunks.stop)))
