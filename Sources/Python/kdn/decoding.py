"""Decoding while bytes arrive: threads decode the blocks of an object as they come."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any

from kdn.errors import CorruptPayload, FieldError, KDNError
from kdn.results import MissCause

if TYPE_CHECKING:
    from kdn.bodies import Descriptor
    from kdn.codec.container import Header
    from kdn.codec.stream import DecodeStream
    from kdn.decoders import Decoders
    from kdn.results import Get

logger = logging.getLogger("kdn")
# What a thread decodes before it is asked again whether anybody still waits for it. Some blocks
# at once keep the kernels busier than one does, and others of the object go to other threads.
STEP_BYTES = 96 << 10


class Decoding:
    """One encoded object on its way: received into `view`, decoded into `room`.

    Its header is read as soon as it is there, then its blocks are decoded step by step, each by
    whatever thread is free. If the item has a taker, the object goes to places or memory that
    `decoders` have, and then to the taker. Who receives calls `arrived` and `abandon`, who asked
    for it `outcome`.
    """

    def __init__(
        self, decoders: Decoders, item: Get, descriptor: Descriptor, room: memoryview
    ) -> None:
        self.view = memoryview(bytearray(descriptor.sent_bytes))
        self.checksum = 0
        self.error: KDNError | None = None
        self.header: Header | None = None
        self._decoders = decoders
        self._executor: Executor | None = None
        self._key = item.key
        self._taker = item.taker
        self._planes = item.planes
        self._descriptor = descriptor
        self._room: memoryview | None = room if item.taker is None else None
        # Of the decoders, lent until the end.
        self._spare: Any = None
        self._stream: DecodeStream | None = None
        self._changed = threading.Condition()
        self._length = descriptor.sent_bytes
        self._arrived = 0
        # How many bytes there must be to read the header; None while it is read, and afterwards.
        self._header_bytes: int | None = 0
        # Whether a thread has been asked for the next blocks, and none has come to take them.
        self._is_handed_out = False
        # Blocks that are not decoded yet, once it is known how many there are.
        self._left = 0
        self._at_work = 0
        # Of those at work, how many write to the room, or give it to the taker.
        self._writing = 0
        self._cause: MissCause | None = None
        self._is_ended = False
        self.future: Future[MissCause] = Future()
        # Nobody who waits for it can cancel it.
        self.future.set_running_or_notify_cancel()

    def start(self, executor: Executor) -> None:
        """Has threads decode what arrives from now on."""
        self._executor = executor

    def arrived(self, count: int) -> None:
        """Says that the first `count` bytes of the view are there."""
        with self._changed:
            self._arrived = count
            if self._is_ended:
                return
            if count == self._length:
                self._decoders.backlog.add(count)
            self._hand_out()

    def abandon(self) -> None:
        """Ends it: the rest will not come, or nobody wants it."""
        with self._changed:
            self._fail(MissCause.OVER_DEADLINE)

    def outcome(self, deadline: float) -> MissCause:
        """Waits until all is decoded, or the deadline (monotonic seconds); NONE is success.

        Then nobody writes to the room any more. A profile that is missing makes it UNDECODABLE.
        """
        try:
            return self.future.result(max(0.0, deadline - time.monotonic()))
        except FutureTimeout:
            self.settle()
            return MissCause.OVER_DEADLINE

    def settle(self) -> None:
        """Abandons it, and returns once nobody writes to the room any more, and the taker is done.

        That is soon, if the taker is as it should be.
        """
        self.abandon()
        with self._changed:
            while self._writing:
                self._changed.wait()

    # MARK: what is to be done next; the lock is held

    def _hand_out(self) -> None:
        """Gives threads what can be done with the bytes that are there."""
        if self._cause is not None:
            return
        if self._header_bytes is not None:
            if self._arrived == self._length or self._arrived >= max(1, self._header_bytes):
                self._header_bytes = None
                self._submit(self._open)
            return
        if self._stream is None or self._is_handed_out or not self._stream.has(self._arrived):
            return
        # What else comes until a thread is free goes with it.
        self._is_handed_out = True
        self._submit(self._decode)

    def _submit(self, step: Callable[[], None]) -> None:
        assert self._executor is not None
        try:
            self._executor.submit(self._run, step)
        except RuntimeError:
            # The client was closed.
            self._fail(MissCause.OVER_DEADLINE)

    def _fail(self, cause: MissCause) -> None:
        """What is at work goes on, nothing else begins."""
        if self._cause is None:
            self._cause = cause
        if not self._at_work:
            self._end()

    def _end(self) -> None:
        """Lets go of the encoded bytes, and tells who waits."""
        if self._is_ended:
            return
        self._is_ended = True
        if self._arrived == self._length:
            self._decoders.backlog.remove(self._length)
        if self._spare is not None:
            self._decoders.give_back(self._spare)
        self.view, self._stream, self._spare = memoryview(b""), None, None
        self.future.set_result(MissCause.CORRUPT if self._cause is None else self._cause)

    # MARK: in a thread

    def _run(self, step: Callable[[], None]) -> None:
        """Takes a step, unless it is of no more use."""
        with self._changed:
            if self._cause is not None:
                return
            self._at_work += 1
        try:
            step()
        except BaseException as error:
            self._note(error)
        with self._changed:
            self._at_work -= 1
            if self._cause is not None and not self._at_work:
                self._end()

    def _note(self, error: BaseException) -> None:
        from kdn.codec.errors import ProfileMissing

        cause = MissCause.CORRUPT
        if not isinstance(error, KDNError):
            # Whatever it is, nobody knows what stands in the room.
            logger.warning("KDN: an encoded object cannot be decoded", exc_info=error)
        elif isinstance(error, ProfileMissing) or not isinstance(
            error, (FieldError, CorruptPayload)
        ):
            # Only the profile is asked of the server on the way.
            cause = MissCause.UNDECODABLE
        with self._changed:
            if self._cause is None:
                self._cause = cause
                self.error = error if isinstance(error, KDNError) else None

    def _open(self) -> None:
        """Reads the header, and finds what the blocks need: before anything is written."""
        with self._changed:
            arrived = self._arrived
        stream = self._decoders.decoder.stream(room=self._room, gives_planes=False)
        stream.attach(self.view)
        header, needed = stream.open(arrived)
        if header is not None:
            self._check(header)
            self._find_profile(header)
            if self._taker is not None:
                self._room = self._room_of(stream, header)
            self.header = header
        with self._changed:
            if header is None:
                self._header_bytes = needed
            else:
                self._stream, self._left = stream, len(header.entries)
            self._hand_out()

    def _decode(self) -> None:
        """Decodes what there is, some of it; the rest is for another thread, if one is free."""
        with self._changed:
            stream, self._is_handed_out = self._stream, False
            if stream is None or self._cause is not None:
                return
            blocks = stream.take(self._arrived, STEP_BYTES)
            self._hand_out()
            self._writing += 1
        try:
            self._write(stream, blocks)
        finally:
            with self._changed:
                self._writing -= 1
                self._changed.notify_all()

    def _write(self, stream: DecodeStream, blocks: range) -> None:
        rates, codec = self._decoders.rates, self._descriptor.codec
        share = self._descriptor.object_bytes * stream.coded_bytes(blocks) // self._length
        rates.decoding_begins(codec, time.perf_counter())
        try:
            stream.decode(blocks)
        finally:
            rates.decoding_ends(codec, time.perf_counter(), share)
        with self._changed:
            self._left -= len(blocks)
            is_last = not self._left and self._cause is None
        if is_last:
            self._finish(stream)

    def _finish(self, stream: DecodeStream) -> None:
        """Checks the whole, and gives the taker, if there is one, what was decoded."""
        stream.finish()
        assert self.header is not None
        self.checksum = self.header.decoded_checksum
        if self._taker is not None and self._room is not None:
            self._taker(self._room)
        with self._changed:
            if self._cause is None:
                self._cause = MissCause.NONE

    def _room_of(self, stream: DecodeStream, header: Header) -> memoryview:
        """Where it is decoded for a taker; nothing where each plane has a place of its own."""
        import numpy as np

        from kdn.codec.rooms import OneRoom

        if self._planes is not None:
            places = self._planes(header)
            if places is not None:
                stream.decode_to(places)
                return memoryview(b"")
        self._spare = self._decoders.spare_room(header.raw_bytes)
        room = memoryview(self._spare)[: header.raw_bytes]
        stream.decode_to(OneRoom(np.frombuffer(room, np.uint8)))
        return room

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

    def _check(self, header: Header) -> None:
        """Raises CorruptPayload for a container that is not of the object that was asked for."""
        told = self._descriptor
        found = (header.codec, header.raw_bytes, header.raw_checksum)
        if found != (told.codec, told.object_bytes, told.object_checksum):
            raise CorruptPayload(f"the container says {found}, the answer something else")
        if header.part != self._key.part or header.layout_id != self._key.data[40:56]:
            raise CorruptPayload("the container is of another layout or part")
