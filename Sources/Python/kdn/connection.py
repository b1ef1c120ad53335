"""One blocking connection: moves bytes between a session and a socket until a deadline."""

from __future__ import annotations

import array
import select
import socket
import ssl
import time
from collections.abc import Sequence

from kdn import bodies, link_bodies
from kdn.address import Address, tune
from kdn.errors import ConnectionLost, DeadlineExceeded, KDNError
from kdn.jobs import Job, SimpleJob, raise_refusal, registrations
from kdn.layouts import Layout
from kdn.secure import SecureSocket, wrap
from kdn.session import Session
from kdn.slabs import SharedMemory, SlabCache
from kdn.window_jobs import OpenWindowJob
from kdn.wire import Limits, Op

AGENT = "kdn-python/0.1.0"
# Room for one descriptor and for one more, so that two are told from one.
ANCILLARY_BYTES = socket.CMSG_SPACE(2 * array.array("i").itemsize)


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
        self.shared: SharedMemory | None = None

    @staticmethod
    def dial(
        address: Address,
        namespace: str,
        token: str,
        layouts: Sequence[Layout],
        deadline: float,
        security: ssl.SSLContext | None = None,
        ticket: bool = False,
    ) -> Connection:
        """Connects, inside TLS with `security`, says HELLO, registers `layouts`.

        With `ticket` the token is one that another connection was given.

        Raises ConnectionLost if nobody answers there, ServerError if HELLO is refused,
        DeadlineExceeded after `deadline` (monotonic seconds).
        """
        sock = _connected_socket(address, deadline)
        connection = Connection(
            sock if security is None else _secured(sock, security, address, deadline)
        )
        body = bodies.encode_hello(namespace, token, AGENT, ticket)
        hello = SimpleJob(Op.HELLO, body, bodies.decode_hello, deadline)
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
        jobs = registrations(layouts, deadline)
        self.run(jobs, deadline)
        raise_refusal(jobs)

    def ask_ticket(self, deadline: float) -> link_bodies.LinkTicket:
        """A ticket for another link to the same server; raises what it is refused with."""
        body = link_bodies.encode_link_ticket()
        job = SimpleJob(Op.LINK_TICKET, body, link_bodies.decode_link_ticket, deadline)
        self.run([job], deadline)
        raise_refusal([job])
        return job.value

    def share(self, slabs: SlabCache) -> None:
        """Has later calls find bytes in memory shared with the daemon, which offers it."""
        self.shared = SharedMemory(self.limits.server_id, slabs)

    def open_window(self, deadline: float) -> None:
        """Opens the window for stores, if there is to be one and it is not there yet."""
        shared = self.shared
        if shared is None or not shared.wants_window:
            return
        shared.wants_window = False
        job = OpenWindowJob(deadline)
        self.run([job], deadline)
        if job.error is None:
            shared.window = self._session.window = job.value

    @property
    def limits(self) -> Limits:
        """What HELLO granted."""
        return self._session.limits

    @property
    def reusable(self) -> bool:
        """Whether another call may use the connection."""
        usable = not self.closed and not self._session.draining and self._session.idle
        return usable and not self.is_worn

    @property
    def is_worn(self) -> bool:
        """Whether it is to be made anew so that the server gets memory back."""
        return self.shared is not None and self.shared.is_worn

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
            self._send_background()
        except BaseException as error:
            failure = error if isinstance(error, KDNError) else ConnectionLost(str(error))
            if self.shared is not None and isinstance(failure, ConnectionLost):
                self.shared.refused()
            self._session.fail(failure)
            self.close()
            raise

    def post(self, job: Job) -> None:
        """Sends what nobody waits for; its answer is taken in with those of later calls."""
        job.background = True
        self._session.add(job)
        self._send_background()

    def is_stale(self) -> bool:
        """Whether the server closed, or said something, while nothing was asked.

        It may want back the memory that is mapped here: slabs are forgotten then.
        """
        if self.closed or self.is_worn:
            return True
        stale = self._has_news()
        if stale and self.shared is not None:
            self.shared.refused()
        return stale

    def _has_news(self) -> bool:
        self._watch(select.POLLIN)
        if self._session.awaits_reply:
            # To what nobody waits for, such as a lease given back.
            if not self._take_in():
                return True
            if self._session.awaits_reply:
                return False
        return self._has_buffered() or bool(self._poll.poll(0))

    @property
    def has_ended(self) -> bool:
        """Whether either side has closed; asked by any thread, and of the kernel."""
        if self.closed:
            return True
        poll = select.poll()
        try:
            poll.register(self._socket, select.POLLRDHUP)
            return bool(poll.poll(0)) or self.closed
        except (OSError, ValueError):
            return True

    def close(self) -> None:
        """Closes the socket; jobs in flight end with ConnectionLost."""
        if not self.closed:
            self.closed = True
            self._session.fail(ConnectionLost("closed"))
            self.shared = None
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
            descriptors: list[int] = []
            truncated = False
            try:
                if self.shared is not None and self._session.at_frame_start:
                    count, descriptors, truncated = receive_passed(self._socket, views)
                elif len(views) == 1:
                    count = self._socket.recv_into(views[0])
                else:
                    count = self._socket.recvmsg_into(views)[0]
            except BlockingIOError:
                return
            if count == 0:
                raise ConnectionLost("the server closed the connection")
            self._session.received(count, descriptors, truncated)
            if count < wanted or not self._session.expects_more:
                return

    def _take_in(self) -> bool:
        """Receives what is there; whether the connection is still of use."""
        try:
            self._receive()
        except (KDNError, OSError):
            return False
        return not self._session.draining

    def _send_background(self) -> None:
        """Sends what nobody waits for, as far as the socket takes it."""
        try:
            while views := self._session.outgoing(time.monotonic()):
                self._session.sent(self._socket.sendmsg(views))
        except BlockingIOError:
            return
        except OSError:
            # The next call finds the connection ended.
            self.close()

    def _has_buffered(self) -> bool:
        return self._secure is not None and self._secure.buffered_bytes() > 0

    def _watch(self, events: int) -> None:
        if events != self._events:
            self._poll.modify(self._socket, events)
            self._events = events


def receive_passed(
    sock: socket.socket | SecureSocket, views: Sequence[memoryview]
) -> tuple[int, list[int], bool]:
    """Receives into `views`, and descriptors: (bytes, descriptors, whether there were more)."""
    assert isinstance(sock, socket.socket)
    count, ancillary, flags, _ = sock.recvmsg_into(
        views, ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
    )
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return count, list(descriptors), bool(flags & socket.MSG_CTRUNC)


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
