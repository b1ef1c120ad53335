"""One frame of each operation in each direction."""

import struct

from framing import (
    CAUSES, MORE, STATUSES, bitmap, counted_keys, descriptor, document_body, error_body,
    get_body, get_item, hello_body, match_body, put_begin_body, text, xxh3,
)
from hashing import part_json, sha256
from layouts import LAYOUTS, encode_layout, whole_bytes_per_token
from rows import DATA, DIGESTS, KEYS, KEYS_JSON, LAYOUT_ID, PART, request, response


def hello_frames():
    request("HELLO request", "HELLO", hello_body(1, 1, 0, "default", "secret", "kdn-python/0.1.0"),
            {"minVersion": 1, "maxVersion": 1, "flags": 0, "namespace": "default",
             "token": "secret", "agent": "kdn-python/0.1.0"})
    request("HELLO request, no token, UTF-8 namespace", "HELLO",
            hello_body(1, 3, 0, "équipe", "", ""),
            {"minVersion": 1, "maxVersion": 3, "flags": 0, "namespace": "équipe", "token": "",
             "agent": ""}, request_id=2**64 - 1, deadline=0)
    server_id = bytes(range(16))
    body = struct.pack("<HHIIIQIIQIIIIQ", 1, 0, 3, 4194304, 67108864, 1073741824, 4096, 256,
                       2147483648, 10000, 60000, 300000, 60000, 9)
    assert len(body) == 64
    response("HELLO response", "HELLO", body + server_id + text("kdnd/0.1.0"),
             {"version": 1, "links": 3, "maxBodyBytes": 4194304,
              "maxFramePayloadBytes": 67108864, "maxObjectBytes": 1073741824,
              "maxKeysPerRequest": 4096, "maxRequestsInFlight": 256, "creditBytes": 2147483648,
              "defaultDeadlineMillis": 10000, "maxDeadlineMillis": 60000,
              "idleTimeoutMillis": 300000, "maxLeaseMillis": 60000, "namespaceGeneration": 9,
              "serverID": server_id.hex(), "server": "kdnd/0.1.0"})
    response("HELLO refused", "HELLO", error_body(0, "", 0, 0, "wrong namespace or token"),
             {"retryAfterMillis": 0, "field": "", "value": 0, "limit": 0,
              "message": "wrong namespace or token"}, status=3)


def layout_frames():
    value = LAYOUTS["llama 3.1 8B, GQA bf16"]
    data = encode_layout(value)
    request("LAYOUT request", "LAYOUT", data, {"layout": data.hex()}, request_id=2)
    response("LAYOUT response", "LAYOUT",
             sha256(data)[:16] + struct.pack("<Q", whole_bytes_per_token(value)),
             {"layoutID": sha256(data)[:16].hex(), "bytesPerToken": whole_bytes_per_token(value)},
             request_id=2)


def match_frames():
    for name, hashes, parts, flags, variant, lease in (
        ("MATCH request, one chunk", DIGESTS[:1], [PART], 0, 0, 0),
        ("MATCH request, four chunks, two parts, lease", DIGESTS, [(0, 32, 0, 4), (0, 32, 4, 4)],
         1, 5, 30000),
    ):
        request(name, "MATCH", match_body(hashes, parts, flags, variant, lease, LAYOUT_ID),
                {"flags": flags, "variant": variant, "leaseMillis": lease,
                 "layoutID": LAYOUT_ID.hex(), "parts": [part_json(part) for part in parts],
                 "hashes": [digest.hex() for digest in hashes]}, request_id=3)
    for name, matched, cause, tiers, size, estimate, lease_id, lease in (
        ("MATCH response, all, leased", 4, 0, (0, 3, 1, 0), 134217728, 52000, 77, 30000),
        ("MATCH response, part of the chain", 2, 2, (0, 2, 0, 0), 67108864, 0, 0, 0),
        ("MATCH response, nothing", 0, 1, (0, 0, 0, 0), 0, 0, 0, 0),
    ):
        body = struct.pack("<IB3x4IQQQII", matched, cause, *tiers, size, estimate, lease_id,
                           lease, 0)
        assert len(body) == 56
        response(name, "MATCH", body,
                 {"matchedChunks": matched, "cause": CAUSES[cause], "tiers": list(tiers),
                  "matchedBytes": size, "estimateMicros": estimate, "leaseID": lease_id,
                  "leaseMillis": lease}, request_id=3)


