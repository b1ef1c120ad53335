"""WORK: jobs that the server keeps for whoever has the model."""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from kdn.compose import check_range, require_range
from kdn.errors import ProtocolError
from kdn.wire import BodyReader, encode_text

KIND_BYTES_MAX = 32
KINDS_MAX = 16
PAYLOAD_BYTES_MAX = (1 << 20) - 4096
RESULT_BYTES_MAX = 64 << 10
REASON_BYTES_MAX = 1024
ATTEMPTS_MAX = 10
DEADLINE_MS_MAX = 86_400_000
WAIT_MS_MAX = 60_000
LEASE_MS_MIN, LEASE_MS_MAX = 1000, 600_000
LIST_MAX = 1000
_SUBMIT, _TAKE, _RENEW, _FINISH, _FAIL, _STATUS, _CANCEL, _LIST = range(1, 9)

_VERB = struct.Struct("<B3x")
_REPLY = struct.Struct("<B7s")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_TWO = struct.Struct("<II")
_TAKEN = struct.Struct("<III")
_HELD = struct.Struct("<QI")
_LISTED = struct.Struct("<QI")
_FACTS = struct.Struct("<QBBH")
_BYTE = struct.Struct("<B3s")


class JobState(enum.IntEnum):
    """How a job stands."""

    QUEUED = 1
    RUNNING = 2
    DONE = 3
    FAILED = 4
    CANCELLED = 5
    EXPIRED = 6

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class JobHold(enum.IntEnum):
    """What became of a worker's word."""

    HELD = 1
    CANCELLED = 2
    LOST = 3


@dataclass(frozen=True, slots=True)
class TakenJob:
    """A job to be done: `attempt` counts from 1, and tells this holder from a later one."""

    id: int
    attempt: int
    kind: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class JobFacts:
    """How a job stands, as a list tells it; `progress` in thousandths."""

    id: int
    kind: str
    state: JobState
    attempts: int
    progress: int


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How a job stands, why it failed, and what came of it; empty until there is something."""

    facts: JobFacts
    reason: str
    result: bytes

    @property
    def state(self) -> JobState:
        """The state that the facts tell."""
        return self.facts.state


def encode_submit(kind: str, payload: bytes, deadline_ms: int = 0, attempts: int = 0) -> bytes:
    """Queues a job; a deadline or number of attempts of 0 is the server's default."""
    check_range("deadlineMillis", deadline_ms, 0, DEADLINE_MS_MAX)
    check_range("attempts", attempts, 0, ATTEMPTS_MAX)
    check_range("payload", len(payload), 0, PAYLOAD_BYTES_MAX)
    return _VERB.pack(_SUBMIT) + _TWO.pack(deadline_ms, attempts) + _kind(kind) + _long(payload)


def encode_take(kinds: Sequence[str], wait_ms: int, lease_ms: int) -> bytes:
    """Waits for a job of one of these kinds and leases it."""
    check_range("count", len(kinds), 1, KINDS_MAX)
    check_range("waitMillis", wait_ms, 0, WAIT_MS_MAX)
    check_range("leaseMillis", lease_ms, LEASE_MS_MIN, LEASE_MS_MAX)
    head = _VERB.pack(_TAKE) + _TAKEN.pack(wait_ms, lease_ms, len(kinds))
    return head + b"".join(map(_kind, kinds))


def encode_renew(job_id: int, attempt: int, progress: int) -> bytes:
    """Renews a job's lease and tells how far it is, in thousandths."""
    check_range("progress", progress, 0, 1000)
    return _VERB.pack(_RENEW) + _held(job_id, attempt) + _U32.pack(progress)


def encode_finish(job_id: int, attempt: int, result: bytes) -> bytes:
    """Ends a job with what came of it."""
    check_range("result", len(result), 0, RESULT_BYTES_MAX)
    return _VERB.pack(_FINISH) + _held(job_id, attempt) + _long(result)


def encode_fail(job_id: int, attempt: int, reason: str, again: bool) -> bytes:
    """Ends an attempt; `again` if another may do better. The reason is cut to its limit."""
    cut = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
    return _VERB.pack(_FAIL) + _held(job_id, attempt) + _U32.pack(again) + encode_text(cut)


def encode_status(job_id: int) -> bytes:
    """Asks how a job stands."""
    return _VERB.pack(_STATUS) + _number(job_id)


def encode_cancel(job_id: int) -> bytes:
    """Asks that a job not be done, or not to its end."""
    return _VERB.pack(_CANCEL) + _number(job_id)


def encode_list(after: int, limit: int) -> bytes:
    """Asks for jobs with numbers behind `after`."""
    check_range("after", after, 0, (1 << 64) - 1)
    check_range("limit", limit, 1, LIST_MAX)
    return _VERB.pack(_LIST) + _LISTED.pack(after, limit)


