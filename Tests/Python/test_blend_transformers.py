"""Blends of tiny models' documents through a real daemon."""

from __future__ import annotations

import pytest
import torch
from blend_samples import (
    CHUNK,
    SEVERAL_PLANES,
    SLIDING,
    client,  # noqa: F401 (fixture)
    difference,
    full_prefill,
    learn_all,
    loud_model,
    one_thread,  # noqa: F401 (fixture)
    texts,
)
from tiny_caches import Wrapped, assert_same_state
from tiny_models import MODELS, logits, ordinary_cache, prompt

import kdn
from kdn.blending.template import Slot, Template, Text
from kdn.engines import _documents, _measure, _recompute
from kdn.engines import transformers_blend as blending
from kdn.engines.transformers import prefill
from kdn.errors import FieldError, ServerError, Status

BLENDABLE = [name for name in MODELS if name not in SEVERAL_PLANES]


def limit_of(name: str) -> int:
    return 30 if name == SLIDING else 4096


@pytest.mark.parametrize("name", BLENDABLE)
def test_a_blend_of_one_document_is_its_own_cache(client, name):
    model = loud_model(name, torch.bfloat16)
    ids = learn_all(model, client, limit_of(name))["a"]
    found = blending.blend(model, ["a"], client)
    assert_same_state(found.cache, ordinary_cache(model, ids))
    assert (found.ids, found.positions) == (ids, list(range(len(ids))))
    assert found.recomputed == []


@pytest.mark.parametrize("name", BLENDABLE)
@pytest.mark.parametrize("selection", ["first", "deviation"])
def test_a_blend_computed_anew_in_full_is_the_full_prefill(client, name, selection):
    model = loud_model(name)
    documents = learn_all(model, client, limit_of(name))
    whole = [token for ids in documents.values() for token in ids]
    expected = full_prefill(model, whole)
    options = {"drop_first": False, "selection": selection}
    found = blending.blend(model, list(documents), client, recompute=1.0, **options)
    assert found.positions == list(range(len(whole)))
    assert difference(found.cache, expected) < 2e-5
    untouched = blending.blend(model, list(documents), client, recompute=0.0, **options)
    assert difference(untouched.cache, expected) > 0.02
    question = prompt(7, seed=9)
    assert torch.allclose(
        logits(model, question, found.cache), logits(model, question, expected), atol=2e-3
    )


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_positions_have_holes_and_rows_see_what_stands_before_them(client, attention):
    model = loud_model("llama")
    model.set_attn_implementation(attention)
    documents = learn_all(model, client)
    a, b, c = documents.values()
    pieces = ["a", blending.BlendPiece("b", slot=120), ("c", 0, 64)]
    found = blending.blend(model, pieces, client, recompute=1.0)
    spots = [*range(150), *range(151, 250), *range(271, 310)]
    assert (found.positions, found.end_position) == (spots, 334)
    assert found.ids == [*a, *b[1:], *c[1:]]
    assert found.recomputed == list(range(150, 288))
    # What the model itself makes of these tokens at these positions.
    expected = _measure.new_cache(model.config)
    with torch.inference_mode():
        model(
            input_ids=torch.tensor([found.ids]),
            position_ids=torch.tensor([spots]),
            past_key_values=expected,
        )
    assert difference(found.cache, expected) < 2e-5
    assert found.positions_for(3).tolist() == [[334, 335, 336]]
    logits(model, prompt(5), found.cache)
    assert found.positions_for(2).tolist() == [[339, 340]]


