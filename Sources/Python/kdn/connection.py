"""One blocking connection: moves bytes between a session and a socket until a deadline."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Sequence

from kdn import bodies
from kdn.address import Address, tune
from kdn.errors import ConnectionLost, DeadlineExceeded, KDNError
from kdn.jobs import Job, SimpleJob
from kdn.layouts import Layout
from kdn.secure import SecureSocket, wrap
from kdn.session import Session
from kdn.wire import Limits, Op

AGENT = "kdn-python/0.1.0"


class Connection:
    """A socket and its session, used by one thread at a time."""

    def __init__(self, sock: socket.socket | SecureSocket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._session = Session()
        self._poll = select.poll()
        self._secure = sock if isinstance(sock, SecureSocket) else None
        self._events = select.POLLIN
        self._poll.register(sock, self._events)
        self.closed = False

    @staticmethod
    def dial(
        address: Address,
        namespace: str,
        token: str,
        layouts: Sequence[Layout],
        deadline: float,
        security: ssl.SSLContext | None = None,
    ) -> Connection:
        """Connects, inside TLS with `security`, says HELLO, registers `layouts`.

        Raises ConnectionLost if nobody answers there, ServerError if HELLO is refused,
        DeadlineExceeded after `deadline` (monotonic seconds).
        """
        sock = _connected_socket(address, deadline)
        connection = Connection(
            sock if security is None else _secured(sock, security, address, deadline)
        )
        hello = SimpleJob(
            Op.HELLO, bodies.encode_hello(namespace, token, AGENT), bodies.decode_hello, deadline
        )
        try:
            connection.run([hello], deadline)
            if hello.error is not None:
                raise hello.error
            connection._session.limits = hello.value
            connection.register(layouts, deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    def register(self, layouts: Sequence[Layout], deadline: float) -> None:
        """Registers layouts; raises the first refusal."""
        jobs = [
            SimpleJob(Op.LAYOUT, layout.encode(), bodies.decode_layout_reply, deadline)
            for layout in layouts
        ]
        self.run(jobs, deadline)
        for job in jobs:
            if job.error is not None:
                raise job.error

    @property
    def limits(self) -> Limits:
        """What HELLO granted."""
        return self._session.limits

    @property
    def reusable(self) -> bool:
        """Whether another call may use the connection."""
        return not self.closed and not self._session.draining and self._session.idle

    def run(self, jobs: Sequence[Job], deadline: float) -> None:
        """Runs jobs until each is done; what a server refuses is in the job's error.

        Raises ConnectionLost, DeadlineExceeded or ProtocolError, and closes the connection then.
        """
        for job in jobs:
            self._session.add(job)
        try:
            for job in jobs:
                while not job.done:
                    self._step(deadline)
        except BaseException as error:
            failure = error if isinstance(error, KDNError) else ConnectionLost(str(error))
            self._session.fail(failure)
            self.close()
            raise

    def is_stale(self) -> bool:
        """Whether the server closed, or said something, while nothing was asked."""
        if self.closed:
            return True
        self._watch(select.POLLIN)
        return self._has_buffered() or bool(self._poll.poll(0))

    def close(self) -> None:
        """Closes the socket; jobs in flight end with ConnectionLost."""
        if not self.closed:
            self.closed = True
            self._session.fail(ConnectionLost("closed"))
            self._socket.close()

    def _step(self, deadline: float) -> None:
        """Sends or receives once, whichever is possible first."""
        now = time.monotonic()
        views = self._session.outgoing(now)
        self._watch(select.POLLIN | select.POLLOUT if views else select.POLLIN)
        if now >= deadline:
            raise DeadlineExceeded("the deadline passed before the answer")
        buffered = self._has_buffered()
        ready = self._poll.poll(0 if buffered else (deadline - now) * 1000)
        if not ready and not buffered:
            raise DeadlineExceeded("the deadline passed before the answer")
        events = (ready[0][1] if ready else 0) | (select.POLLIN if buffered else 0)
        try:
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._receive()
            if views and events & select.POLLOUT and not self.closed:
                self._session.sent(self._socket.sendmsg(views))
        except BlockingIOError:
            return
        except OSError as error:
            if isinstance(error, KDNError):
                raise
            raise ConnectionLost(f"connection broke: {error}") from error

    def _receive(self) -> None:
        """Receives until the socket has no more for now."""
        while True:
            views = self._session.incoming()
            wanted = sum(map(len, views))
            try:
                if len(views) == 1:
                    count = self._socket.recv_into(views[0])
                else:
                    count = self._socket.recvmsg_into(views)[0]
            except BlockingIOError:
                return
            if count == 0:
                raise ConnectionLost("the server closed the connection")
            self._session.received(count)
            if count < wanted or not self._session.expects_more:
                return

    def _has_buffered(self) -> bool:
        return self._secure is not None and self._secure.buffered_bytes() > 0

    def _watch(self, events: int) -> None:
        if events != self._events:
            self._poll.modify(self._socket, events)
            self._events = events


def _connected_socket(address: Address, deadline: float) -> socket.socket:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise DeadlineExceeded("the deadline passed before connecting")
    try:
        if not address.path:
            sock = socket.create_connection((address.host, address.port), timeout=remaining)
        else:
            sock = address.make_socket()
            try:
                sock.settimeout(remaining)
                sock.connect(address.path)
            except BaseException:
                sock.close()
                raise
        tune(sock)
    except TimeoutError as error:
        raise DeadlineExceeded("connecting took too long") from error
    except OSError as error:
        raise ConnectionLost(f"cannot connect: {error}") from error
    return sock


def _secured(
    sock: socket.socket, security: ssl.SSLContext, address: Address, deadline: float
) -> SecureSocket:
    """Agrees on keys with the server."""
    secured = sock
    try:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        secured = wrap(sock, security, address.host)
        secured.do_handshake()
    except BaseException as error:
        secured.close()
        if isinstance(error, TimeoutError):
            raise DeadlineExceeded("connecting took too long") from error
        if isinstance(error, (OSError, ValueError)):
            raise ConnectionLost(f"cannot connect: {error}") from error
        raise
    return SecureSocket(secured)
