"""Bodies of operations: requests as bytes, and responses as values."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kdn.errors import FieldError, ProtocolError
from kdn.keys import Key, Part
from kdn.results import Get, MatchReply, MissCause, Prefetch, Purged, Put, Tiers
from kdn.wire import BodyReader, Limits, Place, encode_text

RANGES_MAX = 256
PARTS_MAX = 64
GET_WAIT = 1
GET_UNVERIFIED = 2
GET_ADAPT = 4
GET_EXACT = 8
RAW = 0
CODECS = frozenset((RAW, 1, 2, 3, 4, 5, 16, 17))
# An encoded object is never longer than its raw bytes and its header.
CODEC_HEADER_BYTES_MAX = 16 << 20
MATCH_LEASE = 1
HELLO_TICKET = 1
TICKET_DIGITS = 64
PUT_RESERVED = 1
PUT_PRESENT = 2
PURGE_KEYS, PURGE_PREFIX, PURGE_LAYOUT, PURGE_NAMESPACE = 1, 2, 3, 4
DURABILITIES = ("ram", "disk")

_HELLO = struct.Struct("<HHI")
_HELLO_REPLY = struct.Struct("<HHIIIQIIQIIIIQ16s")
_LAYOUT_REPLY = struct.Struct("<16sQ")
_MATCH = struct.Struct("<IHHII16s")
_MATCH_REPLY = struct.Struct("<IB3s4IQQQII")
_COUNT = struct.Struct("<II")
_GET = struct.Struct("<IIII")
_GET_ITEM = struct.Struct("<BBHI")
_RANGE = struct.Struct("<QQ")
_RATES = struct.Struct("<QIIII")
RATES_BYTES = _RATES.size
_LEASE_TIME = struct.Struct("<II")
_REGION = struct.Struct("<QIIQ")
_DESCRIPTOR = struct.Struct("<BBB5sQQQQ")
_PUT_BEGIN = struct.Struct("<QIIQBBHI")
_PUT_REPLY = struct.Struct("<B7sQ")
_PURGE = struct.Struct("<B3xI")
_TWO_U64 = struct.Struct("<QQ")
_U64 = struct.Struct("<Q")
_U64_MAX = 2**64 - 1


def _require(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise FieldError(field, value, f"{least} to {most}")


def _zero(field: str, value: object) -> None:
    if value not in (0, bytes(3), bytes(5), bytes(7)):
        raise ProtocolError(field, value, "zero")


def _cause(value: int) -> MissCause:
    if value > MissCause.UNDECODABLE:
        raise ProtocolError("missCause", value, f"at most {int(MissCause.UNDECODABLE)}")
    return MissCause(value)


# HELLO and LAYOUT


def encode_hello(namespace: str, token: str, agent: str, ticket: bool = False) -> bytes:
    """A HELLO that offers version 1; with `ticket` the token is a ticket's 64 hex digits."""
    for field, value, least, most in (
        ("namespace", namespace, 1, 128),
        ("token", token, 0, 512),
        ("agent", agent, 0, 256),
    ):
        _require(field, len(value.encode("utf-8")), least, most)
    if ticket and (len(token) != TICKET_DIGITS or set(token) - set("0123456789abcdef")):
        raise FieldError("token", len(token), "64 lower-case hex digits of a ticket")
    head = _HELLO.pack(1, 1, HELLO_TICKET if ticket else 0)
    return head + encode_text(namespace) + encode_text(token) + encode_text(agent)


def decode_hello(body: bytes) -> Limits:
    """The limits that the server granted."""
    reader = BodyReader(body)
    fields = reader.take("limits", _HELLO_REPLY)
    version, reserved = fields[:2]
    if version != 1:
        raise ProtocolError("version", version, 1)
    _zero("reserved", reserved)
    server = reader.text("server")
    reader.finish()
    granted: list[Any] = [version, *fields[2:], server]
    limits = Limits(*granted)
    for field, value in (
        ("maxFramePayloadBytes", limits.frame_payload_bytes),
        ("maxObjectBytes", limits.object_bytes),
        ("maxKeysPerRequest", limits.keys_per_request),
        ("creditBytes", limits.credit_bytes),
    ):
        if value == 0:
            raise ProtocolError(field, value, "greater than 0")
    # A store has a BEGIN and a COMMIT in flight at once; the smallest body is a PUT_BEGIN's.
    if limits.requests_in_flight < 2:
        raise ProtocolError("maxRequestsInFlight", limits.requests_in_flight, "at least 2")
    if limits.body_bytes < 1024:
        raise ProtocolError("maxBodyBytes", limits.body_bytes, "at least 1024")
    return limits


