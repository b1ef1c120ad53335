"""Frames of blending: COMPOSE, EDIT and WORK."""

import struct

from framing import OPS, header, text
from rows import DIGESTS, LAYOUT_ID, fault, request, response

PAYLOAD = b'{"name":"handbook"}'


def bits(value):
    """The bit pattern of an f32, by which vectors name it."""
    return struct.unpack("<I", struct.pack("<f", value))[0]


def pairs(spans):
    return b"".join(struct.pack("<II", *span) for span in spans)


def compose_body(pieces, flags=3, first=0, permille=100, forbidden=(), count=None, reserved=0,
                 settling=b""):
    data = LAYOUT_ID + struct.pack("<IIHHHH", flags, first, permille,
                                   len(pieces) if count is None else count, len(forbidden),
                                   reserved)
    data += settling
    for name, epoch, slot in pieces:
        data += struct.pack("<QI", epoch, slot) + text(name)
    return data + b"".join(text(name) for name in forbidden)


def blend_body(rows, end, size, recompute, pieces, reserved=0):
    data = DIGESTS[0] + struct.pack("<IIQIHH", rows, end, size, recompute, len(pieces), reserved)
    for epoch, tokens, position, row, dropped, again in pieces:
        data += struct.pack("<QIIIHH", epoch, tokens, position, row, len(dropped), len(again))
        data += pairs(dropped) + pairs(again)
    return data


def operation(kind, strength=0.0, spans=(), permille=0, scores=None, codec=0):
    data = struct.pack("<BBHf", kind, codec, permille, strength)
    if scores is not None:
        return data + struct.pack(f"<I{len(scores)}f", len(scores), *scores)
    return data + struct.pack("<I", len(spans)) + pairs(spans)


def operation_json(kind, strength=0.0, spans=(), permille=0, scores=(), codec=0):
    return {"kind": kind, "strength": bits(strength), "permille": permille,
            "spans": [list(span) for span in spans], "scores": [bits(score) for score in scores],
            **({"class": codec} if codec else {})}


OPERATIONS = {
    "emphasise": {"kind": 1, "strength": 1.5, "spans": [(3, 9), (9, 10), (40, 41)]},
    "scaled values": {"kind": 2, "strength": -4.0, "spans": [(0, 2**31 - 1)]},
    "drop": {"kind": 3, "spans": [(0, 1), (7, 12)]},
    "keep": {"kind": 4, "permille": 500, "scores": [0.5, -1.0, 3.25]},
    "requantise": {"kind": 5, "codec": 4},
}


def blending_frames():
    compose_frames()
    edit_frames()
    work_frames()


def compose_frames():
    for name, pieces, flags, first, permille, forbidden, settling in (
        ("one", [("handbook", 0, 0)], 0, 0, 0, [], b""),
        ("three", [("handbook", 5, 1024), ("Prüfung/№ 1", 0, 0), ("handbook", 2**64 - 1, 600)], 3,
         2**31 - 1, 1000, ["secret", "Prüfung/№ 2"], b""),
        ("two, settled", [("handbook", 0, 0), ("letter", 1, 0)], 5, 7, 0, ["secret"], DIGESTS[1]),
    ):
        request(f"COMPOSE request of {name}", "COMPOSE",
                compose_body(pieces, flags, first, permille, forbidden, settling=settling),
                {"layoutID": LAYOUT_ID.hex(), "flags": flags, "firstPosition": first,
                 "recomputePermille": permille, "forbidden": forbidden,
                 "settling": settling.hex(),
                 "pieces": [{"name": piece, "epoch": epoch, "slot": slot}
                            for piece, epoch, slot in pieces]})
    for name, rows, end, recompute, pieces in (
        ("one", 512, 512, 0, [(5, 512, 0, 0, [], [])]),
        ("three", 1031, 2048, 51,
         [(5, 512, 8, 0, [], []), (2**64 - 1, 512, 1024, 512, [(0, 1), (400, 403)], [(1, 51)]),
          (6, 12, 1600, 1020, [(0, 1)], [(3, 4)])]),
    ):
        body = blend_body(rows, end, rows * 1280, recompute, pieces)
        response(f"COMPOSE response of {name}", "COMPOSE", body,
                 {"hash": DIGESTS[0].hex(), "rowCount": rows, "endPosition": end,
                  "byteCount": rows * 1280, "recomputeTokens": recompute,
                  "pieces": [{"epoch": epoch, "tokenCount": tokens, "firstPosition": position,
                              "firstRow": row, "dropped": [list(span) for span in dropped],
                              "recompute": [list(span) for span in again]}
                             for epoch, tokens, position, row, dropped, again in pieces]})


