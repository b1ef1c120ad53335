"""Stores chunks behind the engine's back: a bounded queue of copied pages, and a thread."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from kdn.engines.vllm.stats import Counts
from kdn.errors import ServerError, Status
from kdn.keys import Key
from kdn.results import Put

BATCH_BYTES = 32 << 20
logger = logging.getLogger("vllm.kdn")


@dataclass
class SaveItem:
    """One object to store: a rank's part of a chunk, in a buffer that the queue lent."""

    key: Key
    layout: Any
    chunk_hash: bytes
    data: numpy.ndarray[Any, Any]
    parent: bytes | None
    first_token: int
    token_count: int


class SaveQueue:
    """Lends buffers of at most `limit` bytes in all, and stores what comes back in them.

    Nothing here raises or waits for the network; what does not fit is dropped and counted.
    """

    def __init__(
        self, client: Any, counts: Counts, limit: int, timeout: float, note_stored: bool = False
    ) -> None:
        self._client = client
        self._counts = counts
        self._limit = limit
        self._timeout = timeout
        self._note_stored = note_stored
        self._changed = threading.Condition()
        self._items: deque[SaveItem] = deque()
        self._lent = 0
        self._working = False
        self._closed = False
        self._free: dict[int, list[numpy.ndarray[Any, Any]]] = {}
        self._stored: list[bytes] = []
        self._thread = threading.Thread(target=self._run, name="kdn-save", daemon=True)
        self._thread.start()
        # A process that ends without shutdown() still stores what it has copied.
        atexit.register(self.close, timeout)

    def borrow(self, size: int) -> numpy.ndarray[Any, Any] | None:
        """A buffer of `size` bytes; None, and counted, when the queue is full."""
        with self._changed:
            if self._closed or self._lent + size > self._limit:
                self._counts.add("save_dropped_objects")
                return None
            self._lent += size
            free = self._free.get(size)
            if free:
                return free.pop()
        return numpy.empty(size, numpy.uint8)

    def give_back(self, data: numpy.ndarray[Any, Any]) -> None:
        """Returns a buffer that nothing was stored from."""
        with self._changed:
            self._return(data)

    def put(self, items: Sequence[SaveItem]) -> None:
        """Stores the items sometime; their buffers are the queue's again."""
        with self._changed:
            self._items.extend(items)
            self._changed.notify_all()

    def take_stored(self) -> list[bytes]:
        """Hashes of the chunks stored since the last call, if they are to be noted."""
        with self._changed:
            stored, self._stored = self._stored, []
        return stored

    def flush(self, timeout: float) -> bool:
        """Waits until all is stored or dropped; False if that takes longer than `timeout`."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._items and not self._working, timeout
            )

    def close(self, timeout: float) -> None:
        """Stores what is queued, for at most `timeout` seconds, and ends the thread."""
        atexit.unregister(self.close)
        done = self.flush(timeout)
        with self._changed:
            self._closed = True
            dropped = len(self._items)
            for item in self._items:
                self._return(item.data)
            self._items.clear()
            self._changed.notify_all()
        if not done:
            self._counts.add("save_dropped_objects", dropped)
            logger.warning("KDN: %d objects were not stored before the end", dropped)
        self._thread.join(timeout)

    def _return(self, data: numpy.ndarray[Any, Any]) -> None:
        self._lent -= data.nbytes
        free = self._free.setdefault(data.nbytes, [])
        if len(free) * data.nbytes < BATCH_BYTES:
            free.append(data)

    def _take(self) -> list[SaveItem]:
        """The next batch; empty at the end."""
        with self._changed:
            self._working = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._items or self._closed)
            batch: list[SaveItem] = []
            size = 0
            while self._items and (not batch or size + self._items[0].data.nbytes <= BATCH_BYTES):
                batch.append(self._items.popleft())
                size += batch[-1].data.nbytes
            self._working = bool(batch)
            return batch

    def _run(self) -> None:
        while batch := self._take():
            try:
                self._store(batch)
            except Exception as error:  # noqa: BLE001: a save that fails is only a later miss
                self._counts.add("save_failed_objects", len(batch))
                logger.warning("KDN: storing %d objects failed: %s", len(batch), error)
            with self._changed:
                for item in batch:
                    self._return(item.data)

    def _store(self, batch: list[SaveItem]) -> None:
        for layout in {item.layout.id: item.layout for item in batch}.values():
            self._client.register_layout(layout, timeout=self._timeout)
        there = self._client.exists([item.key for item in batch], timeout=self._timeout)
        missing = [item for item, known in zip(batch, there, strict=True) if not known]
        self._counts.add("save_present_objects", len(batch) - len(missing))
        results = self._client.put_from([_put(item) for item in missing], timeout=self._timeout)
        stored = [item for item, known in zip(batch, there, strict=True) if known]
        for item, result in zip(missing, results, strict=True):
            if result.stored or _is_conflict(result.error):
                stored.append(item)
            self._count(item, result)
        if self._note_stored:
            with self._changed:
                self._stored += [item.chunk_hash for item in stored]

    def _count(self, item: SaveItem, result: Any) -> None:
        if result.state == "published":
            self._counts.add("save_objects")
            self._counts.add("save_bytes", item.data.nbytes)
        elif result.stored or _is_conflict(result.error):
            self._counts.add("save_present_objects")
        else:
            self._counts.add("save_failed_objects")
            _warn_sometimes(result.error)


def _put(item: SaveItem) -> Put:
    return Put(
        key=item.key,
        buffers=item.data,
        parent=item.parent,
        first_token=item.first_token,
        token_count=item.token_count,
    )


def _is_conflict(error: Exception | None) -> bool:
    """Whether another engine was first, with the same chunk in other roundings."""
    return isinstance(error, ServerError) and error.status == Status.CONFLICT


_warned_at = -1e9


def _warn_sometimes(error: Exception | None) -> None:
    global _warned_at
    if time.monotonic() - _warned_at > 60:
        _warned_at = time.monotonic()
        logger.warning("KDN: an object was not stored: %s", error)
