"""Places, shared memory and tickets: answers as they are decoded, and those that are refused."""

import blending_bodies
import pytest
from conftest import load_vectors
from framing import MORE, RESPONSE, header
from hypothesis import given, settings
from hypothesis import strategies as st
from test_wire_vectors import FRAMES, LIMITS, check_descriptors, decoded, split

from kdn import FieldError, ProtocolError, bodies, codec_bodies, link_bodies, wire
from kdn.wire import LinkKind, Place

ANSWER_FAULTS = load_vectors("frames.json")["answerFaults"]
IN_PLACE = [name for name in FRAMES if name.startswith("GET response, shared memory")]
TICKETS = [name for name in FRAMES if name.startswith("LINK_TICKET response")]


def decode_in_place(name):
    count = len(FRAMES[name]["fields"]["body"]["descriptors"])
    # Offsets of these vectors go as far as there are any; sizes are what the limits are about.
    return lambda body: link_bodies.decode_get_in_place(body, count, LIMITS)


@pytest.mark.parametrize("name", IN_PLACE)
def test_an_answer_in_shared_memory_says_where_each_hit_lies(name):
    (rows, found), expected = decoded(name, decode_in_place(name))
    check_descriptors(rows, expected["descriptors"])
    assert (found.lease_id, found.lease_ms) == (expected["leaseID"], expected["leaseMillis"])
    assert [
        {"slabID": hit.slab_id, "extents": [list(extent) for extent in hit.extents]}
        for hit in found.hits
    ] == expected["hits"]


@pytest.mark.parametrize("name", TICKETS)
def test_a_ticket_and_its_offers(name):
    found, expected = decoded(name, link_bodies.decode_link_ticket)
    assert (found.token, found.ms, found.host_id.hex()) == (
        expected["ticket"], expected["ticketMillis"], expected["hostID"])
    assert [(int(offer.kind), offer.address) for offer in found.offers] == [
        (offer["kind"], offer["address"]) for offer in expected["offers"]]


def test_the_offers_of_a_ticket_have_kinds():
    found, _ = decoded("LINK_TICKET response, every kind", link_bodies.decode_link_ticket)
    assert [offer.kind for offer in found.offers] == [
        LinkKind.SHARED_MEMORY, LinkKind.RDMA, LinkKind.UNIX, LinkKind.TCP]


def test_lengths_of_slab_and_window():
    for name, decode in (("MAP_SLAB response", link_bodies.decode_map_slab),
                         ("OPEN_WINDOW response", link_bodies.decode_open_window)):
        count, expected = decoded(name, decode)
        assert count == expected["byteCount"]


def decode_profile(body, count):
    """The answer to any verb: bytes are described, facts come as one or as a list."""
    if count:
        return bodies.decode_get(body, count, LIMITS)
    try:
        return codec_bodies.decode_profile_list(body)
    except ProtocolError as error:
        if error.field != "verb" or body[:1] == b"\1":
            raise
        return codec_bodies.decode_profile_used(body)


DECODERS = {
    ("GET", Place.INLINE): lambda body, count: bodies.decode_get(body, count, LIMITS),
    ("GET", Place.SHARED_MEMORY): lambda body, count: link_bodies.decode_get_in_place(
        body, count, LIMITS),
    ("GET", Place.REMOTE): lambda body, count: bodies.decode_get(body, count, LIMITS),
    ("MAP_SLAB", 0): lambda body, _: link_bodies.decode_map_slab(body),
    ("OPEN_WINDOW", 0): lambda body, _: link_bodies.decode_open_window(body),
    ("LINK_TICKET", 0): lambda body, _: link_bodies.decode_link_ticket(body),
    ("CODEC_PROFILE", 0): decode_profile,
    **{(op, 0): lambda body, _, decode=decode: decode(body)
       for op, decode in blending_bodies.DECODERS.items()},
}