def edit_frames():
    for name, fields in OPERATIONS.items():
        request(f"EDIT add, {name}", "EDIT",
                b"\1\0\0\0" + struct.pack("<Q", 7) + text("handbook") + operation(**fields),
                {"verb": 1, "name": "handbook", "epoch": 7, **operation_json(**fields)})
    request("EDIT list", "EDIT", b"\2\0\0\0" + text("Prüfung/№ 1"),
            {"verb": 2, "name": "Prüfung/№ 1"})
    for edit in (0, 2**64 - 1):
        request(f"EDIT revert of {edit}", "EDIT",
                b"\3\0\0\0" + struct.pack("<Q", edit) + text("handbook"),
                {"verb": 3, "name": "handbook", "id": edit})
    response("EDIT added", "EDIT", b"\1" + bytes(7) + struct.pack("<Q", 3), {"verb": 1, "id": 3})
    many = {"kind": 3, "spans": [(4 * i, 4 * i + 2) for i in range(300)]}
    for name, rows in (("none", []), ("all kinds", list(OPERATIONS.values())), ("many", [many])):
        response(f"EDIT listed, {name}", "EDIT",
                 b"\2" + bytes(7) + struct.pack("<I", len(rows))
                 + b"".join(struct.pack("<Q", 3 + 2 * i) + operation(**row)
                            for i, row in enumerate(rows)),
                 {"verb": 2, "edits": [{"id": 3 + 2 * i, **operation_json(**row)}
                                       for i, row in enumerate(rows)]})
    for order in (0, 1):
        request(f"EDIT materialise, order {order}", "EDIT",
                b"\4\0\0\0" + struct.pack("<I", order) + text("Prüfung/№ 1"),
                {"verb": 4, "name": "Prüfung/№ 1", "order": order})
    for state, total, kept in ((0, 0, 0), (1, 9, 3), (2, 9, 0), (3, 2**30, 2**30)):
        response(f"EDIT materialised, state {state}", "EDIT",
                 b"\4" + bytes(7) + struct.pack("<III", state, total, kept),
                 {"verb": 4, "state": state, "total": total, "kept": kept})
    response("EDIT reverted", "EDIT", b"\3" + bytes(7) + struct.pack("<I", 64),
             {"verb": 3, "count": 64})


def held(job, attempt):
    return struct.pack("<QI", job, attempt)


def long(data):
    return struct.pack("<I", len(data)) + data


def job_facts(job, kind, state, attempts, progress):
    return struct.pack("<QBBH", job, state, attempts, progress) + text(kind)