def test_a_layer_is_asked_for_when_the_pass_gets_there_and_not_before(client):
    model = loud_model("llama")
    learn_all(model, client)
    composed = blending.compose(model, ["a", "b"], client, recompute=0.2)
    events: list[str] = []
    hooks = [
        layer.register_forward_hook(lambda *_, number=number: events.append(f"done {number}"))
        for number, layer in enumerate(model.model.layers)
    ]

    def delivered(number: int):
        events.append(f"asked {number}")
        layer = composed.cache.layers[number]
        return layer.keys, layer.values

    rows = composed.plan.recompute_rows
    _recompute.run_rows(model, composed.ids, composed.positions, rows, delivered)
    assert events == [f"{what} {n}" for n in range(4) for what in ("asked", "done")]
    events.clear()
    _recompute.run_rows(model, composed.ids, composed.positions, rows, delivered, last_layer=2)
    assert events == ["asked 0", "done 0", "asked 1", "done 1", "asked 2"]
    for hook in hooks:
        hook.remove()


def test_rows_that_are_not_chosen_stay_as_they_were_delivered(client):
    model = loud_model("llama")
    learn_all(model, client)
    composed = blending.compose(model, ["a", "b", "c"], client, recompute=0.1)
    found = blending.recompute(model, composed)
    assert len(found.recomputed) == 29 == composed.plan.recompute_tokens
    assert found.recomputed == [*range(150, 165), *range(249, 263)]
    kept = sorted(set(range(288)).difference(found.recomputed))
    for new, old in zip(found.cache.layers, composed.cache.layers, strict=True):
        assert torch.equal(new.keys[:, :, kept], old.keys[:, :, kept])
        assert torch.equal(new.values[:, :, kept], old.values[:, :, kept])
    last = found.cache.layers[-1].values, composed.cache.layers[-1].values
    rows = found.recomputed
    assert all(not torch.equal(last[0][:, :, row], last[1][:, :, row]) for row in rows)


def test_deviation_chooses_the_rows_that_a_full_prefill_would_change_most(client):
    model = loud_model("llama")
    documents = learn_all(model, client)
    composed = blending.compose(model, list(documents), client, drop_first=False)
    found = blending.recompute(model, composed, selection="deviation", budget=0.2)
    whole = [token for ids in documents.values() for token in ids]
    expected = full_prefill(model, whole)
    layer, old = expected.layers[1], composed.cache.layers[1]
    change = (layer.keys - old.keys).square().sum(dim=(0, 1, 3))
    first = [150, 151, 152, 153, 250, 251, 252, 253]
    ranked = [row for row in change.argsort(descending=True).tolist() if row not in first]
    assert found.recomputed == sorted([*first, *ranked[: 58 - 8]])
    # The layer that the choice was made at is exact for all rows.
    assert torch.allclose(found.cache.layers[1].keys, layer.keys, atol=1e-5)
    chosen_first = blending.blend(
        model, list(documents), client, recompute=0.2, selection="first", drop_first=False
    )
    assert difference(found.cache, expected) < difference(chosen_first.cache, expected)


def test_what_fills_a_templates_slot_moves_nothing_behind_it(client):
    model = loud_model("llama")
    learn_all(model, client)
    template = Template((Text("a"), Slot("letter", 120), Text("c"), Slot("note", 60, True)))
    long = blending.compose(model, template.fill({"letter": "b"}), client)
    short = blending.compose(model, template.fill({"letter": "c", "note": "c"}), client)
    assert long.plan.placements[2].first_position == 270
    assert [one.first_position for one in short.plan.placements] == [0, 150, 270, 310]
    assert (long.end_position, short.end_position) == (310, 370)
    rows = slice(249, 288), slice(189, 228)
    for one, other in zip(long.cache.layers, short.cache.layers, strict=True):
        assert torch.equal(one.keys[:, :, rows[0]], other.keys[:, :, rows[1]])
    with pytest.raises(FieldError) as caught:
        blending.compose(model, template.fill({"letter": "a"}), client)
    assert caught.value.field == "slot"


def test_the_same_document_may_stand_twice(client):
    model = loud_model("llama")
    ids = learn_all(model, client)["c"]
    found = blending.blend(model, ["c", "c"], client, drop_first=False, recompute=1.0)
    assert difference(found.cache, full_prefill(model, ids + ids)) < 2e-5