@pytest.mark.parametrize("row", ANSWER_FAULTS, ids=lambda row: row["name"])
def test_an_answer_that_cannot_be_is_refused_by_its_field(row):
    with pytest.raises(ProtocolError) as caught:
        DECODERS[row["op"], row["place"]](bytes.fromhex(row["hex"]), row["count"])
    # A body that ends early may be told by the field where it ended.
    assert row["field"] in (caught.value.field, "bodyLength")


@pytest.mark.parametrize("name", IN_PLACE + TICKETS + ["MAP_SLAB response", "OPEN_WINDOW response"])
def test_every_truncation_and_extension_is_refused(name):
    _, body, _ = split(FRAMES[name])
    fields = FRAMES[name]["fields"]
    decode = DECODERS[fields["op"], fields["place"]]
    count = len(fields["body"].get("descriptors", ()))
    for length in range(len(body)):
        with pytest.raises(ProtocolError):
            decode(body[:length], count)
    with pytest.raises(ProtocolError):
        decode(body + bytes(1), count)


@pytest.mark.parametrize("name", IN_PLACE)
def test_no_flipped_bit_lets_a_hit_lie_outside_of_what_was_sent(name):
    _, body, _ = split(FRAMES[name])
    decode = decode_in_place(name)
    for index in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[index // 8] ^= 1 << index % 8
        try:
            rows, found = decode(bytes(flipped))
        except ProtocolError:
            continue
        hits = [row.sent_bytes for row in rows if not row.miss]
        assert hits == [sum(length for _, length in hit.extents) for hit in found.hits]
        assert bool(found.lease_id >> 63) == bool(hits)
        assert all(0 <= offset and offset + length < 1 << 63
                   for hit in found.hits for offset, length in hit.extents)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(DECODERS)), st.integers(0, 4), st.binary(max_size=300))
def test_random_bodies_are_refused_by_a_protocol_error_or_taken(which, count, body):
    try:
        DECODERS[which](body, count)
    except ProtocolError as error:
        assert error.field


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (header(5, RESPONSE, 1, 0, b"", 0, 0, place=3), "place"),
        (header(4, RESPONSE, 1, 0, b"", 0, 0, place=1), "place"),
        (header(5, RESPONSE, 1, 4, b"", 0, 0, place=1), "place"),
        (header(17, RESPONSE, 0, 9, b"", 0, 0, place=2), "place"),
        (header(5, RESPONSE, 1, 0, b"", 7, 0, place=1), "payloadLength"),
        (header(5, RESPONSE, 1, 0, b"", 7, 0, place=2), "payloadLength"),
        (header(5, RESPONSE | MORE, 1, 0, b"", 0, 0, place=1), "flags"),
    ],
)
def test_places_that_no_answer_has(frame, field):
    with pytest.raises(ProtocolError) as caught:
        wire.decode_header(frame, LIMITS)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("encode", "field"),
    [
        (lambda: bodies.encode_hello("a", "0" * 63, "", ticket=True), "token"),
        (lambda: bodies.encode_hello("a", "A" * 64, "", ticket=True), "token"),
        (lambda: link_bodies.encode_open_window(4095), "byteCount"),
        (lambda: link_bodies.encode_open_window(1 << 63), "byteCount"),
        (lambda: link_bodies.encode_put_window(1, 0, 0, 0), "byteCount"),
        (lambda: link_bodies.encode_put_window(1, 0, -1, 1), "windowOffset"),
        (lambda: link_bodies.encode_put_remote(1, 0, 0, 0, 0), "byteCount"),
        (lambda: bodies.encode_region(2**64 - 1, 0, 1), "address"),
        (lambda: bodies.encode_region(0, 2**32, 1), "key"),
        (lambda: bodies.encode_get([b""], wait=False, verify=True, place=Place.REMOTE), "regions"),
        (lambda: bodies.encode_get([b""], wait=False, verify=True, place=Place.SHARED_MEMORY,
                                   lease_ms=1 << 32), "leaseMillis"),
    ],
)
def test_requests_that_cannot_be_are_refused_before_they_are_sent(encode, field):
    with pytest.raises(FieldError) as caught:
        encode()
    assert caught.value.field == field
