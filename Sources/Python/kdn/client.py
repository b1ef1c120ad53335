"""The blocking client: thread-safe, over a few connections that it keeps open."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from types import TracebackType
from typing import Any, TypeVar

from kdn import operations
from kdn.base import ClientBase
from kdn.byte_operations import GetOperation, LeaseOperation, ProfileOperation, PutOperation
from kdn.codec_bodies import ProfileFacts
from kdn.connection import Connection
from kdn.decoders import Decoders
from kdn.errors import (
    ConnectionLost,
    FieldError,
    KDNError,
    LeaseExpired,
    LinkUnavailable,
    ServerError,
)
from kdn.keys import Key, Part
from kdn.knowledge import KnowledgeCalls
from kdn.layouts import Layout
from kdn.leased import Leased, Releases
from kdn.operations import MatchOperation, Operation
from kdn.pool import Stream, StreamPool
from kdn.results import Get, GetResult, Match, Prefetch, Purged, Put, PutResult
from kdn.shared_jobs import release_job

Value = TypeVar("Value")


class Lease:
    """Keeps matched objects from eviction until released, over, or its connection ends."""

    def __init__(self, client: Client, connection: Stream, ids: list[int], ms: int) -> None:
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


class Client(KnowledgeCalls, ClientBase):
    """A client of one server and namespace.

    `streams` connections are opened on demand; concurrent callers share them, one call at a time
    on each (calls that wait for a key have as many of their own). `timeout` (seconds) is every
    call's deadline unless it gives its own. With `on_error="miss"` trouble of the link or server
    counts as a miss instead of raising; wrong arguments raise FieldError always.

    With an address `tls://host:port` the server must prove that it is `host`, by a certificate of
    an authority in the file `ca` (None: the system's); `certificate` and `key` are files with what
    this client shows of itself. TLS 1.3 is the least that is spoken.

    `link` is what carries the bytes: "auto" takes memory shared with a server on this host, else
    RDMA where there is a route and libkdn, else the address as it is; "tcp", "unix", "shm" and
    "rdma" insist. The property `link` says what came of it. A token goes over RDMA only if
    `rdma_trusted` says that nobody else listens there; else a ticket does.

    `fidelity` is how near whole objects must be to what was stored: with "exact" bit for bit, with
    "high", "balanced", "small" or "archive" they may come encoded in that class or a finer one,
    which takes fewer bytes and is decoded here while they arrive (needs numpy; the C kernels where
    they are installed). What the server keeps in a coarser class is a miss INEXACT. Without it
    objects come raw: what the server keeps encoded it decodes.
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
        link: str = "auto",
        rdma_trusted: bool = False,
        fidelity: str | None = None,
    ) -> None:
        super().__init__(
            address, namespace, token, streams, timeout, connect_timeout, verify, on_error,
            ca, certificate, key, link, rdma_trusted, fidelity,
        )
        self._workers: ThreadPoolExecutor | None = None
        self._decoders = Decoders(self._fetch_profile, streams, self._rates, is_waiting=True)
        # Calls that wait for a key have connections of their own.
        self._streams = StreamPool(streams, self._dial, self._on_lost)
        self._waiters = StreamPool(streams, self._dial, self._on_lost)
        # Leases end with their connection: other calls, which may fail, do not share it.
        self._holders = StreamPool(streams, self._dial, self._on_lost)
        self._releases = self._make_releases()
        # A profile is needed while other streams wait for what it decodes.
        self._profile_streams = StreamPool(1, self._dial, self._on_lost)
        self._generation = 0

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
        self,
        items: Sequence[Get],
        wait: bool = False,
        timeout: float | None = None,
        *,
        deadline: float | None = None,
        bandwidth: float | None = None,
        prefill_rate: float | None = None,
    ) -> list[GetResult]:
        """Fetches objects, ranges or parts of them, straight into the callers' buffers.

        With `wait` a key that is missing is waited for until the time is up. Large calls use
        several streams at once. One result per item; misses are results, not errors.

        With `deadline` (seconds from now) the items are chunks of one chain in their order, and
        the server sends what can be there, decoded, by then. What cannot is a miss RECOMPUTE, as
        is all behind it: compute it. The deadline is a wish, which bytes that are under way may
        miss; only `timeout` ends the call. How fast bytes arrive and are decoded is measured; what
        `bandwidth` (bytes a second) and `prefill_rate` (tokens a second that are computed here)
        say goes before that. Unknown computing is taken to need no time. Over RDMA, which carries
        raw bytes only, a deadline changes nothing.
        """
        hurry = self._hurry(deadline, bandwidth, prefill_rate, wait)
        operation = self._get_operation(items, wait, hurry)
        groups = self._groups(operation, items) if not wait else [items]
        if len(groups) > 1:
            return self._fan_out(groups, timeout)
        return self._get(operation, wait, timeout)

    def lease(
        self,
        items: Sequence[Get],
        verify: bool | None = None,
        lease_ms: int = 0,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Leased:
        """Objects, ranges or parts of them where they lie in the server's memory, without a copy.

        Needs the link shm; the bytes are checked in place, unless `verify` (None: as the client
        does) is off. They come raw: with a fidelity but the coarsest, what the server keeps in a
        class that loses something is a miss INEXACT. They are held for `lease_ms` (0: the server's
        default) and no longer: see Leased. What does not fit this connection's credit is a miss
        OVER_CREDIT.
        """
        wanted = self._verify if verify is None else verify
        operation = LeaseOperation(
            items, lease_ms=lease_ms, wait=wait, verify=wanted, exact=self._terms.exact_parts
        )
        held, connection = self._call_on(operation, timeout, self._holders)
        self._count_results(held.results)
        return Leased(
            held, connection if isinstance(connection, Connection) else None, self._releases,
            self._strict, self._count_error,
        )

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

    def use_profile(self, profile: bytes, timeout: float | None = None) -> ProfileFacts:
        """Stores what a codec learned of a model, and has the server encode with it from now on.

        Needed again after each start of the server. Raises ServerError for bytes that are none.
        """
        self.put(Key.opaque(profile), profile, timeout)
        return self._call(operations.use_profile(sha256(profile).digest()), timeout)

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

    def stats(self, timeout: float | None = None) -> dict[str, Any]:
        """The server's numbers for this namespace."""
        return self._call(operations.stats(), timeout)

    def close(self) -> None:
        """Closes the connections; leases end with them."""
        self._decoders.close()
        self._streams.close()
        self._waiters.close()
        self._holders.close()
        self._profile_streams.close()
        self._releases.close()
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

    def _call_waiting(self, operation: Operation[Value], timeout: float) -> Value:
        return self._call_on(operation, timeout, self._waiters)[0]

    def _call_on(
        self, operation: Operation[Value], timeout: float | None, pool: StreamPool
    ) -> tuple[Value, Stream | None]:
        deadline = self._deadline(timeout)
        try:
            outcome = self._attempts(operation, deadline, pool)
            self._sweep()
            return outcome
        except FieldError:
            raise
        except KDNError as error:
            self._count_error(error)
            if self._strict:
                raise
            return operation.miss(error), None

    def _attempts(
        self, operation: Operation[Value], deadline: float, pool: StreamPool
    ) -> tuple[Value, Stream]:
        for last in (not operation.retries, True):
            connection = pool.borrow(deadline)
            try:
                if operation.stores:
                    connection.open_window(deadline)
                jobs = operation.plan(connection.limits, deadline, connection.shared)
                connection.run(jobs, deadline)
                more = operation.follow_up(jobs, deadline)
                connection.run(more, deadline)
                lost = operations.first_error(jobs)
                if isinstance(lost, ConnectionLost):
                    raise lost
            except LinkUnavailable:
                raise
            except ConnectionLost:
                connection.close()
                if last:
                    raise
                continue
            finally:
                pool.give_back(connection)
            return operation.collect([*jobs, *more]), connection
        raise ConnectionLost("no attempt was left")

    def _sweep(self) -> None:
        """Closes connections that keep memory from a server which has none left to share."""
        generation = self._dialler.slabs.generation
        if generation != self._generation:
            self._generation = generation
            for pool in (self._streams, self._waiters, self._holders):
                pool.sweep()

    def _dial(self, deadline: float) -> Stream:
        layouts, limit = self._before_dial(deadline)
        try:
            connection, link = self._dialler.dial(layouts, limit)
        except KDNError as error:
            raise self._dial_failed(error, limit < deadline) from error
        self._dialled(link)
        return connection

    def _get(
        self, operation: GetOperation, wait: bool, timeout: float | None
    ) -> list[GetResult]:
        pool = self._waiters if wait else self._streams
        deadline = self._deadline(timeout)
        try:
            results = self._call_on(operation, timeout, pool)[0]
        except BaseException:
            operation.finish_decoding(0.0)
            raise
        operation.finish_decoding(deadline)
        self._count_gets(operation)
        return results

    def _the_decoders(self) -> Decoders:
        return self._decoders

    def _fetch_profile(self, profile: bytes) -> bytearray | None:
        """A profile's bytes, None if the server has none of this hash."""
        operation = ProfileOperation(profile, strict=self._strict)
        try:
            result = self._call_on(operation, None, self._profile_streams)[0]
        finally:
            self._profile_streams.drain()
        return result.data if result.hit else None

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

    def _make_releases(self) -> Releases:
        mine = weakref.ref(self)

        def give_back(
            connection: Connection, lease_id: int, is_late: bool, deadline: float | None
        ) -> None:
            client = mine()
            if client is None:
                return
            limit = client._deadline(None)
            if client._holders.borrow_this(connection, limit if deadline is None else deadline):
                try:
                    if connection.shared is not None:
                        connection.shared.drop(lease_id)
                    connection.post(release_job(lease_id, limit))
                finally:
                    client._holders.give_back(connection)
            if is_late:
                client._count_error(LeaseExpired("its views outlived it"))

        releases = Releases(give_back)
        weakref.finalize(self, releases.close).atexit = False
        return releases

    def _release(self, connection: Stream, ids: list[int], timeout: float | None) -> None:
        deadline = self._deadline(timeout)
        operation = operations.release(ids)
        try:
            if not self._streams.borrow_this(connection, deadline):
                return
            try:
                if connection.shared is not None:
                    for lease_id in ids:
                        connection.shared.drop(lease_id)
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
        self._decoders.after_fork_in_child()
        self._streams.drop_inherited()
        self._waiters.drop_inherited()
        self._holders.drop_inherited()
        self._profile_streams.drop_inherited()
        self._releases = self._make_releases()