def work_frames():
    for payload, deadline, attempts in ((PAYLOAD, 600000, 3), (b"", 0, 0)):
        request(f"WORK submit of {len(payload)}", "WORK",
                b"\1\0\0\0" + struct.pack("<II", deadline, attempts) + text("learn")
                + long(payload),
                {"verb": 1, "kind": "learn", "payload": payload.hex(), "deadlineMillis": deadline,
                 "attempts": attempts})
    for kinds, wait, lease in ((["learn"], 0, 1000), (["blend", "k" * 32], 60000, 600000)):
        request(f"WORK take of {len(kinds)}", "WORK",
                b"\2\0\0\0" + struct.pack("<III", wait, lease, len(kinds))
                + b"".join(text(kind) for kind in kinds),
                {"verb": 2, "kinds": kinds, "waitMillis": wait, "leaseMillis": lease})
    job = {"id": 9, "attempt": 2}
    request("WORK renew", "WORK", b"\3\0\0\0" + held(9, 2) + struct.pack("<I", 250),
            {"verb": 3, **job, "progress": 250})
    request("WORK finish", "WORK", b"\4\0\0\0" + held(9, 2) + long(PAYLOAD),
            {"verb": 4, **job, "result": PAYLOAD.hex()})
    for again in (0, 1):
        request(f"WORK fail, again {again}", "WORK",
                b"\5\0\0\0" + held(9, 2) + struct.pack("<I", again) + text("no model, prüfen"),
                {"verb": 5, **job, "again": again, "reason": "no model, prüfen"})
    for verb, name in ((6, "status"), (7, "cancel")):
        request(f"WORK {name}", "WORK", bytes([verb, 0, 0, 0]) + struct.pack("<Q", 9),
                {"verb": verb, "id": 9})
    request("WORK list", "WORK", b"\x08\0\0\0" + struct.pack("<QI", 0, 1000),
            {"verb": 8, "after": 0, "limit": 1000})
    work_answers()


def work_answers():
    def answer(name, verb, body, fields):
        response(f"WORK {name}", "WORK", bytes([verb]) + bytes(7) + body, {"verb": verb, **fields})

    answer("submitted", 1, struct.pack("<Q", 9), {"id": 9})
    answer("taken, none", 2, bytes(8), {"id": 0})
    answer("taken", 2, held(9, 10) + text("learn") + long(PAYLOAD),
           {"id": 9, "attempt": 10, "kind": "learn", "payload": PAYLOAD.hex()})
    for verb, name in ((3, "renewed"), (4, "finished"), (5, "failed")):
        for hold in (1, 2, 3):
            answer(f"{name}, {hold}", verb, bytes([hold, 0, 0, 0]), {"hold": hold})
    rows = [(9, "learn", 1, 0, 0), (11, "blend", 2, 1, 500), (12, "b", 3, 10, 1000),
            (13, "b", 4, 3, 10), (14, "b", 5, 0, 0), (2**64 - 1, "b", 6, 1, 999)]
    named = [dict(zip(("id", "kind", "state", "attempts", "progress"), row)) for row in rows]
    for row, fields in zip(rows, named):
        reason, result = ("crashed" if row[2] == 4 else "", PAYLOAD if row[2] == 3 else b"")
        answer(f"status, state {row[2]}", 6, job_facts(*row) + text(reason) + long(result),
               {**fields, "reason": reason, "result": result.hex()})
    answer("cancelled", 7, b"\5\0\0\0", {"state": 5})
    answer("listed none", 8, struct.pack("<I", 0), {"jobs": []})
    answer("listed", 8, struct.pack("<I", len(rows)) + b"".join(job_facts(*row) for row in rows),
           {"jobs": named})


def blending_faults():
    def refused(name, field, op, body):
        raw = header(OPS[op], 0, 1, 0, body, 0, 1000) + body
        fault(f"{op}: {name}", "bad_request", field, False, raw)

    one = [("a", 0, 0)]
    for name, field, body in (
        ("unknown flag", "flags", compose_body(one, flags=8)),
        ("settling cut short", "bodyLength", compose_body([], 7, count=1, settling=b"\1" * 31)),
        ("position of 2^31", "firstPosition", compose_body(one, first=2**31)),
        ("1001 permille", "recomputePermille", compose_body(one, permille=1001)),
        ("no pieces", "count", compose_body([])),
        ("65 pieces", "count", compose_body(one * 65)),
        ("65 forbidden names", "forbidden", compose_body(one, forbidden=["a"] * 65)),
        ("reserved", "reserved", compose_body(one, reserved=1)),
        ("slot of 2^31", "slot", compose_body([("a", 0, 2**31)])),
        ("empty name", "name", compose_body([("", 0, 0)])),
        ("forbidden name with a control character", "name", compose_body(one, forbidden=["a\n"])),
        ("a piece too few", "bodyLength", compose_body(one, count=2)),
        ("bytes at the end", "bodyLength", compose_body(one) + b"\0"),
        ("header cut short", "bodyLength", compose_body(one)[:31]),
    ):
        refused(name, field, "COMPOSE", body)
    edit_faults(refused)
    work_faults(refused)


