"""A bounded set of connections that threads borrow one at a time."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable

from kdn.connection import Connection
from kdn.errors import ConnectionLost, DeadlineExceeded
from kdn.fabric import FabricConnection

Stream = Connection | FabricConnection


class StreamPool:
    """Lends at most `limit` connections, made by `dial` when none is free.

    `on_lost` is told of each connection that ended without being asked to.
    """

    def __init__(
        self, limit: int, dial: Callable[[float], Stream], on_lost: Callable[[], None]
    ) -> None:
        self._limit = limit
        self._dial = dial
        self._on_lost = on_lost
        self._changed = threading.Condition()
        self._idle: list[Stream] = []
        self._lent = 0
        self._closed = False
        self._every: weakref.WeakSet[Stream] = weakref.WeakSet()

    def borrow(self, deadline: float) -> Stream:
        """A connection, kept or new.

        Raises DeadlineExceeded if none is given back in time, and what dialling raises.
        """
        with self._changed:
            while True:
                if self._closed:
                    raise ConnectionLost("the client is closed")
                while self._idle:
                    connection = self._idle.pop()
                    if not connection.is_stale():
                        self._lent += 1
                        return connection
                    connection.close()
                    self._on_lost()
                if self._lent < self._limit:
                    self._lent += 1
                    break
                self._wait(deadline)
        try:
            connection = self._dial(deadline)
            self._every.add(connection)
            return connection
        except BaseException:
            self._forget()
            raise

    def borrow_this(self, wanted: Stream, deadline: float) -> bool:
        """Borrows one connection once it is free; False if it is closed."""
        with self._changed:
            while not wanted.closed and not self._closed:
                if wanted in self._idle:
                    self._idle.remove(wanted)
                    self._lent += 1
                    return True
                self._wait(deadline)
        return False

    def give_back(self, connection: Stream) -> None:
        """Returns a connection; one that is of no more use is closed."""
        with self._changed:
            self._lent -= 1
            if connection.reusable and not self._closed:
                self._idle.append(connection)
            else:
                connection.close()
                if not self._closed:
                    self._on_lost()
            self._changed.notify_all()

    def sweep(self) -> None:
        """Closes what is idle and to be made anew."""
        with self._changed:
            for connection in [each for each in self._idle if each.is_worn]:
                self._idle.remove(connection)
                connection.close()

    def drain(self) -> None:
        """Closes what is idle, for a need that does not come again soon."""
        with self._changed:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def close(self) -> None:
        """Closes what is idle; what is lent closes when it comes back."""
        with self._changed:
            self._closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()
            self._changed.notify_all()

    def drop_inherited(self) -> None:
        """In a forked child: closes the parent's sockets here, and forgets who held what."""
        self._changed = threading.Condition()
        for connection in list(self._every):
            connection.close()
        self._idle.clear()
        self._lent = 0

    def _forget(self) -> None:
        with self._changed:
            self._lent -= 1
            self._changed.notify_all()

    def _wait(self, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining <= 0 or not self._changed.wait(remaining):
            raise DeadlineExceeded("every stream was busy until the deadline")
