"""The L2 adapter that LMCache's MP server loads: KDN's objects as LMCache's second tier."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any

from lmcache.lmcache_native import Bitmap
from lmcache.logging import init_logger
from lmcache.v1.distributed.api import KeyEntry, KeyListPage, MemoryLayoutDesc, ObjectKey
from lmcache.v1.distributed.internal_api import L1MemoryDesc, L2StoreResult
from lmcache.v1.distributed.l2_adapters.base import AdapterUsage, L2AdapterInterface, L2TaskId
from lmcache.v1.memory_management import MemoryObj

from kdn.engines.lmcache.lanes import Lane, Outbox
from kdn.engines.lmcache.memory import Arena
from kdn.engines.lmcache.settings import KDNL2AdapterConfig
from kdn.engines.lmcache.tasks import Store, Tasks, bitmap
from kdn.engines.lmcache.transfers import Transfers

logger = init_logger(__name__)

REFRESH_SECONDS = 2.0
REFRESH_WAIT_SECONDS = 0.25
CLOSE_GRACE_SECONDS = 1.0
PAGE_MAX = 10_000


class KDNL2Adapter(L2AdapterInterface):
    """Keeps LMCache's objects in a KDN daemon.

    Loads and stores move bytes between the socket and LMCache's own L1 memory. Found objects with
    a layout are held by a lease until LMCache unlocks them. Nothing raises after the constructor
    (but `list_l2_keys`, for wrong arguments), and no call waits for the network but `delete`,
    `list_l2_keys` and `close`, each up to a deadline: trouble is a missing bit, a failed store, a
    line in the log and a counter.
    """

    def __init__(
        self,
        config: KDNL2AdapterConfig | dict[str, Any] | None = None,
        l1_memory_desc: L1MemoryDesc | None = None,
    ) -> None:
        """Raises FieldError for wrong settings, OSError for a token file that cannot be read."""
        super().__init__()
        if not isinstance(config, KDNL2AdapterConfig):
            config = KDNL2AdapterConfig.from_dict(config or {})
        self._settings = config
        transfers = Transfers(config, Arena.of(l1_memory_desc))
        self._tasks = Tasks(
            config, transfers, self._notify_keys_stored, self._notify_keys_accessed
        )
        self._lock = threading.Lock()
        self._next_task = 0
        self._server: dict[str, Any] | None = None
        self._refreshed_at = float("-inf")
        self._stores: Outbox[L2StoreResult] = Outbox()
        self._lookups: Outbox[Bitmap] = Outbox()
        self._loads: Outbox[Bitmap] = Outbox()
        self._lookup_lane = Lane("lookup", 1, config.queue_tasks)
        self._load_lane = Lane("load", config.streams, config.queue_tasks)
        self._store_lane = Lane("store", config.streams, config.queue_tasks)

    # Event descriptors

    def get_store_event_fd(self) -> int:
        """Readable when a store has ended."""
        return self._stores.fileno()

    def get_lookup_and_lock_event_fd(self) -> int:
        """Readable when a lookup has ended."""
        return self._lookups.fileno()

    def get_load_event_fd(self) -> int:
        """Readable when a load has ended."""
        return self._loads.fileno()

    # Stores

    def submit_store_task(self, keys: list[ObjectKey], objects: list[MemoryObj]) -> L2TaskId:
        """Stores objects; a batch is spread over the streams."""
        task = self._new_task("store_tasks")
        deadline = time.monotonic() + self._settings.timeout
        width = min(self._settings.streams, len(keys))
        if width == 0 or len(keys) != len(objects):
            self._stores.post(task, L2StoreResult(len(keys) == len(objects), 0))
            return task
        store = Store(width, partial(self._stores.post, task))
        jobs = [
            self._job(
                partial(
                    self._tasks.store, store, keys[start::width], objects[start::width], deadline
                ),
                partial(store.tile_done, False, 0),
            )
            for start in range(width)
        ]
        if not self._store_lane.submit(*jobs):
            self._refused("store", partial(self._stores.post, task, L2StoreResult(False, 0)))
        return task

    def pop_completed_store_tasks(self) -> dict[L2TaskId, L2StoreResult]:
        """The results of stores that have ended since the last call."""
        return self._stores.take_all()

    # Lookups

    def submit_lookup_and_lock_task(
        self, keys: list[ObjectKey], group_layout_descs: dict[int, MemoryLayoutDesc]
    ) -> L2TaskId:
        """Asks which keys are there, and leases those whose layout is known."""
        task = self._new_task("lookup_tasks")
        deadline = time.monotonic() + self._settings.lookup_timeout
        missed = partial(self._lookups.post, task, bitmap([False] * len(keys)))
        work = partial(
            self._tasks.look_up, task, list(keys), dict(group_layout_descs or {}), deadline,
            self._lookups,
        )
        if not self._lookup_lane.submit(self._job(work, missed)):
            self._refused("lookup", missed)
        return task

    def query_lookup_and_lock_result(self, task_id: L2TaskId) -> Bitmap | None:
        """A lookup's bits, once; None while it runs."""
        return self._lookups.take(task_id)

    def submit_unlock(self, keys: list[ObjectKey]) -> None:
        """Gives leases back that no key needs any more; one that cannot be ends by its time."""
        leases = self._tasks.unlock(keys)
        if leases:
            self._lookup_lane.submit(self._job(partial(self._tasks.release, leases), _nothing))

    # Loads

    def submit_load_task(self, keys: list[ObjectKey], objects: list[MemoryObj]) -> L2TaskId:
        """Receives objects into LMCache's memory."""
        task = self._new_task("load_tasks")
        deadline = time.monotonic() + self._settings.timeout
        missed = partial(self._loads.post, task, bitmap([False] * len(keys)))
        work = partial(
            self._tasks.load, task, list(keys), list(objects), deadline, self._loads
        )
        if not self._load_lane.submit(self._job(work, missed)):
            self._refused("load", missed)
        return task

    def query_load_result(self, task_id: L2TaskId) -> Bitmap | None:
        """A load's bits, once; None while it runs."""
        return self._loads.take(task_id)

    # Administration

    def delete(self, keys: list[ObjectKey]) -> None:
        """Removes objects, waiting for the server up to the timeout."""
        tasks = self._tasks
        names = [(key, known.named if (known := tasks.known.get(key)) else tasks.name(key, None))
                 for key in keys]
        rows = [(key, named) for key, named in names if named is not None]
        if not rows:
            return
        if not tasks.transfers.purge([named for _, named in rows]):
            tasks.count("deletes_failed", len(rows))
            logger.warning("KDN: the server did not delete %d objects", len(rows))
            return
        sizes = []
        for key, _ in rows:
            known = tasks.known.remove(key)
            sizes.append(known.nbytes if known is not None and known.is_counted else 0)
        tasks.count("deleted", len(rows))
        done = [key for key, _ in rows]
        tasks.guarded(partial(self._notify_keys_deleted, done, sizes), _nothing)

    def list_l2_keys(
        self, model_name: str | None = None, page_size: int = 500, cursor: str | None = None
    ) -> KeyListPage:
        """Keys that were stored or loaded here and are still in KDN.

        Raises ValueError for a page size that is not positive or a malformed cursor.
        """
        if page_size <= 0:
            raise ValueError(f"page_size is {page_size}, must be positive")
        if cursor is not None and not cursor.isdecimal():
            raise ValueError(f"cursor is {cursor!r}, must be one that list_l2_keys returned")
        limit = min(page_size, PAGE_MAX)
        rows = self._tasks.known.page(model_name, int(cursor or 0), limit)
        there = self._tasks.transfers.exists([known.named for _, known in rows])
        entries = tuple(
            KeyEntry(key.to_encoded_object_key(), known.nbytes)
            for (key, known), is_there in zip(rows, there, strict=True)
            if is_there
        )
        return KeyListPage(entries, str(rows[-1][1].serial) if len(rows) == limit else None)

    def get_usage(self) -> AdapterUsage:
        """Bytes that this server stored, in all and by salt; KDN itself bounds what it keeps."""
        by_salt = self._tasks.known.bytes_by_salt()
        return AdapterUsage(sum(by_salt.values()), 0, MappingProxyType(by_salt))

    def report_status(self) -> dict[str, Any]:
        """Health of the threads, this adapter's counters, and the server's latest numbers."""
        self._refresh()
        lanes = (self._lookup_lane, self._load_lane, self._store_lane)
        transfers = self._tasks.transfers
        clients = (transfers.control, transfers.loads, transfers.stores)
        errors: Counter[str] = Counter()
        for client in clients:
            errors.update(dict(client.counters.errors))
        return {
            "is_healthy": all(lane.is_alive for lane in lanes),
            "type": "kdn",
            "address": self._settings.address,
            "namespace": self._settings.namespace,
            "is_reachable": self._server is not None,
            "reconnects": sum(client.counters.reconnects for client in clients),
            "errors": dict(errors),
            "waiting_tasks": sum(lane.waiting for lane in lanes),
            "leases": self._tasks.lease_count,
            "known_keys": len(self._tasks.known),
            "counters": dict(self._tasks.counts),
            "server": self._server or {},
        }

    def close(self) -> None:
        """Ends the threads and connections; nothing is received into L1 after it has returned.

        What is under way is awaited, at most for the timeout.
        """
        deadline = time.monotonic() + self._settings.timeout + CLOSE_GRACE_SECONDS
        lanes = (self._lookup_lane, self._load_lane, self._store_lane)
        if not all([lane.close(deadline) for lane in lanes]):
            logger.warning("KDN: a transfer was still under way when the adapter was closed")
        self._tasks.transfers.close()
        for outbox in (self._stores, self._lookups, self._loads):
            outbox.close()

    # Tasks

    def _new_task(self, counter: str) -> int:
        self._tasks.count(counter)
        with self._lock:
            self._next_task += 1
            return self._next_task

    def _job(self, work: Callable[[], None], otherwise: Callable[[], None]) -> Callable[[], None]:
        return partial(self._tasks.guarded, work, otherwise)

    def _refused(self, kind: str, answer: Callable[[], None]) -> None:
        """A queue is full: the task ends at once, as a miss or a failure."""
        self._tasks.count(f"{kind}_tasks_refused")
        answer()

    def _refresh(self) -> None:
        """Has the server asked for its numbers, unless that was just done; waits a little."""
        now = time.monotonic()
        with self._lock:
            if now - self._refreshed_at < REFRESH_SECONDS:
                return
            self._refreshed_at = now
        answered = threading.Event()
        work = partial(self._ask_server, answered)
        if self._lookup_lane.submit(self._job(work, answered.set)):
            answered.wait(REFRESH_WAIT_SECONDS)

    def _ask_server(self, answered: threading.Event) -> None:
        self._server = self._tasks.transfers.stats()
        answered.set()


def _nothing() -> None:
    """What remains to be done when a task without a result failed."""