def edit_faults(refused):
    def add(**changes):
        encoded = operation(**{"kind": 1, "strength": 1.5, "spans": [(3, 9)], **changes})
        return b"\1\0\0\0" + struct.pack("<Q", 0) + text("a") + encoded

    nan, infinite = float("nan"), float("inf")
    for name, field, body in (
        ("verb 0", "verb", b"\0\0\0\0"), ("verb 5", "verb", b"\5\0\0\0"),
        ("materialise, order 2", "order", b"\4\0\0\0\2\0\0\0" + text("a")),
        ("materialise cut short", "bodyLength", b"\4\0\0\0\1\0\0"),
        ("reserved", "reserved", b"\2\0\1\0" + text("a")),
        ("empty name", "name", b"\2\0\0\0" + text("")),
        ("bytes behind a name", "bodyLength", b"\2\0\0\0" + text("a") + b"\0"),
        ("revert cut short", "bodyLength", b"\3\0\0\0" + bytes(7)),
        ("operation cut short", "bodyLength", add()[:-9]),
        ("kind 0", "kind", add(kind=0)), ("kind 6", "kind", add(kind=6)),
        ("class of another operation", "class", add(codec=3)),
        ("no class", "class", add(kind=5, strength=0.0, spans=[])),
        ("class that loses nothing", "class", add(kind=5, strength=0.0, spans=[], codec=1)),
        ("class 6", "class", add(kind=5, strength=0.0, spans=[], codec=6)),
        ("class with a strength", "strength", add(kind=5, strength=1.5, spans=[], codec=3)),
        ("class of spans", "spanCount", add(kind=5, strength=0.0, codec=3)),
        ("strength of no number", "strength", add(strength=nan)),
        ("strength without end", "strength", add(strength=infinite)),
        ("strength 4.5", "strength", add(strength=4.5)),
        ("keys x 0.125", "strength", add(strength=0.125)),
        ("values x -4.5", "strength", add(kind=2, strength=-4.5)),
        ("strength of drop", "strength", add(kind=3, strength=1.0)),
        ("permille of drop", "permille", add(kind=3, strength=0.0, permille=1)),
        ("no spans", "spanCount", add(spans=[])),
        ("257 spans", "spanCount", add(spans=[(2 * i, 2 * i + 1) for i in range(257)])),
        ("a span that is empty", "span", add(spans=[(3, 3)])),
        ("a span that ends before it starts", "span", add(spans=[(4, 3)])),
        ("spans that overlap", "span", add(spans=[(3, 9), (8, 10)])),
        ("spans that descend", "span", add(spans=[(8, 10), (3, 5)])),
        ("a span beyond all positions", "span", add(spans=[(3, 2**31)])),
        ("a span too few", "span", add()[:-1]),
        ("keep nothing", "permille", add(kind=4, strength=0.0, permille=0, scores=[1.0])),
        ("keep more than all", "permille", add(kind=4, strength=0.0, permille=1001, scores=[1.0])),
        ("no scores", "scoreCount", add(kind=4, strength=0.0, permille=500, scores=[])),
        ("a score of no number", "score",
         add(kind=4, strength=0.0, permille=500, scores=[1.0, nan])),
        ("a score too few", "scoreCount",
         add(kind=4, strength=0.0, permille=500, scores=[1.0, 2.0])[:-1]),
    ):
        refused(name, field, "EDIT", body)


