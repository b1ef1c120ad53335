"""Bodies of operations: requests as bytes, and responses as values."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kdn.errors import FieldError, ProtocolError
from kdn.keys import Key, Part
from kdn.results import Get, MatchReply, MissCause, Prefetch, Purged, Put, Tiers
from kdn.wire import BodyReader, Limits, encode_text

RANGES_MAX = 256
PARTS_MAX = 64
GET_WAIT = 1
GET_UNVERIFIED = 2
MATCH_LEASE = 1
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
    if value > MissCause.OVER_CREDIT:
        raise ProtocolError("missCause", value, f"at most {int(MissCause.OVER_CREDIT)}")
    return MissCause(value)


# HELLO and LAYOUT


def encode_hello(namespace: str, token: str, agent: str) -> bytes:
    """A HELLO that offers version 1."""
    for field, value, least, most in (
        ("namespace", namespace, 1, 128),
        ("token", token, 0, 512),
        ("agent", agent, 0, 256),
    ):
        _require(field, len(value.encode("utf-8")), least, most)
    return _HELLO.pack(1, 1, 0) + encode_text(namespace) + encode_text(token) + encode_text(agent)


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


def encode_get(items: Sequence[bytes], *, wait: bool, verify: bool) -> bytes:
    """A GET of encoded items, raw bytes only."""
    flags = (GET_WAIT if wait else 0) | (0 if verify else GET_UNVERIFIED)
    return _GET.pack(len(items), flags, 1, 0) + b"".join(items)


def decode_get(body: bytes, item_count: int, limits: Limits) -> list[Descriptor]:
    """One descriptor per item."""
    reader = BodyReader(body)
    count, reserved = reader.take("count", _COUNT)
    _zero("reserved", reserved)
    if count != item_count:
        raise ProtocolError("count", count, item_count)
    rows = [_descriptor(reader.take("descriptor", _DESCRIPTOR), limits) for _ in range(count)]
    reader.finish()
    return rows


def _descriptor(fields: tuple[int, ...], limits: Limits) -> Descriptor:
    state, cause, codec, reserved, object_bytes, sent, object_sum, sent_sum = fields
    _zero("reserved", reserved)
    if state > 1:
        raise ProtocolError("state", state, "0 or 1")
    if (state == 1) != (cause != 0):
        raise ProtocolError("missCause", cause, "set if and only if it is a miss")
    if codec != 0:
        raise ProtocolError("codec", codec, "0, the only one accepted")
    if object_bytes > limits.object_bytes:
        raise ProtocolError("objectBytes", object_bytes, f"at most {limits.object_bytes}")
    if sent > (0 if state else object_bytes):
        raise ProtocolError("sentBytes", sent, f"at most {0 if state else object_bytes}")
    return Descriptor(state == 1, _cause(cause), object_bytes, sent, object_sum, sent_sum)


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
