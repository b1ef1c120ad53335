"""Frames of links other than a stream: bytes in shared memory or behind RDMA, and tickets."""

import struct

from framing import CAUSES, OPS, descriptor, get_body, get_item, header, hello_body, text, xxh3
from rows import DATA, KEYS, fault, request, response

SHARED, REMOTE = 1, 2
LEASE = 2**63 + 5
TICKET = bytes(range(100, 132))
HOST_ID = bytes(range(16, 32))
TOP = 2**64 - 1


def region(address, key, count, reserved=0):
    return struct.pack("<QIIQ", address, key, reserved, count)


def lease_body(lease_id, millis, hits, reserved=0):
    """What follows the descriptors; a hit is (slab, extents)."""
    data = struct.pack("<QII", lease_id, millis, reserved)
    for slab, extents in hits:
        data += struct.pack("<QII", slab, len(extents), 0)
        data += b"".join(struct.pack("<QQ", *extent) for extent in extents)
    return data


def ticket_body(ticket, millis, host_id, offers):
    data = ticket + struct.pack("<II", millis, len(offers)) + host_id
    return data + b"".join(struct.pack("<I", kind) + text(address) for kind, address in offers)


def link_frames():
    hello_frame()
    shared_frames()
    remote_frames()
    request("MAP_SLAB request", "MAP_SLAB", struct.pack("<Q", TOP), {"slabID": TOP})
    response("MAP_SLAB response", "MAP_SLAB", struct.pack("<Q", 64 << 20),
             {"byteCount": 64 << 20})
    request("OPEN_WINDOW request", "OPEN_WINDOW", struct.pack("<Q", 4096), {"byteCount": 4096})
    response("OPEN_WINDOW response", "OPEN_WINDOW", struct.pack("<Q", 64 << 20),
             {"byteCount": 64 << 20})
    request("LINK_TICKET request", "LINK_TICKET", bytes(8), {})
    for name, offers in (
        ("no offers", []),
        ("every kind", [(4, "/run/kdn/kdnd.sock"), (8, "10.77.0.1:9441"), (2, "/run/kdn/kdnd.sock"),
                        (1, "[fd00::1]:9440")]),
        ("a kind of the future", [(2**31, "prüfen")]),
    ):
        response(f"LINK_TICKET response, {name}", "LINK_TICKET",
                 ticket_body(TICKET, 10000, HOST_ID, offers),
                 {"ticket": TICKET.hex(), "ticketMillis": 10000, "hostID": HOST_ID.hex(),
                  "offers": [{"kind": kind, "address": address} for kind, address in offers]})


def hello_frame():
    request("HELLO request, ticket", "HELLO", hello_body(1, 1, 1, "default", TICKET.hex(), "kdn"),
            {"minVersion": 1, "maxVersion": 1, "flags": 1, "namespace": "default",
             "token": TICKET.hex(), "agent": "kdn"})


def described(rows):
    body = struct.pack("<II", len(rows), 0) + b"".join(descriptor(*row) for row in rows)
    names = ("miss", "cause", "codec", "objectBytes", "sentBytes", "objectChecksum",
             "sentChecksum")
    return body, [dict(zip(names, (row[0] == 1, CAUSES[row[1]], *row[2:]))) for row in rows]


WHOLE = (0, 0, 0, len(DATA), len(DATA), xxh3(DATA), xxh3(DATA))
PARTIAL = (0, 0, 0, 1000, 17, xxh3(b"k" * 1000), 0)
MISSED = (1, 9, 0, 0, 0, 0, 0)


def item_facts(key, ranges=()):
    return {"key": key.hex(), "selection": 1 if ranges else 0,
            "ranges": [list(pair) for pair in ranges], "part": None}


def shared_frames():
    ranges = [(0, 16), (100, 1)]
    for name, millis in (("default lease", 0), ("longest lease", 2**32 - 1)):
        request(f"GET request, shared memory, {name}", "GET",
                get_body([get_item(KEYS[2]), get_item(KEYS[2], 1, ranges)], 2)
                + struct.pack("<II", millis, 0),
                {"flags": 2, "acceptedCodecs": 1, "leaseMillis": millis,
                 "items": [item_facts(KEYS[2]), item_facts(KEYS[2], ranges)]},
                request_id=5, place=SHARED)
    whole, partial = (7, [(1 << 20, len(DATA))]), (TOP, [(4096, 16), (0, 1)])
    for name, rows, lease_id, millis, hits in (
        ("one hit", [WHOLE], LEASE, 10000, [whole]),
        ("hit, miss and ranges", [WHOLE, MISSED, PARTIAL], 2**63, 1, [whole, partial]),
        ("largest offset", [WHOLE], TOP, 2**32 - 1, [(0, [(2**63 - 1 - len(DATA), len(DATA))])]),
        ("no hit", [MISSED], 0, 0, []),
    ):
        body, facts = described(rows)
        response(f"GET response, shared memory, {name}", "GET",
                 body + lease_body(lease_id, millis, hits),
                 {"descriptors": facts, "leaseID": lease_id, "leaseMillis": millis, "hits": [
                     {"slabID": slab, "extents": [list(extent) for extent in extents]}
                     for slab, extents in hits]},
                 request_id=5, place=SHARED)
    request("PUT_DATA request, window", "PUT_DATA", struct.pack("<QQQQ", 9, 0, 8192, len(DATA)),
            {"transferID": 9, "offset": 0, "windowOffset": 8192, "byteCount": len(DATA)},
            request_id=10, place=SHARED)