def work_faults(refused):
    def submit(deadline=0, attempts=0, kind="learn", payload=b"x"):
        return b"\1\0\0\0" + struct.pack("<II", deadline, attempts) + text(kind) + long(payload)

    def take(wait=0, lease=1000, kinds=("learn",)):
        return (b"\2\0\0\0" + struct.pack("<III", wait, lease, len(kinds))
                + b"".join(text(kind) for kind in kinds))

    for name, field, body in (
        ("verb 0", "verb", bytes(12)), ("verb 9", "verb", b"\x09" + bytes(11)),
        ("reserved", "reserved", b"\6\1" + bytes(10)), ("too short", "bodyLength", b"\6\0\0\0"),
        ("deadline of more than a day", "deadlineMillis", submit(deadline=86400001)),
        ("11 attempts", "attempts", submit(attempts=11)),
        ("empty kind", "kind", submit(kind="")),
        ("kind of 33 bytes", "kind", submit(kind="k" * 33)),
        ("payload of more than there may be", "payload",
         submit()[:-5] + struct.pack("<I", 2**20 - 4095)),
        ("payload cut short", "bodyLength", submit()[:-1]),
        ("bytes behind the payload", "bodyLength", submit() + b"\0"),
        ("a long wait", "waitMillis", take(wait=60001)),
        ("a short lease", "leaseMillis", take(lease=999)),
        ("a long lease", "leaseMillis", take(lease=600001)),
        ("no kinds", "count", take(kinds=())), ("17 kinds", "count", take(kinds=["k"] * 17)),
        ("an empty kind", "kind", take(kinds=[""])),
        ("job 0", "id", b"\3\0\0\0" + held(0, 1) + bytes(4)),
        ("attempt 0", "attempt", b"\3\0\0\0" + held(1, 0) + bytes(4)),
        ("attempt 11", "attempt", b"\4\0\0\0" + held(1, 11) + long(b"")),
        ("progress 1001", "progress", b"\3\0\0\0" + held(1, 1) + struct.pack("<I", 1001)),
        ("progress cut short", "bodyLength", b"\3\0\0\0" + held(1, 1) + bytes(3)),
        ("result of more than 64 KiB", "result",
         b"\4\0\0\0" + held(1, 1) + struct.pack("<I", 65537)),
        ("again 2", "again", b"\5\0\0\0" + held(1, 1) + struct.pack("<I", 2) + text("")),
        ("reason of 1025 bytes", "reason", b"\5\0\0\0" + held(1, 1) + bytes(4) + text("r" * 1025)),
        ("status of job 0", "id", b"\6\0\0\0" + bytes(8)),
        ("cancel and more", "bodyLength", b"\7\0\0\0" + struct.pack("<Q", 1) + b"\0"),
        ("list of none", "limit", b"\x08\0\0\0" + struct.pack("<QI", 0, 0)),
        ("list of 1001", "limit", b"\x08\0\0\0" + struct.pack("<QI", 0, 1001)),
    ):
        refused(name, field, "WORK", body)


