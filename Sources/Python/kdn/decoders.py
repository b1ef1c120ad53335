"""What a client decodes with: threads, profiles, memory, and a limit to what waits for them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from kdn.decoding import Decoding

if TYPE_CHECKING:
    from kdn.bodies import Descriptor
    from kdn.codec.decoder import Decoder
    from kdn.rates import Rates
    from kdn.results import Get

# Encoded bytes that have come and wait to be decoded; beyond them a connection waits too.
BACKLOG_BYTES_MAX = 64 << 20
# What is kept for objects whose takers have no memory for them.
SPARE_BYTES_MAX = 64 << 20


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


class Decoders:
    """What a client decodes with: made at the first need, since it takes numpy and some memory.

    `fetch` has the server's copy of a profile; profiles are kept in the user's cache, those in use
    in memory. How fast it goes is noted in `rates`. Where `is_waiting`, who receives waits while
    too much is left to be decoded.
    """

    def __init__(
        self,
        fetch: Callable[[bytes], bytearray | None],
        streams: int,
        rates: Rates,
        *,
        is_waiting: bool,
    ) -> None:
        self.rates = rates
        self.backlog = Backlog()
        self._fetch = fetch
        # More than processors would only share them; but one may be waiting for a profile.
        self._threads = max(2, min(2 * streams + 1, os.cpu_count() or 1))
        self._is_waiting = is_waiting
        self._lock = threading.Lock()
        self._spare: list[Any] = []
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

    def spare_room(self, size: int) -> Any:
        """Memory of at least so many bytes, to be given back."""
        import numpy as np

        with self._lock:
            for number, room in enumerate(self._spare):
                if len(room) >= size:
                    return self._spare.pop(number)
        return np.empty(size, np.uint8)

    def give_back(self, room: Any) -> None:
        """Takes memory back; kept for the next object, unless there is much of it already."""
        with self._lock:
            if sum(map(len, self._spare)) + len(room) <= SPARE_BYTES_MAX:
                self._spare.append(room)

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
