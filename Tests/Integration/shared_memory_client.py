"""A raw client of shared memory: it sends exactly what a test says, and keeps every descriptor."""

from __future__ import annotations

import array
import contextlib
import json
import mmap
import os
import socket
import threading
from collections.abc import Iterator, Sequence

from kdn import bodies, link_bodies, wire
from kdn.bodies import Descriptor
from kdn.errors import Status
from kdn.keys import Key
from kdn.link_bodies import InPlace
from kdn.results import Get
from kdn.wire import Limits, Op, Place, checksum
from raw_connection import Frame, RawConnection

DESCRIPTORS_PER_READ = 16


class SharedMemoryClient(RawConnection):
    """A Unix connection whose reads take descriptors, too."""

    def __init__(self, path: str, **options: int) -> None:
        self.descriptors: list[int] = []
        self.stored: list[Key] = []
        self._next_id = 1
        super().__init__(f"unix://{path}", **options)

    def next_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def receive_exactly(self, count: int) -> bytes:
        data = bytearray(count)
        view = memoryview(data)
        room = socket.CMSG_SPACE(DESCRIPTORS_PER_READ * 4)
        while view:
            received, control, flags, _ = self.socket.recvmsg_into(
                [view], room, socket.MSG_CMSG_CLOEXEC)
            assert not flags & socket.MSG_CTRUNC, "more descriptors than any frame brings"
            for level, kind, raw in control:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers = array.array("i", raw[: len(raw) - len(raw) % 4])
                    self.descriptors.extend(numbers)
            if received == 0:
                raise EOFError(f"the stream ended {len(view)} bytes early")
            view = view[received:]
        return bytes(data)

    def close(self) -> None:
        super().close()
        while self.descriptors:
            os.close(self.descriptors.pop())

    # Requests that a friend of the daemon makes, too.

    def call(self, op: Op, body: bytes = b"", **header: int) -> Frame:
        """A request with a fresh id, and its answer."""
        number = self.next_id()
        frame = self.ask(op, number, body, **header)
        assert frame.request_id == number
        return frame

    def stats(self) -> dict:
        return json.loads(self.call(Op.STATS).body)

    def synchronise(self) -> None:
        """Returns once everything sent before has been dealt with."""
        assert self.call(Op.EXISTS, bodies.encode_keys([])).status == Status.OK

    def try_lease(
        self, items: Sequence[Get], lease_ms: int = 0
    ) -> tuple[list[Descriptor], InPlace]:
        """A GET in place, whatever it finds."""
        encoded = [bodies.encode_get_item(item) for item in items]
        body = bodies.encode_get(
            encoded, wait=False, verify=True, place=Place.SHARED_MEMORY, lease_ms=lease_ms)
        frame = self.call(Op.GET, body, place=Place.SHARED_MEMORY)
        assert frame.status == Status.OK, frame.error
        return link_bodies.decode_get_in_place(frame.body, len(items), self._object_limits())

    def lease(self, key: Key, lease_ms: int = 0) -> tuple[Descriptor, InPlace]:
        """A whole object in place, which must be there."""
        (row,), found = self.try_lease([Get(key)], lease_ms)
        assert not row.miss, row.cause
        return row, found

    def release(self, lease_id: int) -> Status:
        return self.call(Op.RELEASE, bodies.encode_lease(lease_id)).status

    def try_map(self, slab_id: int) -> tuple[Status, int, int | None]:
        """(status, length, descriptor) of a MAP_SLAB."""
        before = len(self.descriptors)
        frame = self.call(Op.MAP_SLAB, link_bodies.encode_map_slab(slab_id))
        came = self.descriptors[before:]
        if frame.status != Status.OK:
            assert not came, "a refusal brings no descriptor"
            return frame.status, 0, None
        assert len(came) == 1
        return frame.status, link_bodies.decode_map_slab(frame.body), came[0]

    def map_slab(self, slab_id: int) -> tuple[int, mmap.mmap]:
        """(descriptor, mapping) of a slab that the daemon must give."""
        status, count, descriptor = self.try_map(slab_id)
        assert status == Status.OK and descriptor is not None
        return descriptor, mmap.mmap(descriptor, count, mmap.MAP_SHARED, mmap.PROT_READ)

    def open_window(self, count: int) -> tuple[int, mmap.mmap]:
        """(descriptor, writable mapping) of this connection's window."""
        before = len(self.descriptors)
        frame = self.call(Op.OPEN_WINDOW, link_bodies.encode_open_window(count))
        assert frame.status == Status.OK, frame.error
        (descriptor,) = self.descriptors[before:]
        granted = link_bodies.decode_open_window(frame.body)
        assert granted <= count
        window = mmap.mmap(
            descriptor, granted, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        return descriptor, window

    def begin_put(self, key: Key, total: int) -> int:
        """Opens a transfer, which must be a new object; its id."""
        number = self.next_id()
        self.stored.append(key)
        assert self.begin(number, key, total).status == Status.OK
        return number

    def data_from_window(self, transfer: int, offset: int, start: int, count: int) -> None:
        """PUT_DATA from the window, which nobody answers."""
        self.send(wire.encode_frame(
            Op.PUT_DATA, self.next_id(),
            link_bodies.encode_put_window(transfer, offset, start, count),
            place=Place.SHARED_MEMORY))

    def end_put(self, transfer: int, total: int) -> Frame:
        """COMMIT with this checksum."""
        return self.call(Op.PUT_COMMIT, bodies.encode_two(transfer, total))

    def store(self, key: Key, data: bytes) -> None:
        """Stores an object inline."""
        number = self.begin_put(key, len(data))
        step = self.limits.frame_payload_bytes
        for start in range(0, len(data), step):
            self.data(self.next_id(), number, start, data[start : start + step])
        frame = self.end_put(number, checksum(data))
        assert frame.status == Status.OK, frame.error

    def fetch(self, key: Key) -> bytes | None:
        """An object inline, checked; None for a miss."""
        number = self.next_id()
        self.send_get(number, key)
        frame = self.receive()
        assert frame.status == Status.OK and frame.request_id == number
        (row,) = bodies.decode_get(frame.body, 1, self._object_limits())
        data = frame.payload
        while frame.more:
            frame = self.receive()
            data += frame.payload
        if row.miss:
            return None
        assert len(data) == row.sent_bytes and checksum(data) == row.object_checksum
        return data

    def purge(self, key: Key) -> None:
        frame = self.call(Op.PURGE, bodies.encode_purge(bodies.PURGE_KEYS, [key.data]))
        assert frame.status == Status.OK, frame.error

    def purge_all(self) -> None:
        frame = self.call(Op.PURGE, bodies.encode_purge(bodies.PURGE_NAMESPACE, []))
        assert frame.status == Status.OK, frame.error

    def _object_limits(self) -> Limits:
        return self.limits


class Witness:
    """Another client, in a thread of its own, that sees whether its bytes stay what they are.

    It reads fixed objects in place, through mappings and leases of its own, and inline, and stores,
    reads and purges others, until it is told to stop.
    """

    OBJECT_BYTES = (5_000, 300_000, 3 << 20)

    def __init__(self, path: str, namespace: str, token: str) -> None:
        self.client = SharedMemoryClient(path).hello(namespace, token)
        self.name = namespace
        self.objects = {
            Key.opaque(f"{namespace} {size}".encode()): os.urandom(size)
            for size in self.OBJECT_BYTES
        }
        for key, data in self.objects.items():
            self.client.store(key, data)
        self.slabs: dict[int, mmap.mmap] = {}
        self.looks = 0
        self.stores = 0
        self.fault: BaseException | None = None
        self._changed = threading.Condition()
        self._rests_wanted = 0
        self._is_working = False
        self._is_stopping = False
        self._window = self.client.open_window(1 << 20)[1]
        self._look()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_look(self, seconds: float = 30.0) -> None:
        """Returns once all objects have been looked at from now on; raises what was wrong."""
        with self._changed:
            # One look may have begun before, so the second from now is wholly after.
            wanted = self.looks + 2
            done = self._changed.wait_for(
                lambda: self.looks >= wanted or self.fault is not None, seconds)
        if self.fault is not None:
            raise self.fault
        assert done, "the witness is not served"

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Whoever is inside sees the daemon without this client's leases and passing objects."""
        with self._changed:
            self._rests_wanted += 1
            assert self._changed.wait_for(lambda: not self._is_working, 30)
        try:
            yield
        finally:
            with self._changed:
                self._rests_wanted -= 1
                self._changed.notify_all()

    def stop(self) -> None:
        """Ends the thread and takes everything away; raises what was wrong."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the witness is not served"
        if self.fault is not None:
            raise self.fault
        assert self.looks >= 1 and self.stores >= 1
        self.client.purge_all()
        self.client.close()

    def _run(self) -> None:
        fault: BaseException | None = None
        while fault is None and self._may_work():
            try:
                self._store_another()
                self._look()
            except BaseException as error:
                fault = error
            with self._changed:
                self._is_working = False
                self.fault = fault
                self._changed.notify_all()

    def _may_work(self) -> bool:
        """Waits while someone wants rest; False once it is to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping or self._rests_wanted == 0)
            self._is_working = not self._is_stopping
            return self._is_working

    def _look(self) -> None:
        for key, data in self.objects.items():
            assert self.client.fetch(key) == data, f"{self.name}: inline bytes are others"
            row, found = self.client.lease(key)
            assert row.object_checksum == checksum(data)
            seen = self._read(found)
            assert self.client.release(found.lease_id) == Status.OK, "the lease held"
            assert seen == data, f"{self.name}: bytes in place are others"
        with self._changed:
            self.looks += 1
            self._changed.notify_all()

    def _read(self, found: InPlace) -> bytes:
        (hit,) = found.hits
        if hit.slab_id not in self.slabs:
            descriptor, self.slabs[hit.slab_id] = self.client.map_slab(hit.slab_id)
            self.client.descriptors.remove(descriptor)
            os.close(descriptor)
        slab = self.slabs[hit.slab_id]
        return b"".join(slab[offset : offset + count] for offset, count in hit.extents)

    def _store_another(self) -> None:
        key = Key.opaque(f"{self.name} passing {self.stores}".encode())
        data = os.urandom(64 << 10)
        self._window[: len(data)] = data
        transfer = self.client.begin_put(key, len(data))
        self.client.data_from_window(transfer, 0, 0, len(data))
        frame = self.client.end_put(transfer, checksum(data))
        assert frame.status == Status.OK, frame.error
        assert self.client.fetch(key) == data, f"{self.name}: what was stored is not there"
        self.client.purge(key)
        self.stores += 1
