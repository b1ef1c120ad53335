"""A GET in flight: descriptors first, then payload straight into the callers' buffers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import xxhash

from kdn import bodies
from kdn.codec_bodies import encode_profile_get
from kdn.decoders import Decoders
from kdn.decoding import Decoding
from kdn.errors import KDNError, ProtocolError
from kdn.fidelity import RAW_BIT, Terms
from kdn.jobs import Job, Piece
from kdn.rates import Rates
from kdn.results import Get, GetResult, MissCause
from kdn.wire import Header, Limits, Op, Place, encode_frame

SCATTER_MAX = 64


@dataclass(slots=True)
class GetEntry:
    """One item of a call: what is asked, where it goes, and the result to fill in."""

    item: Get
    encoded: bytes
    view: memoryview | None
    result: GetResult
    decoding: Decoding | None = None

    @property
    def whole(self) -> bool:
        """Whether all of the object is asked for."""
        return self.item.ranges is None and self.item.part is None

    @property
    def expected_bytes(self) -> int:
        """How many bytes the item is expected to send, for credit and for batches."""
        if self.item.ranges is not None:
            return sum(length for _, length in self.item.ranges)
        return self.item.size if self.view is None else len(self.view)


def check_sent(entry: GetEntry, descriptor: bodies.Descriptor) -> None:
    """Raises ProtocolError unless a hit has as many bytes as were asked for."""
    item, sent = entry.item, descriptor.sent_bytes
    if item.ranges is not None and sent != entry.expected_bytes:
        raise ProtocolError("sentBytes", sent, entry.expected_bytes)
    if descriptor.codec != 0 and not entry.whole:
        raise ProtocolError("codec", descriptor.codec, "0 for a part of an object")
    if entry.whole and descriptor.codec == 0 and sent != descriptor.object_bytes:
        raise ProtocolError("sentBytes", sent, descriptor.object_bytes)
    if sent == 0:
        raise ProtocolError("sentBytes", 0, "at least 1 for a hit")


def destination(entry: GetEntry, sent: int) -> memoryview | None:
    """Where a hit of `sent` bytes goes; None if the caller's buffer is too small for it."""
    view = entry.view
    if view is None and entry.item.buffer is None:
        entry.result.data = bytearray(sent)
        view = memoryview(entry.result.data)
    if view is None or len(view) < sent:
        entry.result.cause = MissCause.BUFFER_TOO_SMALL
        return None
    return view


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a call wants its objects: in which forms, by when; and what its answers teach.

    `decoders` begin to decode what comes encoded. With `adapt` the server chooses what is there by
    `due` (monotonic seconds). How fast payload arrives is noted in `rates`.
    """

    terms: Terms = Terms()
    decoders: Decoders | None = None
    adapt: bodies.Adaptation | None = None
    due: float | None = None
    rates: Rates | None = None


@dataclass(slots=True)
class _Segment:
    entry: GetEntry
    descriptor: bodies.Descriptor
    view: memoryview | None
    received: int
    state: xxhash.xxh3_64 | None
    # Where an encoded object goes once it is decoded, until that has begun.
    room: memoryview | None = None
    decoding: Decoding | None = None


class GetJob(Job):
    """One GET request and its reply, over as many frames as the server likes."""

    def __init__(
        self,
        entries: list[GetEntry],
        *,
        wait: bool,
        verify: bool,
        deadline: float,
        delivery: Delivery | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(deadline)
        self._delivery = delivery or Delivery()
        if self._delivery.due is not None:
            self.answer_by = min(deadline, self._delivery.due)
        self._clock = clock
        self.entries = entries
        self.credit_bytes = sum(entry.expected_bytes for entry in entries)
        self._wait = wait
        self._verify = verify
        self._sent = False
        self._segments: deque[_Segment] = deque()
        self._arrived_bytes = 0
        self._is_arriving = False

    @property
    def accepted(self) -> int:
        """The bits of acceptedCodecs: a part of an object always comes raw."""
        return self._delivery.terms.accepted if self._is_whole else RAW_BIT

    @property
    def _is_exact(self) -> bool:
        terms = self._delivery.terms
        return terms.exact if self._is_whole else terms.exact_parts

    @property
    def _is_whole(self) -> bool:
        return all(entry.whole for entry in self.entries)

    @property
    def op(self) -> Op:
        """The operation whose answer is awaited."""
        return Op.GET

    @property
    def flags(self) -> int:
        """The flags of its request."""
        waits = bodies.GET_WAIT if self._wait else 0
        return waits | (0 if self._verify else bodies.GET_UNVERIFIED)

    @property
    def has_frames(self) -> bool:
        return not self._sent

    def next_frame(self, request_id: int, deadline_ms: int, limits: Limits) -> list[Piece]:
        self._sent = True
        body = self._body(Place.INLINE)
        return [encode_frame(Op.GET, request_id, body, deadline_ms=deadline_ms)]

    def _body(self, place: Place, lease_ms: int = 0) -> bytes:
        return bodies.encode_get(
            [entry.encoded for entry in self.entries],
            wait=self._wait,
            verify=self._verify,
            place=place,
            lease_ms=lease_ms,
            codecs=self.accepted,
            exact=self._is_exact,
            adapt=self._delivery.adapt,
        )

    def on_reply(self, header: Header, body: bytes, limits: Limits) -> int:
        if header.op != self.op:
            raise ProtocolError("op", header.op, int(self.op))
        descriptors = bodies.decode_get(body, len(self.entries), limits, self.accepted)
        for entry, descriptor in zip(self.entries, descriptors):
            self._describe(entry, descriptor)
            if not descriptor.miss:
                self._expect(entry, descriptor)
        if self._delivery.rates is not None:
            self._is_arriving = True
            self._delivery.rates.arrival_begins(self._clock())
        return sum(descriptor.sent_bytes for descriptor in descriptors)

    def _describe(self, entry: GetEntry, descriptor: bodies.Descriptor) -> None:
        entry.result.cause = descriptor.cause
        entry.result.object_bytes = descriptor.object_bytes
        entry.result.object_checksum = descriptor.object_checksum
        entry.result.codec = descriptor.codec

    def _room_for(self, entry: GetEntry, descriptor: bodies.Descriptor) -> memoryview | None:
        """Where a hit goes, decoded; None if it is a miss after all."""
        check_sent(entry, descriptor)
        if entry.decoding is not None:
            # What is left of an attempt whose connection broke: it writes to the same memory.
            entry.decoding.settle()
            entry.decoding = None
        if self.abandoned:
            return None
        if not self._delivery.terms.takes(descriptor.codec):
            entry.result.cause = MissCause.INEXACT
            return None
        size = descriptor.object_bytes if descriptor.codec else descriptor.sent_bytes
        if 0 < entry.item.size < size:
            entry.result.cause = MissCause.BUFFER_TOO_SMALL
            return None
        if descriptor.codec and entry.item.taker is not None:
            # Who decodes it has memory for it; what came raw of an attempt before is not it.
            entry.result.data = None
            return memoryview(b"")
        view = destination(entry, size)
        return None if view is None else view[:size]

    def _expect(self, entry: GetEntry, descriptor: bodies.Descriptor) -> None:
        view = self._room_for(entry, descriptor)
        state = xxhash.xxh3_64() if self._verify and view is not None else None
        segment = _Segment(entry, descriptor, view, 0, state)
        if descriptor.codec != 0 and view is not None:
            segment.room = view
        self._segments.append(segment)

    def _begin_decoding(self, segment: _Segment, room: memoryview) -> None:
        """Makes room for the encoded bytes only now that they come, and a thread decode them."""
        decoders, entry = self._delivery.decoders, segment.entry
        assert decoders is not None, "no codec is accepted without decoders"
        segment.room = None
        decoding = decoders.start(entry.item, segment.descriptor, room, self.deadline)
        entry.decoding = segment.decoding = decoding
        segment.view = decoding.view

    def destinations(self, count: int) -> list[memoryview]:
        views: list[memoryview] = []
        for segment in self._segments:
            if count <= 0 or len(views) >= SCATTER_MAX:
                break
            length = min(segment.descriptor.sent_bytes - segment.received, count)
            if segment.view is None:
                # An empty view stands for bytes that nobody wants; they end this scatter.
                return views or [memoryview(b"")]
            if segment.room is not None:
                if views:
                    break
                self._begin_decoding(segment, segment.room)
            views.append(segment.view[segment.received : segment.received + length])
            count -= length
        return views

    @property
    def unwanted_bytes(self) -> int:
        head = self._segments[0]
        return head.descriptor.sent_bytes - head.received if head.view is None else 0

    def on_payload(self, count: int) -> None:
        self._arrived_bytes += count
        while count > 0:
            segment = self._segments[0]
            length = min(segment.descriptor.sent_bytes - segment.received, count)
            end = segment.received + length
            if segment.state is not None and segment.view is not None:
                segment.state.update(segment.view[segment.received : end])
            segment.received = end
            if segment.decoding is not None:
                segment.decoding.arrived(end)
            count -= length
            if end == segment.descriptor.sent_bytes:
                self._segments.popleft()
                self._settle(segment)

    def _settle(self, segment: _Segment) -> None:
        result, descriptor = segment.entry.result, segment.descriptor
        if segment.view is None:
            result.data = None
            return
        result.nbytes = result.wire_bytes = descriptor.sent_bytes
        if segment.state is not None:
            whole = segment.entry.whole and descriptor.codec == 0
            taken = int(segment.state.intdigest())
            if taken != (descriptor.object_checksum if whole else descriptor.sent_checksum):
                result.cause = MissCause.CORRUPT
                result.data = None
                return
        result.hit = True

    def on_end(self, header: Header) -> None:
        self.finish(None)

    def finish(self, error: KDNError | None) -> None:
        if self._is_arriving and self._delivery.rates is not None:
            self._is_arriving = False
            self._delivery.rates.arrival_ends(self._arrived_bytes, self._clock(), error is None)
        super().finish(error)

    def abandon(self) -> None:
        super().abandon()
        for segment in self._segments:
            segment.view = segment.room = None
            segment.state = None
            if segment.decoding is not None:
                segment.decoding.abandon()


class ProfileJob(GetJob):
    """CODEC_PROFILE: fetches a profile by its hash; the answer is that of a GET of one item."""

    def __init__(self, entry: GetEntry, profile: bytes, deadline: float) -> None:
        super().__init__([entry], wait=False, verify=True, deadline=deadline)
        self._profile = profile

    def next_frame(self, request_id: int, deadline_ms: int, limits: Limits) -> list[Piece]:
        self._sent = True
        body = encode_profile_get(self._profile)
        return [encode_frame(Op.CODEC_PROFILE, request_id, body, deadline_ms=deadline_ms)]

    @property
    def op(self) -> Op:
        return Op.CODEC_PROFILE
