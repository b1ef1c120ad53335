"""The client's side of one connection, without the connection: no sockets, no clocks.

A session takes jobs, says which bytes to send and where the next bytes received go, and ends jobs
in whatever order the server answers them.
"""

from __future__ import annotations

from collections import deque

from kdn import bodies
from kdn.errors import ConnectionLost, FieldError, KDNError, ProtocolError, Status
from kdn.jobs import Job, SimpleJob
from kdn.mapping import close_all
from kdn.put_job import PutJob
from kdn.slabs import Window
from kdn.wire import (
    HEADER_BYTES,
    Header,
    Limits,
    Op,
    Place,
    check_body,
    decode_error,
    decode_header,
)

GATHER_MAX = 64
SCRATCH_BYTES = 65536
# Transfers opened before the bytes of the first have gone out: hides a round trip per object.
TRANSFERS_AHEAD_MAX = 4
# What a deadline keeps back for the way home, so that the server's own answer arrives in time.
RETURN_SECONDS_MAX = 0.1
RETURN_SHARE = 0.2


class Session:
    """Jobs, credit, and the frame being received."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.draining = False
        self.failure: KDNError | None = None
        self.received_bytes = 0
        self.window: Window | None = None
        self._freeing: Job | None = None
        self._descriptors: list[int] = []
        self._truncated = False
        self._next_id = 1
        self._queue: deque[Job] = deque()
        self._pending: dict[int, Job] = {}
        self._payload_left: dict[int, int] = {}
        self._open: set[Job] = set()
        self._credit_used = 0
        self._out: deque[memoryview] = deque()
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._head = memoryview(bytearray(HEADER_BYTES))
        self._body = memoryview(bytearray())
        self._header: Header | None = None
        self._filled = 0
        self._frame_payload_left = 0
        self._in_payload = False

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, in flight or half received that anybody waits for."""
        if self._queue or self._pending:
            return all(job.background for job in (*self._queue, *self._pending.values()))
        return not (self._out or self._header or self._filled)

    @property
    def awaits_reply(self) -> bool:
        """Whether the server owes an answer."""
        return bool(self._pending)

    @property
    def expects_more(self) -> bool:
        """Whether more bytes are due: a frame is half received, or a reply is owed."""
        return self._header is not None or self._filled > 0 or bool(self._pending)

    @property
    def at_frame_start(self) -> bool:
        """Whether the next byte received is a frame's first: descriptors come with no other."""
        return self._header is None and self._filled == 0

    def add(self, job: Job) -> None:
        """Queues a job; it ends at once if the session takes no more."""
        if self.failure is not None:
            job.finish(self.failure)
        elif self.draining:
            job.finish(ConnectionLost("the server is draining"))
        else:
            self._queue.append(job)

    def withdraw(self, job: Job) -> None:
        """The caller lost interest in a job: what is in flight is received and dropped."""
        if job.done:
            return
        job.abandon()
        if job in self._queue and not (job.started and job.has_frames):
            self._queue.remove(job)
        if job not in self._queue and job not in self._pending.values():
            self._open_no_more(job)
            job.finish(ConnectionLost("cancelled"))
            self._add_afterwards(job)

    def fail(self, error: KDNError) -> None:
        """Ends every job with `error`; the connection is of no more use."""
        if self.failure is not None:
            return
        self.failure = error
        jobs = [*self._pending.values(), *self._queue]
        self._queue.clear()
        self._pending.clear()
        self._open.clear()
        self._out.clear()
        self.window = None
        close_all(self._descriptors)
        for job in jobs:
            job.finish(error)

    # Sending

    def outgoing(self, now: float) -> list[memoryview]:
        """The next bytes to send, as views in order; empty if there is nothing to send now."""
        while not self._out and self.failure is None:
            job = self._pick()
            if job is None:
                break
            self._make_frame(job, now)
        return [self._out[index] for index in range(min(len(self._out), GATHER_MAX))]

    def sent(self, count: int) -> None:
        """`count` bytes of `outgoing` have been sent."""
        while count > 0:
            view = self._out[0]
            if count < len(view):
                self._out[0] = view[count:]
                return
            count -= len(view)
            self._out.popleft()

    def _pick(self) -> Job | None:
        """Requests before bulk, and of bulk the oldest."""
        room = len(self._pending) < self.limits.requests_in_flight
        ahead = sum(1 for job in self._open if isinstance(job, PutJob) and job.waits_for_data)
        bulk: Job | None = None
        for job in self._queue:
            if job.sends_bulk:
                bulk = bulk or (None if job.blocked else job)
            elif room and self._has_credit(job):
                if not job.begins or ahead < TRANSFERS_AHEAD_MAX:
                    return job
        return bulk

    def _has_credit(self, job: Job) -> bool:
        if job.started or self._credit_used == 0:
            return True
        return self._credit_used + job.credit_bytes <= self.limits.credit_bytes

    def _make_frame(self, job: Job, now: float) -> None:
        request_id = self._next_id
        self._next_id += 1
        try:
            pieces = job.next_frame(request_id, self._deadline_ms(job, now), self.limits)
        except FieldError as error:
            self._queue.remove(job)
            job.finish(error)
            return
        if not job.started:
            job.started = True
            self._open.add(job)
            self._credit_used += job.credit_bytes
        if job.expects_reply():
            self._pending[request_id] = job
            if self.window is not None:
                self.window.asked(request_id)
        if not job.has_frames:
            self._queue.remove(job)
        self._free_window(job)
        self._out.extend(memoryview(piece) for piece in pieces)

    def _free_window(self, job: Job) -> None:
        """Asks for something, if half of the window waits for an answer to anything."""
        if self.window is None or not self.window.should_ask:
            return
        if self._freeing is None or self._freeing.started:
            body = bodies.encode_keys([])
            self._freeing = SimpleJob(
                Op.EXISTS, body, lambda reply: bodies.decode_exists(reply, 0), job.deadline
            )
            self._freeing.background = True
            self._queue.appendleft(self._freeing)

    def _deadline_ms(self, job: Job, now: float) -> int:
        left = max(job.answer_by - now, 0.0)
        left -= min(RETURN_SECONDS_MAX, left * RETURN_SHARE)
        cap = self.limits.max_deadline_ms or 0xFFFFFFFF
        return max(1, min(int(left * 1000), cap))

    # Receiving

    def incoming(self) -> list[memoryview]:
        """Where the next bytes go: never more than belong to the frame at hand."""
        if self._header is None:
            return [self._head[self._filled :]]
        if not self._in_payload:
            return [self._body[self._filled :]]
        job = self._pending[self._header.request_id]
        views = job.destinations(self._frame_payload_left)
        if len(views) == 1 and len(views[0]) == 0:
            count = min(self._frame_payload_left, job.unwanted_bytes, SCRATCH_BYTES)
            return [self._scratch[:count]]
        return views

    def received(
        self, count: int, descriptors: list[int] | None = None, truncated: bool = False
    ) -> None:
        """`count` bytes have arrived in `incoming`; raises what costs the connection.

        `descriptors` came with them and are taken over; `truncated` if more did.
        """
        self.received_bytes += count
        if descriptors or truncated:
            self._descriptors.extend(descriptors or [])
            self._truncated = truncated
        if self._in_payload and self._header is not None:
            self._on_payload(self._header, count)
            return
        self._filled += count
        if self._header is None:
            if self._filled < HEADER_BYTES:
                return
            self._header = decode_header(self._head, self.limits)
            self._body = memoryview(bytearray(self._header.body_bytes))
            self._filled = 0
        if self._filled == self._header.body_bytes:
            self._filled = 0
            body = bytes(self._body)
            check_body(self._header, body)
            self._on_body(self._header, body)

    def _on_body(self, header: Header, body: bytes) -> None:
        if header.op == Op.GOAWAY:
            self._on_goaway(header, body)
            return
        job = self._pending.get(header.request_id)
        if job is None:
            raise ProtocolError("requestID", header.request_id, "of a request in flight")
        if self.window is not None:
            self.window.answered(header.request_id)
        if header.status != Status.OK:
            self._on_refusal(header, body, job)
            return
        place = job.place_of(header.op)
        if header.place != place:
            raise ProtocolError("place", header.place, int(place))
        self._hand_over_descriptors(job)
        left = self._payload_left.get(header.request_id)
        if left is None:
            left = job.on_reply(header, body, self.limits)
        elif body:
            raise ProtocolError("bodyLength", len(body), "0 after the first frame")
        if header.payload_bytes > left or not (header.more or header.payload_bytes == left):
            raise ProtocolError("payloadLength", header.payload_bytes, left)
        self._payload_left[header.request_id] = left - header.payload_bytes
        self._frame_payload_left = header.payload_bytes
        self._in_payload = header.payload_bytes > 0
        if not self._in_payload:
            self._end_frame(header)

    def _hand_over_descriptors(self, job: Job) -> None:
        if self._descriptors or self._truncated:
            truncated, self._truncated = self._truncated, False
            try:
                job.on_descriptors(self._descriptors, truncated)
            finally:
                close_all(self._descriptors)

    def _on_payload(self, header: Header, count: int) -> None:
        self._pending[header.request_id].on_payload(count)
        self._frame_payload_left -= count
        if self._frame_payload_left == 0:
            self._in_payload = False
            self._end_frame(header)

    def _end_frame(self, header: Header) -> None:
        self._header = None
        if header.more:
            return
        job = self._pending.pop(header.request_id)
        self._payload_left.pop(header.request_id, None)
        job.on_end(header)
        self._after_reply(job)

    def _on_refusal(self, header: Header, body: bytes, job: Job) -> None:
        if header.payload_bytes or header.more:
            raise ProtocolError("payloadLength", header.payload_bytes, "0 in an error")
        if header.place != Place.INLINE:
            raise ProtocolError("place", header.place, "0 in an error")
        self._refuse_descriptors()
        self._header = None
        del self._pending[header.request_id]
        self._payload_left.pop(header.request_id, None)
        job.on_error(header, body)
        self._after_reply(job)

    def _refuse_descriptors(self) -> None:
        if self._descriptors or self._truncated:
            raise ProtocolError("descriptors", len(self._descriptors), "none with this frame")

    def _add_afterwards(self, job: Job) -> None:
        while job.afterwards:
            self.add(job.afterwards.pop())

    def _after_reply(self, job: Job) -> None:
        if job.done:
            self._open_no_more(job)
            if job in self._queue:
                self._queue.remove(job)
            self._add_afterwards(job)
        elif job.has_frames and job not in self._queue:
            self._queue.append(job)
        elif not job.has_frames and job in self._queue:
            self._queue.remove(job)

    def _open_no_more(self, job: Job) -> None:
        if job in self._open:
            self._open.discard(job)
            self._credit_used -= job.credit_bytes

    def _on_goaway(self, header: Header, body: bytes) -> None:
        self._refuse_descriptors()
        if header.request_id != 0 or header.payload_bytes:
            raise ProtocolError("requestID", header.request_id, "0 in GOAWAY")
        self._header = None
        reason = decode_error(header.status, body)
        # Idle for too long, or with slabs mapped that the server wants back: to be made anew.
        wants_slabs = reason.status == Status.BUSY and reason.field == "slabs"
        if reason.status == Status.DEADLINE or wants_slabs:
            raise ConnectionLost(f"the server closed the connection: {reason}") from reason
        if reason.status != Status.DRAINING:
            raise reason
        self.draining = True
        waiting = [job for job in self._queue if not job.started]
        for job in waiting:
            self._queue.remove(job)
            job.finish(ConnectionLost("the server is draining"))

