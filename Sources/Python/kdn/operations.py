"""The verbs, independent of how bytes travel: each plans jobs, and collects their outcome.

Client and AsyncClient run the same operations, so that they cannot differ in what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from kdn import bodies, codec_bodies, documents
from kdn.codec_bodies import ProfileFacts
from kdn.documents import Document, DocumentListing, Resolved
from kdn.errors import FieldError, KDNError, ProtocolError, ServerError
from kdn.jobs import Job, MatchJob, SimpleJob
from kdn.keys import Key, Part
from kdn.layouts import Layout
from kdn.results import MissCause, Prefetch, Purged
from kdn.slabs import SharedMemory
from kdn.wire import Limits, Op

Value = TypeVar("Value")
_KEY_LIST_BYTES = 16


def first_error(jobs: Sequence[Job]) -> KDNError | None:
    """The error of the first job that has one."""
    return next((job.error for job in jobs if job.error is not None), None)


class Operation(Generic[Value]):
    """One call: `plan` may run again on another connection if `retries`."""

    retries = True
    # Whether bytes are sent, through a window where there is one.
    stores = False

    def plan(
        self, limits: Limits, deadline: float, shared: SharedMemory | None = None
    ) -> list[Job]:
        """The jobs that this call takes under `limits`, by memory shared with the server if any."""
        raise NotImplementedError

    def follow_up(self, jobs: list[Job], deadline: float) -> list[Job]:
        """Jobs to run on the same connection after those of `plan`."""
        return []

    def collect(self, jobs: list[Job]) -> Value:
        """The call's value; raises the error that it ended with."""
        raise NotImplementedError

    def miss(self, error: KDNError) -> Value:
        """The call's value when `error` is to count as a miss."""
        raise error


class Simple(Operation[Value]):
    """Requests without payload, each with a decoded answer, folded into one value."""

    def __init__(
        self,
        op: Op,
        batches: Callable[[Limits], list[tuple[bytes, Callable[[bytes], Any]]]],
        fold: Callable[[list[Any]], Value],
        missed: Callable[[], Value] | None = None,
        retries: bool = True,
    ) -> None:
        self._op = op
        self._batches = batches
        self._fold = fold
        self._missed = missed
        self.retries = retries

    def plan(
        self, limits: Limits, deadline: float, shared: SharedMemory | None = None
    ) -> list[Job]:
        return [
            SimpleJob(self._op, body, decode, deadline) for body, decode in self._batches(limits)
        ]

    def collect(self, jobs: list[Job]) -> Value:
        error = first_error(jobs)
        if error is not None:
            raise error
        return self._fold([job.value for job in jobs if isinstance(job, SimpleJob)])

    def miss(self, error: KDNError) -> Value:
        if self._missed is None:
            raise error
        return self._missed()


def _key_operation(
    op: Op,
    keys: Sequence[Key],
    encode: Callable[[Sequence[Key]], bytes],
    decode: Callable[..., Any],
    fold: Callable[[list[Any]], Value],
    missed: Callable[[], Value],
) -> Simple[Value]:
    def batches(limits: Limits) -> list[tuple[bytes, Callable[[bytes], Any]]]:
        room = (limits.body_bytes - _KEY_LIST_BYTES) // 64
        step = min(limits.keys_per_request, room)
        rows: list[tuple[bytes, Callable[[bytes], Any]]] = []
        for start in range(0, len(keys), step):
            some = keys[start : start + step]
            rows.append((encode(some), partial(decode, key_count=len(some))))
        return rows

    return Simple(op, batches, fold, missed)


def _joined(rows: list[list[bool]]) -> list[bool]:
    return [bit for row in rows for bit in row]


def exists(keys: Sequence[Key]) -> Simple[list[bool]]:
    """EXISTS of any number of keys."""
    return _key_operation(
        Op.EXISTS,
        keys,
        bodies.encode_keys,
        bodies.decode_exists,
        _joined,
        lambda: [False] * len(keys),
    )


def ping() -> Simple[None]:
    """EXISTS of no key."""
    body = bodies.encode_keys([])
    return Simple(
        Op.EXISTS,
        lambda limits: [(body, lambda reply: bodies.decode_exists(reply, 0))],
        lambda rows: None,
    )


def touch(keys: Sequence[Key]) -> Simple[int]:
    """TOUCH of any number of keys."""
    return _key_operation(
        Op.TOUCH, keys, bodies.encode_keys, bodies.decode_touch, sum, lambda: 0
    )


def pin(keys: Sequence[Key], ttl_ms: int) -> Simple[list[bool]]:
    """PIN of any number of keys."""
    return _key_operation(
        Op.PIN,
        keys,
        lambda some: bodies.encode_pin(some, ttl_ms),
        bodies.decode_pins,
        _joined,
        lambda: [False] * len(keys),
    )


def unpin(keys: Sequence[Key]) -> Simple[list[bool]]:
    """UNPIN of any number of keys."""
    return _key_operation(
        Op.UNPIN,
        keys,
        bodies.encode_keys,
        bodies.decode_pins,
        _joined,
        lambda: [False] * len(keys),
    )


def prefetch(keys: Sequence[Key]) -> Simple[Prefetch]:
    """PREFETCH of any number of keys."""
    return _key_operation(
        Op.PREFETCH,
        keys,
        bodies.encode_keys,
        bodies.decode_prefetch,
        lambda rows: Prefetch(sum(row.present for row in rows), sum(row.started for row in rows)),
        lambda: Prefetch(0, 0),
    )


