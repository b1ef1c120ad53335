"""The blocking client: thread-safe, over a few connections that it keeps open."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from kdn import operations
from kdn.base import ClientBase
from kdn.connection import Connection
from kdn.documents import Document, DocumentListing, Resolved
from kdn.errors import ConnectionLost, FieldError, KDNError, ServerError
from kdn.keys import Key, Part
from kdn.layouts import Layout
from kdn.operations import GetOperation, MatchOperation, Operation, PutOperation
from kdn.pool import StreamPool
from kdn.results import Get, GetResult, Match, Prefetch, Purged, Put, PutResult

Value = TypeVar("Value")


class Lease:
    """Keeps matched objects from eviction until released, over, or its connection ends."""

    def __init__(self, client: Client, connection: Connection, ids: list[int], ms: int) -> None:
        self.ms = ms
        self._client = client
        self._connection = connection
        self._ids = ids

    @property
    def held(self) -> bool:
        """Whether it has not been released here and its connection stands."""
        return bool(self._ids) and not self._connection.closed

    def release(self, timeout: float | None = None) -> None:
        """Gives the lease back; does nothing if it is over."""
        ids, self._ids = self._ids, []
        if ids:
            self._client._release(self._connection, ids, timeout)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Client(ClientBase):
    """A client of one server and namespace.

    `streams` connections are opened on demand; concurrent callers share them, one call at a time
    on each (calls that wait for a key have as many of their own). `timeout` (seconds) is every
    call's deadline unless it gives its own. With `on_error="miss"` trouble of the link or server
    counts as a miss instead of raising; wrong arguments raise FieldError always.

    With an address `tls://host:port` the server must prove that it is `host`, by a certificate of
    an authority in the file `ca` (None: the system's); `certificate` and `key` are files with what
    this client shows of itself. TLS 1.3 is the least that is spoken.
    """

    def __init__(
        self,
        address: str,
        namespace: str = "default",
        token: str | None = None,
        streams: int = 2,
        timeout: float = 10.0,
        connect_timeout: float = 3.0,
        verify: bool = True,
        on_error: str = "raise",
        ca: str | None = None,
        certificate: str | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(
            address, namespace, token, streams, timeout, connect_timeout, verify, on_error,
            ca, certificate, key,
        )
        self._workers: ThreadPoolExecutor | None = None
        self._streams = StreamPool(streams, self._dial, self._on_lost)
        self._waiters = StreamPool(streams, self._dial, self._on_lost)

    # Layouts and matches

    def register_layout(self, layout: Layout, timeout: float | None = None) -> bytes:
        """Makes `layout` known to the server, again after each reconnect; returns its id."""
        if not self._knows_layout(layout):
            self._call(operations.register_layout(layout), timeout)
            self._learn_layout(layout)
        return layout.id

    def match(
        self,
        layout_id: bytes,
        hashes: Sequence[bytes],
        parts: Sequence[Part],
        variant: int = 0,
        lease_ms: int | None = None,
        timeout: float | None = None,
    ) -> Match[Lease]:
        """How many chunks of a chain are there in full, from its start.

        `lease_ms` asks for a lease on them (0 = the server's default time, None = no lease).
        """
        if not hashes:
            return Match(0)
        operation = MatchOperation(layout_id, hashes, parts, variant, lease_ms)
        job, connection = self._call_on(operation, timeout, self._streams)
        found = job.matched
        lease = None
        if job.lease_ids and connection is not None:
            lease = Lease(self, connection, job.lease_ids, found.lease_ms)
        return Match(
            found.chunks, found.cause, found.bytes, found.tiers, found.estimate_us, lease
        )

    def exists(self, keys: Sequence[Key], timeout: float | None = None) -> list[bool]:
        """Which of the keys are present."""
        return self._call(operations.exists(keys), timeout)

    def ping(self, timeout: float | None = None) -> None:
        """Returns once the server has answered; raises even with `on_error="miss"`."""
        self._call(operations.ping(), timeout)

    # Bytes

    def get(self, key: Key, timeout: float | None = None) -> bytes | None:
        """A whole object, or None if it is a miss."""
        result = self.get_into([Get(key)], timeout=timeout)[0]
        return bytes(result.data) if result.hit and result.data is not None else None

    def get_into(
        self, items: Sequence[Get], wait: bool = False, timeout: float | None = None
    ) -> list[GetResult]:
        """Fetches objects, ranges or parts of them, straight into the callers' buffers.

        With `wait` a key that is missing is waited for until the deadline. Large calls use
        several streams at once. One result per item; misses are results, not errors.
        """
        operation = self._get_operation(items, wait)
        groups = self._groups(operation, items) if not wait else [items]
        if len(groups) > 1:
            return self._fan_out(groups, timeout)
        return self._get(operation, wait, timeout)

    def put(self, key: Key, data: Any, timeout: float | None = None, **facts: Any) -> PutResult:
        """Stores one object; `facts` are those of Put. Raises what the server refused it with."""
        result = self.put_from([Put(key, data, **facts)], timeout)[0]
        if self._strict and result.error is not None:
            raise result.error
        return result

    def put_from(self, items: Sequence[Put], timeout: float | None = None) -> list[PutResult]:
        """Stores objects from the callers' buffers, without joining or copying them.

        One result per item: an item that the server refuses is `failed` and says why, and the
        others go on. A broken link raises, unless errors are misses.
        """
        results = self._call(PutOperation(items), timeout)
        for result in results:
            if result.error is not None:
                self._count_error(result.error)
        return results

    # Leases, pins, hints, administration

    def touch(self, keys: Sequence[Key], timeout: float | None = None) -> int:
        """Counts as a use of the keys; returns how many are present."""
        return self._call(operations.touch(keys), timeout)

    def pin(self, keys: Sequence[Key], ttl_ms: int, timeout: float | None = None) -> list[bool]:
        """Keeps keys from eviction for `ttl_ms`; returns which were there to pin."""
        return self._call(operations.pin(keys, ttl_ms), timeout)

    def unpin(self, keys: Sequence[Key], timeout: float | None = None) -> list[bool]:
        """Ends pins; returns which were pinned."""
        return self._call(operations.unpin(keys), timeout)

    def prefetch(self, keys: Sequence[Key], timeout: float | None = None) -> Prefetch:
        """Starts promotion of keys to RAM and does not wait for it."""
        return self._call(operations.prefetch(keys), timeout)

    def purge(
        self,
        keys: Sequence[Key] | None = None,
        prefixes: Sequence[bytes] | None = None,
        layouts: Sequence[bytes] | None = None,
        namespace: bool = False,
        timeout: float | None = None,
    ) -> Purged:
        """Removes keys, all that builds on chunk hashes, layouts, or the whole namespace."""
        return self._call(operations.purge(keys, prefixes, layouts, namespace), timeout)

    def publish_document(self, document: Document, timeout: float | None = None) -> int:
        """Makes a name stand for a text; returns the epoch. Its layout must be registered."""
        return self._call(operations.publish_document(document), timeout)

    def resolve_document(self, name: str, timeout: float | None = None) -> Resolved:
        """What a name stands for; ServerError NOT_FOUND if it stands for nothing."""
        return self._call(operations.resolve_document(name), timeout)

    def list_documents(
        self, after: str = "", limit: int = 1000, timeout: float | None = None
    ) -> list[DocumentListing]:
        """Names behind `after` in the order of their bytes."""
        return self._call(operations.list_documents(after, limit), timeout)

    def retire_document(self, name: str, timeout: float | None = None) -> int:
        """Forgets a name; its chunks stay."""
        return self._call(operations.retire_document(name), timeout)

    def stats(self, timeout: float | None = None) -> dict[str, Any]:
        """The server's numbers for this namespace."""
        return self._call(operations.stats(), timeout)

    def close(self) -> None:
        """Closes the connections; leases end with them."""
        self._streams.close()
        self._waiters.close()
        with self._lock:
            workers, self._workers = self._workers, None
        if workers is not None:
            workers.shutdown(wait=True)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # How calls run

    def _call(self, operation: Operation[Value], timeout: float | None) -> Value:
        return self._call_on(operation, timeout, self._streams)[0]

    def _call_on(
        self, operation: Operation[Value], timeout: float | None, pool: StreamPool
    ) -> tuple[Value, Connection | None]:
        deadline = self._deadline(timeout)
        try:
            return self._attempts(operation, deadline, pool)
        except FieldError:
            raise
        except KDNError as error:
            self._count_error(error)
            if self._strict:
                raise
            return operation.miss(error), None

    def _attempts(
        self, operation: Operation[Value], deadline: float, pool: StreamPool
    ) -> tuple[Value, Connection]:
        for last in (not operation.retries, True):
            connection = pool.borrow(deadline)
            try:
                jobs = operation.plan(connection.limits, deadline)
                connection.run(jobs, deadline)
                more = operation.follow_up(jobs, deadline)
                connection.run(more, deadline)
                lost = operations.first_error(jobs)
                if isinstance(lost, ConnectionLost):
                    raise lost
            except ConnectionLost:
                connection.close()
                if last:
                    raise
                continue
            finally:
                pool.give_back(connection)
            return operation.collect([*jobs, *more]), connection
        raise ConnectionLost("no attempt was left")

    def _dial(self, deadline: float) -> Connection:
        layouts, limit = self._before_dial(deadline)
        try:
            connection = Connection.dial(
                self._address, self._namespace, self._token, layouts, limit, self._security
            )
        except KDNError as error:
            raise self._dial_failed(error, limit < deadline) from error
        self._dialled()
        return connection

    def _get(
        self, operation: GetOperation, wait: bool, timeout: float | None
    ) -> list[GetResult]:
        pool = self._waiters if wait else self._streams
        results = self._call_on(operation, timeout, pool)[0]
        self._count_gets(operation)
        return results

    def _fan_out(
        self, groups: Sequence[Sequence[Get]], timeout: float | None
    ) -> list[GetResult]:
        with self._lock:
            if self._workers is None:
                self._workers = ThreadPoolExecutor(self._stream_count - 1, "kdn-stream")
            workers = self._workers
        others = [
            workers.submit(self._get, self._get_operation(group, False), False, timeout)
            for group in groups[1:]
        ]
        try:
            results = self._get(self._get_operation(groups[0], False), False, timeout)
        finally:
            # Nobody may receive into the caller's buffers after this call has ended.
            for other in others:
                other.exception()
        return [*results, *(result for other in others for result in other.result())]

    def _release(self, connection: Connection, ids: list[int], timeout: float | None) -> None:
        deadline = self._deadline(timeout)
        operation = operations.release(ids)
        try:
            if not self._streams.borrow_this(connection, deadline):
                return
            try:
                connection.run(operation.plan(connection.limits, deadline), deadline)
            finally:
                self._streams.give_back(connection)
        except (ConnectionLost, ServerError):
            # A lease ends with its connection, and by its time: both are what was asked.
            return
        except KDNError as error:
            self._count_error(error)
            if self._strict:
                raise

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        self._workers = None
        self._streams.drop_inherited()
        self._waiters.drop_inherited()