def key_frames():
    request("EXISTS request", "EXISTS", counted_keys(KEYS), {"keys": KEYS_JSON}, request_id=4)
    request("EXISTS request, ping", "EXISTS", counted_keys([]), {"keys": []}, request_id=4)
    for bits in ([], [True, False, True], [True] * 8 + [False] * 8 + [True]):
        response(f"EXISTS response of {len(bits)}", "EXISTS",
                 struct.pack("<II", len(bits), 0) + bitmap(bits), {"bits": bits}, request_id=4)
    request("TOUCH request", "TOUCH", counted_keys(KEYS), {"keys": KEYS_JSON})
    response("TOUCH response", "TOUCH", struct.pack("<II", 2, 0), {"touched": 2})
    request("PIN request", "PIN", struct.pack("<Q", 3600000) + counted_keys(KEYS),
            {"ttlMillis": 3600000, "keys": KEYS_JSON})
    response("PIN response", "PIN", struct.pack("<II", 2, 0) + bitmap([True, False, True]),
             {"pinned": 2, "bitmap": "05"})
    request("UNPIN request", "UNPIN", counted_keys(KEYS[:1]), {"keys": KEYS_JSON[:1]})
    response("UNPIN response", "UNPIN", struct.pack("<II", 0, 0) + bitmap([False]),
             {"unpinned": 0, "bitmap": "00"})
    request("PREFETCH request", "PREFETCH", counted_keys(KEYS), {"keys": KEYS_JSON})
    response("PREFETCH response", "PREFETCH", struct.pack("<II", 1, 2),
             {"present": 1, "started": 2})


def get_frames():
    items = [get_item(KEYS[2])]
    request("GET request, whole", "GET", get_body(items),
            {"flags": 0, "acceptedCodecs": 1,
             "items": [{"key": KEYS_JSON[2], "selection": 0, "ranges": [], "part": None}]},
            request_id=5)
    part = (3, 1, 0, 8)
    items = [get_item(KEYS[2], 1, [(0, 16), (100, 1)]), get_item(KEYS[0], 2, part=part),
             get_item(KEYS[1])]
    request("GET request, ranges, part and whole, wait", "GET", get_body(items, 3, 1),
            {"flags": 3, "acceptedCodecs": 1, "items": [
                {"key": KEYS_JSON[2], "selection": 1, "ranges": [[0, 16], [100, 1]], "part": None},
                {"key": KEYS_JSON[0], "selection": 2, "ranges": [], "part": part_json(part)},
                {"key": KEYS_JSON[1], "selection": 0, "ranges": [], "part": None}]},
            request_id=6)

    def described(rows):
        body = struct.pack("<II", len(rows), 0) + b"".join(descriptor(*row) for row in rows)
        names = ("miss", "cause", "codec", "objectBytes", "sentBytes", "objectChecksum",
                 "sentChecksum")
        return body, {"descriptors": [
            dict(zip(names, (row[0] == 1, CAUSES[row[1]], *row[2:]))) for row in rows]}

    whole = (0, 0, 0, len(DATA), len(DATA), xxh3(DATA), xxh3(DATA))
    body, facts = described([whole])
    response("GET response, one hit", "GET", body, facts, request_id=5, payload=DATA)
    partial = (0, 0, 0, 1000, 17, xxh3(b"k" * 1000), xxh3(DATA[:17]))
    missed = (1, 1, 0, 0, 0, 0, 0)
    body, facts = described([partial, missed, whole])
    sent = DATA[:17] + DATA
    response("GET response, first frame of two", "GET", body, facts, request_id=6, flags=MORE,
             payload=sent[:100])
    response("GET response, last frame of two", "GET", b"", None, request_id=6,
             payload=sent[100:])
    body, facts = described([(1, cause, 0, 0, 0, 0, 0) for cause in range(1, len(CAUSES))])
    response("GET response, every miss cause", "GET", body, facts, request_id=7)


def put_frames():
    body = put_begin_body(KEYS[0], DIGESTS[3], 33554432, 256, 256, 86400000, 1, 0, 0, 91234)
    request("PUT_BEGIN request", "PUT_BEGIN", body,
            {"key": KEYS_JSON[0], "parent": DIGESTS[3].hex(), "totalBytes": 33554432,
             "firstToken": 256, "tokenCount": 256, "ttlMillis": 86400000, "durability": 1,
             "codec": 0, "flags": 0, "recomputeMicros": 91234}, request_id=8)
    body = put_begin_body(KEYS[2], bytes(32), len(DATA), 0, 0, 0, 0, 0, 0, 0)
    request("PUT_BEGIN request, opaque", "PUT_BEGIN", body,
            {"key": KEYS_JSON[2], "parent": "00" * 32, "totalBytes": len(DATA), "firstToken": 0,
             "tokenCount": 0, "ttlMillis": 0, "durability": 0, "codec": 0, "flags": 0,
             "recomputeMicros": 0}, request_id=9)
    for state, checksum in ((1, 0), (2, xxh3(DATA))):
        response(f"PUT_BEGIN response, state {state}", "PUT_BEGIN",
                 struct.pack("<B7xQ", state, checksum),
                 {"state": state, "objectChecksum": checksum}, request_id=9)
        response(f"PUT_COMMIT response, state {state}", "PUT_COMMIT",
                 struct.pack("<B7xQ", state, xxh3(DATA)),
                 {"state": state, "objectChecksum": xxh3(DATA)}, request_id=11)
    request("PUT_DATA request", "PUT_DATA", struct.pack("<QQ", 9, 0),
            {"transferID": 9, "offset": 0}, request_id=10, payload=DATA)
    request("PUT_COMMIT request", "PUT_COMMIT", struct.pack("<QQ", 9, xxh3(DATA)),
            {"transferID": 9, "checksum": xxh3(DATA)}, request_id=11)
    request("PUT_ABORT request", "PUT_ABORT", struct.pack("<Q", 9), {"transferID": 9},
            request_id=12)
    response("PUT_ABORT response", "PUT_ABORT", b"", None, request_id=12)
    response("PUT_COMMIT refused", "PUT_COMMIT",
             error_body(0, "receivedBytes", 100, 259, "bytes are missing"),
             {"retryAfterMillis": 0, "field": "receivedBytes", "value": 100, "limit": 259,
              "message": "bytes are missing"}, request_id=11, status=1)
    response("PUT_BEGIN refused, busy", "PUT_BEGIN", error_body(250, "", 0, 0, "no room"),
             {"retryAfterMillis": 250, "field": "", "value": 0, "limit": 0, "message": "no room"},
             request_id=9, status=4)


