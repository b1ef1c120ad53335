"""Collects frame and fault rows, and the sample keys that they share."""

from framing import OPS, RESPONSE, STATUSES, header
from hashing import layout_key, opaque_key, sha256

FRAMES = []
FAULTS = []


def frame(name, op, body, body_json, flags=0, request_id=1, status=0, deadline=0, payload=b"",
          place=0):
    head = header(OPS[op], flags, request_id, status, body, len(payload), deadline, place)
    FRAMES.append({
        "name": name,
        "fields": {"op": op, "flags": flags, "requestID": request_id, "status": STATUSES[status],
                   "place": place, "deadlineMillis": deadline, "body": body_json,
                   "payload": payload.hex()},
        "hex": (head + body + payload).hex(),
    })


def request(name, op, body, body_json, **options):
    options.setdefault("deadline", 10000)
    frame(name, op, body, body_json, **options)


def response(name, op, body, body_json, **options):
    options["flags"] = options.get("flags", 0) | RESPONSE
    frame(name, op, body, body_json, **options)


def fault(name, status, field, framing, raw, grants=0):
    """`grants` is the place that the connection grants beside inline, 0 for none."""
    FAULTS.append({"name": name, "status": status, "field": field, "framing": framing,
                   "grants": grants, "hex": raw.hex()})


DIGESTS = [sha256(b"chunk %d" % i) for i in range(4)]
LAYOUT_ID = bytes.fromhex("00112233445566778899aabbccddeeff")
PART = (0, 32, 0, 8)
KEYS = [layout_key(DIGESTS[0], LAYOUT_ID, PART), layout_key(DIGESTS[1], LAYOUT_ID, (16, 16, 4, 4)),
        opaque_key(b"opaque")]
KEYS_JSON = [key.hex() for key in KEYS]
DATA = bytes(range(256)) + b"kdn"
