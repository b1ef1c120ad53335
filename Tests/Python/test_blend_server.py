"""The server's blends beside those that are put together here: the same bytes."""

from __future__ import annotations

import pytest
import torch
from blend_samples import (
    SEVERAL_PLANES,
    SLIDING,
    client,  # noqa: F401 (fixture)
    difference,
    full_prefill,
    learn_all,
    loud_model,
    one_thread,  # noqa: F401 (fixture)
)
from tiny_models import MODELS

from kdn.blending.errors import DocumentUnavailable
from kdn.compose import BlendPiece
from kdn.edits import Edit
from kdn.engines import _documents
from kdn.engines import transformers_blend as blending
from kdn.engines._delivery import Arriving
from kdn.errors import FieldError
from kdn.results import MissCause

SERVED = [name for name in MODELS if name not in (*SEVERAL_PLANES, SLIDING)]
DTYPES = [torch.bfloat16, torch.float16, torch.float32]


def assert_same_bytes(found: blending.Blend, expected: blending.Blend) -> None:
    assert isinstance(found.delivery, Arriving) and not isinstance(expected.delivery, Arriving)
    assert (found.plan, found.ids, found.epochs) == (expected.plan, expected.ids, expected.epochs)
    for mine, own in zip(found.cache.layers, expected.cache.layers, strict=True):
        assert torch.equal(mine.keys.view(torch.uint8), own.keys.view(torch.uint8))
        assert torch.equal(mine.values.view(torch.uint8), own.values.view(torch.uint8))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).split(".")[1])
@pytest.mark.parametrize("name", SERVED)
def test_the_servers_bytes_are_those_made_here(client, name, dtype):
    model = loud_model(name, dtype)
    learn_all(model, client)
    pieces = ["a", BlendPiece("b", slot=130), "c", "a"]
    options = {"first_position": 17, "recompute": 0.1}
    found = blending.compose(model, pieces, client, **options)
    assert_same_bytes(found, blending.compose(model, pieces, client, source="here", **options))


def test_the_servers_edits_are_those_made_here(client):
    model = loud_model("llama", torch.bfloat16)
    learn_all(model, client)
    for edit in (
        Edit.scale_keys(1.7, [(10, 20), (40, 41)]),
        Edit.drop([(50, 60), (99, 100)]),
        Edit.scale_keys(0.6, [(15, 70)]),
        Edit.scale_values(-1.3, [(0, 5), (63, 66)]),
    ):
        client.add_edit("b", edit)
    for edits in (True, False):
        found = blending.compose(model, ["a", "b", "c"], client, edits=edits)
        here = blending.compose(model, ["a", "b", "c"], client, edits=edits, source="here")
        assert_same_bytes(found, here)
        assert found.row_count == (277 if edits else 288)


def test_rows_are_computed_anew_while_layers_arrive(client):
    model = loud_model("llama")
    documents = learn_all(model, client)
    whole = [token for ids in documents.values() for token in ids]
    found = blending.blend(
        model, list(documents), client, recompute=1.0, drop_first=False, selection="first"
    )
    assert difference(found.cache, full_prefill(model, whole)) < 2e-5
    chosen = [
        blending.blend(model, list(documents), client, recompute=0.15, source=source)
        for source in blending.SOURCES
    ]
    assert chosen[0].recomputed == chosen[1].recomputed
    assert difference(chosen[0].cache, chosen[1].cache) == 0


def test_a_chunk_that_is_gone_is_no_blend(client):
    model = loud_model("llama")
    learn_all(model, client)
    plane = _documents.the_plane(model)
    document = client.resolve_document("b").document
    client.purge(keys=[plane.key(document.hashes[1])])
    with pytest.raises(DocumentUnavailable) as caught:
        blending.compose(model, ["a", "b"], client)
    assert (caught.value.document, caught.value.cause) == ("b", MissCause.PURGED)


def test_what_a_request_forbids_is_refused_before_anything_is_asked(client):
    model = loud_model("llama")
    learn_all(model, client)
    with pytest.raises(FieldError) as caught:
        blending.compose(model, ["a", "b"], client, without=["b"])
    assert caught.value.field == "forbidden"
    assert blending.compose(model, ["a"], client, without=["b", "c*"]).row_count == 150
