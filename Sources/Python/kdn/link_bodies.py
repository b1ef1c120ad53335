"""Bodies of the operations and places that links other than a stream add."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kdn import bodies
from kdn.errors import FieldError, ProtocolError
from kdn.wire import BodyReader, Limits, LinkKind

# Set in the ids of leases that a GET in shared memory gives, never in those of MATCH.
LEASE_BIT = 1 << 63
WINDOW_BYTES_MIN = 4096
OFFERS_MAX = 64
ADDRESS_BYTES_MAX = 512

_U64 = struct.Struct("<Q")
_LEASE = struct.Struct("<QII")
_HIT = struct.Struct("<QII")
_EXTENT = struct.Struct("<QQ")
_WINDOW = struct.Struct("<QQQQ")
_DATA = struct.Struct("<QQ")
_TICKET = struct.Struct("<32sII16s")
_KIND = struct.Struct("<I")
_INT_MAX = 2**63 - 1


# GET in shared memory


@dataclass(frozen=True, slots=True)
class SlabExtents:
    """Where the bytes of one hit lie: (offset, byte count) in a slab, in order."""

    slab_id: int
    extents: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class InPlace:
    """A lease on bytes in shared memory, and where each hit lies; lease 0 if there is no hit."""

    lease_id: int
    lease_ms: int
    hits: tuple[SlabExtents, ...]


def decode_get_in_place(
    body: bytes, item_count: int, limits: Limits, accepted: int = 1
) -> tuple[list[bodies.Descriptor], InPlace]:
    """One descriptor per item, and where the hits among them lie."""
    reader = BodyReader(body)
    rows = bodies.take_descriptors(reader, item_count, limits, accepted)
    sent = [row.sent_bytes for row in rows if not row.miss]
    lease_id, lease_ms, reserved = reader.take("leaseID", _LEASE)
    if bool(lease_id & LEASE_BIT) != bool(sent) or (lease_id and not sent):
        raise ProtocolError("leaseID", lease_id, "bit 63 set with hits, 0 without")
    if bool(lease_ms) != bool(sent):
        raise ProtocolError("leaseMillis", lease_ms, "a time with hits, 0 without")
    if reserved:
        raise ProtocolError("reserved", reserved, "zero")
    hits = tuple(_take_hit(reader, count) for count in sent)
    reader.finish()
    return rows, InPlace(lease_id, lease_ms, hits)


def _take_hit(reader: BodyReader, sent_bytes: int) -> SlabExtents:
    slab_id, count, reserved = reader.take("slabID", _HIT)
    if count == 0:
        raise ProtocolError("extentCount", count, "at least 1")
    if reserved:
        raise ProtocolError("reserved", reserved, "zero")
    extents = tuple(_EXTENT.iter_unpack(reader.bytes("extents", count * _EXTENT.size)))
    missing = sent_bytes
    for offset, length in extents:
        if not 1 <= length <= missing:
            raise ProtocolError("byteCount", length, f"1 to {missing}")
        if offset > _INT_MAX - length:
            raise ProtocolError("offset", offset, f"at most {_INT_MAX - length}")
        missing -= length
    if missing:
        raise ProtocolError("byteCount", sent_bytes - missing, f"{sent_bytes} in all")
    return SlabExtents(slab_id, extents)


# PUT from other places


def encode_put_window(
    transfer_id: int, offset: int, window_offset: int, byte_count: int
) -> bytes:
    """A PUT_DATA of bytes in the connection's window."""
    if byte_count < 1:
        raise FieldError("byteCount", byte_count, "at least 1")
    if not 0 <= window_offset <= _INT_MAX - byte_count:
        raise FieldError("windowOffset", window_offset, f"0 to {_INT_MAX - byte_count}")
    return _WINDOW.pack(transfer_id, offset, window_offset, byte_count)


def encode_put_remote(
    transfer_id: int, offset: int, address: int, key: int, byte_count: int
) -> bytes:
    """A PUT_DATA of bytes that the server reads over RDMA."""
    if byte_count < 1:
        raise FieldError("byteCount", byte_count, "at least 1")
    return _DATA.pack(transfer_id, offset) + bodies.encode_region(address, key, byte_count)


# Shared memory


def encode_map_slab(slab_id: int) -> bytes:
    """A MAP_SLAB."""
    return _U64.pack(slab_id)


def decode_map_slab(body: bytes) -> int:
    """The slab's length in bytes; its descriptor comes with the frame's first byte."""
    return _decode_bytes(body, 1)


def encode_open_window(byte_count: int) -> bytes:
    """An OPEN_WINDOW."""
    if not WINDOW_BYTES_MIN <= byte_count <= _INT_MAX:
        raise FieldError("byteCount", byte_count, f"at least {WINDOW_BYTES_MIN}")
    return _U64.pack(byte_count)


def decode_open_window(body: bytes) -> int:
    """The window's length in bytes; its descriptor comes with the frame's first byte."""
    return _decode_bytes(body, WINDOW_BYTES_MIN)


def _decode_bytes(body: bytes, least: int) -> int:
    reader = BodyReader(body)
    (count,) = reader.take("byteCount", _U64)
    reader.finish()
    if not least <= count <= _INT_MAX:
        raise ProtocolError("byteCount", count, f"{least} to {_INT_MAX}")
    return int(count)


# Tickets


@dataclass(frozen=True, slots=True)
class LinkOffer:
    """A place where the server can be reached: a Unix socket's path, else HOST:PORT."""

    kind: LinkKind
    address: str


@dataclass(frozen=True, slots=True)
class LinkTicket:
    """What stands for the token once, on any of the links offered, best first."""

    ticket: bytes
    ms: int
    host_id: bytes
    offers: tuple[LinkOffer, ...]

    @property
    def token(self) -> str:
        """The ticket as HELLO's token."""
        return self.ticket.hex()


def encode_link_ticket() -> bytes:
    """A LINK_TICKET."""
    return bytes(8)


def decode_link_ticket(body: bytes) -> LinkTicket:
    """A ticket, how long it can be used, the server's host, and links."""
    reader = BodyReader(body)
    ticket, lasts_ms, count, host_id = reader.take("ticket", _TICKET)
    if lasts_ms == 0:
        raise ProtocolError("ticketMillis", lasts_ms, "at least 1")
    if count > OFFERS_MAX:
        raise ProtocolError("offerCount", count, f"at most {OFFERS_MAX}")
    offers = tuple(_take_offer(reader) for _ in range(count))
    reader.finish()
    return LinkTicket(ticket, lasts_ms, host_id, offers)


def _take_offer(reader: BodyReader) -> LinkOffer:
    (kind,) = reader.take("kind", _KIND)
    if kind.bit_count() != 1:
        raise ProtocolError("kind", kind, "one bit")
    address = reader.text("address")
    if not 1 <= len(address.encode("utf-8")) <= ADDRESS_BYTES_MAX:
        raise ProtocolError("address", address[:32], f"1 to {ADDRESS_BYTES_MAX} bytes")
    return LinkOffer(LinkKind(kind), address)