def purge(
    keys: Sequence[Key] | None,
    prefixes: Sequence[bytes] | None,
    layouts: Sequence[bytes] | None,
    namespace: bool,
) -> Simple[Purged]:
    """PURGE of one scope; never retried, since stores may have come in between."""
    scopes: list[tuple[int, Sequence[bytes], int]] = []
    if keys is not None:
        scopes.append((bodies.PURGE_KEYS, [key.data for key in keys], 64))
    if prefixes is not None:
        scopes.append((bodies.PURGE_PREFIX, prefixes, 32))
    if layouts is not None:
        scopes.append((bodies.PURGE_LAYOUT, layouts, 16))
    if namespace:
        scopes.append((bodies.PURGE_NAMESPACE, [], 0))
    if len(scopes) != 1:
        raise FieldError("scope", len(scopes), "exactly one of keys, prefixes, layouts, namespace")
    scope, operands, size = scopes[0]
    if any(len(operand) != size for operand in operands):
        raise FieldError("operand", "another length", f"{size} bytes")

    def batches(limits: Limits) -> list[tuple[bytes, Callable[[bytes], Any]]]:
        if namespace:
            return [(bodies.encode_purge(scope, []), bodies.decode_purge)]
        step = min(limits.keys_per_request, (limits.body_bytes - _KEY_LIST_BYTES) // size)
        return [
            (bodies.encode_purge(scope, operands[start : start + step]), bodies.decode_purge)
            for start in range(0, len(operands), step)
        ]

    def fold(rows: list[Purged]) -> Purged:
        return Purged(sum(row.objects for row in rows), sum(row.bytes for row in rows))

    return Simple(Op.PURGE, batches, fold, retries=False)


def register_layout(layout: Layout) -> Simple[None]:
    """LAYOUT; without an answer it is registered when a connection comes about."""
    row = (layout.encode(), bodies.decode_layout_reply)
    return Simple(Op.LAYOUT, lambda limits: [row], lambda rows: None, lambda: None)


def stats() -> Simple[dict[str, Any]]:
    """STATS as the server's JSON says it."""

    def decode(body: bytes) -> dict[str, Any]:
        try:
            value = json.loads(body)
        except ValueError as error:
            raise ProtocolError("stats", body[:64], "JSON") from error
        if not isinstance(value, dict):
            raise ProtocolError("stats", type(value).__name__, "a JSON object")
        return value

    return Simple(Op.STATS, lambda limits: [(b"", decode)], lambda rows: rows[0])


def use_profile(digest: bytes) -> Simple[ProfileFacts]:
    """CODEC_PROFILE use, of a profile that is stored."""
    row = (codec_bodies.encode_profile_use(digest), codec_bodies.decode_profile_used)
    return Simple(Op.CODEC_PROFILE, lambda limits: [row], lambda rows: rows[0])


def release(lease_ids: Sequence[int]) -> Simple[None]:
    """RELEASE of leases, on the connection that holds them."""
    rows = [(bodies.encode_lease(lease_id), bodies.decode_empty) for lease_id in lease_ids]
    return Simple(Op.RELEASE, lambda limits: list(rows), lambda values: None, retries=False)


class MatchOperation(Operation[MatchJob]):
    """MATCH of a chain of any length."""

    def __init__(
        self,
        layout_id: bytes,
        hashes: Sequence[bytes],
        parts: Sequence[Part],
        variant: int,
        lease_ms: int | None,
    ) -> None:
        # Encoded once for its checks: a wrong argument is the caller's error, not a miss.
        bodies.encode_match(layout_id, list(hashes[:1]), parts, variant, lease_ms)
        if any(len(digest) != 32 for digest in hashes):
            raise FieldError("hashes", "a hash of another length", "32 bytes each")
        self._arguments = (layout_id, list(hashes), list(parts), variant, lease_ms)

    def plan(
        self, limits: Limits, deadline: float, shared: SharedMemory | None = None
    ) -> list[Job]:
        return [MatchJob(*self._arguments, deadline, shared)]

    def collect(self, jobs: list[Job]) -> MatchJob:
        job = jobs[0]
        assert isinstance(job, MatchJob)
        if job.error is not None:
            raise job.error
        return job

    def miss(self, error: KDNError) -> MatchJob:
        job = MatchJob(*self._arguments, 0.0)
        job.matched.cause = miss_cause(error)
        return job


def miss_cause(error: KDNError) -> MissCause:
    """The cause that an error counts as when errors are misses."""
    if isinstance(error, TimeoutError):
        return MissCause.OVER_DEADLINE
    return MissCause.REFUSED if isinstance(error, ServerError) else MissCause.UNREACHABLE


def publish_document(document: Document) -> Simple[int]:
    """DOCUMENT publish; the same again only raises the epoch."""
    row = (documents.encode_publish(document), documents.decode_published)
    return Simple(Op.DOCUMENT, lambda limits: [row], lambda rows: rows[0])


def resolve_document(name: str) -> Simple[Resolved]:
    """DOCUMENT resolve."""
    row = (documents.encode_resolve(name), documents.decode_resolved)
    return Simple(Op.DOCUMENT, lambda limits: [row], lambda rows: rows[0])


def list_documents(after: str, limit: int) -> Simple[list[DocumentListing]]:
    """DOCUMENT list, one page."""
    row = (documents.encode_list(after, limit), documents.decode_listed)
    return Simple(Op.DOCUMENT, lambda limits: [row], lambda rows: rows[0])


def retire_document(name: str) -> Simple[int]:
    """DOCUMENT retire; never retried, since the first try may have found it."""
    row = (documents.encode_retire(name), documents.decode_retired)
    return Simple(Op.DOCUMENT, lambda limits: [row], lambda rows: rows[0], retries=False)
