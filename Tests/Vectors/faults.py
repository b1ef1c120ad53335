"""Requests that a server refuses, by framing, by header and by body."""

import struct

from framing import (
    MORE, OPS, RESPONSE, counted_keys, document_body, error_body, get_body, get_item, header,
    hello_body, match_body, put_begin_body, text,
)
from rows import DIGESTS, KEYS, LAYOUT_ID, PART, fault


def framing_faults():
    ping = counted_keys([])
    good = (4, 0, 1, 0, ping, 0, 1000)

    def framing(name, field, **options):
        fault(name, "bad_request", field, True, header(*good, **options) + ping)

    framing("wrong magic", "magic", magic=b"KDNQ")
    fault("an HTTP request", "bad_request", "magic", True,
          b"GET / HTTP/1.1\r\nHost: kdn.example:9440\r\nUser-Agent: a-client/1.0\r\n\r\n".ljust(
              64, b"\n"))
    framing("version 0", "version", version=0)
    framing("version 2", "version", version=2)
    framing("wrong header checksum", "headerChecksum", header_checksum=0)
    framing("body above its limit", "bodyLength", body_length=2**32 - 1)
    fault("payload above its limit", "bad_request", "payloadLength", True,
          header(7, 0, 1, 0, struct.pack("<QQ", 9, 0), 2**63, 0) + struct.pack("<QQ", 9, 0))


def header_faults():
    ping = counted_keys([])

    def refused(name, status, field, op=4, flags=0, request_id=1, code=0, body=ping, payload=b"",
                **options):
        raw = header(op, flags, request_id, code, body, len(payload), 1000, **options)
        fault(name, status, field, False, raw + body + payload)

    refused("op 0", "unknown_op", "op", op=0)
    refused("op 200", "unknown_op", "op", op=200)
    refused("reserved op EVENTS", "unknown_op", "op", op=40)
    refused("op 200 with payload to skip", "unknown_op", "op", op=200, payload=b"skip me")
    refused("flag 3", "bad_request", "flags", flags=8)
    refused("flag 15", "bad_request", "flags", flags=0x8000)
    refused("RESPONSE in a request", "bad_request", "flags", flags=RESPONSE)
    refused("MORE in a request", "bad_request", "flags", flags=MORE)
    refused("request id 0", "bad_request", "requestID", request_id=0)
    refused("status in a request", "bad_request", "status", code=1)
    refused("place 1", "unsupported", "place", place=1)
    refused("place 3", "unsupported", "place", place=3)
    for offset in (23, 36, 39, 48, 59):
        refused(f"reserved byte {offset}", "bad_request", "reserved", reserved=(offset, 1))
    refused("wrong body checksum", "checksum_mismatch", "bodyChecksum", body_checksum=1)
    refused("body checksum of no body", "checksum_mismatch", "bodyChecksum", op=16, body=b"",
            body_checksum=1)
    refused("payload with an op that has none", "bad_request", "payloadLength", payload=b"x")
    refused("GOAWAY from a client", "unknown_op", "op", op=17, body=error_body(0, "", 0, 0, ""))


