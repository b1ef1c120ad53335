"""Frames of KDNP/1 as bytes: headers, error bodies and field readers. No sockets, no clocks."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Any

import xxhash

from kdn.errors import ProtocolError, ServerError, Status

MAGIC = b"KDNP"
VERSION = 1
HEADER_BYTES = 64
HANDSHAKE_BODY_BYTES_MAX = 65536
# A server may offer more than these; the client does not take part in it.
BODY_BYTES_CAP = 64 << 20
FRAME_PAYLOAD_BYTES_CAP = 4 << 30

RESPONSE = 1
OPTIONAL = 2
MORE = 4

_HEADER = struct.Struct("<4sBBHQIHBBQIIQ12sI")
_STATUSES = frozenset(Status)


class Op(enum.IntEnum):
    """Operation numbers."""

    HELLO = 1
    LAYOUT = 2
    MATCH = 3
    EXISTS = 4
    GET = 5
    PUT_BEGIN = 6
    PUT_DATA = 7
    PUT_COMMIT = 8
    PUT_ABORT = 9
    RELEASE = 10
    TOUCH = 11
    PIN = 12
    UNPIN = 13
    PREFETCH = 14
    PURGE = 15
    STATS = 16
    GOAWAY = 17
    DOCUMENT = 32
    COMPOSE = 33
    EDIT = 34
    WORK = 35
    MAP_SLAB = 36
    OPEN_WINDOW = 37
    LINK_TICKET = 38
    CODEC_PROFILE = 39


class Place(enum.IntEnum):
    """Where a payload is."""

    INLINE = 0
    SHARED_MEMORY = 1
    REMOTE = 2


class LinkKind(enum.IntFlag):
    """Kinds of link that a server offers; a newer server may offer more."""

    TCP = 1
    UNIX = 2
    SHARED_MEMORY = 4
    RDMA = 8


_PLACES = frozenset(Place)


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a frame's header that carry meaning."""

    op: int
    flags: int
    request_id: int
    body_bytes: int
    status: int
    payload_bytes: int
    deadline_ms: int
    body_checksum: int
    place: int = Place.INLINE

    @property
    def more(self) -> bool:
        """Whether another frame of the same response follows."""
        return bool(self.flags & MORE)


@dataclass(frozen=True, slots=True)
class Limits:
    """What HELLO granted: how large frames may be, and how much may be in flight."""

    version: int = VERSION
    links: int = 0
    body_bytes: int = HANDSHAKE_BODY_BYTES_MAX
    frame_payload_bytes: int = 0
    object_bytes: int = 0
    keys_per_request: int = 1
    requests_in_flight: int = 1
    credit_bytes: int = 0
    default_deadline_ms: int = 0
    max_deadline_ms: int = 0
    idle_timeout_ms: int = 0
    max_lease_ms: int = 0
    namespace_generation: int = 0
    server_id: bytes = bytes(16)
    server: str = ""


def checksum(data: bytes | bytearray | memoryview) -> int:
    """XXH3-64 with seed 0."""
    return int(xxhash.xxh3_64_intdigest(data))


def encode_frame(
    op: int,
    request_id: int,
    body: bytes = b"",
    *,
    payload_bytes: int = 0,
    deadline_ms: int = 0,
    flags: int = 0,
    status: int = 0,
    place: int = Place.INLINE,
) -> bytes:
    """Header and body of a frame; its `payload_bytes` of payload are sent after it.

    With a place other than inline no payload is sent.
    """
    head = _HEADER.pack(
        MAGIC,
        VERSION,
        op,
        flags,
        request_id,
        len(body),
        status,
        place,
        0,
        payload_bytes,
        deadline_ms,
        0,
        checksum(body) if body else 0,
        bytes(12),
        0,
    )
    seal = checksum(head[:60]) & 0xFFFFFFFF
    return head[:60] + seal.to_bytes(4, "little") + body