def decode_layout_reply(body: bytes) -> tuple[bytes, int]:
    """(layout id, bytes per token)."""
    reader = BodyReader(body)
    layout_id, bytes_per_token = reader.take("layoutID", _LAYOUT_REPLY)
    reader.finish()
    return layout_id, bytes_per_token


# MATCH and the operations on keys


def encode_match(
    layout_id: bytes,
    hashes: Sequence[bytes],
    parts: Sequence[Part],
    variant: int,
    lease_ms: int | None,
) -> bytes:
    """A MATCH of a chain; `lease_ms` None asks for no lease, 0 for the server's default."""
    _require("hashCount", len(hashes), 1, 0xFFFFFFFF)
    _require("partCount", len(parts), 1, PARTS_MAX)
    _require("variant", variant, 0, 0xFFFFFFFF)
    _require("leaseMillis", lease_ms or 0, 0, 0xFFFFFFFF)
    if len(layout_id) != 16:
        raise FieldError("layoutID", len(layout_id), "16 bytes")
    if any(len(digest) != 32 for digest in hashes):
        raise FieldError("hashes", "a hash of another length", "32 bytes each")
    flags = 0 if lease_ms is None else MATCH_LEASE
    head = _MATCH.pack(len(hashes), len(parts), flags, variant, lease_ms or 0, layout_id)
    return head + b"".join(part.encode() for part in parts) + b"".join(hashes)


def decode_match(body: bytes, hash_count: int) -> MatchReply:
    """The answer to a MATCH of `hash_count` hashes."""
    reader = BodyReader(body)
    fields = reader.take("match", _MATCH_REPLY)
    reader.finish()
    chunks, cause, reserved, *tiers = fields[:7]
    size, estimate, lease_id, lease_ms, reserved_word = fields[7:]
    _zero("reserved", reserved)
    _zero("reserved", reserved_word)
    if chunks > hash_count:
        raise ProtocolError("matchedChunks", chunks, f"at most {hash_count}")
    if (chunks < hash_count) != (cause != 0):
        raise ProtocolError("missCause", cause, "set if and only if a chunk is missing")
    if sum(tiers) != chunks:
        raise ProtocolError("tiers", tiers, f"a sum of {chunks}")
    return MatchReply(chunks, _cause(cause), Tiers(*tiers), size, estimate, lease_id, lease_ms)


def encode_keys(keys: Sequence[Key]) -> bytes:
    """Keys with their count, as EXISTS, TOUCH, UNPIN and PREFETCH take them."""
    return _COUNT.pack(len(keys), 0) + b"".join(key.data for key in keys)


def encode_pin(keys: Sequence[Key], ttl_ms: int) -> bytes:
    """A PIN of keys for `ttl_ms`."""
    _require("ttlMillis", ttl_ms, 1, _U64_MAX)
    return _U64.pack(ttl_ms) + encode_keys(keys)


