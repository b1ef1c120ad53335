"""One asyncio connection: many calls share a session, driven by the loop's readiness callbacks."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any

from kdn import bodies, link_bodies
from kdn.address import Address, tune
from kdn.connection import AGENT, receive_passed
from kdn.errors import ConnectionLost, DeadlineExceeded, KDNError
from kdn.jobs import Job, SimpleJob, raise_refusal, registrations
from kdn.layouts import Layout
from kdn.secure import SecureSocket, wrap
from kdn.session import Session
from kdn.slabs import SharedMemory, SlabCache, Window
from kdn.window_jobs import OpenWindowJob
from kdn.wire import Limits, Op

# How much one callback moves before other tasks get their turn.
TURN_BYTES_MAX = 8 << 20


class AsyncConnection:
    """A non-blocking socket and its session; every method runs on the loop that made it.

    No task belongs to a connection: a caller that is cancelled leaves the session in step, and
    what is still to come for it is received and dropped.
    """

    def __init__(self, sock: socket.socket | SecureSocket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._secure = sock if isinstance(sock, SecureSocket) else None
        self._session = Session()
        self._loop = asyncio.get_running_loop()
        self._writing = False
        self.closed = False
        self.load = 0
        self.shared: SharedMemory | None = None
        self._loop.add_reader(sock, self._on_readable)

    @staticmethod
    async def dial(
        address: Address,
        namespace: str,
        token: str,
        layouts: Sequence[Layout],
        deadline: float,
        security: ssl.SSLContext | None = None,
        ticket: bool = False,
    ) -> AsyncConnection:
        """Connects, says HELLO, registers `layouts`; as Connection.dial, also in what it raises."""
        body = bodies.encode_hello(namespace, token, AGENT, ticket)
        connection = AsyncConnection(await _connected_socket(address, deadline, security))
        hello = SimpleJob(Op.HELLO, body, bodies.decode_hello, deadline)
        try:
            await connection.run([hello], deadline)
            if hello.error is not None:
                raise hello.error
            connection._session.limits = hello.value
            await connection.register(layouts, deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    async def register(self, layouts: Sequence[Layout], deadline: float) -> None:
        """Registers layouts; raises the first refusal."""
        jobs = registrations(layouts, deadline)
        await self.run(jobs, deadline)
        raise_refusal(jobs)

    async def ask_ticket(self, deadline: float) -> link_bodies.LinkTicket:
        """A ticket for another link to the same server; raises what it is refused with."""
        body = link_bodies.encode_link_ticket()
        job = SimpleJob(Op.LINK_TICKET, body, link_bodies.decode_link_ticket, deadline)
        await self.run([job], deadline)
        raise_refusal([job])
        return job.value

    def share(self, slabs: SlabCache) -> None:
        """Has later calls find bytes in memory shared with the daemon, which offers it."""
        self.shared = SharedMemory(self.limits.server_id, slabs)

    async def open_window(self, deadline: float) -> None:
        """Opens the window for stores, if there is to be one and it is not there yet.

        A call that comes while another waits for it stores inline.
        """
        shared = self.shared
        if shared is None or not shared.wants_window:
            return
        shared.wants_window = False
        job = OpenWindowJob(deadline)
        # Set in the midst of the callback: a caller that is cancelled leaves it to the others.
        job.on_window = self._use_window
        await self.run([job], deadline)

    def _use_window(self, window: Window) -> None:
        if self.shared is not None:
            self.shared.window = self._session.window = window

    @property
    def limits(self) -> Limits:
        """What HELLO granted."""
        return self._session.limits

    @property
    def reusable(self) -> bool:
        """Whether another call may use the connection."""
        return not self.closed and not self._session.draining

    async def run(self, jobs: Sequence[Job], deadline: float) -> None:
        """Runs jobs until each is done; what a server refuses is in the job's error.

        Raises the error that ended the connection, or DeadlineExceeded. When this call ends, for
        whatever reason, no caller's buffer is written any more.
        """
        left = len(jobs)
        finished = self._loop.create_future()

        def one_done() -> None:
            nonlocal left
            left -= 1
            if left == 0 and not finished.done():
                finished.set_result(None)

        if not jobs:
            return
        received_before = self._session.received_bytes
        self.load += 1
        for job in jobs:
            job.on_done = one_done
            self._session.add(job)
        try:
            self._flush()
            await asyncio.wait_for(finished, max(0.0, deadline - time.monotonic()))
        except (asyncio.TimeoutError, asyncio.CancelledError) as error:
            for job in jobs:
                self._session.withdraw(job)
            if isinstance(error, asyncio.CancelledError):
                self._flush()
                raise
            if self._session.received_bytes == received_before:
                # Nothing at all came back: whoever uses this link next would wait in vain too.
                self._fail(ConnectionLost("the server has stopped answering"))
            self._flush()
            raise DeadlineExceeded("the deadline passed before the answer") from error
        finally:
            self.load -= 1
        if self._session.failure is not None:
            for job in jobs:
                if job.error is self._session.failure:
                    raise self._session.failure

    def catch_up(self) -> None:
        """Takes in what the server has said, such as that it closed, before the loop gets to it.

        One without calls that is to be made anew, so that the server gets memory back, is closed.
        """
        if not self.closed:
            self._on_readable()
        if self.shared is not None and self.shared.is_worn:
            self.close()

    def close(self) -> None:
        """Closes the socket; jobs in flight end with ConnectionLost."""
        self._fail(ConnectionLost("closed"))

    def drop_inherited(self) -> None:
        """In a forked child: closes the socket, and leaves the loop's shared poll set alone."""
        self.closed = True
        self.shared = None
        self._session.window = None
        self._socket.close()

    def _fail(self, error: KDNError) -> None:
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            if self.shared is not None:
                self.shared.refused()
            self.shared = None
        self._session.fail(error)

    def _on_readable(self) -> None:
        try:
            moved = 0
            while moved < TURN_BYTES_MAX and not self.closed:
                views = self._session.incoming()
                descriptors: list[int] = []
                truncated = False
                if self.shared is not None and self._session.at_frame_start:
                    count, descriptors, truncated = receive_passed(self._socket, views)
                elif len(views) == 1:
                    count = self._socket.recv_into(views[0])
                else:
                    count = self._socket.recvmsg_into(views)[0]
                if count == 0:
                    raise ConnectionLost("the server closed the connection")
                self._session.received(count, descriptors, truncated)
                moved += count
                if count < sum(map(len, views)):
                    break
        except BlockingIOError:
            pass
        except KDNError as error:
            self._fail(error)
        except OSError as error:
            self._fail(ConnectionLost(f"connection broke: {error}"))
        # A reply may have given back credit that a queued job waits for.
        self._flush()
        if not self.closed and self._secure is not None and self._secure.buffered_bytes() > 0:
            # It was others' turn; no poll tells of what is inside TLS already.
            self._loop.call_soon(self._on_readable_again)

    def _on_readable_again(self) -> None:
        if not self.closed:
            self._on_readable()

    def _flush(self) -> None:
        """Sends until there is nothing to send, the socket is full, or it is others' turn."""
        moved = 0
        try:
            while not self.closed:
                views = self._session.outgoing(time.monotonic())
                if not views:
                    self._write_when_ready(False)
                    return
                if moved >= TURN_BYTES_MAX:
                    break
                count = self._socket.sendmsg(views)
                self._session.sent(count)
                moved += count
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(ConnectionLost(f"connection broke: {error}"))
            return
        self._write_when_ready(True)

    def _write_when_ready(self, wanted: bool) -> None:
        if wanted == self._writing or self.closed:
            return
        self._writing = wanted
        if wanted:
            self._loop.add_writer(self._socket, self._flush)
        else:
            self._loop.remove_writer(self._socket)


