"""A connection that sends exactly what a test says, right or wrong, and reads what comes back."""

from __future__ import annotations

import socket
from typing import NamedTuple

from kdn import bodies, wire
from kdn.address import Address
from kdn.errors import ServerError, Status
from kdn.keys import Key
from kdn.results import Get, Put
from kdn.wire import Op

ANSWER_SECONDS = 20.0
# More than any limit of the daemon, so that what it sends is judged by the tests alone.
_NO_LIMITS = wire.Limits(body_bytes=64 << 20, frame_payload_bytes=1 << 40)


class Frame(NamedTuple):
    """One frame from the server."""

    op: int
    request_id: int
    status: Status
    more: bool
    body: bytes
    payload: bytes

    @property
    def error(self) -> ServerError:
        """What an error frame or a GOAWAY says."""
        return wire.decode_error(self.status, self.body)


class RawConnection:
    """A stream socket with KDNP/1 frames on it, one at a time."""

    def __init__(
        self, address: str, receive_buffer: int | None = None, source: str | None = None
    ) -> None:
        place = Address.parse(address)
        if place.path:
            self.socket = place.make_socket()
            target: str | tuple[str, int] = place.path
        else:
            self.socket = socket.socket()
            target = (place.host, place.port)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(ANSWER_SECONDS)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.connect(target)
        self.limits = _NO_LIMITS

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self.socket.sendall(data)

    def ask(self, op: Op, request_id: int, body: bytes = b"", **header: int) -> Frame:
        """Sends a request and returns the next frame, whichever it is."""
        self.send(wire.encode_frame(op, request_id, body, **header))
        return self.receive()

    def try_hello(self, namespace: str, token: str) -> Frame:
        """Asks to enter a namespace; returns whatever comes back."""
        return self.ask(Op.HELLO, 1, bodies.encode_hello(namespace, token, "integration"))

    def hello(self, namespace: str = "default", token: str = "") -> RawConnection:
        """Enters a namespace."""
        frame = self.try_hello(namespace, token)
        assert frame.status == Status.OK, frame.error
        self.limits = bodies.decode_hello(frame.body)
        return self

    def ping(self, request_id: int) -> Frame:
        """EXISTS of no keys."""
        return self.ask(Op.EXISTS, request_id, bodies.encode_keys([]))

    def begin(self, request_id: int, key: Key, total: int) -> Frame:
        """PUT_BEGIN of an opaque object."""
        return self.ask(
            Op.PUT_BEGIN, request_id, bodies.encode_put_begin(Put(key, b""), total)
        )

    def data(self, request_id: int, transfer: int, offset: int, payload: bytes) -> None:
        """PUT_DATA, which nobody answers."""
        body = bodies.encode_two(transfer, offset)
        self.send(
            wire.encode_frame(Op.PUT_DATA, request_id, body, payload_bytes=len(payload)) + payload
        )

    def commit(self, request_id: int, transfer: int, checksum: int) -> Frame:
        """PUT_COMMIT."""
        return self.ask(Op.PUT_COMMIT, request_id, bodies.encode_two(transfer, checksum))

    def send_get(self, request_id: int, key: Key, *, wait: bool = False, **header: int) -> None:
        """GET of one whole object; the answer is left to `receive`."""
        items = [bodies.encode_get_item(Get(key))]
        body = bodies.encode_get(items, wait=wait, verify=True)
        self.send(wire.encode_frame(Op.GET, request_id, body, **header))

    def receive(self) -> Frame:
        """The next frame; raises EOFError at the end of the stream."""
        header = wire.decode_header(self.receive_exactly(wire.HEADER_BYTES), _NO_LIMITS)
        body = self.receive_exactly(header.body_bytes)
        payload = self.receive_exactly(header.payload_bytes)
        return Frame(
            header.op, header.request_id, Status(header.status), header.more, body, payload
        )

    def receive_exactly(self, count: int) -> bytes:
        """`count` bytes; raises EOFError if the stream ends before."""
        data = bytearray(count)
        view = memoryview(data)
        while view:
            received = self.socket.recv_into(view)
            if received == 0:
                raise EOFError(f"the stream ended {len(view)} bytes early")
            view = view[received:]
        return bytes(data)

    def at_end(self) -> bool:
        """Whether the server has closed, and said nothing more."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
