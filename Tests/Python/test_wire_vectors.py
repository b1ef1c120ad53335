"""Frames against the vectors: requests as they are encoded, responses as they are decoded."""

import json

import blending_bodies
import pytest
from conftest import load_vectors

from kdn import Document, Get, Key, MissCause, Part, Put, Status, bodies, codec_bodies, documents
from kdn import link_bodies, wire
from kdn.errors import ProtocolError
from kdn.jobs import Job
from kdn.wire import Limits, Op, Place

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
    place = (Place.REMOTE if "regions" in body
             else Place.SHARED_MEMORY if "leaseMillis" in body else Place.INLINE)
    return bodies.encode_get(
        encoded, wait=bool(body["flags"] & 1), verify=not body["flags"] & 2, place=place,
        lease_ms=body.get("leaseMillis", 0), regions=body.get("regions", ()),
        codecs=body["acceptedCodecs"], exact=bool(body["flags"] & bodies.GET_EXACT),
        adapt=adaptation_of(body) if body["flags"] & bodies.GET_ADAPT else None,
    )


def adaptation_of(body):
    return bodies.Adaptation(
        *(body[name] for name in ("bandwidth", "decodeRate", "transformRate", "prefillRate")))


def encode_profile(body):
    verbs = {
        1: lambda: codec_bodies.encode_profile_get(bytes.fromhex(body["hash"])),
        2: lambda: codec_bodies.encode_profile_use(bytes.fromhex(body["hash"])),
        3: lambda: codec_bodies.encode_profile_list(bytes.fromhex(body["layoutID"])),
    }
    return verbs[body["verb"]]()


def encode_put_data(body):
    where = body["transferID"], body["offset"]
    if "region" in body:
        return link_bodies.encode_put_remote(*where, *body["region"])
    if "windowOffset" in body:
        return link_bodies.encode_put_window(*where, body["windowOffset"], body["byteCount"])
    return bodies.encode_two(*where)


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
    "PUT_DATA": encode_put_data,
    "PUT_COMMIT": lambda body: bodies.encode_two(body["transferID"], body["checksum"]),
    "PUT_ABORT": lambda body: bodies.encode_transfer(body["transferID"]),
    "RELEASE": lambda body: bodies.encode_lease(body["leaseID"]),
    "PURGE": lambda body: bodies.encode_purge(
        body["scope"], [bytes.fromhex(operand) for operand in body["operands"]]),
    "STATS": lambda body: b"",
    "DOCUMENT": encode_document,
    "MAP_SLAB": lambda body: link_bodies.encode_map_slab(body["slabID"]),
    "OPEN_WINDOW": lambda body: link_bodies.encode_open_window(body["byteCount"]),
    "LINK_TICKET": lambda body: link_bodies.encode_link_ticket(),
    "CODEC_PROFILE": encode_profile,
    **blending_bodies.ENCODERS,
}


@pytest.mark.parametrize("row", REQUESTS, ids=lambda row: row["name"])
def test_request_has_the_vectors_bytes(row):
    fields = row["fields"]
    body = fields["body"]
    if fields["op"] == "HELLO":
        encoded = bodies.encode_hello(
            body["namespace"], body["token"], body["agent"], ticket=body["flags"] == 1)
        # The client offers version 1 alone; the vectors also try a range of versions.
        encoded = encoded[:2] + body["maxVersion"].to_bytes(2, "little") + encoded[4:]
    else:
        encoded = ENCODERS[fields["op"]](body)
    payload = bytes.fromhex(fields["payload"])
    frame = wire.encode_frame(
        Op[fields["op"]], fields["requestID"], encoded, payload_bytes=len(payload),
        deadline_ms=fields["deadlineMillis"], place=fields["place"],
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
    assert header.place == fields["place"]
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
                                  "GET response, every miss cause", "GET response, remote"])
def test_get_response(name):
    expected = FRAMES[name]["fields"]["body"]["descriptors"]
    rows, _ = decoded(name, lambda body: bodies.decode_get(body, len(expected), LIMITS))
    check_descriptors(rows, expected)


def check_descriptors(rows, expected):
    for row, fields in zip(rows, expected, strict=True):
        assert row.miss == fields["miss"]
        assert row.codec == fields["codec"]
        assert row.cause is MissCause[fields["cause"].upper()]
        assert (row.object_bytes, row.sent_bytes, row.object_checksum, row.sent_checksum) == (
            fields["objectBytes"], fields["sentBytes"], fields["objectChecksum"],
            fields["sentChecksum"])


@pytest.mark.parametrize("codec", sorted(bodies.CODECS - {bodies.RAW}))
def test_only_an_accepted_codec_is_taken(codec):
    name = f"GET response, codec {codec}"
    expected = FRAMES[name]["fields"]["body"]["descriptors"]
    accepted = bodies.codec_bits([codec])
    rows, _ = decoded(name, lambda body: bodies.decode_get(body, 1, LIMITS, accepted))
    check_descriptors(rows, expected)
    others = bodies.codec_bits(bodies.CODECS - {codec})
    with pytest.raises(ProtocolError, match="codec"):
        decoded(name, lambda body: bodies.decode_get(body, 1, LIMITS, others))


def test_encoded_bytes_are_no_longer_than_raw_ones_and_a_header():
    _, body, _ = split(FRAMES["GET response, codec 3"])
    most = (1 << 20) + bodies.CODEC_HEADER_BYTES_MAX
    for sent, is_right in ((most, True), (most + 1, False)):
        changed = body[:24] + sent.to_bytes(8, "little") + body[32:]
        if is_right:
            assert bodies.decode_get(changed, 1, LIMITS, 8)[0].sent_bytes == most
        else:
            with pytest.raises(ProtocolError, match="sentBytes"):
                bodies.decode_get(changed, 1, LIMITS, 8)


@pytest.mark.parametrize("kind", [1, 3])
def test_a_profile_in_use_is_told(kind):
    found, expected = decoded(
        f"CODEC_PROFILE used, kind {kind}", codec_bodies.decode_profile_used)
    assert profile_json(found) == {**expected, "verb": None}


@pytest.mark.parametrize("count", [0, 2])
def test_profiles_are_listed(count):
    rows, expected = decoded(
        f"CODEC_PROFILE listed {count}", codec_bodies.decode_profile_list)
    assert [profile_json(row) for row in rows] == [
        {**fields, "verb": None} for fields in expected["profiles"]]


def profile_json(facts):
    part = facts.part
    return {
        "verb": None, "hash": facts.hash.hex(), "layoutID": facts.layout_id.hex(),
        "part": {"firstLayer": part.first_layer, "layerCount": part.layer_count,
                 "firstKVHead": part.first_kv_head, "kvHeadCount": part.kv_head_count},
        "byteCount": facts.byte_count, "tokenCount": facts.token_count, "kind": facts.kind,
    }


@pytest.mark.parametrize("name", ["CODEC_PROFILE bytes", "CODEC_PROFILE that nobody stored"])
def test_a_profiles_bytes_are_described_as_a_gets(name):
    expected = FRAMES[name]["fields"]["body"]["descriptors"]
    rows, _ = decoded(name, lambda body: bodies.decode_get(body, 1, LIMITS))
    check_descriptors(rows, expected)


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