def decode_header(data: bytes | bytearray | memoryview, limits: Limits) -> Header:
    """The header of a response frame; raises ProtocolError for anything a server may not send."""
    (
        magic,
        version,
        op,
        flags,
        request_id,
        body_bytes,
        status,
        place,
        reserved,
        payload_bytes,
        deadline_ms,
        reserved_word,
        body_checksum,
        reserved_tail,
        seal,
    ) = _HEADER.unpack(data)
    if magic != MAGIC:
        raise ProtocolError("magic", magic, MAGIC)
    expected = checksum(bytes(data[:60])) & 0xFFFFFFFF
    if seal != expected:
        raise ProtocolError("headerChecksum", seal, expected)
    if version != VERSION:
        raise ProtocolError("version", version, VERSION)
    if not flags & RESPONSE or flags & ~(RESPONSE | OPTIONAL | MORE):
        raise ProtocolError("flags", flags, "RESPONSE")
    if reserved or reserved_word or reserved_tail != bytes(12):
        raise ProtocolError("reserved", bytes(data).hex(), "zero")
    if status not in _STATUSES:
        raise ProtocolError("status", status, f"at most {max(_STATUSES)}")
    _check_place(place, op, flags, status, payload_bytes)
    if body_bytes > limits.body_bytes:
        raise ProtocolError("bodyLength", body_bytes, f"at most {limits.body_bytes}")
    if payload_bytes > limits.frame_payload_bytes:
        raise ProtocolError("payloadLength", payload_bytes, f"at most {limits.frame_payload_bytes}")
    if body_bytes == 0 and body_checksum != 0:
        raise ProtocolError("bodyChecksum", body_checksum, "0 without a body")
    return Header(
        op, flags, request_id, body_bytes, status, payload_bytes, deadline_ms, body_checksum, place
    )


def _check_place(place: int, op: int, flags: int, status: int, payload_bytes: int) -> None:
    """Only the answer to a GET may have its bytes elsewhere, and then none in the stream."""
    if place == Place.INLINE:
        return
    if place not in _PLACES or op != Op.GET or status != Status.OK:
        raise ProtocolError("place", place, "0")
    if payload_bytes != 0:
        raise ProtocolError("payloadLength", payload_bytes, "0 unless the payload is inline")
    if flags & MORE:
        raise ProtocolError("flags", flags, "no MORE unless the payload is inline")


def check_body(header: Header, body: bytes | bytearray | memoryview) -> None:
    """Raises ProtocolError if `body` is not the one that the header announced."""
    expected = checksum(body) if header.body_bytes else 0
    if header.body_checksum != expected:
        raise ProtocolError("bodyChecksum", header.body_checksum, expected)


def encode_text(value: str) -> bytes:
    """A string of a body: u16 length and UTF-8."""
    raw = value.encode("utf-8")
    return len(raw).to_bytes(2, "little") + raw


class BodyReader:
    """Takes fields off a response's body; every fault is a ProtocolError that names the field."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._offset = 0

    def take(self, field: str, shape: struct.Struct) -> tuple[Any, ...]:
        """The next fields, as `shape` says."""
        values = shape.unpack(self.bytes(field, shape.size))
        return values

    def bytes(self, field: str, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._offset + count
        if end > len(self._body):
            raise ProtocolError(field, f"{len(self._body)} bytes", f"at least {end} bytes of body")
        raw = self._body[self._offset : end]
        self._offset = end
        return raw

    def text(self, field: str) -> str:
        """A string of u16 length and UTF-8."""
        length = int.from_bytes(self.bytes(field, 2), "little")
        raw = self.bytes(field, length)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ProtocolError(field, raw[:32], "UTF-8") from error

    def finish(self) -> None:
        """Raises ProtocolError if bytes are left over."""
        if self._offset != len(self._body):
            raise ProtocolError("bodyLength", len(self._body), self._offset)


_U32 = struct.Struct("<I")
_VALUE_LIMIT = struct.Struct("<QQ")


def decode_error(status: int, body: bytes) -> ServerError:
    """The error that a response with a status other than ok carries."""
    reader = BodyReader(body)
    (retry_after_ms,) = reader.take("retryAfterMillis", _U32)
    field = reader.text("field")
    value, limit = reader.take("value", _VALUE_LIMIT)
    message = reader.text("message")
    reader.finish()
    return ServerError(Status(status), field, value, limit, retry_after_ms, message)
