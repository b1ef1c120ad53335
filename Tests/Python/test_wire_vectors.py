"""Frames against the vectors: requests as they are encoded, responses as they are decoded."""

import json

import pytest
from conftest import load_vectors

from kdn import Document, Get, Key, MissCause, Part, Put, Status, bodies, documents, wire
from kdn.jobs import Job
from kdn.wire import Limits, Op

FRAMES = {row["name"]: row for row in load_vectors("frames.json")["frames"]}
REQUESTS = [row for row in FRAMES.values() if not row["fields"]["flags"] & wire.RESPONSE]
RESPONSES = [row for row in FRAMES.values() if row["fields"]["flags"] & wire.RESPONSE]
LIMITS = Limits(
    body_bytes=1 << 20, frame_payload_bytes=1 << 20, object_bytes=1 << 20, keys_per_request=4096
)


def part_of(fields):
    return Part(*(fields[n] for n in ("firstLayer", "layerCount", "firstKVHead", "kvHeadCount")))


def keys_of(body):
    return [Key(bytes.fromhex(key)) for key in body["keys"]]


def encode_get(body):
    items = [
        Get(
            Key(bytes.fromhex(item["key"])),
            ranges=[tuple(pair) for pair in item["ranges"]] or None,
            part=item["part"] and part_of(item["part"]),
        )
        for item in body["items"]
    ]
    encoded = [bodies.encode_get_item(item) for item in items]
    return bodies.encode_get(encoded, wait=bool(body["flags"] & 1), verify=not body["flags"] & 2)


def encode_put_begin(body):
    item = Put(
        Key(bytes.fromhex(body["key"])), b"", bytes.fromhex(body["parent"]), body["firstToken"],
        body["tokenCount"], body["ttlMillis"], body["recomputeMicros"],
        bodies.DURABILITIES[body["durability"]],
    )
    return bodies.encode_put_begin(item, body["totalBytes"])


def encode_match(body):
    lease = body["leaseMillis"] if body["flags"] & 1 else None
    return bodies.encode_match(
        bytes.fromhex(body["layoutID"]), [bytes.fromhex(h) for h in body["hashes"]],
        [part_of(part) for part in body["parts"]], body["variant"], lease,
    )


def document_of(body):
    return Document(
        body["name"], bytes.fromhex(body["layoutID"]), body["tokenCount"], body["chunkTokens"],
        tuple(bytes.fromhex(value) for value in body["hashes"]), body["metadata"],
    )


def encode_document(body):
    verbs = {
        1: lambda: documents.encode_publish(document_of(body)),
        2: lambda: documents.encode_resolve(body["name"]),
        3: lambda: documents.encode_list(body["after"], body["limit"]),
        4: lambda: documents.encode_retire(body["name"]),
    }
    return verbs[body["verb"]]()


ENCODERS = {
    "LAYOUT": lambda body: bytes.fromhex(body["layout"]),
    "MATCH": encode_match,
    "EXISTS": lambda body: bodies.encode_keys(keys_of(body)),
    "TOUCH": lambda body: bodies.encode_keys(keys_of(body)),
    "UNPIN": lambda body: bodies.encode_keys(keys_of(body)),
    "PREFETCH": lambda body: bodies.encode_keys(keys_of(body)),
    "PIN": lambda body: bodies.encode_pin(keys_of(body), body["ttlMillis"]),
    "GET": encode_get,
    "PUT_BEGIN": encode_put_begin,
    "PUT_DATA": lambda body: bodies.encode_two(body["transferID"], body["offset"]),
    "PUT_COMMIT": lambda body: bodies.encode_two(body["transferID"], body["checksum"]),
    "PUT_ABORT": lambda body: bodies.encode_transfer(body["transferID"]),
    "RELEASE": lambda body: bodies.encode_lease(body["leaseID"]),
    "PURGE": lambda body: bodies.encode_purge(
        body["scope"], [bytes.fromhex(operand) for operand in body["operands"]]),
    "STATS": lambda body: b"",
    "DOCUMENT": encode_document,
}


@pytest.mark.parametrize("row", REQUESTS, ids=lambda row: row["name"])
def test_request_has_the_vectors_bytes(row):
    fields = row["fields"]
    body = fields["body"]
    if fields["op"] == "HELLO":
        encoded = bodies.encode_hello(body["namespace"], body["token"], body["agent"])
        # The client offers version 1 alone; the vectors also try a range of versions.
        encoded = encoded[:2] + body["maxVersion"].to_bytes(2, "little") + encoded[4:]
    else:
        encoded = ENCODERS[fields["op"]](body)
    payload = bytes.fromhex(fields["payload"])
    frame = wire.encode_frame(
        Op[fields["op"]], fields["requestID"], encoded, payload_bytes=len(payload),
        deadline_ms=fields["deadlineMillis"],
    )
    assert (frame + payload).hex() == row["hex"]


def split(row):
    raw = bytes.fromhex(row["hex"])
    header = wire.decode_header(raw[:64], LIMITS)
    body = raw[64 : 64 + header.body_bytes]
    wire.check_body(header, body)
    return header, body, raw[64 + header.body_bytes :]


@pytest.mark.parametrize("row", RESPONSES, ids=lambda row: row["name"])
def test_response_header_has_the_vectors_fields(row):
    header, _, payload = split(row)
    fields = row["fields"]
    assert Op(header.op).name == fields["op"]
    assert header.flags == fields["flags"]
    assert header.request_id == fields["requestID"]
    assert Status(header.status).name.lower() == fields["status"]
    assert payload.hex() == fields["payload"] and len(payload) == header.payload_bytes