def remote_frames():
    regions = [[0x7F0000001000, 77, 1 << 20], [TOP, 2**32 - 1, 0]]
    request("GET request, remote", "GET",
            get_body([get_item(KEYS[2]), get_item(KEYS[0])])
            + b"".join(region(*values) for values in regions),
            {"flags": 0, "acceptedCodecs": 1, "regions": regions,
             "items": [item_facts(KEYS[2]), item_facts(KEYS[0])]}, request_id=5, place=REMOTE)
    body, facts = described([WHOLE, MISSED])
    response("GET response, remote", "GET", body, {"descriptors": facts}, request_id=5,
             place=REMOTE)
    source = [0x7F0000002000, 78, len(DATA)]
    request("PUT_DATA request, remote", "PUT_DATA", struct.pack("<QQ", 9, 0) + region(*source),
            {"transferID": 9, "offset": 0, "region": source}, request_id=10, place=REMOTE)


def link_faults():
    def refused(name, field, op, body, place=0, grants=0, status="bad_request", payload=b""):
        raw = header(OPS[op], 0, 1, 0, body, len(payload), 1000, place=place) + body + payload
        fault(name, status, field, False, raw, grants)

    for name, token in (
        ("upper-case ticket", TICKET.hex().upper()), ("ticket of 63 digits", TICKET.hex()[1:]),
        ("ticket of 65 digits", TICKET.hex() + "0"), ("no ticket", ""),
        ("ticket that is not hex", "g" + TICKET.hex()[1:]),
    ):
        refused(f"HELLO: {name}", "token", "HELLO", hello_body(1, 1, 1, "default", token, ""))
    refused("HELLO: unknown flag", "flags", "HELLO", hello_body(1, 1, 3, "default", "", ""))
    items = get_body([get_item(KEYS[2]), get_item(KEYS[0])])
    for place, name in ((SHARED, "shared memory"), (REMOTE, "remote")):
        good = items + (struct.pack("<II", 0, 0) if place == SHARED else region(0, 0, 0) * 2)
        refused(f"GET: {name}, with payload", "payloadLength", "GET", good, place, place,
                payload=b"x")
        refused(f"GET: {name}, body cut short", "bodyLength", "GET", good[:-1], place, place)
        refused(f"GET: {name}, bytes after the end", "bodyLength", "GET", good + b"\0", place,
                place)
        refused(f"GET: {name}, not granted", "place", "GET", good, place, 3 - place,
                "unsupported")
        refused(f"PUT_COMMIT: {name}", "place", "PUT_COMMIT", bytes(16), place, place,
                "unsupported")
        refused(f"GET: inline with the end of {name}", "bodyLength", "GET", good, 0, place)
    refused("GET: shared memory, reserved", "reserved", "GET",
            items + struct.pack("<II", 0, 1), SHARED, SHARED)
    for name, field, values in (
        ("reserved", "reserved", (0, 0, 0, 1)), ("room beyond counting", "byteCount",
                                                 (0, 0, 2**63)),
        ("region beyond the last address", "address", (TOP, 0, 1)),
    ):
        refused(f"GET: remote, {name}", field, "GET", items + region(0, 0, 0) + region(*values),
                REMOTE, REMOTE)
    refused("GET: remote, a region too few", "bodyLength", "GET", items + region(0, 0, 0),
            REMOTE, REMOTE)
    operation_faults(refused)