def body_faults():
    def refused(name, field, op, body, status="bad_request", payload=b""):
        raw = header(OPS[op], 0, 1, 0, body, len(payload), 1000) + body + payload
        fault(name, status, field, False, raw)

    def key_faults(op, prefix):
        refused(f"{op}: key of kind 9", "kind", op, prefix + counted_keys([b"\x09" + KEYS[0][1:]]))
        refused(f"{op}: reserved in a key", "reserved", op,
                prefix + counted_keys([KEYS[0][:1] + b"\1" + KEYS[0][2:]]))
        refused(f"{op}: fewer keys than count", "bodyLength", op,
                prefix + struct.pack("<II", 2, 0) + KEYS[0])
        refused(f"{op}: bytes after the keys", "bodyLength", op,
                prefix + counted_keys(KEYS) + b"\0")
        refused(f"{op}: reserved", "reserved", op, prefix + struct.pack("<II", 1, 1) + KEYS[0])
        refused(f"{op}: count above its limit", "count", op,
                prefix + struct.pack("<II", 2**32 - 1, 0))

    for op in ("EXISTS", "TOUCH", "UNPIN", "PREFETCH"):
        key_faults(op, b"")
    key_faults("PIN", struct.pack("<Q", 1000))
    refused("PIN: no TTL", "ttlMillis", "PIN", struct.pack("<Q", 0) + counted_keys(KEYS))
    refused("EXISTS: empty body", "bodyLength", "EXISTS", b"")
    refused("HELLO: flags", "flags", "HELLO", hello_body(1, 1, 2, "default", "", ""))
    refused("HELLO: version 2 only", "minVersion", "HELLO", hello_body(2, 3, 0, "default", "", ""),
            "unsupported")
    refused("HELLO: versions crossed", "maxVersion", "HELLO", hello_body(2, 1, 0, "d", "", ""))
    refused("HELLO: empty namespace", "namespace", "HELLO", hello_body(1, 1, 0, "", "", ""))
    refused("HELLO: namespace of 129 bytes", "namespace", "HELLO",
            hello_body(1, 1, 0, "n" * 129, "", ""))
    refused("HELLO: namespace not UTF-8", "namespace", "HELLO",
            struct.pack("<HHI", 1, 1, 0) + struct.pack("<H", 2) + b"\xff\xfe" + text("") + text(""))
    refused("HELLO: token of 513 bytes", "token", "HELLO", hello_body(1, 1, 0, "d", "t" * 513, ""))
    refused("HELLO: agent of 257 bytes", "agent", "HELLO", hello_body(1, 1, 0, "d", "", "a" * 257))
    refused("HELLO: string cut short", "bodyLength", "HELLO",
            hello_body(1, 1, 0, "d", "", "agent")[:-1])
    refused("HELLO: bytes after the end", "bodyLength", "HELLO",
            hello_body(1, 1, 0, "d", "", "") + b"\0")
    refused("LAYOUT: wrong magic", "magic", "LAYOUT", b"KDNX" + bytes(20))
    for name, field, options in (
        ("no hashes", "hashCount", {"hashes": []}),
        ("hashCount above its limit", "hashCount", {"hash_count": 2**32 - 1}),
        ("no parts", "partCount", {"parts": []}),
        ("65 parts", "partCount", {"parts": [(0, 1, i, 1) for i in range(65)]}),
        ("unknown flag", "flags", {"flags": 2}),
        ("one hash missing", "bodyLength", {"hash_count": 2}),
        ("part without layers", "layerCount", {"parts": [(0, 0, 0, 1)]}),
        ("part without heads", "kvHeadCount", {"parts": [(0, 1, 0, 0)]}),
    ):
        values = {"hashes": DIGESTS[:1], "parts": [PART], "flags": 0, "variant": 0, "lease_ms": 0,
                  "layout_id": LAYOUT_ID, **options}
        refused(f"MATCH: {name}", field, "MATCH", match_body(**values))
    whole = get_item(KEYS[2])
    for name, field, body in (
        ("no items", "count", get_body([])),
        ("count above its limit", "count", get_body([whole], count=2**32 - 1)),
        ("item missing", "bodyLength", get_body([whole], count=2)),
        ("unknown flag", "flags", get_body([whole], flags=16)),
        ("selection 3", "selection", get_body([get_item(KEYS[2], 3)])),
        ("whole with a range", "rangeCount", get_body([get_item(KEYS[2], 0, [(0, 1)],
                                                                range_count=1)])),
        ("ranges without a range", "rangeCount", get_body([get_item(KEYS[2], 1)])),
        ("257 ranges", "rangeCount", get_body([get_item(KEYS[2], 1, [(0, 1)] * 257)])),
        ("two parts", "rangeCount", get_body([get_item(KEYS[0], 2, part=PART, range_count=2)])),
        ("empty range", "length", get_body([get_item(KEYS[2], 1, [(0, 0)])])),
        ("range beyond u64", "length", get_body([get_item(KEYS[2], 1, [(2**64 - 1, 2)])])),
        ("part without layers", "layerCount", get_body([get_item(KEYS[0], 2, part=(0, 0, 0, 1))])),
        ("bytes after the items", "bodyLength", get_body([whole]) + b"\0"),
        ("reserved in an item", "reserved", get_body([whole[:65] + b"\1" + whole[66:]])),
    ):
        refused(f"GET: {name}", field, "GET", body)
    for name, field, changes, status in (
        ("no bytes", "totalBytes", {"total": 0}, "bad_request"),
        ("larger than any object", "totalBytes", {"total": 2**64 - 1}, "too_large"),
        ("opaque with tokens", "tokenCount", {"token_count": 1}, "bad_request"),
        ("opaque with a parent", "parent", {"parent": DIGESTS[0]}, "bad_request"),
        ("layout object without tokens", "tokenCount", {"key": KEYS[0]}, "bad_request"),
        ("layout object of 4097 tokens", "tokenCount", {"key": KEYS[0], "token_count": 4097},
         "bad_request"),
        ("durability 2", "durability", {"durability": 2}, "unsupported"),
        ("codec 1", "codec", {"codec": 1}, "unsupported"),
        ("flags", "flags", {"flags": 1}, "bad_request"),
    ):
        values = {"key": KEYS[2], "parent": bytes(32), "total": 16, "first_token": 0,
                  "token_count": 0, "ttl": 0, "durability": 0, "codec": 0, "flags": 0,
                  "recompute": 0, **changes}
        refused(f"PUT_BEGIN: {name}", field, "PUT_BEGIN", put_begin_body(**values), status)
    refused("PUT_BEGIN: body cut short", "bodyLength", "PUT_BEGIN", bytes(127))
    refused("PUT_COMMIT: body cut short", "bodyLength", "PUT_COMMIT", bytes(15))
    refused("PUT_ABORT: body too long", "bodyLength", "PUT_ABORT", bytes(9))
    refused("RELEASE: body cut short", "bodyLength", "RELEASE", bytes(7))
    refused("STATS: body", "bodyLength", "STATS", b"\0")
    for name, field, body in (
        ("scope 0", "scope", struct.pack("<B3xI", 0, 0)),
        ("scope 5", "scope", struct.pack("<B3xI", 5, 0)),
        ("namespace with operands", "count", struct.pack("<B3xI", 4, 1) + KEYS[0]),
        ("no keys", "count", struct.pack("<B3xI", 1, 0)),
        ("reserved", "reserved", struct.pack("<BBBBI", 4, 0, 1, 0, 0)),
        ("hash cut short", "bodyLength", struct.pack("<B3xI", 2, 1) + DIGESTS[0][:31]),
        ("layout id too long", "bodyLength", struct.pack("<B3xI", 3, 1) + bytes(17)),
    ):
        refused(f"PURGE: {name}", field, "PURGE", body)
    document_faults(refused)


