"""The daemon's slabs as this client has them mapped, and the window that one connection fills."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from kdn.mapping import Mapping

SLABS_MAX = 256
# The daemon cannot use memory for another while this client has it mapped.
UNUSED_SECONDS_MAX = 60.0
# How often connections are given up at most so that the daemon gets such memory back.
RENEWAL_SECONDS_MIN = 1.0
WINDOW_BYTES = 16 << 20


class SlabCache:
    """Slabs by the daemon's start and their id, the least used of more than `limit` forgotten.

    What is forgotten stays mapped for as long as there are views of it. Shared by the connections
    of a client; an id is never used for other memory while a daemon runs.
    """

    def __init__(
        self, limit: int = SLABS_MAX, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self.clock = clock
        self._lock = threading.Lock()
        self._mappings: OrderedDict[tuple[bytes, int], Mapping] = OrderedDict()
        self._used_at: dict[tuple[bytes, int], float] = {}
        self._renewed_at = float("-inf")
        self.generation = 0

    def __len__(self) -> int:
        return len(self._mappings)

    def find(self, server: bytes, slab_id: int) -> Mapping | None:
        """The slab's mapping, if there is one."""
        with self._lock:
            mapping = self._mappings.get((server, slab_id))
            if mapping is not None:
                self._use((server, slab_id))
            return mapping

    def keep(self, server: bytes, slab_id: int, mapping: Mapping) -> None:
        """Remembers a mapping, and forgets those of an earlier daemon and those long unused."""
        with self._lock:
            self._mappings[server, slab_id] = mapping
            self._use((server, slab_id))
            oldest = self.clock() - UNUSED_SECONDS_MAX
            for key in list(self._mappings):
                crowded = len(self._mappings) > self._limit
                if crowded or key[0] != server or self._used_at[key] < oldest:
                    del self._mappings[key], self._used_at[key]

    def renew(self) -> None:
        """Forgets everything, since the daemon passes no more memory before it gets some back.

        It counts as mapped for as long as the connections last that asked for it: those of an
        earlier generation are to be closed once no lease needs them.
        """
        with self._lock:
            now = self.clock()
            if now - self._renewed_at < RENEWAL_SECONDS_MIN:
                return
            self._renewed_at = now
            self.generation += 1
            self._mappings.clear()
            self._used_at.clear()

    def _use(self, key: tuple[bytes, int]) -> None:
        self._mappings.move_to_end(key)
        self._used_at[key] = self.clock()

    def after_fork_in_child(self) -> None:
        """Replaces the lock, which another thread of the parent may have held."""
        self._lock = threading.Lock()


class Window:
    """A ring of memory that this side fills and the daemon copies from, in the order of requests.

    A piece is free again once a request that was sent after it is answered: the daemon takes
    requests in their order, and a piece when it comes to it. Ids of requests grow.
    """

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory
        self._start = 0
        self._used = 0
        self._pieces: deque[tuple[int, int]] = deque()
        self._unasked = 0

    @property
    def room(self) -> int:
        """Bytes that can be had in one piece now."""
        return min(len(self.memory) - self._used, len(self.memory) - self._end)

    @property
    def should_ask(self) -> bool:
        """Whether half of the ring is waiting for a request that would free it."""
        return self._unasked * 2 >= len(self.memory)

    @property
    def _end(self) -> int:
        return (self._start + self._used) % len(self.memory)

    def take(self, request_id: int, count: int) -> int:
        """The offset of `count` bytes, at most `room`, that the frame `request_id` names."""
        offset = self._end
        self._pieces.append((request_id, count))
        self._used += count
        self._unasked += count
        return offset

    def asked(self, request_id: int) -> None:
        """A request that will be answered has been made."""
        self._unasked = 0

    def answered(self, request_id: int) -> None:
        """A request was answered: what was sent before it has been copied."""
        while self._pieces and self._pieces[0][0] < request_id:
            count = self._pieces.popleft()[1]
            self._start = (self._start + count) % len(self.memory)
            self._used -= count
        if self._used == 0:
            self._start = 0


class SharedMemory:
    """What one connection shares with its daemon: slabs to read, and a window once it is asked for.

    `wants_window` is off once the daemon has refused one: bytes go inline then.
    """

    def __init__(self, server: bytes, slabs: SlabCache) -> None:
        self._server = server
        self._slabs = slabs
        self._generation = slabs.generation
        self.window: Window | None = None
        self.wants_window = True
        self._leases: dict[int, float] = {}

    @property
    def is_worn(self) -> bool:
        """Whether the connection had better be made anew, and holds no lease."""
        if self._generation == self._slabs.generation:
            return False
        now = self._slabs.clock()
        return all(end <= now for end in list(self._leases.values()))

    def hold(self, lease_id: int, expires_at: float) -> None:
        """The connection holds a lease, which ends with it."""
        now = self._slabs.clock()
        for other in [other for other, end in self._leases.items() if end <= now]:
            self.drop(other)
        self._leases[lease_id] = expires_at

    def drop(self, lease_id: int) -> None:
        """A lease has been given back."""
        self._leases.pop(lease_id, None)

    def refused(self) -> None:
        """The daemon passes no more slabs for now, or has closed and may want back what it did."""
        self._slabs.renew()

    def find(self, slab_id: int) -> Mapping | None:
        """The slab's mapping, if this client has one."""
        return self._slabs.find(self._server, slab_id)

    def map(self, slab_id: int, descriptor: int, byte_count: int) -> Mapping:
        """Maps a slab, whose descriptor is taken over; raises what Mapping raises."""
        mapping = Mapping(descriptor, byte_count)
        self._slabs.keep(self._server, slab_id, mapping)
        return mapping
