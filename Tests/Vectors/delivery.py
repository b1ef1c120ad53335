"""Frames of delivery: encoded bytes, choices by the deadline, and codecs' profiles."""

import struct

from framing import OPS, get_body, get_item, header, xxh3
from hashing import part_json
from links import REMOTE, SHARED, described, item_facts, region
from rows import DATA, DIGESTS, KEYS, LAYOUT_ID, PART, fault, request, response

UNVERIFIED, ADAPT, EXACT = 2, 4, 8
CODECS = (1, 2, 3, 4, 5, 16, 17)
ALL = 1 | sum(1 << codec for codec in CODECS)
TOP = 2**64 - 1


def rates(bandwidth, decode, transform, prefill, reserved=0):
    return struct.pack("<QIIII", bandwidth, decode, transform, prefill, reserved)


def rates_json(bandwidth, decode, transform, prefill):
    return {"bandwidth": bandwidth, "decodeRate": decode, "transformRate": transform,
            "prefillRate": prefill}


def profile_facts(kind, size, tokens, part=PART, reserved=0):
    data = (DIGESTS[1] + LAYOUT_ID + struct.pack("<HHHH", *part)
            + struct.pack("<QQB", size, tokens, kind) + bytes([reserved]) + bytes(6))
    assert len(data) == 80
    return data


def profile_json(kind, size, tokens):
    return {"hash": DIGESTS[1].hex(), "layoutID": LAYOUT_ID.hex(), "part": part_json(PART),
            "byteCount": size, "tokenCount": tokens, "kind": kind}


def delivery_frames():
    items, facts = [get_item(KEYS[0]), get_item(KEYS[1])], [item_facts(KEYS[0]),
                                                           item_facts(KEYS[1])]
    request("GET request, every codec", "GET", get_body(items, 0, ALL),
            {"flags": 0, "acceptedCodecs": ALL, "items": facts}, request_id=5)
    request("GET request, codecs of the future", "GET", get_body(items, EXACT, 2**32 - 1),
            {"flags": EXACT, "acceptedCodecs": 2**32 - 1, "items": facts}, request_id=5)
    for name, values in (("unknown rates", (0, 0, 0, 0)), ("rates", (125000000, 2600, 300, 9000)),
                         ("largest rates", (TOP, 2**32 - 1, 2**32 - 1, 2**32 - 1))):
        request(f"GET request, adapting, {name}", "GET",
                get_body(items, ADAPT, ALL) + rates(*values),
                {"flags": ADAPT, "acceptedCodecs": ALL, "items": facts, **rates_json(*values)},
                request_id=5)
    values = (125000000, 2600, 300, 9000)
    request("GET request, adapting, shared memory", "GET",
            get_body(items, ADAPT | UNVERIFIED, 9) + rates(*values) + struct.pack("<II", 250, 0),
            {"flags": ADAPT | UNVERIFIED, "acceptedCodecs": 9, "items": facts, "leaseMillis": 250,
             **rates_json(*values)}, request_id=5, place=SHARED)
    regions = [[4096, 7, 1 << 20], [8192, 7, 0]]
    request("GET request, adapting, remote", "GET",
            get_body(items, ADAPT, 9) + rates(*values)
            + b"".join(region(*row) for row in regions),
            {"flags": ADAPT, "acceptedCodecs": 9, "items": facts, "regions": regions,
             **rates_json(*values)}, request_id=5, place=REMOTE)
    for codec in CODECS:
        body, rows = described([(0, 0, codec, 1 << 20, len(DATA), 77, xxh3(DATA))])
        response(f"GET response, codec {codec}", "GET", body, {"descriptors": rows},
                 request_id=5, payload=DATA)
    profile_frames()


def profile_frames():
    digest = DIGESTS[1]
    for verb, name in ((1, "get"), (2, "use")):
        request(f"CODEC_PROFILE {name}", "CODEC_PROFILE", bytes([verb, 0, 0, 0]) + digest,
                {"verb": verb, "hash": digest.hex()})
    for layout in (LAYOUT_ID, bytes(16)):
        request(f"CODEC_PROFILE list of {layout.hex()[:4]}", "CODEC_PROFILE",
                b"\3\0\0\0" + layout, {"verb": 3, "layoutID": layout.hex()})
    body, rows = described([(0, 0, 0, len(DATA), len(DATA), xxh3(DATA), xxh3(DATA))])
    response("CODEC_PROFILE bytes", "CODEC_PROFILE", body, {"verb": 1, "descriptors": rows},
             payload=DATA)
    body, rows = described([(1, 1, 0, 0, 0, 0, 0)])
    response("CODEC_PROFILE that nobody stored", "CODEC_PROFILE", body,
             {"verb": 1, "descriptors": rows})
    for kind, size, tokens in ((1, 4096, 0), (3, 1 << 30, TOP)):
        response(f"CODEC_PROFILE used, kind {kind}", "CODEC_PROFILE",
                 b"\2" + bytes(7) + profile_facts(kind, size, tokens),
                 {"verb": 2, **profile_json(kind, size, tokens)})
    for count in (0, 2):
        response(f"CODEC_PROFILE listed {count}", "CODEC_PROFILE",
                 b"\3" + bytes(7) + struct.pack("<II", count, 0)
                 + profile_facts(2, 8192, 20000) * count,
                 {"verb": 3, "profiles": [profile_json(2, 8192, 20000)] * count})