@pytest.mark.parametrize(
    "row", [row for row in RESPONSES if row["fields"]["status"] != "ok"], ids=lambda r: r["name"]
)
def test_error_has_the_vectors_fields(row):
    header, body, _ = split(row)
    error = wire.decode_error(header.status, body)
    expected = row["fields"]["body"]
    assert error.retry_after_ms == expected["retryAfterMillis"]
    assert (error.field, error.value, error.limit, error.message) == tuple(
        expected[name] for name in ("field", "value", "limit", "message"))


def decoded(name, decode):
    _, body, _ = split(FRAMES[name])
    return decode(body), FRAMES[name]["fields"]["body"]


def test_hello_response():
    limits, expected = decoded("HELLO response", bodies.decode_hello)
    assert limits == Limits(
        expected["version"], expected["links"], expected["maxBodyBytes"],
        expected["maxFramePayloadBytes"], expected["maxObjectBytes"],
        expected["maxKeysPerRequest"], expected["maxRequestsInFlight"], expected["creditBytes"],
        expected["defaultDeadlineMillis"], expected["maxDeadlineMillis"],
        expected["idleTimeoutMillis"], expected["maxLeaseMillis"],
        expected["namespaceGeneration"], bytes.fromhex(expected["serverID"]), expected["server"],
    )


def test_layout_response():
    (layout_id, size), expected = decoded("LAYOUT response", bodies.decode_layout_reply)
    assert (layout_id.hex(), size) == (expected["layoutID"], expected["bytesPerToken"])


@pytest.mark.parametrize("name", [name for name in FRAMES if name.startswith("MATCH response")])
def test_match_response(name):
    reply, expected = decoded(name, lambda body: bodies.decode_match(body, 4))
    assert (reply.chunks, reply.cause.name.lower(), list(reply.tiers), reply.bytes,
            reply.estimate_us, reply.lease_id, reply.lease_ms) == tuple(
        expected[field] for field in ("matchedChunks", "cause", "tiers", "matchedBytes",
                                      "estimateMicros", "leaseID", "leaseMillis"))


@pytest.mark.parametrize("count", [0, 3, 17])
def test_exists_response(count):
    bits, expected = decoded(
        f"EXISTS response of {count}", lambda body: bodies.decode_exists(body, count))
    assert bits == expected["bits"]


def test_answers_about_keys():
    bits, expected = decoded("PIN response", lambda body: bodies.decode_pins(body, 3))
    assert bits == [True, False, True] and sum(bits) == expected["pinned"]
    bits, expected = decoded("UNPIN response", lambda body: bodies.decode_pins(body, 1))
    assert bits == [False] and expected["unpinned"] == 0
    touched, expected = decoded("TOUCH response", lambda body: bodies.decode_touch(body, 3))
    assert touched == expected["touched"]
    reply, expected = decoded("PREFETCH response", lambda body: bodies.decode_prefetch(body, 3))
    assert reply._asdict() == expected
    purged, expected = decoded("PURGE response", bodies.decode_purge)
    assert purged._asdict() == expected
    text, expected = decoded("STATS response", json.loads)
    assert text == json.loads(expected["json"])


def test_answers_about_documents():
    for count in (1, 4):
        found, expected = decoded(
            f"DOCUMENT resolved of {count}", documents.decode_resolved)
        assert found.document == document_of(expected)
        assert (found.epoch, found.present_chunks) == (
            expected["epoch"], expected["presentChunks"])
    for count in (0, 2):
        rows, expected = decoded(f"DOCUMENT listed {count}", documents.decode_listed)
        assert [
            (row.name, row.epoch, row.layout_id.hex(), row.token_count, row.chunk_count)
            for row in rows
        ] == [tuple(fields[name] for name in (
            "name", "epoch", "layoutID", "tokenCount", "chunkCount"))
            for fields in expected["documents"]]
    for name, decode in (
        ("published", documents.decode_published), ("retired", documents.decode_retired),
    ):
        epoch, expected = decoded(f"DOCUMENT {name}", decode)
        assert epoch == expected["epoch"]


@pytest.mark.parametrize("name", ["GET response, one hit", "GET response, first frame of two",
                                  "GET response, every miss cause"])
def test_get_response(name):
    expected = FRAMES[name]["fields"]["body"]["descriptors"]
    rows, _ = decoded(name, lambda body: bodies.decode_get(body, len(expected), LIMITS))
    for row, fields in zip(rows, expected, strict=True):
        assert row.miss == fields["miss"]
        assert row.cause is MissCause[fields["cause"].upper()]
        assert (row.object_bytes, row.sent_bytes, row.object_checksum, row.sent_checksum) == (
            fields["objectBytes"], fields["sentBytes"], fields["objectChecksum"],
            fields["sentChecksum"])


@pytest.mark.parametrize("op", ["BEGIN", "COMMIT"])
@pytest.mark.parametrize("state", [1, 2])
def test_put_response(op, state):
    reply, expected = decoded(f"PUT_{op} response, state {state}", bodies.decode_put)
    assert reply == (expected["state"], expected["objectChecksum"])


def test_a_job_tells_a_deadline_from_other_refusals():
    for name, kind in (("error deadline", TimeoutError), ("error busy", Exception)):
        header, body, _ = split(FRAMES[name])
        job = Job(0.0)
        job.on_error(header, body)
        assert job.done and isinstance(job.error, kind)
