"""Frames and the bodies of operations, as Protocol.md spells them."""

import struct

import xxhash

from hashing import layout_key, opaque_key, sha256

OPS = {"HELLO": 1, "LAYOUT": 2, "MATCH": 3, "EXISTS": 4, "GET": 5, "PUT_BEGIN": 6, "PUT_DATA": 7,
       "PUT_COMMIT": 8, "PUT_ABORT": 9, "RELEASE": 10, "TOUCH": 11, "PIN": 12, "UNPIN": 13,
       "PREFETCH": 14, "PURGE": 15, "STATS": 16, "GOAWAY": 17, "DOCUMENT": 32, "COMPOSE": 33,
       "EDIT": 34, "WORK": 35, "MAP_SLAB": 36, "OPEN_WINDOW": 37, "LINK_TICKET": 38,
       "CODEC_PROFILE": 39}
STATUSES = ("ok", "bad_request", "unknown_op", "unauthorised", "busy", "conflict", "too_large",
            "not_found", "deadline", "draining", "over_credit", "checksum_mismatch", "unsupported",
            "not_allowed", "internal", "too_many_connections", "out_of_sequence",
            "over_quota", "forbidden")
CAUSES = ("none", "never_stored", "evicted", "expired", "wrong_layout", "over_deadline", "corrupt",
          "not_ready", "purged", "over_credit", "recompute", "inexact",
          "undecodable")
RESPONSE, OPTIONAL, MORE = 1, 2, 4


def xxh3(data):
    return xxhash.xxh3_64_intdigest(data)


def header(op, flags, request_id, status, body, payload_length, deadline, place=0, version=1,
           magic=b"KDNP", body_length=None, body_checksum=None, header_checksum=None,
           reserved=None):
    """The 64 bytes, field by field; `reserved` is (offset, byte), patched before the checksum."""
    data = bytearray(64)
    data[0:4] = magic
    data[4] = version
    data[5] = op
    data[6:8] = struct.pack("<H", flags)
    data[8:16] = struct.pack("<Q", request_id)
    data[16:20] = struct.pack("<I", len(body) if body_length is None else body_length)
    data[20:22] = struct.pack("<H", status)
    data[22] = place
    data[24:32] = struct.pack("<Q", payload_length)
    data[32:36] = struct.pack("<I", deadline)
    checksum = xxh3(body) if body else 0
    data[40:48] = struct.pack("<Q", checksum if body_checksum is None else body_checksum)
    if reserved:
        data[reserved[0]] = reserved[1]
    seal = xxh3(bytes(data[0:60])) & 0xFFFFFFFF
    data[60:64] = struct.pack("<I", seal if header_checksum is None else header_checksum)
    return bytes(data)


def text(value):
    raw = value.encode("utf-8")
    return struct.pack("<H", len(raw)) + raw


def bitmap(bits):
    data = bytearray((len(bits) + 7) // 8)
    for index, bit in enumerate(bits):
        if bit:
            data[index // 8] |= 1 << (index % 8)
    return bytes(data)


def counted_keys(keys):
    return struct.pack("<II", len(keys), 0) + b"".join(keys)


def hello_body(low, high, flags, namespace, token, agent):
    return struct.pack("<HHI", low, high, flags) + text(namespace) + text(token) + text(agent)


def match_body(hashes, parts, flags, variant, lease_ms, layout_id, hash_count=None,
               part_count=None):
    data = struct.pack("<IHHII", len(hashes) if hash_count is None else hash_count,
                       len(parts) if part_count is None else part_count, flags, variant, lease_ms)
    data += layout_id + b"".join(struct.pack("<HHHH", *part) for part in parts)
    return data + b"".join(hashes)


def get_item(key, selection=0, ranges=(), part=None, range_count=None):
    count = {0: 0, 1: len(ranges), 2: 1}.get(selection, 0) if range_count is None else range_count
    data = key + struct.pack("<BBHI", selection, 0, count, 0)
    for offset, length in ranges:
        data += struct.pack("<QQ", offset, length)
    if part:
        data += struct.pack("<HHHH", *part)
    return data


def get_body(items, flags=0, codecs=1, count=None):
    number = len(items) if count is None else count
    return struct.pack("<IIII", number, flags, codecs, 0) + b"".join(items)


def put_begin_body(key, parent, total, first_token, token_count, ttl, durability, codec, flags,
                   recompute):
    data = key + parent + struct.pack("<QIIQBBHI", total, first_token, token_count, ttl,
                                      durability, codec, flags, recompute)
    assert len(data) == 128
    return data


def descriptor(miss, cause, codec, object_bytes, sent, object_sum, sent_sum):
    return struct.pack("<BBB5xQQQQ", miss, cause, codec, object_bytes, sent, object_sum, sent_sum)


def error_body(retry, field, value, limit, message):
    return struct.pack("<I", retry) + text(field) + struct.pack("<QQ", value, limit) + text(message)


def document_body(name, layout_id, tokens, chunk_tokens, metadata, hashes):
    """What publish sends and resolve answers, behind the verb."""
    return (struct.pack("<II", tokens, chunk_tokens) + layout_id + text(name) + text(metadata)
            + struct.pack("<I", len(hashes)) + b"".join(hashes))