def delivery_faults():
    def refused(name, field, op, body, place=0, grants=0):
        raw = header(OPS[op], 0, 1, 0, body, 0, 1000, place=place) + body
        fault(name, "bad_request", field, False, raw, grants)

    items = [get_item(KEYS[0]), get_item(KEYS[1])]
    good = get_body(items, ADAPT, 9) + rates(1, 2, 3, 4)
    refused("GET: adapting without rates", "bodyLength", "GET", get_body(items, ADAPT, 9))
    refused("GET: rates cut short", "bodyLength", "GET", good[:-1])
    refused("GET: bytes after the rates", "bodyLength", "GET", good + b"\0")
    refused("GET: rates without adapting", "bodyLength", "GET",
            get_body(items, 0, 9) + rates(1, 2, 3, 4))
    refused("GET: reserved in the rates", "reserved", "GET",
            get_body(items, ADAPT, 9) + rates(1, 2, 3, 4, 5))
    refused("GET: adapting in shared memory without a lease time", "bodyLength", "GET", good,
            SHARED, SHARED)
    digest = DIGESTS[0]
    for name, field, body in (
        ("verb 0", "verb", b"\0\0\0\0" + digest), ("verb 4", "verb", b"\4\0\0\0" + digest),
        ("reserved", "reserved", b"\1\1\0\0" + digest), ("empty body", "bodyLength", b""),
        ("hash cut short", "bodyLength", b"\1\0\0\0" + digest[:-1]),
        ("bytes behind a hash", "bodyLength", b"\2\0\0\0" + digest + b"\0"),
        ("list with a hash", "bodyLength", b"\3\0\0\0" + digest),
    ):
        refused(f"CODEC_PROFILE: {name}", field, "CODEC_PROFILE", body)
    refused("CODEC_PROFILE: hash and more", "bodyLength", "CODEC_PROFILE",
            b"\1\0\0\0" + digest * 2)


def delivery_answer_faults():
    """Answers that a client must refuse: (name, op, place, answers asked for, field, body)."""
    rows = []

    def bad(name, op, field, body, count):
        rows.append({"name": name, "op": op, "place": 0, "count": count, "field": field,
                     "hex": body.hex()})

    for codec in (6, 15, 18, 255):
        bad(f"GET: codec {codec}", "GET", "codec",
            described([(0, 0, codec, 1, 1, 1, 1)])[0], 1)
    miss = bytearray(described([(1, 1, 0, 0, 0, 0, 0)])[0])
    miss[10] = 3
    bad("GET: a miss with a codec", "GET", "codec", bytes(miss), 1)
    cause = bytearray(described([(1, 1, 0, 0, 0, 0, 0)])[0])
    cause[9] = 13
    bad("GET: cause 13", "GET", "missCause", bytes(cause), 1)
    used, listed = b"\2" + bytes(7), b"\3" + bytes(7)
    facts = profile_facts(1, 4096, 5)
    for name, field, body in (
        ("verb 4", "verb", b"\4" + bytes(7)), ("bytes not asked for", "verb", b"\1" + bytes(7)),
        ("reserved", "reserved", b"\2\1" + bytes(6) + facts),
        ("facts cut short", "bodyLength", used + facts[:-1]),
        ("facts and more", "bodyLength", used + facts + b"\0"),
        ("kind 0", "kind", used + profile_facts(0, 4096, 5)),
        ("kind 4", "kind", used + profile_facts(4, 4096, 5)),
        ("no bytes", "byteCount", used + profile_facts(1, 0, 5)),
        ("reserved in facts", "reserved", used + profile_facts(1, 4096, 5, reserved=1)),
        ("1025 profiles", "count", listed + struct.pack("<II", 1025, 0)),
        ("a profile too few", "bodyLength", listed + struct.pack("<II", 2, 0) + facts),
        ("reserved in a list", "reserved", listed + struct.pack("<II", 0, 1)),
    ):
        bad(f"CODEC_PROFILE: {name}", "CODEC_PROFILE", field, body, 0)
    bad("CODEC_PROFILE: two descriptors", "CODEC_PROFILE", "count",
        described([(1, 1, 0, 0, 0, 0, 0)] * 2)[0], 1)
    return rows
