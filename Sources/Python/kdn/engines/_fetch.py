"""Fetches the longest usable prefix of a prompt, layer by layer, and verifies every chunk."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from kdn.engines._copy import copy
from kdn.engines._planes import longest_prefix
from kdn.errors import CorruptPayload, DeadlineExceeded, KDNError
from kdn.results import Get, GetResult, MissCause, ObjectVerifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdn.engines._measure import LayerFacts
    from kdn.engines._planes import Description, Plane

STEP_BYTES = 4 << 20
# What comes encoded takes a few times less on its way.
ENCODED_STEP_BYTES = 16 << 20
STEPS_IN_FLIGHT = 2
# With a deadline the server chooses among all chunks of a request: as many as memory should hold.
CHOICE_BYTES = 256 << 20
# What is left of a deadline that has passed: whatever is there first, then.
LEAST_SECONDS = 0.001


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


@dataclass
class PlaneTensors:
    """K and V of a plane's layers for the tokens from `first_token` on, `[1, heads, n, dim]`."""

    first_token: int
    keys: dict[int, torch.Tensor]
    values: dict[int, torch.Tensor]


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
        tensors = _empty(plane, first, tokens)
        verifiers = {chunk: ObjectVerifier() for chunk in chunks}
        there = self._there[plane]
        for step, staging, results in self._receive(plane, chunks):
            for chunk, row in zip(step.chunks, staging, strict=False):
                result = results.get(chunk)
                if not there[chunk] or result is None:
                    continue
                if not self._verified(verifiers[chunk], row[: step.length], result):
                    there[chunk] = False
            if plane.window and not all(there[chunk] for chunk in chunks):
                return tensors
            self._place(plane, step, staging, tensors)
        for chunk, verifier in verifiers.items():
            if verifier.complete and not verifier.matches():
                self.cause = MissCause.CORRUPT
            there[chunk] = there[chunk] and verifier.complete and verifier.matches()
        return tensors

    def _verified(self, verifier: ObjectVerifier, piece: torch.Tensor, result: GetResult) -> bool:
        if not result.hit or result.nbytes != piece.numel():
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
        self, plane: Plane, chunks: range
    ) -> Iterator[tuple[Step, torch.Tensor, dict[int, GetResult]]]:
        """Yields each step's bytes `[chunk, byte]` while the next steps are under way."""
        steps = deque(self._steps(plane, chunks))
        # Requests of a hurry follow each other: each is promised all of the connection.
        in_flight = 1 if self._hurry is not None else STEPS_IN_FLIGHT
        rows = max((len(step.chunks) for step in steps), default=0)
        width = max((step.length for step in steps), default=0)
        buffers = min(len(steps), in_flight + 1)
        free = [torch.empty((rows, width), dtype=torch.uint8) for _ in range(buffers)]
        pending: deque[tuple[Step, torch.Tensor, Future[dict[int, GetResult]]]] = deque()
        with ThreadPoolExecutor(in_flight) as pool:
            while steps or pending:
                while steps and len(pending) < in_flight:
                    step, staging = steps.popleft(), free.pop()
                    future = pool.submit(self._request, plane, step, staging)
                    pending.append((step, staging, future))
                step, staging, future = pending.popleft()
                yield step, staging, future.result()
                free.append(staging)

    def _steps(self, plane: Plane, chunks: range) -> Iterator[Step]:
        if self._hurry is not None:
            return _whole_steps(plane, chunks, self.chunk_tokens, CHOICE_BYTES)
        if self._encoded:
            return _whole_steps(plane, chunks, self.chunk_tokens, ENCODED_STEP_BYTES)
        return _steps(plane, chunks, self.chunk_tokens)

    def _request(self, plane: Plane, step: Step, staging: torch.Tensor) -> dict[int, GetResult]:
        """Receives one step into `staging`; chunks that failed before are not asked for."""
        wanted = [
            (row, chunk)
            for row, chunk in enumerate(step.chunks)
            if all(self._there[plane][step.chunks.start : chunk + 1])
        ]
        if not wanted:
            return {}
        gets = [
            Get(
                key=plane.key(self.hashes[chunk]),
                buffer=staging[row, : step.length],
                ranges=None if step.whole else [(step.offset, step.length)],
            )
            for row, chunk in wanted
        ]
        options = {} if self._hurry is None else self._hurry.options()
        results = self.client.get_into(gets, timeout=self._remaining(), **options)
        return {chunk: result for (_, chunk), result in zip(wanted, results, strict=True)}

    def _place(
        self, plane: Plane, step: Step, staging: torch.Tensor, tensors: PlaneTensors
    ) -> None:
        """Copies the tokens of a step's chunks to their places in the layers' tensors."""
        size = self.chunk_tokens
        first = tensors.first_token
        for facts, view in plane.views(staging, step.layers, size):
            keys, values = tensors.keys[facts.number], tensors.values[facts.number]
            end = first + keys.shape[2]
            for row, chunk in enumerate(step.chunks):
                start, stop = max(first, chunk * size), min(end, (chunk + 1) * size)
                source = slice(start - chunk * size, stop - chunk * size)
                target = slice(start - first, stop - first)
                copy(keys[0, :, target], view[row, 0, :, source])
                copy(values[0, :, target], view[row, 1, :, source])


def _release(lease: Any) -> None:
    """Gives a lease back; it ends by itself soon, so trouble here does not spoil a hit."""
    with suppress(KDNError):
        lease.release()


def _empty(plane: Plane, first: int, end: int) -> PlaneTensors:
    """Tensors to be filled for tokens `first ..< end`."""

    def new(facts: LayerFacts) -> torch.Tensor:
        shape = (1, facts.kv_heads, end - first, facts.head_dim)
        return torch.empty(shape, dtype=facts.dtype, device=facts.device)

    return PlaneTensors(
        first_token=first,
        keys={facts.number: new(facts) for facts in plane.layers},
        values={facts.number: new(facts) for facts in plane.layers},
    )


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
