"""Documents delivered as a smaller class, and chunks that are kept as edits make them."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from blend_samples import (
    client,  # noqa: F401 (fixture)
    difference,
    learn_all,
    loud_model,
    one_thread,  # noqa: F401 (fixture)
)
from codec_samples import make_profile

from kdn.edits import Edit, Materialised, MaterialState
from kdn.engines import transformers_blend as blending
from kdn.engines._planes import describe
from kdn.errors import FieldError, ServerError, Status

MARKED = Edit.scale_keys(1.75, [(10, 20), (70, 71)])
# `high` has steps of a quarter of a plane's spread: evenly spread errors are sqrt(12) less.
HIGH_ERROR = 1.1 * 0.25 / math.sqrt(12)


@pytest.fixture
def model() -> Any:
    return loud_model("llama", torch.bfloat16)


def whole(client: Any, name: str) -> Materialised:
    """Has a document's chunks kept, and waits for that."""
    found = client.materialise_edits(name)
    end = time.monotonic() + 60
    while found.state is MaterialState.RUNNING and time.monotonic() < end:
        found = client.materialised_edits(name)
    return found


def rows(blend: blending.Blend, count: int) -> list[torch.Tensor]:
    """The bytes of the first rows, which are those of a first document wherever it comes first."""
    assert blend.cache is not None
    return [
        plane[:, :, :count].contiguous().view(torch.uint8)
        for layer in blend.cache.layers
        for plane in (layer.keys, layer.values)
    ]


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_class_changes_little_and_reverted_is_the_base_bit_for_bit(client, model):
    learn_all(model, client)
    base = blending.compose(model, ["b"], client)
    bytes_before = rows(base, 100)
    client.add_edit("b", Edit.requantise("high"))
    edited = blending.compose(model, ["b"], client)
    assert 0 < difference(edited.cache, base.cache) < HIGH_ERROR
    assert client.list_edits("b")[0].edit == Edit.requantise("high")
    client.revert_edits("b")
    assert_same(rows(blending.compose(model, ["b"], client), 100), bytes_before)


def test_what_is_kept_gives_the_same_bytes_and_is_counted(client, model):
    learn_all(model, client)
    client.add_edit("b", Edit.requantise("high"))
    client.add_edit("b", MARKED)
    edited = rows(blending.compose(model, ["b"], client), 100)
    assert client.materialised_edits("b") == Materialised(MaterialState.ON_DELIVERY, 2, 0)
    before = client.stats()["blends"]
    assert whole(client, "b") == Materialised(MaterialState.WHOLE, 2, 2)
    # Another blend, so that it is assembled; its first document stands where it stood.
    assert_same(rows(blending.compose(model, ["b", "c"], client), 100), edited)
    after = client.stats()["blends"]
    assert after["materialised_objects_total"] == before["materialised_objects_total"] + 2
    assert after["edited_kept_objects_total"] == before["edited_kept_objects_total"] + 2
    assert after["edited_objects_total"] == before["edited_objects_total"]
    client.revert_edits("b")
    assert client.materialised_edits("b") == Materialised(MaterialState.NOTHING, 0, 0)


def test_kept_strengths_are_those_made_here(client, model):
    learn_all(model, client)
    client.add_edit("b", MARKED)
    here = blending.compose(model, ["a", "b"], client, source="here")
    assert whole(client, "b").state is MaterialState.WHOLE
    assert_same(rows(blending.compose(model, ["a", "b"], client), 249), rows(here, 249))


def test_only_the_server_applies_a_class(client, model):
    learn_all(model, client)
    client.add_edit("b", Edit.requantise("high"))
    with pytest.raises(FieldError) as caught:
        blending.compose(model, ["b"], client, source="here")
    assert caught.value.field == "edits"


def test_a_class_without_its_profile_and_orders_for_nothing_are_refused(client, model):
    learn_all(model, client)
    with pytest.raises(ServerError) as nothing:
        client.materialise_edits("b")
    assert (nothing.value.status, nothing.value.field) == (Status.BAD_REQUEST, "edits")
    client.add_edit("b", Edit.requantise("archive"))
    with pytest.raises(ServerError) as missing:
        blending.compose(model, ["a", "b"], client)
    assert (missing.value.status, missing.value.field) == (Status.NOT_FOUND, "profile")
    assert missing.value.value == 1


def use_weights(client: Any, layout: Any, weight: float) -> None:
    """Puts a profile into use that weighs all channels alike."""
    (group,) = layout.groups
    values = np.full(group.kv_heads * group.head_dim, weight, np.float32)
    planes = [(index, plane, values) for index in range(len(group.layers)) for plane in (0, 1)]
    client.use_profile(make_profile(layout, 1, planes))


def test_another_profile_makes_other_bytes_and_never_finds_what_the_old_one_made(client, model):
    learn_all(model, client)
    client.add_edit("b", Edit.requantise("balanced"))
    layout = describe(model).planes[0].layout
    use_weights(client, layout, 0.25)
    fine = blending.compose(model, ["b"], client)
    bytes_before = rows(fine, 100)
    assert whole(client, "b").state is MaterialState.WHOLE
    assert_same(rows(blending.compose(model, ["b", "c"], client), 100), bytes_before)
    use_weights(client, layout, 1.0)
    assert client.materialised_edits("b") == Materialised(MaterialState.ON_DELIVERY, 2, 0)
    coarse = blending.compose(model, ["b"], client)
    assert difference(coarse.cache, fine.cache) > 0
    again = rows(coarse, 100)
    assert whole(client, "b").state is MaterialState.WHOLE
    assert_same(rows(blending.compose(model, ["b", "a"], client), 100), again)
