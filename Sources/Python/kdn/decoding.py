"""Decoding while bytes arrive: a thread decodes what the connection has received so far."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING

from kdn.errors import CorruptPayload, FieldError, KDNError
from kdn.results import MissCause

if TYPE_CHECKING:
    from kdn.bodies import Descriptor
    from kdn.codec.container import Header
    from kdn.codec.decoder import Decoder
    from kdn.codec.stream import DecodeStream
    from kdn.rates import Rates
    from kdn.results import Get

logger = logging.getLogger("kdn")
# Encoded bytes that have come and wait to be decoded; beyond them a connection waits too.
BACKLOG_BYTES_MAX = 64 << 20
# What a thread keeps for objects whose takers have no memory for them.
SPARE_BYTES_MAX = 64 << 20
# What is decoded before it is asked again whether anybody still waits for it.
STEP_BYTES = 256 << 10


class Backlog:
    """Bytes of objects that have come whole and are not decoded yet."""

    def __init__(self, bytes_max: int = BACKLOG_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self._changed = threading.Condition()
        self._bytes = 0

    def add(self, count: int) -> None:
        """An object of so many encoded bytes has come."""
        with self._changed:
            self._bytes += count

    def remove(self, count: int) -> None:
        """It is decoded, or given up."""
        with self._changed:
            self._bytes -= count
            self._changed.notify_all()

    def wait(self, deadline: float) -> None:
        """Returns once there is room for more, or at the deadline (monotonic seconds).

        Objects that are still on their way do not count: they cannot be waited for here, where
        their bytes may have to be received.
        """
        with self._changed:
            while self._bytes > self.bytes_max:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return
                self._changed.wait(min(remaining, threading.TIMEOUT_MAX))


class Decoding:
    """One encoded object on its way: received into `view`, decoded into `room`.

    If the item has a taker, it goes to memory of the thread that decodes it, and then to the
    taker. Who receives calls `arrived` and `abandon`, who asked for it `outcome`.
    """

    def __init__(
        self, decoders: Decoders, item: Get, descriptor: Descriptor, room: memoryview
    ) -> None:
        self.view = memoryview(bytearray(descriptor.sent_bytes))
        self.checksum = 0
        self.error: KDNError | None = None
        self.header: Header | None = None
        self._decoders = decoders
        self._key = item.key
        self._taker = item.taker
        self._planes = item.planes
        self._descriptor = descriptor
        self._room = room
        self._changed = threading.Condition()
        # Held while the room is written to, or the taker at work.
        self._writing = threading.Lock()
        self._length = descriptor.sent_bytes
        self._arrived = 0
        self._abandoned = False
        self._ended = False
        self._future: Future[MissCause] | None = None

    def start(self, executor: Executor) -> None:
        """Has a thread decode what arrives from now on."""
        self._future = executor.submit(self._run)

    @property
    def future(self) -> Future[MissCause] | None:
        """What `outcome` waits for."""
        return self._future

    def arrived(self, count: int) -> None:
        """Says that the first `count` bytes of the view are there."""
        with self._changed:
            self._arrived = count
            if count == self._length and not self._ended:
                self._decoders.backlog.add(count)
            self._changed.notify()

    def abandon(self) -> None:
        """Ends it: the rest will not come, or nobody wants it."""
        with self._changed:
            self._abandoned = True
            self._changed.notify()

    def outcome(self, deadline: float) -> MissCause:
        """Waits until all is decoded, or the deadline (monotonic seconds); NONE is success.

        Then nobody writes to the room any more. A profile that is missing makes it UNDECODABLE.
        """
        if self._future is None:
            return MissCause.CORRUPT
        try:
            return self._future.result(max(0.0, deadline - time.monotonic()))
        except FutureTimeout:
            self.settle()
            return MissCause.OVER_DEADLINE

    def settle(self) -> None:
        """Abandons it, and returns once nobody writes to the room any more, and the taker is done.

        That is soon, if the taker is as it should be.
        """
        self.abandon()
        if self._future is not None and self._future.cancel():
            self._end()
        with self._writing:
            return

    def _end(self) -> None:
        """Lets go of the encoded bytes."""
        with self._changed:
            self._ended = True
            if self._arrived == self._length:
                self._decoders.backlog.remove(self._length)
        self.view = memoryview(b"")

    def _run(self) -> MissCause:
        try:
            return self._outcome()
        finally:
            self._end()

    def _outcome(self) -> MissCause:
        from kdn.codec.errors import ProfileMissing

        try:
            return self._decode_all()
        except ProfileMissing as error:
            self.error = error
            return MissCause.UNDECODABLE
        except (FieldError, CorruptPayload) as error:
            self.error = error
            return MissCause.CORRUPT
        except KDNError as error:
            # Only the profile is asked of the server on the way.
            self.error = error
            return MissCause.UNDECODABLE
        except Exception:
            # Whatever it is, nobody knows what stands in the room.
            logger.warning("KDN: an encoded object cannot be decoded", exc_info=True)
            return MissCause.CORRUPT

    def _decode_all(self) -> MissCause:
        room = self._room if self._taker is None else None
        stream = self._decoders.decoder.stream(room=room, gives_planes=False)
        stream.attach(self.view)
        done = 0
        while done < self._length:
            arrived = self._await_more(done)
            before, done = done, self._next_stop(stream, done, arrived)
            if not self._decode(stream, before, done):
                return MissCause.OVER_DEADLINE
            if self.header is None and stream.header is not None:
                self._check(stream.header)
                self.header = stream.header
                self._find_profile(stream.header)
                if self._taker is not None:
                    room = self._room_of(stream)
        stream.finish()
        if self.header is not None:
            self.checksum = self.header.decoded_checksum
        return MissCause.NONE if self._hand_over(room) else MissCause.OVER_DEADLINE

    def _room_of(self, stream: DecodeStream) -> memoryview:
        """Where it is decoded for a taker; nothing where each plane has a place of its own."""
        import numpy as np

        from kdn.codec.rooms import OneRoom, PlaneRooms

        header = stream.header
        assert header is not None
        if self._planes is not None:
            places = PlaneRooms.found(header, self._planes)
            if places is not None:
                stream.decode_to(places)
                return memoryview(b"")
        room = self._decoders.spare_room(header.raw_bytes)
        stream.decode_to(OneRoom(np.frombuffer(room, np.uint8)))
        return room

    def _hand_over(self, room: memoryview | None) -> bool:
        """Gives the taker, if there is one, what was decoded; False once nobody wants it."""
        with self._writing:
            if self._taker is not None and room is not None and not self._abandoned:
                self._taker(room)
            return not self._abandoned

    def _decode(self, stream: DecodeStream, before: int, done: int) -> bool:
        """Decodes what there is of these bytes; False once nobody wants it."""
        rates, codec = self._decoders.rates, self._descriptor.codec
        share = self._descriptor.object_bytes * (done - before) // self._length
        with self._writing:
            if self._abandoned:
                return False
            rates.decoding_begins(codec, time.perf_counter())
            try:
                stream.arrived(done)
            finally:
                rates.decoding_ends(codec, time.perf_counter(), share)
        return True

    def _next_stop(self, stream: DecodeStream, done: int, arrived: int) -> int:
        """Up to where to decode next: the header by itself, then a step after the other."""
        from kdn.codec.header import header_length

        if stream.header is not None:
            return min(arrived, done + STEP_BYTES)
        length = header_length(self.view[:arrived])
        return arrived if length is None else min(arrived, length)

    def _find_profile(self, header: Header) -> None:
        """Has the profile at hand before anything is written, as it may have to be fetched."""
        from kdn.codec.container import TRANSFORM, UNIFORM
        from kdn.codec.errors import ProfileMissing

        kinds = {entry.kind for entry in header.entries}
        if not any(header.profile) or not kinds & {TRANSFORM, UNIFORM}:
            return
        try:
            self._decoders.decoder.profile(header.profile)
        except ProfileMissing:
            # Uniform blocks may do without.
            if TRANSFORM in kinds:
                raise

    def _await_more(self, done: int) -> int:
        """Waits for more than `done` bytes, or the end; returns how many there are."""
        with self._changed:
            while not self._abandoned and self._arrived == done:
                self._changed.wait()
            return self._arrived

    def _check(self, header: Header) -> None:
        """Raises CorruptPayload for a container that is not of the object that was asked for."""
        told = self._descriptor
        found = (header.codec, header.raw_bytes, header.raw_checksum)
        if found != (told.codec, told.object_bytes, told.object_checksum):
            raise CorruptPayload(f"the container says {found}, the answer something else")
        if header.part != self._key.part or header.layout_id != self._key.data[40:56]:
            raise CorruptPayload("the container is of another layout or part")


class Decoders:
    """What a client decodes with: made at the first need, since it takes numpy and some memory.

    `fetch` has the server's copy of a profile; profiles are kept in the user's cache, those in use
    in memory. How fast it goes is noted in `rates`. Where `is_waiting`, who receives waits while
    too much is left to be decoded.
    """

    def __init__(
        self,
        fetch: Callable[[bytes], bytearray | None],
        threads: int,
        rates: Rates,
        *,
        is_waiting: bool,
    ) -> None:
        self.rates = rates
        self.backlog = Backlog()
        self._fetch = fetch
        self._threads = threads
        self._is_waiting = is_waiting
        self._lock = threading.Lock()
        self._local = threading.local()
        self._decoder: Decoder | None = None
        self._executor: ThreadPoolExecutor | None = None

    def start(
        self, item: Get, descriptor: Descriptor, room: memoryview, deadline: float
    ) -> Decoding:
        """Begins to decode an object whose bytes are to come into the `view` of what is returned.

        It goes to `room`, which is as long as the object, unless the item has a taker; `deadline`
        bounds the wait for others.
        """
        if self._is_waiting:
            self.backlog.wait(deadline)
        with self._lock:
            if self._decoder is None:
                self._decoder = self._make_decoder()
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._threads, "kdn-decode")
            decoding = Decoding(self, item, descriptor, room)
            decoding.start(self._executor)
        return decoding

    def spare_room(self, size: int) -> memoryview:
        """Memory of this thread for one object, until the next; kept unless it is very large."""
        import numpy as np

        room: memoryview | None = getattr(self._local, "room", None)
        if room is None or len(room) < size:
            room = memoryview(np.empty(size, np.uint8))
            if size <= SPARE_BYTES_MAX:
                self._local.room = room
        return room[:size]

    @property
    def decoder(self) -> Decoder:
        """What decodes; there is one once something was started."""
        assert self._decoder is not None
        return self._decoder

    def close(self) -> None:
        """Ends the threads; what they were decoding is abandoned with its connection."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    def after_fork_in_child(self) -> None:
        """Forgets the threads, of which the child has none."""
        self._lock = threading.Lock()
        self.backlog = Backlog()
        self._executor = None

    def _make_decoder(self) -> Decoder:
        from kdn.codec.decoder import Decoder
        from kdn.codec.profiles import Profiles, default_folder

        return Decoder(Profiles(default_folder(), self._fetch))
