"""Leads: documents computed once more behind a short text, and what blends read of them."""

from __future__ import annotations

import hashlib
import struct

import pytest
import torch
from blend_samples import (
    CHUNK,
    SEVERAL_PLANES,
    SLIDING,
    client,  # noqa: F401 (fixture)
    full_prefill,
    learn_all,
    loud_model,
    one_thread,  # noqa: F401 (fixture)
    texts,
)
from tiny_models import MODELS, prompt

from kdn.blending.errors import DocumentUnavailable
from kdn.blending.rotation import turn
from kdn.compose import BlendPiece
from kdn.engines import _documents
from kdn.engines import transformers_blend as blending
from kdn.engines._rope import UnsupportedModel
from kdn.errors import FieldError

LEAD = blending.Lead(prompt(9, 77))


def test_the_name_is_of_the_ids_alone():
    packed = struct.pack("<3I", 1, 2, 70_000)
    wanted = hashlib.sha256(b"kdn/1/lead" + packed).digest()
    assert blending.Lead([1, 2, 70_000]).name == wanted
    assert blending.Lead([1, 2]).name != wanted
    assert blending.Lead(torch.tensor([1, 2])) == blending.Lead((1, 2))


@pytest.mark.parametrize("ids", [[], [0] * 4097, [-1], [1 << 32], [1.5], "a text", 7])
def test_none_too_many_and_no_token_ids_are_refused(ids):
    with pytest.raises(FieldError, match="lead"):
        blending.Lead(ids)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", [one for one in MODELS if one not in (*SEVERAL_PLANES, SLIDING)])
def test_later_documents_are_as_behind_the_lead_and_the_first_is_alone(client, name, dtype):
    model = loud_model(name, dtype)
    learn_all(model, client, settling=LEAD)
    pieces = ["a", BlendPiece("b", slot=130), "a"]
    found = blending.compose(model, pieces, client, settling=LEAD, first_position=5)
    here = blending.compose(
        model, pieces, client, settling=LEAD, first_position=5, source="here"
    )
    ids = texts()
    # Nothing is left out: no first token takes attention that has nowhere to go.
    assert found.row_count == sum(len(ids[one]) for one in ("a", "b", "a"))
    assert found.plan == here.plan
    before = len(LEAD.ids)
    computed = [full_prefill(model, ids["a"])]
    computed += [full_prefill(model, [*LEAD.ids, *ids[one]]) for one in ("b", "a")]
    tolerance = 1e-4 if dtype is torch.float32 else 0.1
    for facts in _documents.the_plane(model).layers:
        mine, own = found.cache.layers[facts.number], here.cache.layers[facts.number]
        assert torch.equal(mine.keys, own.keys) and torch.equal(mine.values, own.values)
        for place, cache in zip(found.plan.placements, computed, strict=True):
            rows = slice(place.first_row, place.first_row + place.row_count)
            skipped = before if place.first_row else 0
            cached = cache.layers[facts.number]
            assert torch.equal(mine.values[0, :, rows], cached.values[0, :, skipped:])
            distance = place.first_position - skipped
            keys = turn(cached.keys[0, :, skipped:].float(), facts.rope, distance)
            torch.testing.assert_close(
                mine.keys[0, :, rows].float(), keys, rtol=tolerance, atol=tolerance
            )


def test_a_first_token_is_left_out_where_that_is_asked_for(client):
    model = loud_model("llama")
    learn_all(model, client, settling=LEAD)
    found = blending.compose(model, ["a", "b"], client, settling=LEAD, drop_first=True)
    whole = blending.compose(model, ["a", "b"], client, settling=LEAD)
    assert found.row_count == whole.row_count - 1
    first = found.plan.placements[1].first_row
    for mine, own in zip(found.cache.layers, whole.cache.layers, strict=True):
        assert torch.equal(mine.keys[:, :, first:], own.keys[:, :, first + 1 :])
        assert torch.equal(mine.values[:, :, first:], own.values[:, :, first + 1 :])


def test_a_document_that_was_not_learnt_behind_it_is_no_blend(client):
    model = loud_model("llama")
    learn_all(model, client)
    for source in blending.SOURCES:
        with pytest.raises(DocumentUnavailable) as caught:
            blending.compose(model, ["a", "b"], client, settling=LEAD, source=source)
        assert caught.value.document == "b"

    def learn():
        return blending.learn_document(
            model, texts()["b"], "b", client, chunk_tokens=CHUNK, settling=LEAD
        )

    assert learn().bytes_sent > 0
    assert blending.compose(model, ["a", "b"], client, settling=LEAD).row_count == 250
    assert learn().bytes_sent == 0


def test_a_lead_that_leaves_no_room_in_a_sliding_window_is_refused(client):
    model = loud_model(SLIDING)
    window = _documents.the_plane(model).window
    ids = prompt(window - 8, 3)
    blending.learn_document(model, ids, "fits", client, chunk_tokens=CHUNK)
    with pytest.raises(UnsupportedModel, match="window"):
        blending.learn_document(model, ids, "fits", client, chunk_tokens=CHUNK, settling=LEAD)


@pytest.mark.parametrize("name, limit", [("llama, dynamic", 4096), ("phi3, longrope", 2048)])
def test_a_lead_beyond_which_keys_turn_otherwise_is_refused(client, name, limit):
    model = loud_model(name)
    ids = prompt(limit - len(LEAD.ids) + 1, 3)
    with pytest.raises(FieldError, match="lead"):
        blending.learn_document(model, ids, "long", client, chunk_tokens=CHUNK, settling=LEAD)
    assert client.list_documents() == []
