"""Rankings of documents' tokens, stored beside them, and what a blend is going to cost."""

from __future__ import annotations

import math

import pytest
from blend_samples import (
    client,  # noqa: F401 (fixture)
    difference,
    full_prefill,
    learn_all,
    loud_model,
    one_thread,  # noqa: F401 (fixture)
    texts,
)
from tiny_models import prompt

from kdn.blending.errors import DocumentUnavailable
from kdn.engines import transformers_blend as blending
from kdn.errors import FieldError


@pytest.mark.parametrize("source", blending.SOURCES)
def test_the_tokens_with_the_highest_scores_are_computed_anew(client, source):
    model = loud_model("llama")
    learn_all(model, client)
    wanted = {"b": {7, 8, 60}, "c": {20}}
    for name, tokens in wanted.items():
        count = len(texts()[name])
        scores = [1.0 if token in tokens else 0.0 for token in range(count)]
        blending.rank_document(model, name, client, scores=scores)
    made = blending.compose(
        model, ["a", "b", "c"], client, recompute=0.013, ranked=True, source=source
    )
    found = [
        {token for start, end in place.recompute for token in range(start, end)}
        for place in made.plan.placements
    ]
    assert found == [set(), wanted["b"], wanted["c"]]
    rows = blending.recompute(model, made).recomputed
    assert rows == [150 + 6, 150 + 7, 150 + 59, 150 + 99 + 19]


def test_what_was_measured_finds_tokens_that_gain_more_than_the_rest_do(client):
    model = loud_model("llama")
    documents = learn_all(model, client)
    for name in ("b", "c"):
        measured = blending.rank_document(model, name, client, behind=prompt(90, 77))
        assert len(measured) == len(documents[name]) and all(map(math.isfinite, measured))
    whole = full_prefill(model, [token for ids in documents.values() for token in ids])
    options = {"recompute": 0.2, "drop_first": False}
    ranked = blending.compose(model, list(documents), client, ranked=True, **options)
    best = difference(blending.recompute(model, ranked).cache, whole)
    for name in ("b", "c"):
        scores = [-one for one in blending.rank_document(
            model, name, client, behind=prompt(90, 77)
        )]
        blending.rank_document(model, name, client, scores=scores)
    upside_down = blending.compose(model, list(documents), client, ranked=True, **options)
    assert best < difference(blending.recompute(model, upside_down).cache, whole)


def test_documents_without_scores_and_scores_that_do_not_fit_are_told(client):
    model = loud_model("llama")
    learn_all(model, client)
    with pytest.raises(DocumentUnavailable) as gone:
        blending.compose(model, ["a", "b"], client, recompute=0.1, ranked=True)
    assert gone.value.document == "b"
    for options in (
        {"scores": [1.0] * 99}, {"scores": [math.nan] * 100}, {"scores": [], "behind": [1]},
        {"behind": []}, {},
    ):
        with pytest.raises(FieldError):
            blending.rank_document(model, "b", client, **options)
    # The first document needs none.
    assert blending.compose(model, ["a"], client, recompute=0.1, ranked=True).row_count == 150


def test_scores_are_forgotten_with_their_document(client):
    model = loud_model("llama")
    ids = learn_all(model, client)["b"]
    blending.rank_document(model, "b", client, scores=[1.0] * 100)
    blending.compose(model, ["a", "b"], client, recompute=0.1, ranked=True)
    blending.forget_document("b", client)
    blending.learn_document(model, ids, "b", client)
    with pytest.raises(DocumentUnavailable):
        blending.compose(model, ["a", "b"], client, recompute=0.1, ranked=True)


def test_a_blend_tells_its_cost_before_anything_is_computed(client):
    model = loud_model("llama")
    learn_all(model, client)
    free = blending.compose(model, ["a", "b", "c"], client)
    assert free.cost().share == 0
    made = blending.compose(model, ["a", "b", "c"], client, recompute=0.2)
    plain, chosen = made.cost(), made.cost(deviation_layer=1)
    assert 0.15 < plain.share < 0.3 < chosen.share < 1
    done = blending.recompute(model, made)
    assert done.cost() == plain
