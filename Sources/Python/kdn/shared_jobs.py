"""Gets in place: bytes that lie in memory which the server shares."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import xxhash

from kdn import bodies, link_bodies
from kdn.decoding import Decoding
from kdn.errors import KDNError, ProtocolError, Status
from kdn.get_job import Delivery, GetEntry, GetJob, check_sent
from kdn.jobs import Piece, SimpleJob, typed_error
from kdn.mapping import COPY_BYTES, Mapping, copy
from kdn.results import MissCause
from kdn.slabs import SharedMemory
from kdn.wire import Header, Limits, Op, Place, decode_error, encode_frame

# A lease outlasts the call that it serves, by the time that a copy at its end may take.
LEASE_MARGIN_MS = 1000
_LEASE_MS_MAX = 0xFFFFFFFF


def release_job(lease_id: int, deadline: float) -> SimpleJob[None]:
    """Gives a lease back, and nobody waits for it."""
    job = SimpleJob(Op.RELEASE, bodies.encode_lease(lease_id), bodies.decode_empty, deadline)
    job.background = True
    return job


class PassedDescriptor:
    """One descriptor that an answer is to bring with it."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._truncated = False

    def receive(self, descriptors: list[int], truncated: bool) -> None:
        """Takes the descriptor; raises ProtocolError if there is not exactly one."""
        self._truncated = truncated
        if truncated:
            return
        if len(descriptors) != 1 or self._number is not None:
            raise ProtocolError("descriptors", len(descriptors), 1)
        self._number = descriptors.pop()

    def claim(self) -> int | None:
        """The descriptor, now the caller's; None if this process had no room for it.

        Raises ProtocolError if none came.
        """
        number, self._number = self._number, None
        if number is None and not self._truncated:
            raise ProtocolError("descriptors", 0, 1)
        return number

    def close(self) -> None:
        """Closes a descriptor that was not claimed."""
        number, self._number = self._number, None
        if number is not None:
            os.close(number)


@dataclass(slots=True)
class Placed:
    """A hit and where its bytes lie, in order: (offset, length) in one slab."""

    entry: GetEntry
    descriptor: bodies.Descriptor
    slab_id: int
    extents: tuple[tuple[int, int], ...]
    view: memoryview | None = None
    mapping: Mapping | None = None


