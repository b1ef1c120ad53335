"""Plans of blends, against the vectors and their own rules."""

from __future__ import annotations

import random
from typing import Any

import pytest
from conftest import load_vectors

from kdn.blending.plan import BlendPlan, Piece, plan
from kdn.errors import FieldError

VECTORS = load_vectors("blend_plans.json")


def planned(request: dict[str, Any]) -> BlendPlan:
    pieces = [
        Piece(
            one["tokenCount"],
            one["slot"],
            tuple(tuple(span) for span in one["drops"]),
            None if one["scores"] is None else tuple(one["scores"]),
        )
        for one in request["pieces"]
    ]
    return plan(
        pieces,
        first_position=request["firstPosition"],
        drop_first=request["dropFirst"],
        recompute_permille=request["recomputePermille"],
        position_limit=request["positionLimit"],
    )


@pytest.mark.parametrize("row", VECTORS["plans"], ids=lambda row: row["name"])
def test_a_plan_is_that_of_the_vectors(row):
    made = planned(row["request"])
    assert made.row_count == row["rowCount"]
    assert made.end_position == row["endPosition"]
    assert made.recompute_tokens == row["recomputeTokens"]
    found = [
        {
            "firstPosition": placement.first_position,
            "firstRow": placement.first_row,
            "dropped": [list(span) for span in placement.dropped],
            "recompute": [list(span) for span in placement.recompute],
        }
        for placement in made.placements
    ]
    assert found == row["placements"]


@pytest.mark.parametrize("row", VECTORS["invalidPlans"], ids=lambda row: row["name"])
def test_a_plan_that_cannot_be_names_the_field(row):
    with pytest.raises(FieldError) as caught:
        planned(row["request"])
    assert caught.value.field == row["field"]


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused(score):
    with pytest.raises(FieldError) as caught:
        plan([Piece(3), Piece(3, scores=(0.0, score, 1.0))])
    assert caught.value.field == "scores"


@pytest.mark.parametrize("seed", range(200))
def test_any_plan_covers_each_kept_token_once_and_leaves_its_holes(seed):
    chance = random.Random(seed)
    with_scores = chance.random() < 0.5
    pieces = [some_piece(chance, with_scores) for _ in range(chance.randint(1, 8))]
    first, drop_first = chance.randint(0, 99), chance.random() < 0.5
    permille = chance.choice([0, 1, 100, 150, 999, 1000])
    made = plan(
        pieces, first_position=first, drop_first=drop_first, recompute_permille=permille
    )
    expected: list[int] = []
    starts: list[int] = []
    position = first
    for index, piece in enumerate(pieces):
        gone = {token for start, end in piece.drops for token in range(start, end)}
        if drop_first and index:
            gone.add(0)
        starts.append(len(expected))
        expected += [position + t for t in range(piece.token_count) if t not in gone]
        position += piece.slot or piece.token_count
    assert made.positions == expected
    assert made.end_position == position > expected[-1]
    assert made.row_count == len(expected)
    assert [placement.first_row for placement in made.placements] == starts
    rows = made.recompute_rows
    later = len(expected) - (starts[1] if len(starts) > 1 else len(expected))
    assert rows == sorted(set(rows))
    assert len(rows) == made.recompute_tokens == min(-(-permille * len(expected) // 1000), later)
    assert not rows or rows[0] >= starts[1]


def some_piece(chance: random.Random, with_scores: bool) -> Piece:
    count = chance.randint(2, 40)
    slot = chance.choice([0, count, count + chance.randint(1, 30)])
    bounds = [sorted(chance.sample(range(2, count + 1), 2)) for _ in range(3) if count > 4]
    # The token at 1 stays, so that something is kept.
    drops = tuple((start, end) for start, end in bounds)
    scores = tuple(chance.uniform(-1, 1) for _ in range(count)) if with_scores else None
    return Piece(count, slot, drops, scores)
