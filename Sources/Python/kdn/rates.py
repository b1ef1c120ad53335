"""How fast bytes arrive, are decoded and are computed anew here, as this client has measured it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from kdn.bodies import Adaptation

# Shorter answers mostly say how fast the kernel hands over what it had.
ARRIVAL_BYTES_MIN = 512 << 10
# While answers overlap all the time, the average is brought up to date this often.
ARRIVAL_BYTES_MAX = 16 << 20
DECODED_BYTES_MIN = 512 << 10
PREFILL_TOKENS_MIN = 16
# Weight of the newest measurement in an average.
NEWEST_WEIGHT = 0.25
# Codecs small and archive, whose blocks are transformed.
TRANSFORMS = frozenset((4, 5))
_U32_MAX = 0xFFFFFFFF


@dataclass
class _Work:
    """Bytes that threads have done, and the seconds in which at least one was at it."""

    active: int = 0
    since: float = 0.0
    seconds: float = 0.0
    byte_count: int = 0

    def begin(self, now: float) -> None:
        if self.active == 0:
            self.since = now
        self.active += 1

    def end(self, now: float, byte_count: int) -> None:
        self.active -= 1
        self.seconds += now - self.since
        self.since = now
        self.byte_count += byte_count


class Rates:
    """Averages of what was measured, newer measurements counting more; 0 stands for unknown.

    Safe to share by threads. `arrival` is in bytes a second over all connections, `decoding` and
    `transforming` (of the codecs small and archive) in decoded bytes a second of all threads that
    decode, `prefill` in tokens a second.
    """

    def __init__(self) -> None:
        self.arrival = 0.0
        self.decoding = 0.0
        self.transforming = 0.0
        self.prefill = 0.0
        self._arriving = 0
        self._busy_bytes = 0
        self._busy_since = 0.0
        self._is_spoiled = False
        self._decoders = {False: _Work(), True: _Work()}
        self._lock = threading.Lock()

    def arrival_begins(self, now: float) -> None:
        """The payload of an answer comes from now on (seconds of any clock that only grows)."""
        with self._lock:
            if self._arriving == 0:
                self._busy_bytes, self._busy_since, self._is_spoiled = 0, now, False
            self._arriving += 1

    def arrival_ends(self, byte_count: int, now: float, is_whole: bool) -> None:
        """It has come, or will not: then nothing is learned from the answers that came with it."""
        with self._lock:
            self._arriving -= 1
            self._busy_bytes += byte_count
            self._is_spoiled = self._is_spoiled or not is_whole
            seconds, count = now - self._busy_since, self._busy_bytes
            if self._is_spoiled or (self._arriving and count < ARRIVAL_BYTES_MAX):
                return
            self._busy_bytes, self._busy_since = 0, now
        self.note_arrival(count, seconds)

    def note_arrival(self, byte_count: int, seconds: float) -> None:
        """Bytes of one or several answers took so long from the first to the last."""
        if byte_count >= ARRIVAL_BYTES_MIN and seconds > 0:
            with self._lock:
                self.arrival = _averaged(self.arrival, byte_count / seconds)

    def decoding_begins(self, codec: int, now: float) -> None:
        """A thread decodes some of an object from now on."""
        with self._lock:
            self._decoders[codec in TRANSFORMS].begin(now)

    def decoding_ends(self, codec: int, now: float, byte_count: int) -> None:
        """It has done that: its share of the object's decoded bytes is `byte_count`."""
        with self._lock:
            work = self._decoders[codec in TRANSFORMS]
            work.end(now, byte_count)
            count, seconds = work.byte_count, work.seconds
            if count < DECODED_BYTES_MIN:
                return
            work.byte_count, work.seconds = 0, 0.0
        self.note_decoding(codec, count, seconds)

    def note_decoding(self, codec: int, byte_count: int, seconds: float) -> None:
        """Objects of `byte_count` decoded bytes took so long."""
        if byte_count < DECODED_BYTES_MIN or seconds <= 0:
            return
        with self._lock:
            if codec in TRANSFORMS:
                self.transforming = _averaged(self.transforming, byte_count / seconds)
            else:
                self.decoding = _averaged(self.decoding, byte_count / seconds)

    def note_prefill(self, tokens: int, seconds: float) -> None:
        """The engine computed the KV of so many tokens in this time."""
        if tokens >= PREFILL_TOKENS_MIN and seconds > 0:
            with self._lock:
                self.prefill = _averaged(self.prefill, tokens / seconds)

    def adaptation(
        self, bandwidth: float | None = None, prefill_rate: float | None = None
    ) -> Adaptation:
        """What a server is told, with hints in place of what was measured."""
        with self._lock:
            arriving = self.arrival if bandwidth is None else bandwidth
            computing = self.prefill if prefill_rate is None else prefill_rate
            return Adaptation(
                min(_whole(arriving), 2**64 - 1),
                min(_whole(self.decoding / 1e6), _U32_MAX),
                min(_whole(self.transforming / 1e6), _U32_MAX),
                min(_whole(computing), _U32_MAX),
            )

    def after_fork_in_child(self) -> None:
        """Makes the lock anew, which another thread may have held, and awaits no answers."""
        self._lock = threading.Lock()
        self._arriving = 0
        self._decoders = {False: _Work(), True: _Work()}


def _averaged(sofar: float, newest: float) -> float:
    return newest if sofar == 0 else sofar + (newest - sofar) * NEWEST_WEIGHT


def _whole(rate: float) -> int:
    # What is known and slow must not become 0, which says that it is unknown.
    return max(1, round(rate)) if rate > 0 else 0
