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
    ListedEdit(3, Edit.scale_keys(1.5, [(10, 20), (40, 41)])),
    ListedEdit(4, Edit.drop([(50, 60)])),
    ListedEdit(7, Edit.scale_keys(0.5, [(15, 30)])),
    ListedEdit(9, Edit.scale_values(-2.0, [(0, 5)])),
]


class Edited(Wrapped):
    """A client of a server that keeps edits."""

    def __init__(self, client: Any, edits: dict[str, list[ListedEdit]]) -> None:
        super().__init__(client)
        self.edits = edits
        self.asked = 0

    def list_edits(self, name: str, timeout: float | None = None) -> list[ListedEdit]:
        self.asked += 1
        return list(self.edits.get(name, []))


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


def test_edits_scale_and_drop_where_they_say(client, model):
    learn_all(model, client)
    edited = Edited(client, {"b": B_EDITS})
    found = blending.compose(model, ["a", "b", "c"], edited)
    plain = blending.compose(model, ["a", "b", "c"], client)
    assert (found.row_count, found.end_position) == (278, 290)
    kept = [row for row in range(288) if not 199 <= row < 209]
    assert found.positions == [plain.positions[row] for row in kept]
    for mine, own in zip(found.cache.layers, plain.cache.layers, strict=True):
        assert torch.allclose(mine.keys, own.keys[:, :, kept] * factors("keys"), rtol=1e-6)
        assert torch.allclose(mine.values, own.values[:, :, kept] * factors("values"), rtol=1e-6)


def test_rows_that_are_computed_anew_are_edited_too(client, model):
    learn_all(model, client)
    scaled = [B_EDITS[0], B_EDITS[2]]
    # Scaled keys change what is attended to: with values of no weight nothing else differs.
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    learn_all(model, client)
    edited = Edited(client, {"b": scaled})
    found = blending.blend(model, ["a", "b", "c"], edited, recompute=1.0, selection="first")
    plain = blending.compose(model, ["a", "b", "c"], edited)
    assert len(found.recomputed) == 138
    assert difference(found.cache, plain.cache) < 1e-5
    without = blending.compose(model, ["a", "b", "c"], edited, edits=False)
    assert difference(without.cache, plain.cache) > 0.05


def test_what_was_scaled_does_not_count_as_deviating(client, model):
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    learn_all(model, client)
    edited = Edited(client, {"b": [ListedEdit(1, Edit.scale_keys(4.0, [(60, 90)]))]})
    composed = blending.compose(model, ["a", "b", "c"], edited)
    found = blending.recompute(model, composed, selection="deviation", budget=0.05)
    # Nothing attends, so that only rounding deviates; of scaled rows no more than of others.
    scaled = set(range(209, 239))
    assert not scaled.issuperset(set(found.recomputed[8:]))
    assert difference(found.cache, composed.cache) < 1e-5


def test_an_edit_that_comes_meanwhile_is_no_blend(client, model):
    learn_all(model, client)
    edited = Edited(client, {})
    list_edits = edited.list_edits

    def changing(name: str, timeout: float | None = None) -> list[ListedEdit]:
        answer = list_edits(name, timeout)
        edited.edits = {"b": B_EDITS[:1]}
        return answer

    edited.list_edits = changing
    with pytest.raises(FieldError) as caught:
        blending.compose(model, ["b"], edited)
    assert (caught.value.field, caught.value.value) == ("edits", "b")


def test_edits_that_leave_nothing_are_refused(client, model):
    learn_all(model, client)
    edited = Edited(client, {"c": [ListedEdit(1, Edit.drop([(1, 40)]))]})
    assert blending.compose(model, ["c"], edited).row_count == 1
    with pytest.raises(FieldError) as caught:
        blending.compose(model, ["a", "c"], edited)
    assert caught.value.field == "document"
