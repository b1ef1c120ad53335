"""A store in flight: BEGIN, DATA and COMMIT, or ABORT when the bytes need not travel."""

from __future__ import annotations

import xxhash

from kdn import bodies
from kdn.errors import KDNError, ProtocolError, ServerError, Status
from kdn.jobs import Job, Piece, typed_error
from kdn.results import Put, PutResult
from kdn.wire import Header, Limits, Op, encode_frame

# Small enough that a small request soon gets its turn, large enough that headers cost nothing.
DATA_FRAME_BYTES_MAX = 4 << 20

_BEGIN, _DATA, _COMMIT, _ABORT, _SENT = range(5)


class PutJob(Job):
    """Sends one object without waiting for the answer to BEGIN, unless it is there in time."""

    def __init__(self, item: Put, views: list[memoryview], deadline: float) -> None:
        super().__init__(deadline)
        self.total_bytes = sum(map(len, views))
        self.credit_bytes = self.total_bytes
        self.result = PutResult("failed")
        self.begin_body = bodies.encode_put_begin(item, self.total_bytes)
        self.views = views
        self._view_index = 0
        self._view_offset = 0
        self._offset = 0
        self._state = xxhash.xxh3_64()
        self._phase = _BEGIN
        self._transfer_id = 0
        self._awaited: set[int] = set()
        self._replied = True
        self._failure: KDNError | None = None
        self._present: int | None = None

    @property
    def begins(self) -> bool:
        return self._phase == _BEGIN

    @property
    def waits_for_data(self) -> bool:
        """Whether BEGIN has been sent and no byte of the object yet."""
        return self._phase == _DATA and self._offset == 0

    @property
    def sends_bulk(self) -> bool:
        return self._phase == _DATA

    @property
    def has_frames(self) -> bool:
        return self._phase != _SENT

    def expects_reply(self) -> bool:
        return self._replied

    def next_frame(self, request_id: int, deadline_ms: int, limits: Limits) -> list[Piece]:
        if self._phase == _DATA:
            self._replied = False
            return self._data_frame(request_id, deadline_ms, limits)
        self._replied = True
        self._awaited.add(int(self._op_of_phase()))
        if self._phase == _BEGIN:
            self._transfer_id = request_id
            self._phase = _DATA
            return [
                encode_frame(Op.PUT_BEGIN, request_id, self.begin_body, deadline_ms=deadline_ms)
            ]
        if self._phase == _COMMIT:
            body = bodies.encode_two(self._transfer_id, int(self._state.intdigest()))
            frame = encode_frame(Op.PUT_COMMIT, request_id, body, deadline_ms=deadline_ms)
        else:
            body = bodies.encode_transfer(self._transfer_id)
            frame = encode_frame(Op.PUT_ABORT, request_id, body, deadline_ms=deadline_ms)
        self._phase = _SENT
        return [frame]

    def _op_of_phase(self) -> Op:
        return {_BEGIN: Op.PUT_BEGIN, _COMMIT: Op.PUT_COMMIT, _ABORT: Op.PUT_ABORT}[self._phase]

    def _data_frame(self, request_id: int, deadline_ms: int, limits: Limits) -> list[Piece]:
        offset = self._offset
        pieces = self._take(min(limits.frame_payload_bytes, DATA_FRAME_BYTES_MAX))
        size = self._offset - offset
        self._end_data_if_complete()
        body = bodies.encode_two(self._transfer_id, offset)
        head = encode_frame(
            Op.PUT_DATA, request_id, body, payload_bytes=size, deadline_ms=deadline_ms
        )
        return [head, *pieces]

    def _end_data_if_complete(self) -> None:
        if self._offset == self.total_bytes:
            self._phase = _COMMIT

    def _take(self, count: int) -> list[memoryview]:
        """The next `count` bytes of the object, hashed on the way."""
        pieces: list[memoryview] = []
        while count > 0 and self._view_index < len(self.views):
            view = self.views[self._view_index]
            piece = view[self._view_offset : self._view_offset + count]
            self._state.update(piece)
            pieces.append(piece)
            count -= len(piece)
            self._offset += len(piece)
            self._view_offset += len(piece)
            if self._view_offset == len(view):
                self._view_index += 1
                self._view_offset = 0
        return pieces

    def on_reply(self, header: Header, body: bytes, limits: Limits) -> int:
        self._settle_op(header)
        if header.op == Op.PUT_BEGIN:
            state, object_checksum = bodies.decode_put(body)
            if state == bodies.PUT_PRESENT:
                self._on_present(object_checksum)
        elif header.op == Op.PUT_COMMIT:
            state, object_checksum = bodies.decode_put(body)
            self.result.object_checksum = object_checksum
            if object_checksum != int(self._state.intdigest()):
                self._fail(ProtocolError("objectChecksum", object_checksum, "that of the bytes"))
            elif self._failure is None:
                self.result.state = "published" if state == 1 else "present"
        else:
            bodies.decode_empty(body)
            self._compare_present()
        return 0

    def _settle_op(self, header: Header) -> None:
        if header.op not in self._awaited:
            raise ProtocolError("op", header.op, sorted(self._awaited))
        self._awaited.discard(header.op)

    def _on_present(self, object_checksum: int) -> None:
        """The key is taken: if its bytes have not all gone out yet, they need not."""
        self._present = object_checksum
        if self._phase in (_DATA, _COMMIT):
            self._phase = _ABORT

    def _compare_present(self) -> None:
        if self._present is None or self.abandoned:
            return
        self._take(self.total_bytes - self._offset)
        self.result.object_checksum = self._present
        taken = int(self._state.intdigest())
        if taken == self._present:
            self.result.state = "present"
            return
        self._fail(
            ServerError(
                Status.CONFLICT, "objectChecksum", self._present, taken, 0, "other bytes are there"
            )
        )

    def on_error(self, header: Header, body: bytes) -> None:
        error = typed_error(header.status, body)
        self._settle_op(header)
        if header.op == Op.PUT_BEGIN:
            self._fail(error)
            # A transfer that never began needs no ABORT.
            if self._phase in (_DATA, _COMMIT):
                self._phase = _SENT
        elif header.op == Op.PUT_COMMIT:
            self._fail(error)
        else:
            # The transfer may be over by itself after `present`; that is what ABORT asked for.
            self._compare_present()
        self._finish_if_settled()

    def _fail(self, error: KDNError) -> None:
        if self._failure is None:
            self._failure = error
            self.result.state = "failed"
            self.result.error = error

    def on_end(self, header: Header) -> None:
        self._finish_if_settled()

    def _finish_if_settled(self) -> None:
        if self._phase == _SENT and not self._awaited:
            self.finish(None)

    def finish(self, error: KDNError | None) -> None:
        if error is not None:
            self._fail(error)
        super().finish(error)

    def abandon(self) -> None:
        super().abandon()
        if self._phase in (_DATA, _COMMIT):
            self._phase = _ABORT
