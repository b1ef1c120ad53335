"""Stores through a window: memory that this side fills and the server copies from."""

from __future__ import annotations

from collections.abc import Callable

from kdn import link_bodies
from kdn.errors import KDNError
from kdn.jobs import Piece, SimpleJob
from kdn.mapping import Mapping
from kdn.put_job import DATA_FRAME_BYTES_MAX, PutJob
from kdn.results import Put
from kdn.shared_jobs import PassedDescriptor
from kdn.slabs import WINDOW_BYTES, Window
from kdn.wire import Limits, Op, Place, encode_frame


class WindowPutJob(PutJob):
    """Stores one object through the connection's window: frames name the bytes, none travel."""

    def __init__(
        self, item: Put, views: list[memoryview], deadline: float, window: Window
    ) -> None:
        super().__init__(item, views, deadline)
        self._window = window

    @property
    def blocked(self) -> bool:
        return self.sends_bulk and self._window.room == 0

    def _data_frame(self, request_id: int, deadline_ms: int, limits: Limits) -> list[Piece]:
        offset = self._offset
        room = min(limits.frame_payload_bytes, DATA_FRAME_BYTES_MAX, self._window.room)
        count = min(room, self.total_bytes - offset)
        place = self._window.take(request_id, count)
        filled = place
        for piece in self._take(count):
            self._window.memory[filled : filled + len(piece)] = piece
            filled += len(piece)
        self._end_data_if_complete()
        body = link_bodies.encode_put_window(self._transfer_id, offset, place, count)
        return [
            encode_frame(
                Op.PUT_DATA, request_id, body, deadline_ms=deadline_ms, place=Place.SHARED_MEMORY
            )
        ]


class OpenWindowJob(SimpleJob["Window | None"]):
    """OPEN_WINDOW; its answer comes with the memory.

    The value is None if this process has no room for it, as with too many files open.
    """

    def __init__(self, deadline: float) -> None:
        body = link_bodies.encode_open_window(WINDOW_BYTES)
        super().__init__(Op.OPEN_WINDOW, body, self._open, deadline)
        self.on_window: Callable[[Window], None] | None = None
        self._passed = PassedDescriptor()

    def on_descriptors(self, descriptors: list[int], truncated: bool) -> None:
        self._passed.receive(descriptors, truncated)

    def _open(self, body: bytes) -> Window | None:
        byte_count = link_bodies.decode_open_window(body)
        descriptor = self._passed.claim()
        if descriptor is None:
            return None
        try:
            window = Window(Mapping(descriptor, byte_count, writable=True).writable_view())
        except OSError:
            return None
        if self.on_window is not None:
            self.on_window(window)
        return window

    def finish(self, error: KDNError | None) -> None:
        self._passed.close()
        super().finish(error)
