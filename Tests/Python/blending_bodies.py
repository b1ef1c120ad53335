"""Bodies of COMPOSE, EDIT and WORK as the vectors spell them, put into the client's words."""

import struct

from kdn import BlendPiece, Edit, ProtocolError, compose, edits, work


def number(bits):
    """The f32 that a vector names by its bit pattern."""
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def bits(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def encode_compose(body):
    return compose.encode_compose(
        bytes.fromhex(body["layoutID"]),
        [BlendPiece(piece["name"], piece["epoch"], piece["slot"]) for piece in body["pieces"]],
        drop_first=bool(body["flags"] & 1), edits=bool(body["flags"] & 2),
        first_position=body["firstPosition"], recompute_permille=body["recomputePermille"],
        forbidden=body["forbidden"],
        settling=bytes.fromhex(body["settling"]) or None,
    )


def edit_of(body):
    return Edit(
        body["kind"], tuple(tuple(span) for span in body["spans"]), number(body["strength"]),
        body["permille"], tuple(number(score) for score in body["scores"]),
        body.get("class", 0))


def edit_json(edit):
    return {"kind": edit.kind, "strength": bits(edit.strength), "permille": edit.permille,
            "spans": [list(span) for span in edit.spans],
            "scores": [bits(score) for score in edit.scores],
            **({"class": edit.codec} if edit.codec else {})}


def material_json(material):
    return {"state": int(material.state), "total": material.total, "kept": material.kept}


def encode_edit(body):
    verbs = {
        1: lambda: edits.encode_add(body["name"], edit_of(body), body["epoch"]),
        2: lambda: edits.encode_list(body["name"]),
        3: lambda: edits.encode_revert(body["name"], body["id"]),
        4: lambda: edits.encode_materialise(body["name"], bool(body["order"])),
    }
    return verbs[body["verb"]]()


def encode_work(body):
    held = body.get("id"), body.get("attempt")
    verbs = {
        1: lambda: work.encode_submit(
            body["kind"], bytes.fromhex(body["payload"]), body["deadlineMillis"],
            body["attempts"]),
        2: lambda: work.encode_take(body["kinds"], body["waitMillis"], body["leaseMillis"]),
        3: lambda: work.encode_renew(*held, body["progress"]),
        4: lambda: work.encode_finish(*held, bytes.fromhex(body["result"])),
        5: lambda: work.encode_fail(*held, body["reason"], bool(body["again"])),
        6: lambda: work.encode_status(body["id"]),
        7: lambda: work.encode_cancel(body["id"]),
        8: lambda: work.encode_list(body["after"], body["limit"]),
    }
    return verbs[body["verb"]]()


ENCODERS = {"COMPOSE": encode_compose, "EDIT": encode_edit, "WORK": encode_work}


def composed_json(found):
    return {
        "hash": found.hash.hex(), "rowCount": found.row_count, "endPosition": found.end_position,
        "byteCount": found.byte_count, "recomputeTokens": found.recompute_tokens,
        "pieces": [
            {"epoch": piece.epoch, "tokenCount": piece.token_count,
             "firstPosition": piece.first_position, "firstRow": piece.first_row,
             "dropped": [list(span) for span in piece.dropped],
             "recompute": [list(span) for span in piece.recompute]}
            for piece in found.pieces],
    }


def facts_json(facts):
    return {"id": facts.id, "kind": facts.kind, "state": int(facts.state),
            "attempts": facts.attempts, "progress": facts.progress}


def taken_json(job):
    if job is None:
        return {"id": 0}
    return {"id": job.id, "attempt": job.attempt, "kind": job.kind, "payload": job.payload.hex()}


def decode_compose(body):
    return composed_json(compose.decode_composed(body, bytes(16)))


def decode_edit(body):
    verb = body[0] if body else 1
    decoders = {
        1: lambda: {"id": edits.decode_added(body)},
        2: lambda: {"edits": [
            {"id": row.id, **edit_json(row.edit)} for row in edits.decode_listed(body)]},
        3: lambda: {"count": edits.decode_reverted(body)},
        4: lambda: material_json(edits.decode_materialised(body)),
    }
    return {"verb": verb, **decoders.get(verb, decoders[1])()}


def decode_work(body):
    verb = body[0] if body else 1
    decoders = {
        1: lambda: {"id": work.decode_submitted(body)},
        2: lambda: taken_json(work.decode_taken(body)),
        3: lambda: {"hold": work.decode_renewed(body)},
        4: lambda: {"hold": work.decode_finished(body)},
        5: lambda: {"hold": work.decode_failed(body)},
        6: lambda: status_json(work.decode_status(body)),
        7: lambda: {"state": work.decode_cancelled(body)},
        8: lambda: {"jobs": [facts_json(row) for row in work.decode_listed(body)]},
    }
    return {"verb": verb, **decoders.get(verb, decoders[1])()}


def status_json(status):
    return {**facts_json(status.facts), "reason": status.reason, "result": status.result.hex()}


DECODERS = {"COMPOSE": decode_compose, "EDIT": decode_edit, "WORK": decode_work}


def is_taken(op, body):
    """Whether a body is one that the client takes."""
    try:
        DECODERS[op](body)
    except ProtocolError as error:
        assert error.field
        return False
    return True
