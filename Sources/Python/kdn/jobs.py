"""Operations in flight: what each sends, where its reply's payload goes, and its outcome.

Jobs know nothing of sockets or clocks: a session asks them for frames and hands them replies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from kdn import bodies
from kdn.errors import DeadlineExceeded, FieldError, KDNError, ProtocolError, Status
from kdn.keys import Part
from kdn.layouts import Layout
from kdn.results import MatchReply, MissCause, Tiers
from kdn.slabs import SharedMemory
from kdn.wire import Header, Limits, Op, Place, decode_error, encode_frame

Piece = bytes | memoryview
Value = TypeVar("Value")


def typed_error(status: int, body: bytes) -> KDNError:
    """The error of a refused request: a deadline that passed there is one that passed here."""
    error = decode_error(status, body)
    return DeadlineExceeded(str(error)) if error.status == Status.DEADLINE else error


class Job:
    """One operation: subclasses say what it sends and what its replies mean.

    `deadline` is in seconds of the caller's monotonic clock, as is `answer_by`, the time that the
    server is told, which may be before. `credit_bytes` count against the
    connection's credit from the first frame until the job is done.
    """

    credit_bytes = 0
    # Nobody waits for it: a connection whose only jobs are such is free for the next call.
    background = False

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.answer_by = deadline
        self.error: KDNError | None = None
        self.done = False
        self.started = False
        self.abandoned = False
        # What the session is to run once this job has ended.
        self.afterwards: list[Job] = []
        self.on_done: Callable[[], None] | None = None

    @property
    def sends_bulk(self) -> bool:
        """Whether the next frame carries payload, and small frames should go first."""
        return False

    @property
    def has_frames(self) -> bool:
        """Whether there is a frame to send."""
        raise NotImplementedError

    @property
    def begins(self) -> bool:
        """Whether the next frame opens a transfer, of which only a few are open ahead."""
        return False

    @property
    def blocked(self) -> bool:
        """Whether the next frame cannot be made before some answer has come."""
        return False

    def next_frame(self, request_id: int, deadline_ms: int, limits: Limits) -> list[Piece]:
        """The next frame, as pieces to send one after another."""
        raise NotImplementedError

    def expects_reply(self) -> bool:
        """Whether the frame made last is answered."""
        return True

    def place_of(self, op: int) -> Place:
        """Where the payload of an answer is to be."""
        return Place.INLINE

    def on_descriptors(self, descriptors: list[int], truncated: bool) -> None:
        """Takes what came with a reply, out of the list; what stays in it is closed.

        `truncated`: more came than was asked for, or than this process has room for.
        """
        raise ProtocolError("descriptors", len(descriptors), "none with this answer")

    def on_reply(self, header: Header, body: bytes, limits: Limits) -> int:
        """Takes the first frame of a reply with status ok; returns its payload's length."""
        raise NotImplementedError

    def on_error(self, header: Header, body: bytes) -> None:
        """Takes a reply with another status."""
        self.finish(typed_error(header.status, body))

    def destinations(self, count: int) -> list[memoryview]:
        """Where the next bytes of payload go, at most `count`; an empty view: nowhere."""
        return []

    @property
    def unwanted_bytes(self) -> int:
        """How many of the next bytes of payload nobody wants."""
        return 0

    def on_payload(self, count: int) -> None:
        """`count` bytes of payload have been received into `destinations`."""

    def on_end(self, header: Header) -> None:
        """The reply is complete."""
        self.finish(None)

    def abandon(self) -> None:
        """The caller lost interest: its memory must no longer be written to or read from."""
        self.abandoned = True
        self.on_done = None

    def finish(self, error: KDNError | None) -> None:
        """Ends the job, once."""
        if self.done:
            return
        self.error = error
        self.done = True
        if self.on_done is not None:
            self.on_done()


