"""Blends that cannot be: typed errors, and nothing half done."""

from __future__ import annotations

import pytest
import torch
from blend_samples import (
    SEVERAL_PLANES,
    SLIDING,
    client,  # noqa: F401 (fixture)
    learn_all,
    loud_model,
    one_thread,  # noqa: F401 (fixture)
)
from tiny_caches import Wrapped
from tiny_models import logits, prompt

from kdn.blending.errors import DocumentUnavailable
from kdn.engines import _documents
from kdn.engines import transformers_blend as blending
from kdn.engines.transformers import UnsupportedModel
from kdn.errors import FieldError
from kdn.results import MissCause


@pytest.mark.parametrize(("source", "named"), [("here", "a"), ("server", "a, b")])
def test_bytes_that_are_not_what_was_stored_are_no_blend(client, source, named):
    model = loud_model("llama")
    learn_all(model, client)
    tampered = Wrapped(client)

    def spoil(item, result):
        if not item.key.is_opaque:
            result.hit, result.cause = False, MissCause.CORRUPT

    tampered.after = spoil
    with pytest.raises(DocumentUnavailable) as caught:
        blending.blend(model, ["a", "b"], tampered, source=source)
    assert (caught.value.document, caught.value.cause) == (named, MissCause.CORRUPT)


@pytest.mark.parametrize(
    ("source", "what"), [("here", "chunk 1 of 2"), ("server", "its chunks")]
)
def test_a_missing_chunk_names_the_document_and_the_cause(client, source, what):
    model = loud_model("llama")
    learn_all(model, client)
    plane = _documents.the_plane(model)
    document = client.resolve_document("b").document
    client.purge(keys=[plane.key(document.hashes[1])])
    with pytest.raises(DocumentUnavailable) as caught:
        blending.blend(model, ["a", "b", "c"], client, source=source)
    assert (caught.value.document, caught.value.what) == ("b", what)
    assert caught.value.cause is MissCause.PURGED
    client.purge(keys=[_documents.tokens_key(document)])
    with pytest.raises(DocumentUnavailable) as caught:
        blending.blend(model, ["b"], client)
    assert caught.value.what == "its tokens"


def test_another_models_document_is_refused_though_its_shape_is_the_same(client):
    model = loud_model("llama")
    learn_all(model, client)
    other = loud_model("llama")
    with torch.no_grad():
        other.model.layers[0].mlp.up_proj.weight.add_(0.01)
    with pytest.raises(FieldError) as caught:
        blending.blend(other, ["a"], client)
    assert (caught.value.field, caught.value.value) == ("model", "a")
    with pytest.raises(FieldError) as caught:
        blending.blend(model, ["a"], client, salt=b"other")
    assert caught.value.field == "model"
    with pytest.raises(FieldError) as caught:
        blending.blend(loud_model("qwen3"), ["a"], client)
    assert caught.value.field == "layout"


@pytest.mark.parametrize(
    ("pieces", "options", "field"),
    [
        (["a", "b"], {"without": ["b"]}, "forbidden"),
        (["a", "b"], {"without": ["x", "b*"]}, "forbidden"),
        (["a"], {"recompute": 1.1}, "recomputePermille"),
        (["a"], {"recompute": -0.1}, "recomputePermille"),
        (["a"], {"selection": "random"}, "selection"),
        (["a", "b"], {"deviation_layer": 4}, "deviationLayer"),
        (["a", "b"], {"deviation_layer": -1}, "deviationLayer"),
        (["a", "b"], {"deviation_layer": 1, "selection": "first"}, "deviationLayer"),
        ([], {}, "count"),
        (["a"] * 65, {}, "count"),
        (["a", ("b", 0, 99)], {}, "slot"),
        (["a"], {"first_position": 2**31 - 149}, "position"),
    ],
)
def test_a_blend_that_cannot_be_names_the_field(client, pieces, options, field):
    model = loud_model("llama")
    learn_all(model, client)
    with pytest.raises(FieldError) as caught:
        blending.blend(model, pieces, client, **options)
    assert caught.value.field == field


def test_a_cache_that_has_grown_is_not_computed_anew(client):
    model = loud_model("llama")
    learn_all(model, client)
    composed = blending.compose(model, ["a", "b"], client, recompute=0.1)
    logits(model, prompt(3), composed.cache)
    with pytest.raises(FieldError) as caught:
        blending.recompute(model, composed)
    assert caught.value.field == "cache"


@pytest.mark.parametrize("name", SEVERAL_PLANES)
def test_models_with_several_kinds_of_layers_are_refused_with_the_reason(client, name):
    with pytest.raises(UnsupportedModel, match="2 kinds of objects"):
        blending.learn_document(loud_model(name), prompt(20), "a", client)
    assert client.list_documents() == []


def test_a_blend_that_a_sliding_window_does_not_hold_is_refused(client):
    model = loud_model(SLIDING)
    learn_all(model, client, 40)
    with pytest.raises(UnsupportedModel, match="sliding windows of 96 tokens"):
        blending.blend(model, ["a", "b", "c"], client)
    with pytest.raises(UnsupportedModel, match="do not hold 96 positions"):
        blending.learn_document(model, prompt(96), "long", client)


@pytest.mark.parametrize("name", ["llama, dynamic", "phi3, longrope"])
def test_a_blend_behind_the_original_context_is_refused(client, name):
    model = loud_model(name)
    learn_all(model, client)
    limit = 4096 if "dynamic" in name else 2048
    blending.compose(model, ["a", "b"], client, first_position=limit - 250)
    with pytest.raises(FieldError) as caught:
        blending.compose(model, ["a", "b"], client, first_position=limit - 249)
    assert caught.value.field == "position"


def test_attention_that_takes_no_mask_is_refused(client):
    model = loud_model("llama")
    learn_all(model, client)
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UnsupportedModel, match="takes no mask"):
        blending.blend(model, ["a", "b"], client)


def test_a_forward_pass_that_fails_leaves_the_blend_as_it_was(client):
    model = loud_model("llama")
    learn_all(model, client)
    composed = blending.compose(model, ["a", "b"], client, recompute=0.5)
    before = [(layer.keys.clone(), layer.values.clone()) for layer in composed.cache.layers]

    def broken(*_: object) -> None:
        raise RuntimeError("device lost")

    hook = model.model.layers[2].register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="device lost"):
        blending.recompute(model, composed)
    hook.remove()
    for layer, (keys, values) in zip(composed.cache.layers, before, strict=True):
        assert torch.equal(layer.keys, keys) and torch.equal(layer.values, values)
    assert len(blending.recompute(model, composed).recomputed) == 99
