"""COMPOSE, EDIT and WORK: answers as they are decoded, and what is refused on either side."""

import pytest
from blending_bodies import DECODERS, is_taken
from hypothesis import given, settings
from hypothesis import strategies as st
from test_wire_vectors import FRAMES, split

from kdn import BlendPiece, Edit, FieldError, Part, compose, edits, work

ANSWERS = [name for name, row in FRAMES.items()
           if row["fields"]["op"] in DECODERS and row["fields"]["flags"] & 1]
LAYOUT_ID = bytes(range(16))


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_says_what_the_vector_says(name):
    fields = FRAMES[name]["fields"]
    assert DECODERS[fields["op"]](split(FRAMES[name])[1]) == fields["body"]


@pytest.mark.parametrize("name", ANSWERS)
def test_every_truncation_and_extension_of_an_answer_is_refused(name):
    op, body = FRAMES[name]["fields"]["op"], split(FRAMES[name])[1]
    assert is_taken(op, body)
    for length in range(len(body)):
        assert not is_taken(op, body[:length])
    assert not is_taken(op, body + bytes(1)) and not is_taken(op, body + bytes(8))


def test_no_flipped_bit_lets_a_plan_contradict_itself():
    body = split(FRAMES["COMPOSE response of three"])[1]
    taken = 0
    for index in range(len(body) * 8):
        flipped = bytearray(body)
        flipped[index // 8] ^= 1 << index % 8
        if not is_taken("COMPOSE", bytes(flipped)):
            continue
        taken += 1
        plan = compose.decode_composed(bytes(flipped), LAYOUT_ID)
        assert sum(piece.kept_count for piece in plan.pieces) == plan.row_count
        for before, after in zip(plan.pieces, plan.pieces[1:]):
            assert after.first_row == before.first_row + before.kept_count
            assert after.first_position >= before.first_position + before.token_count
    # Hash, byte count and epochs are free, and slots may be larger than what lies in them.
    assert taken >= 8 * (32 + 8 * len(plan.pieces))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(DECODERS)), st.binary(max_size=300))
def test_random_bodies_are_refused_by_a_protocol_error_or_taken(op, body):
    is_taken(op, body)


def test_the_layers_of_a_blend_are_objects_of_their_own():
    plan = compose.decode_composed(split(FRAMES["COMPOSE response of one"])[1], LAYOUT_ID)
    key = plan.key(7, 3)
    assert key == type(key).layout(plan.hash, LAYOUT_ID, Part(7, 1, 0, 3), 1)


def test_an_edit_is_made_by_its_name():
    assert Edit.scale_keys(1.5, [(0, 2)]) == Edit(1, ((0, 2),), 1.5)
    assert Edit.scale_values(0.5, [(0, 2)]) == Edit(2, ((0, 2),), 0.5)
    assert Edit.drop([(0, 2)]) == Edit(3, ((0, 2),))
    assert Edit.keep(500, [1.0]) == Edit(4, permille=500, scores=(1.0,))
    assert Edit.requantise("small") == Edit(5, codec=4)
    with pytest.raises(FieldError) as caught:
        Edit.requantise("exact")
    assert caught.value.field == "class"


def test_a_long_reason_is_cut_at_a_character():
    body = work.encode_fail(1, 1, "ü" * 600 + "x", False)
    assert body == work.encode_fail(1, 1, "ü" * 512, False)


def composing(pieces=("a",), **options):
    return lambda: compose.encode_compose(
        LAYOUT_ID, [BlendPiece(piece) for piece in pieces], **options)


def adding(*arguments):
    return lambda: edits.encode_add("a", Edit(*arguments))


@pytest.mark.parametrize(
    ("encode", "field"),
    [
        (composing(pieces=()), "count"),
        (composing(pieces=["a"] * 65), "count"),
        (composing(pieces=[""]), "name"),
        (composing(forbidden=["a\n"]), "name"),
        (composing(forbidden=["a"] * 65), "forbidden"),
        (composing(first_position=1 << 31), "firstPosition"),
        (composing(recompute_permille=1001), "recomputePermille"),
        (lambda: compose.encode_compose(b"", [BlendPiece("a")]), "layoutID"),
        (lambda: compose.encode_compose(LAYOUT_ID, [BlendPiece("a", 0, 1 << 31)]), "slot"),
        (lambda: compose.encode_compose(LAYOUT_ID, [BlendPiece("a", 1 << 64)]), "epoch"),
        (adding(6, ((0, 1),)), "kind"),
        (adding(5), "class"),
        (adding(5, (), 0.0, 0, (), 1), "class"),
        (adding(1, ((0, 1),), float("nan")), "strength"),
        (adding(2, ((0, 1),), 4.5), "strength"),
        (adding(1, ((0, 1),), 0.0), "strength"),
        (adding(3, ()), "spanCount"),
        (adding(3, tuple((i, i + 1) for i in range(257))), "spanCount"),
        (adding(3, ((1, 1),)), "span"),
        (adding(3, ((0, 2), (1, 3))), "span"),
        (adding(3, ((0, 1 << 31),)), "span"),
        (adding(4, (), 0.0, 0, (1.0,)), "permille"),
        (adding(4, (), 0.0, 500, ()), "scoreCount"),
        (adding(4, (), 0.0, 500, (float("inf"),)), "score"),
        (lambda: work.encode_submit("", b""), "kind"),
        (lambda: work.encode_submit("k", bytes(work.PAYLOAD_BYTES_MAX + 1)), "payload"),
        (lambda: work.encode_submit("k", b"", 86_400_001), "deadlineMillis"),
        (lambda: work.encode_submit("k", b"", 0, 11), "attempts"),
        (lambda: work.encode_take([], 0, 1000), "count"),
        (lambda: work.encode_take(["k"], 60_001, 1000), "waitMillis"),
        (lambda: work.encode_take(["k"], 0, 999), "leaseMillis"),
        (lambda: work.encode_renew(0, 1, 0), "id"),
        (lambda: work.encode_renew(1, 0, 0), "attempt"),
        (lambda: work.encode_renew(1, 1, 1001), "progress"),
        (lambda: work.encode_finish(1, 1, bytes(65_537)), "result"),
        (lambda: work.encode_list(0, 1001), "limit"),
    ],
)
def test_requests_that_cannot_be_are_refused_before_they_are_sent(encode, field):
    with pytest.raises(FieldError) as caught:
        encode()
    assert caught.value.field == field
