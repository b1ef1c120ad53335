"""Blends of documents that were edited."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from blend_samples import (
    client,  # noqa: F401 (fixture)
    difference,
    learn_all,
    loud_model,
    one_thread,  # noqa: F401 (fixture)
)
from tiny_caches import Wrapped

from kdn.edits import Edit, ListedEdit
from kdn.engines import transformers_blend as blending
from kdn.errors import FieldError

B_EDITS = [
    Edit.scale_keys(1.5, [(10, 20), (40, 41)]),
    Edit.drop([(50, 60)]),
    Edit.scale_keys(0.5, [(15, 30)]),
    Edit.scale_values(-2.0, [(0, 5)]),
]
SOURCES = pytest.mark.parametrize("source", blending.SOURCES)


def edit_all(client: Any, name: str, edits: list[Edit]) -> None:
    for edit in edits:
        client.add_edit(name, edit)


def factors(kind: str) -> torch.Tensor:
    """What the 289 - 10 rows of a, b and c are multiplied by, one token at a time."""
    rows = []
    for name, count in (("a", 150), ("b", 100), ("c", 40)):
        for token in range(0 if name == "a" else 1, count):
            if name == "b" and 50 <= token < 60:
                continue
            factor = 1.0
            if name == "b" and kind == "keys":
                factor *= 1.5 if 10 <= token < 20 or token == 40 else 1.0
                factor *= 0.5 if 15 <= token < 30 else 1.0
            if name == "b" and kind == "values":
                factor *= -2.0 if token < 5 else 1.0
            rows.append(factor)
    return torch.tensor(rows)[None, None, :, None]


@pytest.fixture
def model() -> Any:
    return loud_model("llama")


@SOURCES
def test_edits_scale_and_drop_where_they_say(client, model, source):
    learn_all(model, client)
    plain = blending.compose(model, ["a", "b", "c"], client)
    assert plain.cache is not None, "all is here before an edit ends the server's blend"
    edit_all(client, "b", B_EDITS)
    found = blending.compose(model, ["a", "b", "c"], client, source=source)
    assert (found.row_count, found.end_position) == (278, 290)
    kept = [row for row in range(288) if not 199 <= row < 209]
    assert found.positions == [plain.positions[row] for row in kept]
    for mine, own in zip(found.cache.layers, plain.cache.layers, strict=True):
        # Scaled and rounded before they are turned: a pair may cancel.
        keys = own.keys[:, :, kept] * factors("keys")
        assert torch.allclose(mine.keys, keys, rtol=1e-6, atol=2e-6)
        assert torch.allclose(mine.values, own.values[:, :, kept] * factors("values"), rtol=1e-6)


@SOURCES
def test_rows_that_are_computed_anew_are_edited_too(client, model, source):
    # Scaled keys change what is attended to: with values of no weight nothing else differs.
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    learn_all(model, client)
    edit_all(client, "b", [B_EDITS[0], B_EDITS[2]])
    names = ["a", "b", "c"]
    found = blending.blend(
        model, names, client, recompute=1.0, selection="first", source=source
    )
    plain = blending.compose(model, names, client, source=source)
    assert len(found.recomputed) == 138
    assert difference(found.cache, plain.cache) < 1e-5
    without = blending.compose(model, names, client, edits=False, source=source)
    assert difference(without.cache, plain.cache) > 0.05


def test_what_was_scaled_does_not_count_as_deviating(client, model):
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    learn_all(model, client)
    client.add_edit("b", Edit.scale_keys(4.0, [(60, 90)]))
    composed = blending.compose(model, ["a", "b", "c"], client)
    found = blending.recompute(model, composed, selection="deviation", budget=0.05)
    # Nothing attends, so that only rounding deviates; of scaled rows no more than of others.
    scaled = set(range(209, 239))
    assert not scaled.issuperset(set(found.recomputed[8:]))
    assert difference(found.cache, composed.cache) < 1e-5


def test_an_edit_that_comes_meanwhile_is_no_blend(client, model):
    learn_all(model, client)
    edited = Wrapped(client)
    asked = []

    def changing(name: str, timeout: float | None = None) -> list[ListedEdit]:
        answer = client.list_edits(name, timeout=timeout)
        if not asked:
            client.add_edit(name, B_EDITS[0])
        asked.append(name)
        return answer

    edited.list_edits = changing
    with pytest.raises(FieldError) as caught:
        blending.compose(model, ["b"], edited)
    assert (caught.value.field, caught.value.value) == ("edits", "b")


def test_edits_that_leave_nothing_are_refused(client, model):
    learn_all(model, client)
    client.add_edit("c", Edit.drop([(1, 40)]))
    assert blending.compose(model, ["c"], client).row_count == 1
    with pytest.raises(FieldError) as caught:
        blending.compose(model, ["a", "c"], client)
    assert caught.value.field == "document"


def test_reverted_edits_leave_the_blend_as_it_was_bit_for_bit(client, model):
    learn_all(model, client)
    before = blending.compose(model, ["a", "b", "c"], client)
    assert before.cache is not None, "all is here before an edit ends the server's blend"
    edit_all(client, "b", B_EDITS)
    assert client.revert_edits("b") == len(B_EDITS)
    after = blending.compose(model, ["a", "b", "c"], client)
    assert difference(after.cache, before.cache) == 0 and after.plan == before.plan