def blending_answer_faults():
    """Answers that a client must refuse."""
    rows = []

    def bad(name, op, field, body):
        rows.append({"name": f"{op}: {name}", "op": op, "place": 0, "count": 0, "field": field,
                     "hex": body.hex()})

    def blend(count=5, end=10, size=8, again=0, reserved=0, tokens=5, row=0, dropped=()):
        piece = (1, tokens, 0, row, dropped, [])
        return blend_body(count, end, size, again, [piece], reserved)

    two = [(1, 5, 0, 0, [], []), (1, 5, 4, 5, [], [])]
    for name, field, body in (
        ("no rows", "rowCount", blend(count=0)), ("no end", "endPosition", blend(end=0)),
        ("end beyond 2^31", "endPosition", blend(end=2**31 + 1)),
        ("no bytes", "byteCount", blend(size=0)),
        ("more recomputed than there is", "recomputeTokens", blend(again=6)),
        ("no pieces", "count", blend_body(5, 10, 8, 0, [])),
        ("65 pieces", "count", blend_body(5, 10, 8, 0, two * 33)),
        ("reserved", "reserved", blend(reserved=1)),
        ("no tokens", "tokenCount", blend(tokens=0)),
        ("first row of a gap", "firstRow", blend(row=1)),
        ("rows that are not kept", "rowCount", blend(count=4)),
        ("all dropped", "dropped", blend(dropped=[(0, 5)])),
        ("dropped beyond the tokens", "dropped", blend(dropped=[(4, 6)])),
        ("dropped out of order", "dropped", blend(dropped=[(3, 4), (0, 1)])),
        ("recomputed but dropped", "recompute",
         blend_body(4, 10, 8, 2, [(1, 5, 0, 0, [(0, 1)], [(0, 2)])])),
        ("recomputed beyond the tokens", "recompute",
         blend_body(5, 10, 8, 2, [(1, 5, 0, 0, [], [(4, 6)])])),
        ("recomputed otherwise than said", "recomputeTokens",
         blend_body(5, 10, 8, 1, [(1, 5, 0, 0, [], [(1, 3)])])),
        ("pieces that overlap", "firstPosition", blend_body(10, 10, 8, 0, two)),
        ("a piece beyond the end", "endPosition", blend(end=4)),
        ("1025 ranges", "dropped",
         blend_body(1, 9999, 8, 0, [(1, 5000, 0, 0, [(2 * i, 2 * i + 1) for i in range(1025)],
                                     [])])),
        ("ranges cut short", "bodyLength", blend_body(
            4, 10, 8, 0, [(1, 5, 0, 0, [(0, 1)], [])])[:-1]),
        ("bytes at the end", "bodyLength", blend() + b"\0"),
    ):
        bad(name, "COMPOSE", field, body)
    listed, drop = b"\2" + bytes(7), operation(3, spans=[(0, 1)])
    for name, field, body in (
        ("verb 5", "verb", b"\5" + bytes(7)), ("reserved", "reserved", b"\1\1" + bytes(14)),
        ("number 0", "id", b"\1" + bytes(15)),
        ("number cut short", "bodyLength", b"\1" + bytes(14)),
        ("65 edits", "count", listed + struct.pack("<I", 65)),
        ("an edit too few", "bodyLength", listed + struct.pack("<I", 1)),
        ("edits out of order", "id", listed + struct.pack("<I", 2)
         + (struct.pack("<Q", 4) + drop) * 2),
        ("1025 spans", "spanCount", listed + struct.pack("<IQ", 1, 4)
         + operation(3, spans=[(2 * i, 2 * i + 1) for i in range(1025)])),
        ("65 reverted", "count", b"\3" + bytes(7) + struct.pack("<I", 65)),
    ):
        bad(name, "EDIT", field, body)
    work_answer_faults(bad)
    return rows


def work_answer_faults(bad):
    def facts(*values):
        return b"\6" + bytes(7) + job_facts(*values) + text("") + long(b"")

    for name, field, body in (
        ("verb 9", "verb", b"\x09" + bytes(7)), ("reserved", "reserved", b"\7\1" + bytes(10)),
        ("job 0", "id", b"\1" + bytes(15)),
        ("attempt 0", "attempt", b"\2" + bytes(7) + held(1, 0) + text("k") + long(b"")),
        ("job without a kind", "kind", b"\2" + bytes(7) + held(1, 1) + text("") + long(b"")),
        ("none and more", "bodyLength", b"\2" + bytes(16)),
        ("hold 0", "hold", b"\3" + bytes(11)), ("hold 4", "hold", b"\4" + bytes(7) + b"\4\0\0\0"),
        ("hold with more", "reserved", b"\5" + bytes(7) + b"\1\1\0\0"),
        ("state 0", "state", facts(1, "k", 0, 0, 0)), ("state 7", "state", facts(1, "k", 7, 0, 0)),
        ("11 attempts", "attempts", facts(1, "k", 1, 11, 0)),
        ("progress 1001", "progress", facts(1, "k", 1, 0, 1001)),
        ("a reason of 1025 bytes", "reason",
         b"\6" + bytes(7) + job_facts(1, "k", 4, 0, 0) + text("r" * 1025) + long(b"")),
        ("state 7 after a cancel", "state", b"\7" + bytes(7) + b"\7\0\0\0"),
        ("1001 jobs", "count", b"\x08" + bytes(7) + struct.pack("<I", 1001)),
        ("a job too few", "bodyLength", b"\x08" + bytes(7) + struct.pack("<I", 1)),
        ("jobs out of order", "id", b"\x08" + bytes(7) + struct.pack("<I", 2)
         + job_facts(4, "k", 1, 0, 0) * 2),
    ):
        bad(name, "WORK", field, body)