def _decode_bits(body: bytes, key_count: int) -> tuple[int, list[bool]]:
    reader = BodyReader(body)
    count, reserved = reader.take("count", _COUNT)
    _zero("reserved", reserved)
    raw = reader.bytes("bitmap", (key_count + 7) // 8)
    reader.finish()
    if key_count % 8 and raw[-1] >> key_count % 8:
        raise ProtocolError("bitmap", raw[-1], f"bits of {key_count} keys")
    return count, [bool(raw[index >> 3] >> (index & 7) & 1) for index in range(key_count)]


def decode_exists(body: bytes, key_count: int) -> list[bool]:
    """Which of the keys are present."""
    count, bits = _decode_bits(body, key_count)
    if count != key_count:
        raise ProtocolError("count", count, key_count)
    return bits


def decode_pins(body: bytes, key_count: int) -> list[bool]:
    """Which of the keys were pinned or unpinned."""
    count, bits = _decode_bits(body, key_count)
    if count != sum(bits):
        raise ProtocolError("count", count, sum(bits))
    return bits


def decode_touch(body: bytes, key_count: int) -> int:
    """How many keys were touched."""
    reader = BodyReader(body)
    touched, reserved = reader.take("touched", _COUNT)
    reader.finish()
    _zero("reserved", reserved)
    if touched > key_count:
        raise ProtocolError("touched", touched, f"at most {key_count}")
    return int(touched)


def decode_prefetch(body: bytes, key_count: int) -> Prefetch:
    """How many keys were in RAM, and how many promotions were started."""
    reader = BodyReader(body)
    reply = Prefetch(*reader.take("present", _COUNT))
    reader.finish()
    if sum(reply) > key_count:
        raise ProtocolError("present", sum(reply), f"at most {key_count}")
    return reply


def encode_lease(lease_id: int) -> bytes:
    """A RELEASE."""
    return _U64.pack(lease_id)


def encode_purge(scope: int, operands: Sequence[bytes]) -> bytes:
    """A PURGE of `operands`, which have the length that `scope` asks for."""
    return _PURGE.pack(scope, len(operands)) + b"".join(operands)


def decode_purge(body: bytes) -> Purged:
    """What a PURGE removed."""
    reader = BodyReader(body)
    purged = Purged(*reader.take("objects", _TWO_U64))
    reader.finish()
    return purged


def decode_empty(body: bytes) -> None:
    """The body of an operation that answers without fields."""
    BodyReader(body).finish()


# GET


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What the server says of one item of a GET."""

    miss: bool
    cause: MissCause
    object_bytes: int
    sent_bytes: int
    object_checksum: int
    sent_checksum: int
    codec: int = RAW


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What a client tells so that the server chooses what is there by the deadline; 0: unknown.

    `bandwidth` is in bytes a second, `decode_rate` and `transform_rate` (codecs small and archive)
    in 10^6 decoded bytes a second, `prefill_rate` in tokens a second.
    """

    bandwidth: int = 0
    decode_rate: int = 0
    transform_rate: int = 0
    prefill_rate: int = 0

    def encode(self) -> bytes:
        """The 24 bytes behind the items."""
        _require("bandwidth", self.bandwidth, 0, _U64_MAX)
        for field, value in (("decodeRate", self.decode_rate),
                             ("transformRate", self.transform_rate),
                             ("prefillRate", self.prefill_rate)):
            _require(field, value, 0, 0xFFFFFFFF)
        return _RATES.pack(
            self.bandwidth, self.decode_rate, self.transform_rate, self.prefill_rate, 0)


def codec_bits(codecs: Iterable[int]) -> int:
    """The bits of acceptedCodecs, raw's among them."""
    bits = 1 << RAW
    for codec in codecs:
        _require("codec", codec, 0, 31)
        bits |= 1 << codec
    return bits


def encode_get_item(item: Get) -> bytes:
    """One item of a GET; raises FieldError for ranges that no object can have."""
    if item.ranges is not None and item.part is not None:
        raise FieldError("selection", "ranges and part", "one of them")
    if item.part is not None:
        return item.key.data + _GET_ITEM.pack(2, 0, 1, 0) + item.part.encode()
    if item.ranges is None:
        return item.key.data + _GET_ITEM.pack(0, 0, 0, 0)
    _require("rangeCount", len(item.ranges), 1, RANGES_MAX)
    for offset, length in item.ranges:
        _require("length", length, 1, _U64_MAX - max(offset, 0))
        _require("offset", offset, 0, _U64_MAX)
    ranges = b"".join(_RANGE.pack(offset, length) for offset, length in item.ranges)
    return item.key.data + _GET_ITEM.pack(1, 0, len(item.ranges), 0) + ranges


def encode_get(
    items: Sequence[bytes],
    *,
    wait: bool,
    verify: bool,
    place: Place = Place.INLINE,
    lease_ms: int = 0,
    regions: Sequence[tuple[int, int, int]] = (),
    codecs: int = 1,
    exact: bool = False,
    adapt: Adaptation | None = None,
) -> bytes:
    """A GET of encoded items, in raw bytes or in the codecs whose bits `codecs` has.

    With `exact` what the server keeps in a lossy codec only is a miss. With `adapt` the items are
    one chain's chunks in order, and the server chooses what is there by the deadline.

    In shared memory the bytes stay leased for `lease_ms` (0: the server's default); remote, there
    is a region (address, key, byte count) for each item.
    """
    flags = (GET_WAIT if wait else 0) | (0 if verify else GET_UNVERIFIED)
    flags |= (GET_EXACT if exact else 0) | (0 if adapt is None else GET_ADAPT)
    _require("acceptedCodecs", codecs, 0, 0xFFFFFFFF)
    head = _GET.pack(len(items), flags, codecs, 0) + b"".join(items)
    if adapt is not None:
        head += adapt.encode()
    if place == Place.SHARED_MEMORY:
        _require("leaseMillis", lease_ms, 0, 0xFFFFFFFF)
        return head + _LEASE_TIME.pack(lease_ms, 0)
    if place == Place.REMOTE:
        if len(regions) != len(items):
            raise FieldError("regions", len(regions), f"one for each of {len(items)} items")
        return head + b"".join(encode_region(*region) for region in regions)
    return head


def encode_region(address: int, key: int, byte_count: int) -> bytes:
    """Memory that the server may reach over RDMA."""
    _require("byteCount", byte_count, 0, 2**63 - 1)
    _require("address", address, 0, _U64_MAX - byte_count)
    _require("key", key, 0, 0xFFFFFFFF)
    return _REGION.pack(address, key, 0, byte_count)


def decode_get(
    body: bytes, item_count: int, limits: Limits, accepted: int = 1
) -> list[Descriptor]:
    """One descriptor per item; `accepted` holds the bits of the codecs that were asked for."""
    reader = BodyReader(body)
    rows = take_descriptors(reader, item_count, limits, accepted)
    reader.finish()
    return rows


def take_descriptors(
    reader: BodyReader, item_count: int, limits: Limits, accepted: int = 1
) -> list[Descriptor]:
    """The beginning of an answer to a GET of `item_count` items, whatever its place."""
    count, reserved = reader.take("count", _COUNT)
    _zero("reserved", reserved)
    if count != item_count:
        raise ProtocolError("count", count, item_count)
    return [
        _descriptor(reader.take("descriptor", _DESCRIPTOR), limits, accepted)
        for _ in range(count)
    ]


def _descriptor(fields: tuple[int, ...], limits: Limits, accepted: int) -> Descriptor:
    state, cause, codec, reserved, object_bytes, sent, object_sum, sent_sum = fields
    _zero("reserved", reserved)
    if state > 1:
        raise ProtocolError("state", state, "0 or 1")
    if (state == 1) != (cause != 0):
        raise ProtocolError("missCause", cause, "set if and only if it is a miss")
    if codec != RAW and (state == 1 or codec not in CODECS or not accepted >> codec & 1):
        raise ProtocolError("codec", codec, f"one of the bits {accepted:#x}, 0 for a miss")
    if object_bytes > limits.object_bytes:
        raise ProtocolError("objectBytes", object_bytes, f"at most {limits.object_bytes}")
    longest = object_bytes + (CODEC_HEADER_BYTES_MAX if codec else 0)
    if sent > (0 if state else longest):
        raise ProtocolError("sentBytes", sent, f"at most {0 if state else longest}")
    return Descriptor(state == 1, _cause(cause), object_bytes, sent, object_sum, sent_sum, codec)


# PUT


def encode_put_begin(item: Put, total_bytes: int) -> bytes:
    """A PUT_BEGIN; raises FieldError naming the fact that is out of range."""
    _require("totalBytes", total_bytes, 1, _U64_MAX)
    _require("firstToken", item.first_token, 0, 0xFFFFFFFF)
    _require("tokenCount", item.token_count, 0, 4096)
    _require("ttlMillis", item.ttl_ms, 0, _U64_MAX)
    parent = bytes(32) if item.parent is None else item.parent
    if len(parent) != 32:
        raise FieldError("parent", len(parent), "32 bytes")
    if item.durability not in DURABILITIES:
        raise FieldError("durability", item.durability, f"one of {', '.join(DURABILITIES)}")
    if item.key.is_opaque != (item.token_count == 0):
        raise FieldError("tokenCount", item.token_count, "0 if and only if the key is opaque")
    facts = _PUT_BEGIN.pack(
        total_bytes,
        item.first_token,
        item.token_count,
        item.ttl_ms,
        DURABILITIES.index(item.durability),
        0,
        0,
        min(max(item.recompute_us, 0), 0xFFFFFFFF),
    )
    return item.key.data + parent + facts


def encode_two(first: int, second: int) -> bytes:
    """The body of PUT_DATA (transfer, offset) and PUT_COMMIT (transfer, checksum)."""
    return _TWO_U64.pack(first, second)


def encode_transfer(transfer_id: int) -> bytes:
    """A PUT_ABORT."""
    return _U64.pack(transfer_id)


def decode_put(body: bytes) -> tuple[int, int]:
    """(state, object checksum) of a PUT_BEGIN or PUT_COMMIT answer."""
    reader = BodyReader(body)
    state, reserved, object_checksum = reader.take("state", _PUT_REPLY)
    reader.finish()
    _zero("reserved", reserved)
    if state not in (PUT_RESERVED, PUT_PRESENT):
        raise ProtocolError("state", state, "1 or 2")
    return state, object_checksum