class SimpleJob(Job, Generic[Value]):
    """One request without payload, whose answer `decode` turns into `value`."""

    value: Value

    def __init__(
        self, op: Op, body: bytes, decode: Callable[[bytes], Value], deadline: float
    ) -> None:
        super().__init__(deadline)
        self.op = op
        self.body = body
        self._decode = decode
        self._sent = False

    @property
    def has_frames(self) -> bool:
        return not self._sent

    def next_frame(self, request_id: int, deadline_ms: int, limits: Limits) -> list[Piece]:
        if len(self.body) > limits.body_bytes:
            raise FieldError("bodyLength", len(self.body), f"at most {limits.body_bytes}")
        self._sent = True
        return [encode_frame(self.op, request_id, self.body, deadline_ms=deadline_ms)]

    def on_reply(self, header: Header, body: bytes, limits: Limits) -> int:
        if header.op != self.op:
            raise ProtocolError("op", header.op, int(self.op))
        self.value = self._decode(body)
        return 0


def registrations(
    layouts: Sequence[Layout], deadline: float
) -> list[SimpleJob[tuple[bytes, int]]]:
    """One job for each layout to be registered; `raise_refusal` tells what came of them."""
    return [
        SimpleJob(Op.LAYOUT, layout.encode(), bodies.decode_layout_reply, deadline)
        for layout in layouts
    ]


def raise_refusal(jobs: Sequence[Job]) -> None:
    """Raises what the first of these that failed failed with."""
    for job in jobs:
        if job.error is not None:
            raise job.error


class MatchJob(Job):
    """A MATCH; a chain longer than one request may hold goes on while all of it matches."""

    def __init__(
        self,
        layout_id: bytes,
        hashes: list[bytes],
        parts: list[Part],
        variant: int,
        lease_ms: int | None,
        deadline: float,
        shared: SharedMemory | None = None,
    ) -> None:
        super().__init__(deadline)
        self._shared = shared
        self.matched = MatchReply(0, MissCause.NONE, Tiers(), 0, 0, 0, 0)
        self.lease_ids: list[int] = []
        self._layout_id = layout_id
        self._hashes = hashes
        self._parts = parts
        self._variant = variant
        self._lease_ms = lease_ms
        self._asked = 0
        self._sendable = True

    @property
    def has_frames(self) -> bool:
        return self._sendable

    def next_frame(self, request_id: int, deadline_ms: int, limits: Limits) -> list[Piece]:
        room = (limits.body_bytes - 32 - 8 * len(self._parts)) // 32
        batch = self._hashes[self.matched.chunks :][: min(limits.keys_per_request, room)]
        self._asked = len(batch)
        self._sendable = False
        body = bodies.encode_match(
            self._layout_id, batch, self._parts, self._variant, self._lease_ms
        )
        return [encode_frame(Op.MATCH, request_id, body, deadline_ms=deadline_ms)]

    def on_reply(self, header: Header, body: bytes, limits: Limits) -> int:
        if header.op != Op.MATCH:
            raise ProtocolError("op", header.op, int(Op.MATCH))
        reply = bodies.decode_match(body, self._asked)
        sofar = self.matched
        tiers = Tiers(*(before + now for before, now in zip(sofar.tiers, reply.tiers)))
        unknown = (sofar.bytes and not sofar.estimate_us) or (reply.bytes and not reply.estimate_us)
        lease_ms = min(sofar.lease_ms, reply.lease_ms) if self.lease_ids else reply.lease_ms
        self.matched = MatchReply(
            sofar.chunks + reply.chunks,
            reply.cause,
            tiers,
            sofar.bytes + reply.bytes,
            0 if unknown else sofar.estimate_us + reply.estimate_us,
            reply.lease_id,
            lease_ms if reply.lease_id or not reply.chunks else 0,
        )
        if reply.lease_id:
            self.lease_ids.append(reply.lease_id)
            if self._shared is not None:
                # The job ends by its deadline: no lease ends later than this.
                self._shared.hold(reply.lease_id, self.deadline + reply.lease_ms / 1000)
        self._sendable = reply.chunks == self._asked and sofar.chunks + reply.chunks < len(
            self._hashes
        )
        return 0

    def on_end(self, header: Header) -> None:
        if not self._sendable or self.abandoned:
            self.finish(None)

    def abandon(self) -> None:
        super().abandon()
        self._sendable = False
