"""Templates: fixed texts and slots."""

from __future__ import annotations

import pytest

from kdn.blending.template import Slot, Template, Text
from kdn.compose import BlendPiece
from kdn.errors import FieldError

LETTER = Template((Text("intro"), Slot("body", 100), Text("end"), Slot("note", 20, True)))


def test_a_filled_template_is_its_pieces_in_order():
    assert LETTER.fill({"body": "b"}) == [
        BlendPiece("intro"), BlendPiece("b", slot=100), BlendPiece("end"),
    ]
    assert LETTER.fill({"note": "n", "body": "b"})[3] == BlendPiece("n", slot=20)


@pytest.mark.parametrize("documents", [{}, {"note": "n"}, {"body": "b", "other": "x"}])
def test_slots_that_are_empty_or_unknown_are_named(documents):
    with pytest.raises(FieldError) as caught:
        LETTER.fill(documents)
    assert caught.value.field == "slot"
    assert caught.value.value == ("other" if "other" in documents else "body")


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ((), "count"),
        ((Text("x"),) * 65, "count"),
        ((Slot("a", 0),), "positions"),
        ((Slot("a", 2**31),), "positions"),
        ((Slot("a", 5), Slot("a", 5)), "slot"),
        ((Slot("a", 5, True), Text("x")), "optional"),
        ((Slot("a", 5, True), Slot("b", 5)), "optional"),
    ],
)
def test_a_template_that_cannot_be_names_the_field(parts, field):
    with pytest.raises(FieldError) as caught:
        Template(parts)
    assert caught.value.field == field
