"""RDMA, through libkdn: connections that run the same jobs as those over sockets."""

from __future__ import annotations

import ctypes
import os
import time
import weakref
from collections.abc import Sequence

from kdn import _library, bodies
from kdn.address import Address
from kdn.buffers import address_of
from kdn.errors import (
    ConnectionLost,
    DeadlineExceeded,
    FieldError,
    KDNError,
    LinkUnavailable,
    ProtocolError,
    ServerError,
    Status,
)
from kdn.get_job import GetEntry, GetJob
from kdn.jobs import Job, SimpleJob, raise_refusal, registrations
from kdn.layouts import Layout
from kdn.put_job import PutJob
from kdn.results import MissCause
from kdn.slabs import SharedMemory
from kdn.wire import HEADER_BYTES, RESPONSE, Header, Limits, Op

AGENT = b"kdn-python/0.1.0"
_MS_MAX = 0xFFFFFFFF
_STATUSES = frozenset(Status)


def obstacle() -> str:
    """Why RDMA cannot be tried by this process; empty if it can."""
    library = _library.load()
    return library if isinstance(library, str) else ""


class FabricConnection:
    """A client of libkdn's, used by one thread at a time; the library waits, others go on."""

    shared: SharedMemory | None = None

    def __init__(self, library: ctypes.CDLL, handle: int) -> None:
        self._library = library
        self._handle = handle
        self._closing = weakref.finalize(self, _close, library, handle, os.getpid())
        self._closing.atexit = False
        self._request_id = 0
        self.closed = False
        self.limits = Limits()

    @staticmethod
    def dial(
        address: Address,
        namespace: str,
        token: str,
        files: tuple[str | None, str | None, str | None],
        trusted: bool,
        deadline: float,
        link: str = "rdma",
    ) -> FabricConnection:
        """Connects and greets the server, at an address of RDMA's or at one that gives tickets.

        Raises LinkUnavailable without the library, a device or a route, ServerError if the
        server refuses, DeadlineExceeded after `deadline`.
        """
        library = _library.load()
        if isinstance(library, str):
            raise LinkUnavailable(f"no link {link}: {library}")
        texts = [_text(each) for each in (str(address), namespace, token or None)]
        authorities, certificate, key = map(_text, files)
        options = _library.Options(
            ctypes.sizeof(_library.Options), *texts, AGENT, link.encode(), authorities,
            certificate, key, None, _left_ms(deadline),
            _library.CONNECT_RDMA_TRUSTED if trusted else 0,
        )
        handle = ctypes.c_void_p()
        code = library.kdn_connect(ctypes.byref(options), ctypes.byref(handle))
        if code != _library.OK or handle.value is None:
            raise _connect_error(library, code, link)
        connection = FabricConnection(library, handle.value)
        try:
            job = SimpleJob(Op.HELLO, b"", bodies.decode_hello, deadline)
            connection.limits = Limits(body_bytes=1 << 16)
            connection.run([job], deadline)
            if job.error is not None:
                raise job.error
            connection.limits = job.value
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def kind(self) -> str:
        """The link, as the library names it."""
        return str(self._library.kdn_link(self._handle).decode())

    @property
    def reason(self) -> str:
        """Why it is this one, as the library says."""
        return str(self._library.kdn_link_reason(self._handle).decode())

    def register(self, layouts: Sequence[Layout], deadline: float) -> None:
        """Registers layouts; raises the first refusal."""
        jobs = registrations(layouts, deadline)
        self.run(jobs, deadline)
        raise_refusal(jobs)

    def open_window(self, deadline: float) -> None:
        """There is none: the server reads the callers' memory."""

    @property
    def reusable(self) -> bool:
        """Whether another call may use the connection."""
        return not self.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether either side has closed."""
        return self.closed or self._library.kdn_is_open(self._handle) == 0

    @property
    def is_worn(self) -> bool:
        """Never: it shares no memory."""
        return False

    def is_stale(self) -> bool:
        """As `has_ended`."""
        return self.has_ended

    def close(self) -> None:
        """Ends the connection; in a forked child only forgets it."""
        self.closed = True
        self._closing()

    def run(self, jobs: Sequence[Job], deadline: float) -> None:
        """Runs jobs until each is done, as Connection.run, also in what it raises."""
        try:
            puts = [job for job in jobs if isinstance(job, PutJob)]
            if puts:
                self._put(puts, deadline)
            for job in jobs:
                if isinstance(job, GetJob):
                    self._get(job, deadline)
                elif not isinstance(job, PutJob):
                    self._ask(job, deadline)
        except BaseException as error:
            failure = error if isinstance(error, KDNError) else ConnectionLost(str(error))
            self.close()
            for job in jobs:
                job.finish(failure)
            raise

    # Requests without payload

    def _ask(self, job: Job, deadline: float) -> None:
        room = ctypes.create_string_buffer(self.limits.body_bytes)
        length = ctypes.c_size_t()
        while job.has_frames and not job.done:
            self._request_id += 1
            limit = _left_ms(deadline)
            try:
                frame = b"".join(job.next_frame(self._request_id, limit, self.limits))
            except FieldError as error:
                job.finish(error)
                return
            job.started = True
            op, body = frame[5], frame[HEADER_BYTES:]
            code = self._library.kdn_request(
                self._usable(), op, body, len(body), limit, room, len(room), ctypes.byref(length)
            )
            if code == _library.REFUSED:
                job.finish(_refusal(self._library))
                return
            self._check(code)
            reply = room.raw[: length.value]
            header = Header(op, RESPONSE, self._request_id, len(reply), 0, 0, 0, 0)
            job.on_reply(header, reply, self.limits)
            job.on_end(header)

    # Gets

    def _get(self, job: GetJob, deadline: float) -> None:
        """Fetches what has a place; what has none is measured first, then fetched too."""
        entries = job.entries
        views: list[memoryview | None] = [entry.view for entry in entries]
        left = list(range(len(entries)))
        for _ in range(2):
            code, outcomes = self._get_into(job, left, views, deadline)
            if code == _library.REFUSED:
                job.finish(_refusal(self._library))
                return
            self._check(code)
            unplaced: list[int] = []
            for number, outcome in zip(left, outcomes):
                if _settle(entries[number], views[number], outcome):
                    data = entries[number].result.data = bytearray(outcome.bytes)
                    views[number] = memoryview(data)
                    unplaced.append(number)
            left = unplaced
            if not left:
                break
        job.finish(None)

    def _get_into(
        self, job: GetJob, left: list[int], views: list[memoryview | None], deadline: float
    ) -> tuple[int, ctypes.Array[_library.GetOutcome]]:
        items = b"".join(job.entries[number].encoded for number in left)
        places = _places([views[number] for number in left])
        outcomes = (_library.GetOutcome * len(left))()
        code = self._library.kdn_get_into(
            self._usable(), items, len(items), len(left), places, job.flags, _left_ms(deadline),
            outcomes,
        )
        return int(code), outcomes

    # Stores

    def _put(self, jobs: Sequence[PutJob], deadline: float) -> None:
        keep: list[object] = []
        rows = (_library.PutFacts * len(jobs))()
        for row, job in zip(rows, jobs):
            pieces = _places(job.views)
            keep.append(pieces)
            row.facts = address_of(memoryview(job.begin_body))
            row.pieces, row.piece_count = pieces, len(pieces)
        outcomes = (_library.PutOutcome * len(jobs))()
        code = self._library.kdn_put_from(
            self._usable(), rows, len(jobs), _left_ms(deadline), outcomes
        )
        if code == _library.REFUSED:
            for job in jobs:
                job.finish(_refusal(self._library))
            return
        self._check(code)
        refused = [n for n, each in enumerate(outcomes) if each.outcome == _library.PUT_REFUSED]
        for number, (job, outcome) in enumerate(zip(jobs, outcomes)):
            if outcome.outcome == _library.PUT_REFUSED:
                status, retry_after_ms = outcome.server_status, outcome.retry_after_ms
                is_last = number == refused[-1]
                job.finish(_server_error(self._library, status, retry_after_ms, is_last))
                continue
            job.result.object_checksum = outcome.checksum
            is_new = outcome.outcome == _library.PUBLISHED
            job.result.state = "published" if is_new else "present"
            job.finish(None)

    # Errors

    def _usable(self) -> int:
        if self.closed:
            raise ConnectionLost("closed")
        return self._handle

    def _error_text(self) -> str:
        return _error_text(self._library)

    def _check(self, code: int) -> None:
        """Raises what a call that did not go well came to."""
        if code == _library.OK:
            return
        text = self._error_text()
        if code in (_library.INVALID, _library.UNSENDABLE):
            raise FieldError("call", text, "one that libkdn takes")
        if code == _library.DEADLINE:
            raise DeadlineExceeded(text or "the deadline passed before the answer")
        if code in (_library.PROTOCOL, _library.NO_ROOM):
            raise ProtocolError("answer", text, "as the protocol has it")
        raise ConnectionLost(text or f"libkdn says {code}")


def _places(views: Sequence[memoryview | None]) -> ctypes.Array[_library.Memory]:
    """Where views are, for as long as they live; nowhere for None."""
    places = (_library.Memory * len(views))()
    for place, view in zip(places, views):
        if view is not None:
            place.pointer, place.length = address_of(view), len(view)
    return places


def _settle(entry: GetEntry, view: memoryview | None, outcome: _library.GetOutcome) -> bool:
    """Fills in an item's result; whether a place must be made for it first."""
    result = entry.result
    result.nbytes = outcome.bytes if outcome.outcome == _library.HIT else 0
    result.object_checksum, result.object_bytes = outcome.object_checksum, outcome.object_bytes
    if outcome.outcome == _library.HIT:
        result.hit, result.cause = True, MissCause.NONE
    elif outcome.outcome == _library.GET_NO_ROOM:
        result.cause = MissCause.BUFFER_TOO_SMALL
        # It may be another object, and longer, when it is fetched than when it was measured.
        result.data = None
        return view is None and entry.item.buffer is None
    else:
        known = 0 < outcome.miss_cause <= MissCause.UNDECODABLE
        result.cause = MissCause(outcome.miss_cause) if known else MissCause.REFUSED
        result.data = None
    return False