async def _connected_socket(
    address: Address, deadline: float, security: ssl.SSLContext | None
) -> socket.socket | SecureSocket:
    async def connect() -> socket.socket | SecureSocket:
        sock = await _connect_any(address)
        return sock if security is None else await _secured(sock, security, address)

    try:
        return await asyncio.wait_for(connect(), max(0.0, deadline - time.monotonic()))
    except asyncio.TimeoutError as error:
        raise DeadlineExceeded("connecting took too long") from error
    except (OSError, ValueError) as error:
        raise ConnectionLost(f"cannot connect: {error}") from error


async def _secured(
    sock: socket.socket, security: ssl.SSLContext, address: Address
) -> SecureSocket:
    """Agrees on keys, as the socket becomes ready for it."""
    secured = sock
    try:
        secured = handshaking = wrap(sock, security, address.host)
        while True:
            try:
                handshaking.do_handshake()
                return SecureSocket(handshaking)
            except ssl.SSLWantReadError:
                await _ready(handshaking, for_writing=False)
            except ssl.SSLWantWriteError:
                await _ready(handshaking, for_writing=True)
    except BaseException:
        secured.close()
        raise


async def _ready(sock: ssl.SSLSocket, for_writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    descriptor = sock.fileno()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    if for_writing:
        loop.add_writer(descriptor, wake)
    else:
        loop.add_reader(descriptor, wake)
    try:
        await ready
    finally:
        if for_writing:
            loop.remove_writer(descriptor)
        else:
            loop.remove_reader(descriptor)


async def _connect_any(address: Address) -> socket.socket:
    """The first of the host's addresses that accepts."""
    loop = asyncio.get_running_loop()
    if address.path:
        return await _connect(address.make_socket(), address.path)
    failure: OSError | None = None
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, target in found:
        try:
            return await _connect(socket.socket(family, kind, protocol), target)
        except OSError as error:
            failure = error
    raise failure or OSError(f"{address.host} has no address")


async def _connect(sock: socket.socket, target: Any) -> socket.socket:
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, target)
        tune(sock)
    except BaseException:
        sock.close()
        raise
    return sock
