"""Objects read where they lie in the daemon's memory, for as long as a lease on them lasts."""

from __future__ import annotations

import itertools
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kdn.byte_operations import Held
from kdn.errors import DeadlineExceeded, KDNError, LeaseExpired
from kdn.mapping import Mapping
from kdn.results import GetResult, MissCause
from kdn.shared_jobs import Placed

if TYPE_CHECKING:
    from kdn.connection import Connection


LeaseID = tuple["Connection", int, float]
"""The connection that holds a lease, its id, and when it is over."""


class Hold:
    """What every view of a lease refers to: once it is gone, nobody reads the bytes any more."""

    __slots__ = ("__weakref__",)


class Releases:
    """Gives leases back, on a thread of its own: views may be dropped in the midst of anything.

    `give_back(connection, lease id, late, deadline)` does it once the connection is free; it
    raises DeadlineExceeded if that is not before the deadline.
    """

    def __init__(self, give_back: Callable[[Connection, int, bool, float | None], None]) -> None:
        self._give_back = give_back
        self._queue: queue.SimpleQueue[LeaseID | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._pid = os.getpid()

    def watch(self, hold: Hold, lease: LeaseID) -> weakref.finalize[..., Hold]:
        """Has the lease given back when `hold` is gone; the connection stays until then."""
        with self._lock:
            if self._worker is None:
                name = "kdn-releases"
                self._worker = threading.Thread(target=self._run, name=name, daemon=True)
                self._worker.start()
        # A simple queue may be put to by a finalizer, whatever it has interrupted.
        finalizer = weakref.finalize(hold, self._dropped, lease)
        finalizer.atexit = False
        return finalizer

    def settle(self, reference: weakref.ref[Hold], lease: LeaseID) -> None:
        """Gives a lease back, here and now if that needs no waiting, unless its hold has users."""
        hold = reference()
        if hold is not None:
            self.watch(hold, lease)
            return
        if os.getpid() != self._pid:
            return
        try:
            self._give(lease, 0.0)
        except DeadlineExceeded:
            self._queue.put(lease)
        except KDNError:
            # It ends by its time; what went wrong has been counted.
            pass

    def _dropped(self, lease: LeaseID) -> None:
        if os.getpid() == self._pid:
            self._queue.put(lease)

    def close(self) -> None:
        """Ends the thread; leases end with their connections."""
        self._queue.put(None)

    def _run(self) -> None:
        while (lease := self._queue.get()) is not None:
            try:
                self._give(lease, None)
            except KDNError:
                # As in `settle`.
                pass
            del lease

    def _give(self, lease: LeaseID, deadline: float | None) -> None:
        connection, lease_id, expires_at = lease
        self._give_back(connection, lease_id, time.monotonic() >= expires_at, deadline)


class Leased:
    """The items of a lease in place: a result for each, and views of those that hit.

    Used as a context manager. Views keep the memory mapped and the lease held: it is given back
    when the last of them and this object are gone. At the end of the `with` block, memoryviews
    that came from `views` or `pieces` are released; arrays and tensors keep the lease for as long
    as they live. A lease lasts `lease_ms` and not longer, whatever refers to it: bytes read after
    its time may be those of another object, which `check`, called after they were used, says.
    """

    def __init__(
        self,
        held: Held,
        connection: Connection | None,
        releases: Releases,
        strict: bool,
        on_expired: Callable[[LeaseExpired], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.results: list[GetResult] = held.results
        self.lease_ms = held.lease_ms
        self._expires_at = held.expires_at
        self._connection = connection
        self._strict = strict
        self._on_expired = on_expired
        self._clock = clock
        self._pid = os.getpid()
        self._released = False
        self._views: dict[int, list[memoryview]] = {}
        self._releases = releases
        self._hold: Hold | None = None
        self._finalizer: weakref.finalize[..., Hold] | None = None
        rows = {id(placed.entry.result): placed for placed in held.placed}
        self._placed = [rows.get(id(result)) for result in held.results]
        if held.lease_id and connection is not None:
            self._hold = Hold()
            lease = (connection, held.lease_id, held.expires_at)
            self._finalizer = releases.watch(self._hold, lease)

    def __len__(self) -> int:
        return len(self.results)

    @property
    def valid(self) -> bool:
        """Whether all hits are held now; a lease without hits holds nothing and is always valid."""
        return not self._released and self._reason() is None

    @property
    def remaining_seconds(self) -> float:
        """How long the lease lasts; 0 if it is over."""
        if self._hold is None or not self.valid:
            return 0.0
        return max(0.0, self._expires_at - self._clock())

    def check(self) -> bool:
        """Whether what was read until now is what was stored.

        When the lease is over this raises LeaseExpired; with errors as misses it makes all hits
        misses and returns False.
        """
        reason = "it was released" if self._released else self._reason()
        if reason is None:
            return True
        error = LeaseExpired(f"the lease is over: {reason}")
        if any(result.hit for result in self.results):
            self._on_expired(error)
        if self._strict:
            raise error
        for result in self.results:
            if result.hit:
                result.hit, result.cause = False, MissCause.LEASE_EXPIRED
        return False

    @property
    def views(self) -> list[memoryview | None]:
        """A read-only view of each hit, None for a miss.

        In place where `in_place` says so, else of a copy; checks that the lease is not over.
        """
        return [self.view(index) for index in range(len(self.results))]

    def view(self, index: int) -> memoryview | None:
        """One of `views`."""
        placed = self._usable(index)
        if placed is None:
            return None
        if len(placed.extents) > 1:
            return self._gathered(placed).toreadonly()
        return self._pieces(index, placed)[0]

    def pieces(self, index: int) -> list[memoryview]:
        """The item's bytes in place, in order; empty for a miss."""
        placed = self._usable(index)
        return [] if placed is None else self._pieces(index, placed)

    def in_place(self, index: int) -> bool:
        """Whether the item is a hit whose bytes follow each other in the daemon's memory."""
        placed = self._placed[index]
        return placed is not None and len(placed.extents) == 1

    def numpy(self, index: int, dtype: Any = "uint8", shape: Any = None) -> Any:
        """The item as a read-only array; None for a miss."""
        import numpy

        placed = self._usable(index)
        if placed is None:
            return None
        array = numpy.frombuffer(self._buffer(placed), dtype=dtype)
        array.flags.writeable = False
        return array if shape is None else array.reshape(shape)

    def torch(
        self, index: int, dtype: Any = None, shape: Sequence[int] | None = None, pin: bool = True
    ) -> Any:
        """The item as a tensor on the CPU, None for a miss; it must not be written to.

        Torch has no read-only tensors: a write to one that is in place kills the process. With
        `pin`, in a process that uses CUDA, the memory is registered with it where its driver
        takes it, so that copies to a GPU go straight and need not wait.
        """
        import torch

        placed = self._usable(index)
        if placed is None:
            return None
        if pin and torch.cuda.is_available() and torch.cuda.is_initialized():
            mapping = placed.mapping
            if mapping is not None:
                mapping.pin_for_cuda(torch.cuda.cudart())
        tensor = torch.frombuffer(self._buffer(placed), dtype=dtype or torch.uint8)
        return tensor if shape is None else tensor.view(tuple(shape))

    def release(self) -> None:
        """Ends the use of the bytes; the lease goes back once no array or tensor has them."""
        self._released = True
        for view in itertools.chain.from_iterable(self._views.values()):
            try:
                view.release()
            except BufferError:
                # Something was made of it, which keeps the lease.
                pass
        self._views.clear()
        self._placed = [None] * len(self.results)
        self._connection = None
        if self._hold is not None and self._finalizer is not None:
            reference = weakref.ref(self._hold)
            # Detached before the last reference goes, which may be this one.
            detached = self._finalizer.detach()
            self._hold = None
            if detached is not None:
                lease = detached[2][0]
                del detached
                self._releases.settle(reference, lease)

    def __enter__(self) -> Leased:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and not self._released:
                self.check()
        finally:
            self.release()

    # How it is known

    def _reason(self) -> str | None:
        """Why the bytes are not held, if there are any to hold."""
        if self._hold is None or self._connection is None:
            return None
        if os.getpid() != self._pid:
            return "it is the parent process's"
        if self._clock() >= self._expires_at:
            return f"its {self.lease_ms} ms have passed"
        if self._connection.has_ended:
            return "its connection has ended"
        return None

    def _usable(self, index: int) -> Placed | None:
        """Where an item lies; checks that the lease is not over."""
        if not self.check():
            return None
        return self._placed[index]

    def _pieces(self, index: int, placed: Placed) -> list[memoryview]:
        if index not in self._views:
            mapping = _mapping(placed)
            self._views[index] = [
                mapping.view(offset, count, self._hold) for offset, count in placed.extents
            ]
        return list(self._views[index])

    def _buffer(self, placed: Placed) -> Any:
        if len(placed.extents) > 1:
            return self._gathered(placed)
        offset, count = placed.extents[0]
        return _mapping(placed).array(offset, count, self._hold)

    def _gathered(self, placed: Placed) -> memoryview:
        """A copy of an item that lies in several pieces."""
        mapping = _mapping(placed)
        data = bytearray()
        for offset, count in placed.extents:
            data += mapping.view(offset, count)
        if not self.check():
            data[:] = bytes(len(data))
        return memoryview(data)


def _mapping(placed: Placed) -> Mapping:
    assert placed.mapping is not None
    return placed.mapping
