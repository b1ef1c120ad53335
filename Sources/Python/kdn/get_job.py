"""A GET in flight: descriptors first, then payload straight into the callers' buffers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import xxhash

from kdn import bodies
from kdn.errors import ProtocolError
from kdn.jobs import Job, Piece
from kdn.results import Get, GetResult, MissCause
from kdn.wire import Header, Limits, Op, encode_frame

SCATTER_MAX = 64


@dataclass(slots=True)
class GetEntry:
    """One item of a call: what is asked, where it goes, and the result to fill in."""

    item: Get
    encoded: bytes
    view: memoryview | None
    result: GetResult

    @property
    def expected_bytes(self) -> int:
        """How many bytes the item is expected to send, for credit and for batches."""
        if self.item.ranges is not None:
            return sum(length for _, length in self.item.ranges)
        return 0 if self.view is None else len(self.view)


@dataclass(slots=True)
class _Segment:
    entry: GetEntry
    descriptor: bodies.Descriptor
    view: memoryview | None
    received: int
    state: xxhash.xxh3_64 | None


class GetJob(Job):
    """One GET request and its reply, over as many frames as the server likes."""

    def __init__(
        self, entries: list[GetEntry], *, wait: bool, verify: bool, deadline: float
    ) -> None:
        super().__init__(deadline)
        self.entries = entries
        self.credit_bytes = sum(entry.expected_bytes for entry in entries)
        self._wait = wait
        self._verify = verify
        self._sent = False
        self._segments: deque[_Segment] = deque()

    @property
    def has_frames(self) -> bool:
        return not self._sent

    def next_frame(self, request_id: int, deadline_ms: int, limits: Limits) -> list[Piece]:
        self._sent = True
        encoded = [entry.encoded for entry in self.entries]
        body = bodies.encode_get(encoded, wait=self._wait, verify=self._verify)
        return [encode_frame(Op.GET, request_id, body, deadline_ms=deadline_ms)]

    def on_reply(self, header: Header, body: bytes, limits: Limits) -> int:
        if header.op != Op.GET:
            raise ProtocolError("op", header.op, int(Op.GET))
        descriptors = bodies.decode_get(body, len(self.entries), limits)
        for entry, descriptor in zip(self.entries, descriptors):
            entry.result.cause = descriptor.cause
            entry.result.object_bytes = descriptor.object_bytes
            entry.result.object_checksum = descriptor.object_checksum
            if not descriptor.miss:
                self._expect(entry, descriptor)
        return sum(descriptor.sent_bytes for descriptor in descriptors)

    def _expect(self, entry: GetEntry, descriptor: bodies.Descriptor) -> None:
        item, sent = entry.item, descriptor.sent_bytes
        if item.ranges is not None and sent != entry.expected_bytes:
            raise ProtocolError("sentBytes", sent, entry.expected_bytes)
        if item.ranges is None and item.part is None and sent != descriptor.object_bytes:
            raise ProtocolError("sentBytes", sent, descriptor.object_bytes)
        if sent == 0:
            raise ProtocolError("sentBytes", 0, "at least 1 for a hit")
        view = entry.view
        if view is None and item.buffer is None and not self.abandoned:
            entry.result.data = bytearray(sent)
            view = memoryview(entry.result.data)
        if self.abandoned or view is None or len(view) < sent:
            entry.result.cause = MissCause.BUFFER_TOO_SMALL
            view = None
        state = xxhash.xxh3_64() if self._verify and view is not None else None
        self._segments.append(_Segment(entry, descriptor, view, 0, state))

    def destinations(self, count: int) -> list[memoryview]:
        views: list[memoryview] = []
        for segment in self._segments:
            if count <= 0 or len(views) >= SCATTER_MAX:
                break
            length = min(segment.descriptor.sent_bytes - segment.received, count)
            if segment.view is None:
                # An empty view stands for bytes that nobody wants; they end this scatter.
                return views or [memoryview(b"")]
            views.append(segment.view[segment.received : segment.received + length])
            count -= length
        return views

    @property
    def unwanted_bytes(self) -> int:
        head = self._segments[0]
        return head.descriptor.sent_bytes - head.received if head.view is None else 0

    def on_payload(self, count: int) -> None:
        while count > 0:
            segment = self._segments[0]
            length = min(segment.descriptor.sent_bytes - segment.received, count)
            end = segment.received + length
            if segment.state is not None and segment.view is not None:
                segment.state.update(segment.view[segment.received : end])
            segment.received = end
            count -= length
            if end == segment.descriptor.sent_bytes:
                self._segments.popleft()
                self._settle(segment)

    def _settle(self, segment: _Segment) -> None:
        result, descriptor = segment.entry.result, segment.descriptor
        if segment.view is None:
            result.data = None
            return
        result.nbytes = descriptor.sent_bytes
        item = segment.entry.item
        whole = item.ranges is None and item.part is None
        if segment.state is not None:
            taken = int(segment.state.intdigest())
            if taken != (descriptor.object_checksum if whole else descriptor.sent_checksum):
                result.cause = MissCause.CORRUPT
                result.data = None
                return
        result.hit = True

    def on_end(self, header: Header) -> None:
        self.finish(None)

    def abandon(self) -> None:
        super().abandon()
        for segment in self._segments:
            segment.view = None
            segment.state = None
