"""Calibration: importance of KV channels, measured on tiny models."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch

from kdn.calibration import calibrate
from kdn.engines._planes import describe
from kdn.engines.transformers import prefill

TEXTS = [tiny_models.prompt(160, seed=1), tiny_models.prompt(200, seed=2)]


def least(importance: dict[tuple[int, str], list[float]]) -> float:
    return min(min(values) for values in importance.values())


@pytest.mark.parametrize("name", sorted(tiny_models.MODELS))
def test_each_channel_of_each_plane_gets_an_importance(name: str) -> None:
    model = tiny_models.tiny_model(name)
    calibrations = calibrate(model, TEXTS[:1], rounds=1)
    planes = describe(model).planes
    assert [c.layout for c in calibrations] == [plane.layout for plane in planes]
    for calibration, plane in zip(calibrations, planes, strict=True):
        for layer in plane.layers:
            for kind in "KV":
                values = calibration.importance[layer.number, kind]
                assert len(values) == layer.kv_heads * layer.head_dim
                assert all(0 < value < float("inf") for value in values)


def test_channels_that_nothing_reads_are_the_least_important() -> None:
    model = tiny_models.tiny_model("llama")
    attention = model.model.layers[1].self_attn
    with torch.no_grad():
        # KV head 0 serves the query heads 0 and 1: dim 5 of its values, dims 3 and 11 (one
        # rotary pair) of its keys are never looked at.
        attention.o_proj.weight[:, [5, 16 + 5]] = 0
        attention.q_proj.weight[[3, 11, 16 + 3, 16 + 11]] = 0
    importance = calibrate(model, TEXTS, rounds=1)[0].importance
    floor = least(importance)
    assert importance[1, "V"][5] == floor
    assert importance[1, "K"][3] == importance[1, "K"][11] == floor
    assert min(importance[1, "V"][:5] + importance[1, "V"][6:]) > 10 * floor


def divergence(model: Any, ids: list[int], planes: dict[tuple[int, str], torch.Tensor]) -> float:
    """KL of the last 64 predictions to those on an exact cache, given errors of the planes."""
    past, rest = ids[:-64], torch.tensor([ids[-64:]])
    exact = prefill(model, past)
    changed = copy.deepcopy(exact)
    for (layer, kind), error in planes.items():
        held = changed.layers[layer]
        if kind == "K":
            held.keys = held.keys + error
        else:
            held.values = held.values + error
    with torch.no_grad():
        wanted = torch.log_softmax(model(input_ids=rest, past_key_values=exact).logits, -1)
        found = torch.log_softmax(model(input_ids=rest, past_key_values=changed).logits, -1)
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())


def test_errors_in_important_channels_cost_more_than_the_same_errors_in_others() -> None:
    model = tiny_models.tiny_model("smollm3, last layer without rotation")
    with torch.no_grad():
        # Four times as much comes of every second value as of its neighbours.
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[:, ::2] *= 4
    importance = calibrate(model, TEXTS, rounds=2)[0].importance
    ids = tiny_models.prompt(200, seed=3)
    torch.manual_seed(0)
    costs = []
    for chosen in (False, True):
        errors = {}
        for (layer, kind), values in importance.items():
            if kind == "K":
                continue
            weights = torch.tensor(values)
            ordered = weights.argsort(descending=chosen)
            mask = torch.zeros_like(weights)
            mask[ordered[: len(values) // 4]] = 1
            noise = torch.randn(1, 2, 136, 16) * 0.02
            errors[layer, kind] = noise * mask.view(1, 2, 1, 16)
        costs.append(divergence(model, ids, errors))
    assert costs[1] > 4 * costs[0] > 0


def test_the_same_seed_gives_the_same_file_and_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = tiny_models.tiny_model("qwen2")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = calibrate(model, TEXTS[:1], rounds=1, seed=7)[0]
    again = calibrate(model, TEXTS[:1], rounds=1, seed=7)[0]
    assert first.encode() == again.encode()
    assert first.encode() != calibrate(model, TEXTS[:1], rounds=1, seed=8)[0].encode()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    first.save(tmp_path / "model.json")
    document = json.loads((tmp_path / "model.json").read_bytes())
    assert (document["format"], document["version"]) == ("kdn-calibration", 1)
    assert document["layout"] == first.layout.id.hex()
    assert [(p["layer"], p["plane"]) for p in document["planes"]] == [
        (layer, kind) for layer in range(4) for kind in "KV"
    ]
    assert document["planes"][3]["importance"] == pytest.approx(first.importance[1, "V"], rel=1e-5)


def test_texts_that_are_missing_or_too_short_are_refused() -> None:
    model = tiny_models.tiny_model("llama")
    with pytest.raises(ValueError, match="needs a text"):
        calibrate(model, [])
    with pytest.raises(ValueError, match="63 tokens"):
        calibrate(model, [TEXTS[0][:63]])
    with pytest.raises(ValueError, match="rounds is 0"):
        calibrate(model, TEXTS, rounds=0)