def operation_faults(refused):
    for op, good in (("MAP_SLAB", 7), ("OPEN_WINDOW", 4096)):
        body = struct.pack("<Q", good)
        refused(f"{op}: without shared memory", "place", op, body, status="unsupported")
        refused(f"{op}: body cut short", "bodyLength", op, body[:7], 0, SHARED)
        refused(f"{op}: bytes after the end", "bodyLength", op, body + b"\0", 0, SHARED)
        refused(f"{op}: place 1", "place", op, body, SHARED, SHARED, "unsupported")
    for count in (0, 4095, 2**63):
        refused(f"OPEN_WINDOW: {count} bytes", "byteCount", "OPEN_WINDOW",
                struct.pack("<Q", count), 0, SHARED)
    refused("LINK_TICKET: flags", "flags", "LINK_TICKET", struct.pack("<II", 1, 0))
    refused("LINK_TICKET: reserved", "reserved", "LINK_TICKET", struct.pack("<II", 0, 1))
    refused("LINK_TICKET: empty body", "bodyLength", "LINK_TICKET", b"")
    refused("LINK_TICKET: bytes after the end", "bodyLength", "LINK_TICKET", bytes(9))


def answer_faults():
    """Answers that a client must refuse: (name, op, place, answers asked for, field, body)."""
    rows = []

    def bad(name, op, field, body, place=0, count=0):
        rows.append({"name": name, "op": op, "place": place, "count": count, "field": field,
                     "hex": body.hex()})

    whole, missed = described([WHOLE])[0], described([MISSED])[0]
    size = len(DATA)

    def shared(name, field, hits, body=whole, lease_id=LEASE, millis=1, **options):
        bad(f"GET in shared memory: {name}", "GET", field,
            body + lease_body(lease_id, millis, hits, **options), SHARED, 1)

    good = [(7, [(0, size)])]
    shared("hit without a lease", "leaseID", good, lease_id=0)
    shared("hit under a lease of MATCH", "leaseID", good, lease_id=5)
    shared("lease without a hit", "leaseID", [], body=missed)
    shared("lease of no time", "leaseMillis", good, millis=0)
    shared("time without a lease", "leaseMillis", [], body=missed, lease_id=0)
    shared("reserved", "reserved", good, reserved=1)
    shared("hit without extents", "extentCount", [(7, [])])
    shared("empty extent", "byteCount", [(7, [(0, 0), (0, size)])])
    shared("extents of less than was sent", "byteCount", [(7, [(0, size - 1)])])
    shared("extents of more than was sent", "byteCount", [(7, [(0, size), (0, 1)])])
    shared("extent beyond counting", "byteCount", [(7, [(0, 2**64 - 1)])])
    shared("extent that ends too far out", "offset", [(7, [(2**63 - size, size)])])
    shared("extent at the last offset", "offset", [(7, [(2**64 - 1, size)])])
    shared("a hit too few", "bodyLength", [])
    shared("a hit too many", "bodyLength", good * 2)
    shared("hit of a miss", "bodyLength", good, body=missed, lease_id=0, millis=0)
    extent_lie = bytearray(whole + lease_body(LEASE, 1, good))
    extent_lie[-24:-20] = struct.pack("<I", 2**32 - 1)
    bad("GET in shared memory: more extents than the body has", "GET", "bodyLength",
        bytes(extent_lie), SHARED, 1)
    bad("GET, remote: bytes after the descriptors", "GET", "bodyLength", whole + bytes(8), REMOTE,
        1)
    bad("GET, inline: answer of shared memory", "GET", "bodyLength",
        whole + lease_body(LEASE, 1, good), 0, 1)
    for name, op, body in (
        ("slab of no bytes", "MAP_SLAB", struct.pack("<Q", 0)),
        ("slab beyond counting", "MAP_SLAB", struct.pack("<Q", 2**63)),
        ("window of 4095 bytes", "OPEN_WINDOW", struct.pack("<Q", 4095)),
        ("window beyond counting", "OPEN_WINDOW", struct.pack("<Q", 2**63)),
    ):
        bad(name, op, "byteCount", body)
    for name, field, body in (
        ("no time", "ticketMillis", ticket_body(TICKET, 0, HOST_ID, [])),
        ("65 offers", "offerCount", ticket_body(TICKET, 1, HOST_ID, [(1, "a:1")] * 65)),
        ("offer of no kind", "kind", ticket_body(TICKET, 1, HOST_ID, [(0, "a:1")])),
        ("offer of two kinds", "kind", ticket_body(TICKET, 1, HOST_ID, [(3, "a:1")])),
        ("offer without address", "address", ticket_body(TICKET, 1, HOST_ID, [(1, "")])),
        ("address of 513 bytes", "address", ticket_body(TICKET, 1, HOST_ID, [(1, "a" * 513)])),
        ("offer cut short", "bodyLength", ticket_body(TICKET, 1, HOST_ID, [(1, "a:12345")])[:-1]),
        ("bytes after the offers", "bodyLength", ticket_body(TICKET, 1, HOST_ID, []) + b"\0"),
        ("ticket cut short", "bodyLength", TICKET),
    ):
        bad(f"LINK_TICKET: {name}", "LINK_TICKET", field, body)
    return rows