def document_faults(refused):
    good = ("handbook", LAYOUT_ID, 900, 256, "", DIGESTS)

    def document(place, value):
        return b"\1\0\0\0" + document_body(*good[:place], value, *good[place + 1:])

    for name, field, body in (
        ("verb 0", "verb", b"\0\0\0\0"), ("verb 5", "verb", b"\5\0\0\0"),
        ("reserved", "reserved", b"\2\0\1\0" + text("a")),
        ("body cut short", "bodyLength", b"\1\0\0"),
        ("empty name", "name", b"\2\0\0\0" + text("")),
        ("name of 257 bytes", "name", b"\2\0\0\0" + text("n" * 257)),
        ("name with a line break", "name", b"\2\0\0\0" + text("a\nb")),
        ("name that is not UTF-8", "name", b"\2\0\0\0\1\0\xff"),
        ("name cut short", "bodyLength", b"\4\0\0\0\5\0ab"),
        ("bytes behind a name", "bodyLength", b"\4\0\0\0" + text("a") + b"\0"),
        ("list of none", "limit", b"\3\0\0\0" + struct.pack("<I", 0) + text("")),
        ("list of 1001", "limit", b"\3\0\0\0" + struct.pack("<I", 1001) + text("")),
        ("no tokens", "tokenCount", document(2, 0)),
        ("no tokens in a chunk", "chunkTokens", document(3, 0)),
        ("metadata of 4097 bytes", "metadata", document(4, "m" * 4097)),
        ("no chunks", "count", document(5, [])),
        ("a chunk too few", "count", document(5, DIGESTS[:3])),
        ("hash cut short", "bodyLength", document(5, DIGESTS)[:-1]),
    ):
        refused(f"DOCUMENT: {name}", field, "DOCUMENT", body)