def document_frames():
    for name, tokens, metadata, hashes in (
        ("handbook", 900, '{"pages":12}', DIGESTS), ("Prüfung/№ 1", 1, "", DIGESTS[:1]),
    ):
        body = document_body(name, LAYOUT_ID, tokens, 256, metadata, hashes)
        fields = {"name": name, "layoutID": LAYOUT_ID.hex(), "tokenCount": tokens,
                  "chunkTokens": 256, "metadata": metadata,
                  "hashes": [digest.hex() for digest in hashes]}
        request(f"DOCUMENT publish of {len(hashes)}", "DOCUMENT", b"\1\0\0\0" + body,
                {"verb": 1, **fields})
        response(f"DOCUMENT resolved of {len(hashes)}", "DOCUMENT",
                 bytes([2]) + bytes(7) + struct.pack("<QI", 5, len(hashes) - 1) + body,
                 {"verb": 2, "epoch": 5, "presentChunks": len(hashes) - 1, **fields})
    request("DOCUMENT resolve", "DOCUMENT", b"\2\0\0\0" + text("handbook"),
            {"verb": 2, "name": "handbook"})
    request("DOCUMENT list", "DOCUMENT", b"\3\0\0\0" + struct.pack("<I", 100) + text(""),
            {"verb": 3, "after": "", "limit": 100})
    request("DOCUMENT list, next page", "DOCUMENT",
            b"\3\0\0\0" + struct.pack("<I", 1000) + text("handbook"),
            {"verb": 3, "after": "handbook", "limit": 1000})
    request("DOCUMENT retire", "DOCUMENT", b"\4\0\0\0" + text("handbook"),
            {"verb": 4, "name": "handbook"})
    for verb, name in ((1, "published"), (4, "retired")):
        response(f"DOCUMENT {name}", "DOCUMENT",
                 bytes([verb]) + bytes(7) + struct.pack("<Q", 2**64 - 1),
                 {"verb": verb, "epoch": 2**64 - 1})
    for names in ([], ["a", "handbook"]):
        rows = [{"name": name, "epoch": 7, "layoutID": LAYOUT_ID.hex(), "tokenCount": 300,
                 "chunkCount": 2} for name in names]
        response(f"DOCUMENT listed {len(names)}", "DOCUMENT",
                 bytes([3]) + bytes(7) + struct.pack("<I", len(names))
                 + b"".join(struct.pack("<QII", 7, 300, 2) + LAYOUT_ID + text(name)
                            for name in names), {"verb": 3, "documents": rows})


def other_frames():
    request("RELEASE request", "RELEASE", struct.pack("<Q", 77), {"leaseID": 77})
    response("RELEASE response", "RELEASE", b"", None)

    def purge(scope, operands):
        body = struct.pack("<B3xI", scope, len(operands)) + b"".join(operands)
        request(f"PURGE request, scope {scope}", "PURGE", body,
                {"scope": scope, "operands": [operand.hex() for operand in operands]})

    purge(1, KEYS)
    purge(2, DIGESTS[:2])
    purge(3, [LAYOUT_ID])
    purge(4, [])
    response("PURGE response", "PURGE", struct.pack("<QQ", 12, 402653184),
             {"objects": 12, "bytes": 402653184})
    request("STATS request", "STATS", b"", None)
    stats = '{"schema":1,"objects":3}'
    response("STATS response", "STATS", stats.encode(), {"json": stats})
    for status, field, value, limit, message in (
        (9, "", 0, 0, "draining"), (15, "connections", 1024, 1024, "connection cap"),
        (1, "magic", 0x20544547, 0x504E444B, "not a KDNP frame"),
        (8, "idleTimeoutMillis", 60001, 60000, "idle"),
    ):
        response(f"GOAWAY {STATUSES[status]}", "GOAWAY",
                 error_body(0, field, value, limit, message),
                 {"retryAfterMillis": 0, "field": field, "value": value, "limit": limit,
                  "message": message}, request_id=0, status=status)
    for status in range(1, len(STATUSES)):
        response(f"error {STATUSES[status]}", "EXISTS",
                 error_body(status, "field", 2**64 - 1, status, "prüfen"),
                 {"retryAfterMillis": status, "field": "field", "value": 2**64 - 1,
                  "limit": status, "message": "prüfen"}, status=status)