def _close(library: ctypes.CDLL, handle: int, pid: int) -> None:
    # A child may not use what it inherited.
    if os.getpid() == pid:
        library.kdn_close(handle)


def _text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def _left_ms(deadline: float) -> int:
    return max(1, min(int((deadline - time.monotonic()) * 1000), _MS_MAX))


def _error_text(library: ctypes.CDLL) -> str:
    return (library.kdn_error_text() or b"").decode(errors="replace")


def _server_error(
    library: ctypes.CDLL, status: int, retry_after_ms: int, is_last: bool = True
) -> KDNError:
    """A refusal; the library knows the details of this thread's last one only."""
    known = Status(status) if status in _STATUSES else Status.INTERNAL
    if known == Status.DEADLINE:
        return DeadlineExceeded(_error_text(library))
    if not is_last:
        return ServerError(known, retry_after_ms=retry_after_ms)
    return ServerError(
        known,
        (library.kdn_error_field() or b"").decode(errors="replace"),
        library.kdn_error_value(),
        library.kdn_error_limit(),
        retry_after_ms,
        (library.kdn_error_message() or b"").decode(errors="replace"),
    )


def _refusal(library: ctypes.CDLL) -> KDNError:
    status = library.kdn_error_server_status()
    return _server_error(library, status, library.kdn_error_retry_after_ms())


def _connect_error(library: ctypes.CDLL, code: int, link: str) -> KDNError:
    text = _error_text(library)
    if code == _library.REFUSED:
        return _refusal(library)
    if code == _library.DEADLINE:
        return DeadlineExceeded(text or "connecting took too long")
    if code == _library.INVALID:
        return FieldError("address", text, "one that libkdn takes")
    return LinkUnavailable(f"no link {link}: {text or f'libkdn says {code}'}")