class PlacedGetJob(GetJob):
    """A GET in place: asks, maps the slabs that are new, and has what it found settled.

    `unplaced` are entries whose bytes could not be had in this way, to be asked for inline.
    """

    def __init__(
        self,
        entries: list[GetEntry],
        *,
        wait: bool,
        verify: bool,
        deadline: float,
        shared: SharedMemory,
        lease_ms: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        delivery: Delivery | None = None,
    ) -> None:
        super().__init__(
            entries, wait=wait, verify=verify, deadline=deadline, delivery=delivery, clock=clock
        )
        self.lease_id = 0
        self.lease_ms = 0
        self.expires_at = 0.0
        self.unplaced: list[GetEntry] = []
        self.placed: list[Placed] = []
        self._shared = shared
        self._wanted_lease_ms = lease_ms
        self._unmapped: deque[int] = deque()
        self._mapping: dict[int, int] = {}
        self._outstanding = 0
        self._passed = PassedDescriptor()
        self._asked_at = 0.0

    @property
    def has_frames(self) -> bool:
        return not self._sent or bool(self._unmapped)

    def place_of(self, op: int) -> Place:
        return Place.SHARED_MEMORY if op == Op.GET else Place.INLINE

    def next_frame(self, request_id: int, deadline_ms: int, limits: Limits) -> list[Piece]:
        self._outstanding += 1
        if self._sent:
            slab_id = self._unmapped.popleft()
            self._mapping[request_id] = slab_id
            body = link_bodies.encode_map_slab(slab_id)
            return [encode_frame(Op.MAP_SLAB, request_id, body, deadline_ms=deadline_ms)]
        self._sent = True
        self._asked_at = self._clock()
        body = self._body(Place.SHARED_MEMORY, self._lease_ms(deadline_ms, limits))
        return [
            encode_frame(
                Op.GET, request_id, body, deadline_ms=deadline_ms, place=Place.SHARED_MEMORY
            )
        ]

    def _lease_ms(self, deadline_ms: int, limits: Limits) -> int:
        wanted = self._wanted_lease_ms
        if wanted is None:
            wanted = deadline_ms + LEASE_MARGIN_MS
        return min(wanted, limits.max_lease_ms or _LEASE_MS_MAX)

    # Answers

    def on_descriptors(self, descriptors: list[int], truncated: bool) -> None:
        self._passed.receive(descriptors, truncated)

    def on_reply(self, header: Header, body: bytes, limits: Limits) -> int:
        if header.op == Op.MAP_SLAB and header.request_id in self._mapping:
            self._on_slab(self._mapping[header.request_id], body)
        elif header.op == Op.GET and header.request_id not in self._mapping:
            self._on_placed(body, limits)
        else:
            raise ProtocolError("op", header.op, "that of the request")
        return 0

    def _on_placed(self, body: bytes, limits: Limits) -> None:
        descriptors, in_place = link_bodies.decode_get_in_place(
            body, len(self.entries), limits, self.accepted
        )
        self.lease_id, self.lease_ms = in_place.lease_id, in_place.lease_ms
        # Counted from before the daemon heard of it, so that it is over here first.
        self.expires_at = self._asked_at + in_place.lease_ms / 1000
        hits = iter(in_place.hits)
        for entry, descriptor in zip(self.entries, descriptors):
            self._describe(entry, descriptor)
            if descriptor.miss:
                continue
            hit = next(hits)
            placed = Placed(entry, descriptor, hit.slab_id, hit.extents)
            if self._wants(placed) and not self.abandoned:
                self.placed.append(placed)
        slabs = dict.fromkeys(placed.slab_id for placed in self.placed)
        self._unmapped.extend(slab for slab in slabs if not self._find(slab))

    def _wants(self, placed: Placed) -> bool:
        """Prepares for a hit; False if it is a miss after all."""
        placed.view = self._room_for(placed.entry, placed.descriptor)
        return placed.view is not None

    def _find(self, slab_id: int) -> bool:
        mapping = self._shared.find(slab_id)
        if mapping is not None:
            self._use(slab_id, mapping)
        return mapping is not None

    def _on_slab(self, slab_id: int, body: bytes) -> None:
        byte_count = link_bodies.decode_map_slab(body)
        descriptor = self._passed.claim()
        if descriptor is None:
            # Too many files are open in this process: the bytes can still be had inline.
            return
        try:
            mapping = self._shared.map(slab_id, descriptor, byte_count)
        except OSError:
            return
        self._use(slab_id, mapping)

    def _use(self, slab_id: int, mapping: Mapping) -> None:
        for placed in self.placed:
            if placed.slab_id == slab_id:
                placed.mapping = mapping
                for offset, count in placed.extents:
                    if offset + count > mapping.byte_count:
                        limit = f"inside {mapping.byte_count} bytes of slab {slab_id}"
                        raise ProtocolError("extent", (offset, count), limit)

    def on_error(self, header: Header, body: bytes) -> None:
        self._outstanding -= 1
        if header.request_id not in self._mapping:
            self.finish(typed_error(header.status, body))
            return
        # The slab's entries stay without a mapping.
        if decode_error(header.status, body).status == Status.BUSY:
            self._shared.refused()
        self._settle_if_ready()

    def on_end(self, header: Header) -> None:
        self._outstanding -= 1
        self._settle_if_ready()

    def _settle_if_ready(self) -> None:
        if self._outstanding or self._unmapped:
            return
        for placed in self.placed:
            if placed.mapping is None:
                self.unplaced.append(placed.entry)
        self.placed = [placed for placed in self.placed if placed.mapping is not None]
        self._settle_all()
        self.finish(None)

    # Bytes

    def _settle_all(self) -> None:
        """Copies what was found to where it is wanted, and gives the lease back."""
        for placed in self.placed:
            if placed.mapping is None or placed.view is None:
                continue
            if placed.descriptor.codec == 0:
                self._copy(placed, placed.mapping, placed.view)
            else:
                self._copy_encoded(placed, placed.mapping, placed.view)
        self.placed.clear()
        self._give_back()

    def _copy_encoded(self, placed: Placed, mapping: Mapping, room: memoryview) -> None:
        """Has a thread decode an object while it is copied.

        A decoder does not read where the bytes lie: after the lease they may change under its
        hands, and decoding takes longer than the copy of what is encoded.
        """
        decoders, entry = self._delivery.decoders, placed.entry
        assert decoders is not None, "no codec is accepted without decoders"
        entry.decoding = decoders.start(entry.item, placed.descriptor, room, self.deadline)
        self._copy(placed, mapping, entry.decoding.view, entry.decoding)
        entry.result.wire_bytes = placed.descriptor.sent_bytes

    def _copy(
        self,
        placed: Placed,
        mapping: Mapping,
        view: memoryview,
        decoding: Decoding | None = None,
    ) -> None:
        state = xxhash.xxh3_64() if self._verify else None
        filled = 0
        for offset, count in placed.extents:
            for start in range(0, count, COPY_BYTES):
                size = min(COPY_BYTES, count - start)
                piece = view[filled : filled + size]
                copy(mapping.address + offset + start, piece)
                if state is not None:
                    state.update(piece)
                filled += size
                if decoding is not None:
                    decoding.arrived(filled)
        result = placed.entry.result
        result.nbytes = filled
        if state is not None and int(state.intdigest()) != expected_checksum(placed):
            result.cause = MissCause.CORRUPT
        elif state is None and self._clock() >= self.expires_at:
            # Others may have been given the memory while it was copied, and nothing tells.
            result.cause = MissCause.LEASE_EXPIRED
        else:
            result.hit = True
            return
        result.data = None

    def _give_back(self) -> None:
        if self.lease_id:
            self.afterwards.append(release_job(self.lease_id, self.deadline))
            self.lease_id = 0

    def abandon(self) -> None:
        super().abandon()
        self.placed.clear()
        self._unmapped.clear()
        if not self._outstanding:
            self._give_back()

    def finish(self, error: KDNError | None) -> None:
        self._passed.close()
        if error is not None:
            self._give_back()
        super().finish(error)


def expected_checksum(placed: Placed) -> int:
    """The checksum that the bytes of a hit must have."""
    descriptor = placed.descriptor
    is_object = placed.entry.whole and descriptor.codec == 0
    return descriptor.object_checksum if is_object else descriptor.sent_checksum


class LeaseJob(PlacedGetJob):
    """A GET in place whose bytes stay where they are; the lease is its caller's to give back."""

    def _wants(self, placed: Placed) -> bool:
        check_sent(placed.entry, placed.descriptor)
        return True

    def _settle_all(self) -> None:
        for placed in self.placed:
            result = placed.entry.result
            result.nbytes = placed.descriptor.sent_bytes
            result.hit = not self._verify or self._matches(placed)
            if not result.hit:
                result.cause = MissCause.CORRUPT
        self.placed = [placed for placed in self.placed if placed.entry.result.hit]
        if self.abandoned or not self.placed:
            self._give_back()
        else:
            self._shared.hold(self.lease_id, self.expires_at)

    @staticmethod
    def _matches(placed: Placed) -> bool:
        state = xxhash.xxh3_64()
        for offset, count in placed.extents:
            if placed.mapping is not None:
                state.update(placed.mapping.view(offset, count))
        return int(state.intdigest()) == expected_checksum(placed)