def decode_submitted(body: bytes) -> int:
    """The number of a job that was queued."""
    reader = _reader(body, _SUBMIT)
    (number,) = reader.take("id", _U64)
    reader.finish()
    require_range("id", number, 1, (1 << 64) - 1)
    return int(number)


def decode_taken(body: bytes) -> TakenJob | None:
    """A job, or None if there was none within the wait."""
    reader = _reader(body, _TAKE)
    (number,) = reader.take("id", _U64)
    job = None
    if number:
        (attempt,) = reader.take("attempt", _U32)
        require_range("attempt", attempt, 1, ATTEMPTS_MAX)
        kind = _take_kind(reader)
        job = TakenJob(number, attempt, kind, _take_long(reader, "payload", PAYLOAD_BYTES_MAX))
    reader.finish()
    return job


def decode_renewed(body: bytes) -> JobHold:
    """What became of a renewal."""
    return _hold(body, _RENEW)


def decode_finished(body: bytes) -> JobHold:
    """What became of a result."""
    return _hold(body, _FINISH)


def decode_failed(body: bytes) -> JobHold:
    """What became of a failure."""
    return _hold(body, _FAIL)


def decode_status(body: bytes) -> JobStatus:
    """How a job stands."""
    reader = _reader(body, _STATUS)
    facts = _take_facts(reader)
    reason = reader.text("reason")
    require_range("reason", len(reason.encode()), 0, REASON_BYTES_MAX)
    result = _take_long(reader, "result", RESULT_BYTES_MAX)
    reader.finish()
    return JobStatus(facts, reason, result)


def decode_cancelled(body: bytes) -> JobState:
    """How a job stands after it was cancelled."""
    reader = _reader(body, _CANCEL)
    state = _take_enum(reader, "state")
    reader.finish()
    return _state(state)


def decode_listed(body: bytes) -> list[JobFacts]:
    """Jobs in the order of their numbers."""
    reader = _reader(body, _LIST)
    (count,) = reader.take("count", _U32)
    require_range("count", count, 0, LIST_MAX)
    rows: list[JobFacts] = []
    for _ in range(count):
        facts = _take_facts(reader)
        if rows and facts.id <= rows[-1].id:
            raise ProtocolError("id", facts.id, "ascending")
        rows.append(facts)
    reader.finish()
    return rows


def _kind(kind: str) -> bytes:
    check_range("kind", len(kind.encode()), 1, KIND_BYTES_MAX)
    return encode_text(kind)


def _long(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data


def _number(job_id: int) -> bytes:
    check_range("id", job_id, 1, (1 << 64) - 1)
    return _U64.pack(job_id)


def _held(job_id: int, attempt: int) -> bytes:
    check_range("id", job_id, 1, (1 << 64) - 1)
    check_range("attempt", attempt, 1, ATTEMPTS_MAX)
    return _HELD.pack(job_id, attempt)


def _take_kind(reader: BodyReader) -> str:
    kind = reader.text("kind")
    require_range("kind", len(kind.encode()), 1, KIND_BYTES_MAX)
    return kind


def _take_long(reader: BodyReader, field: str, limit: int) -> bytes:
    (count,) = reader.take(field, _U32)
    require_range(field, count, 0, limit)
    return reader.bytes(field, count)


def _take_facts(reader: BodyReader) -> JobFacts:
    number, state, attempts, progress = reader.take("facts", _FACTS)
    require_range("id", number, 1, (1 << 64) - 1)
    require_range("attempts", attempts, 0, ATTEMPTS_MAX)
    require_range("progress", progress, 0, 1000)
    return JobFacts(number, _take_kind(reader), _state(state), attempts, progress)


def _state(number: int) -> JobState:
    require_range("state", number, JobState.QUEUED, JobState.EXPIRED)
    return JobState(number)


def _hold(body: bytes, verb: int) -> JobHold:
    reader = _reader(body, verb)
    number = _take_enum(reader, "hold")
    reader.finish()
    require_range("hold", number, JobHold.HELD, JobHold.LOST)
    return JobHold(number)


def _take_enum(reader: BodyReader, field: str) -> int:
    number, reserved = reader.take(field, _BYTE)
    if any(reserved):
        raise ProtocolError("reserved", reserved, "zero")
    return int(number)


def _reader(body: bytes, wanted: int) -> BodyReader:
    reader = BodyReader(body)
    verb, reserved = reader.take("verb", _REPLY)
    if verb != wanted:
        raise ProtocolError("verb", verb, wanted)
    if any(reserved):
        raise ProtocolError("reserved", reserved, "zero")
    return reader
