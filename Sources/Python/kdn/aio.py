"""The asyncio client: the same verbs, many calls at once over a few shared connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import TimeoutError as FutureTimeout
from hashlib import sha256
from types import TracebackType
from typing import Any, TypeVar

from kdn import operations
from kdn.aio_connection import AsyncConnection
from kdn.base import ClientBase
from kdn.byte_operations import GetOperation, ProfileOperation, PutOperation
from kdn.codec_bodies import ProfileFacts
from kdn.decoders import Decoders
from kdn.errors import ConnectionLost, DeadlineExceeded, FieldError, KDNError, ServerError
from kdn.keys import Key, Part
from kdn.knowledge import AsyncKnowledgeCalls
from kdn.layouts import Layout
from kdn.operations import MatchOperation, Operation
from kdn.results import Get, GetResult, Match, Prefetch, Purged, Put, PutResult

Value = TypeVar("Value")


class AsyncLease:
    """Keeps matched objects from eviction until released, over, or its connection ends."""

    def __init__(
        self, client: AsyncClient, connection: AsyncConnection, ids: list[int], ms: int
    ) -> None:
        self.ms = ms
        self._client = client
        self._connection = connection
        self._ids = ids

    @property
    def held(self) -> bool:
        """Whether it has not been released here and its connection stands."""
        return bool(self._ids) and not self._connection.closed

    async def release(self, timeout: float | None = None) -> None:
        """Gives the lease back; does nothing if it is over."""
        ids, self._ids = self._ids, []
        if ids:
            await self._client._release(self._connection, ids, timeout)

    async def __aenter__(self) -> AsyncLease:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.release()


class AsyncClient(AsyncKnowledgeCalls, ClientBase):
    """An asyncio client of one server and namespace; arguments as for Client.

    Has no leases in place and no RDMA; gets and puts go over shared memory as Client's do, and
    their copies take the loop's time. What comes encoded is decoded in threads. Used from one event
    loop. Up to `streams` connections are opened on demand and shared by all calls. A call that is
    cancelled leaves its connection usable, and its buffers alone.
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
        fidelity: str | None = None,
    ) -> None:
        if link == "rdma" or address.startswith("rdma://"):
            raise FieldError("link", "rdma", "auto, tcp, unix or shm with the asyncio client")
        super().__init__(
            address, namespace, token, streams, timeout, connect_timeout, verify, on_error,
            ca, certificate, key, link, False, fidelity,
        )
        self._decoders = Decoders(self._fetch_profile, streams, self._rates, is_waiting=False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: list[AsyncConnection] = []
        self._dialling: list[asyncio.Future[AsyncConnection]] = []
        self._closed = False

    # Layouts and matches

    async def register_layout(self, layout: Layout, timeout: float | None = None) -> bytes:
        """Makes `layout` known to the server, again after each reconnect; returns its id."""
        if not self._knows_layout(layout):
            await self._call(operations.register_layout(layout), timeout)
            self._learn_layout(layout)
        return layout.id

    async def match(
        self,
        layout_id: bytes,
        hashes: Sequence[bytes],
        parts: Sequence[Part],
        variant: int = 0,
        lease_ms: int | None = None,
        timeout: float | None = None,
    ) -> Match[AsyncLease]:
        """How many chunks of a chain are there in full, from its start; see Client.match."""
        if not hashes:
            return Match(0)
        operation = MatchOperation(layout_id, hashes, parts, variant, lease_ms)
        job, connection = await self._call_on(operation, timeout)
        found = job.matched
        lease = None
        if job.lease_ids and connection is not None:
            lease = AsyncLease(self, connection, job.lease_ids, found.lease_ms)
        return Match(
            found.chunks, found.cause, found.bytes, found.tiers, found.estimate_us, lease
        )

    async def exists(self, keys: Sequence[Key], timeout: float | None = None) -> list[bool]:
        """Which of the keys are present."""
        return await self._call(operations.exists(keys), timeout)

    async def ping(self, timeout: float | None = None) -> None:
        """Returns once the server has answered; raises even with `on_error="miss"`."""
        await self._call(operations.ping(), timeout)

    # Bytes

    async def get(self, key: Key, timeout: float | None = None) -> bytes | None:
        """A whole object, or None if it is a miss."""
        result = (await self.get_into([Get(key)], timeout=timeout))[0]
        return bytes(result.data) if result.hit and result.data is not None else None

    async def get_into(
        self,
        items: Sequence[Get],
        wait: bool = False,
        timeout: float | None = None,
        *,
        deadline: float | None = None,
        bandwidth: float | None = None,
        prefill_rate: float | None = None,
    ) -> list[GetResult]:
        """Fetches objects straight into the callers' buffers; see Client.get_into."""
        hurry = self._hurry(deadline, bandwidth, prefill_rate, wait)
        operation = self._get_operation(items, wait, hurry)
        groups = self._groups(operation, items) if not wait else [items]
        if len(groups) == 1:
            return await self._get(operation, timeout)
        calls = [self._get(self._get_operation(group, False), timeout) for group in groups]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        results: list[GetResult] = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            results.extend(outcome)
        return results

    async def put(
        self, key: Key, data: Any, timeout: float | None = None, **facts: Any
    ) -> PutResult:
        """Stores one object; `facts` are those of Put. Raises what the server refused it with."""
        result = (await self.put_from([Put(key, data, **facts)], timeout))[0]
        if self._strict and result.error is not None:
            raise result.error
        return result

    async def put_from(
        self, items: Sequence[Put], timeout: float | None = None
    ) -> list[PutResult]:
        """Stores objects from the callers' buffers, without copies; see Client.put_from."""
        results = await self._call(PutOperation(items), timeout)
        for result in results:
            if result.error is not None:
                self._count_error(result.error)
        return results

    async def use_profile(self, profile: bytes, timeout: float | None = None) -> ProfileFacts:
        """Stores a codec's profile and has the server encode with it; see Client.use_profile."""
        await self.put(Key.opaque(profile), profile, timeout)
        return await self._call(operations.use_profile(sha256(profile).digest()), timeout)

    # Leases, pins, hints, administration

    async def touch(self, keys: Sequence[Key], timeout: float | None = None) -> int:
        """Counts as a use of the keys; returns how many are present."""
        return await self._call(operations.touch(keys), timeout)

    async def pin(
        self, keys: Sequence[Key], ttl_ms: int, timeout: float | None = None
    ) -> list[bool]:
        """Keeps keys from eviction for `ttl_ms`; returns which were there to pin."""
        return await self._call(operations.pin(keys, ttl_ms), timeout)

    async def unpin(self, keys: Sequence[Key], timeout: float | None = None) -> list[bool]:
        """Ends pins; returns which were pinned."""
        return await self._call(operations.unpin(keys), timeout)

    async def prefetch(self, keys: Sequence[Key], timeout: float | None = None) -> Prefetch:
        """Starts promotion of keys to RAM and does not wait for it."""
        return await self._call(operations.prefetch(keys), timeout)

    async def purge(
        self,
        keys: Sequence[Key] | None = None,
        prefixes: Sequence[bytes] | None = None,
        layouts: Sequence[bytes] | None = None,
        namespace: bool = False,
        timeout: float | None = None,
    ) -> Purged:
        """Removes keys, all that builds on chunk hashes, layouts, or the whole namespace."""
        return await self._call(operations.purge(keys, prefixes, layouts, namespace), timeout)

    async def stats(self, timeout: float | None = None) -> dict[str, Any]:
        """The server's numbers for this namespace."""
        return await self._call(operations.stats(), timeout)

    async def close(self) -> None:
        """Closes the connections; leases end with them, and calls in flight raise."""
        self._closed = True
        self._decoders.close()
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # How calls run

    async def _call(self, operation: Operation[Value], timeout: float | None) -> Value:
        return (await self._call_on(operation, timeout))[0]

    async def _call_waiting(self, operation: Operation[Value], timeout: float) -> Value:
        return await self._call(operation, timeout)

    async def _call_on(
        self, operation: Operation[Value], timeout: float | None
    ) -> tuple[Value, AsyncConnection | None]:
        deadline = self._deadline(timeout)
        try:
            return await self._attempts(operation, deadline)
        except FieldError:
            raise
        except KDNError as error:
            self._count_error(error)
            if self._strict:
                raise
            return operation.miss(error), None

    async def _attempts(
        self, operation: Operation[Value], deadline: float
    ) -> tuple[Value, AsyncConnection]:
        for last in (not operation.retries, True):
            connection = await self._pick(deadline)
            try:
                if operation.stores:
                    await connection.open_window(deadline)
                jobs = operation.plan(connection.limits, deadline, connection.shared)
                await connection.run(jobs, deadline)
                more = operation.follow_up(jobs, deadline)
                await connection.run(more, deadline)
                lost = operations.first_error(jobs)
                if isinstance(lost, ConnectionLost):
                    raise lost
            except ConnectionLost:
                if last:
                    raise
                continue
            return operation.collect([*jobs, *more]), connection
        raise ConnectionLost("no attempt was left")

    async def _pick(self, deadline: float) -> AsyncConnection:
        """A connection without calls, else a new one, else the one with the fewest."""
        if self._closed:
            raise ConnectionLost("the client is closed")
        for connection in self._connections:
            if connection.load == 0:
                connection.catch_up()
        usable = [connection for connection in self._connections if connection.reusable]
        for _ in range(len(self._connections) - len(usable)):
            self._on_lost()
        self._connections = usable
        best = min(usable, key=lambda connection: connection.load, default=None)
        full = len(usable) + len(self._dialling) >= self._stream_count
        if best is not None and (best.load == 0 or full):
            return best
        if not full:
            dialling: asyncio.Future[AsyncConnection] = asyncio.ensure_future(self._dial())
            self._dialling.append(dialling)
            dialling.add_done_callback(self._dial_ended)
        else:
            dialling = self._dialling[0]
        return await self._dialled_by(dialling, deadline)

    async def _dialled_by(
        self, dialling: asyncio.Future[AsyncConnection], deadline: float
    ) -> AsyncConnection:
        """What a dial yields, which other callers may wait for too: it goes on without this one."""
        await asyncio.wait([dialling], timeout=self._remaining(deadline))
        if not dialling.done():
            raise DeadlineExceeded("the deadline passed before a connection was made")
        return dialling.result()

    def _dial_ended(self, dialling: asyncio.Future[AsyncConnection]) -> None:
        self._dialling.remove(dialling)
        # Read, so that a failure whose callers have all gone is not reported as never retrieved.
        if not dialling.cancelled():
            dialling.exception()

    async def _dial(self) -> AsyncConnection:
        # The dial has a time of its own: it serves every caller that waits for a connection.
        layouts, limit = self._before_dial(float("inf"))
        try:
            connection, link = await self._dialler.dial_async(layouts, limit)
        except KDNError as error:
            raise self._dial_failed(error, early=True) from error
        self._dialled(link)
        if self._closed:
            connection.close()
            raise ConnectionLost("the client is closed")
        self._connections.append(connection)
        return connection

    async def _get(self, operation: GetOperation, timeout: float | None) -> list[GetResult]:
        self._loop = asyncio.get_running_loop()
        deadline = self._deadline(timeout)
        try:
            results = await self._call(operation, timeout)
            decodings = [asyncio.wrap_future(future) for future in operation.decodings]
            if decodings:
                await asyncio.wait(decodings, timeout=self._remaining(deadline))
        finally:
            # What has not ended by now is given up.
            operation.finish_decoding(0.0)
        self._count_gets(operation)
        return results

    def _the_decoders(self) -> Decoders:
        return self._decoders

    def _fetch_profile(self, profile: bytes) -> bytearray | None:
        """A profile's bytes, None if the server has none of this hash; for threads that decode."""
        asking = self._profile(profile)
        try:
            assert self._loop is not None
            found = asyncio.run_coroutine_threadsafe(asking, self._loop)
        except RuntimeError as error:
            asking.close()
            raise ConnectionLost("the client's event loop has ended") from error
        try:
            return found.result(2 * self._timeout)
        except FutureTimeout as error:
            found.cancel()
            raise DeadlineExceeded("the event loop did not get to it") from error
        except FutureCancelled as error:
            raise ConnectionLost("the client's event loop has ended") from error

    async def _profile(self, profile: bytes) -> bytearray | None:
        result = await self._call(ProfileOperation(profile, strict=self._strict), None)
        return result.data if result.hit else None

    async def _release(
        self, connection: AsyncConnection, ids: list[int], timeout: float | None
    ) -> None:
        if connection.closed:
            return
        deadline = self._deadline(timeout)
        operation = operations.release(ids)
        if connection.shared is not None:
            for lease_id in ids:
                connection.shared.drop(lease_id)
        try:
            await connection.run(operation.plan(connection.limits, deadline), deadline)
        except (ConnectionLost, ServerError):
            # A lease ends with its connection, and by its time: both are what was asked.
            return
        except KDNError as error:
            self._count_error(error)
            if self._strict:
                raise

    def _after_fork_in_child(self) -> None:
        super()._after_fork_in_child()
        self._decoders.after_fork_in_child()
        connections, self._connections = self._connections, []
        self._dialling = []
        for connection in connections:
            connection.drop_inherited()