def test_a_first_position_moves_everything(client):
    model = loud_model("llama")
    learn_all(model, client)
    found = blending.compose(model, ["a", "b"], client, first_position=50)
    assert (found.positions[0], found.positions[150], found.end_position) == (50, 201, 300)


def test_a_text_that_is_learnt_again_is_what_the_name_stands_for(client):
    model = loud_model("llama")
    learn_all(model, client)
    first = blending.compose(model, ["b"], client)
    other = prompt(90, seed=77)
    again = blending.learn_document(model, other, "b", client, chunk_tokens=CHUNK)
    assert again.epoch > first.epochs[0]
    assert blending.compose(model, ["b"], client).ids == other
    with pytest.raises(FieldError) as caught:
        blending.compose(model, [("b", first.epochs[0])], client)
    assert (caught.value.field, caught.value.value) == ("epoch", first.epochs[0])


def test_what_is_there_is_not_computed_again(client):
    model = loud_model("llama")
    ids = learn_all(model, client)["a"]
    again = blending.learn_document(model, ids, "other name", client, chunk_tokens=CHUNK)
    assert (again.bytes_sent, again.prefill_seconds) == (0, 0.0)
    plane = _documents.the_plane(model)
    document = client.resolve_document("a").document
    client.purge(keys=[plane.key(document.hashes[2])])
    again = blending.learn_document(model, ids, "a", client, chunk_tokens=CHUNK)
    assert again.bytes_sent == plane.chunk_bytes(150 - 2 * CHUNK) + 4 * 150
    found = blending.blend(model, ["other name"], client)
    assert difference(found.cache, ordinary_cache(model, ids)) == 0


def test_what_is_forgotten_cannot_be_had_and_shared_chunks_stay(client):
    model = loud_model("llama")
    ids = texts()["a"]
    blending.learn_document(model, ids, "whole", client, chunk_tokens=CHUNK)
    blending.learn_document(model, ids[:100], "start", client, chunk_tokens=CHUNK)
    assert blending.forget_document("whole", client) == 2
    with pytest.raises(ServerError) as caught:
        blending.compose(model, ["whole"], client)
    assert caught.value.status is Status.NOT_FOUND
    assert blending.compose(model, ["start"], client).ids == ids[:100]
    plane = _documents.the_plane(model)
    document = client.resolve_document("start").document
    assert client.exists([plane.key(chunk) for chunk in document.hashes]) == [True] * 2
    assert blending.forget_document("start", client) == 2
    assert client.exists([plane.key(chunk) for chunk in document.hashes]) == [False] * 2
    assert client.exists([_documents.tokens_key(document)]) == [False]
    with pytest.raises(ServerError):
        blending.forget_document("start", client)


@pytest.mark.parametrize("status", [Status.NOT_FOUND, Status.FORBIDDEN, Status.BUSY])
def test_a_name_that_is_not_told_any_more_keeps_nothing_from_being_forgotten(client, status):
    model = loud_model("llama")
    learn_all(model, client)
    wrapped = Wrapped(client)

    def resolve(name: str, timeout: float | None = None):
        if name == "b":
            raise ServerError(status)
        return client.resolve_document(name, timeout=timeout)

    wrapped.resolve_document = resolve
    if status is Status.BUSY:
        with pytest.raises(ServerError):
            blending.forget_document("a", wrapped)
        assert blending.compose(model, ["a"], client).row_count == 150
    else:
        assert blending.forget_document("a", wrapped) == 3


def test_documents_share_the_prompts_cache_of_nobody(client):
    """A prompt that begins with the same tokens has other keys: its chain has another root."""
    model = loud_model("llama")
    ids = learn_all(model, client)["a"]
    found = kdn.retrieve(model, ids, client=client, chunk_tokens=CHUNK)
    assert found.tokens == 0
    assert prefill(model, ids).get_seq_length() == len(ids)
