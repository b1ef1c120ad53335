"""The blend benchmark's sums and bars."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import SHAPE
from torch.utils.flop_counter import FlopCounterMode

from kdn.engines._costs import Costs

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Scripts/lib"))

from blend_bench_report import BARS, SETTINGS, missed, summary, table  # noqa: E402


def line(setting: str, case: str, method: str, **scores: float) -> dict[str, Any]:
    zeros = {"kl": 0.0, "continuation": 0.0, "recall": 0.0, "seconds": 1.0, "flops": 100.0}
    return {"setting": setting, "case": case, "method": method, **zeros, **scores}


def lines(kl: float, recall: float = 0.1) -> list[dict[str, Any]]:
    made = []
    for setting in SETTINGS:
        for case in ("x", "y"):
            made.append(line(setting, case, "full prefill", recall=0.5, continuation=2.0))
            for method, _, _ in BARS:
                made.append(
                    line(
                        setting, case, method, kl=kl, recall=0.5 + recall, continuation=2.1,
                        seconds=0.25, flops=10.0,
                    )
                )
    return made


def test_a_summary_is_the_mean_change_from_the_full_prefill():
    found = summary([one for one in lines(0.01) if one["setting"] == "unrelated"], BARS[0][0])
    assert found["kl"] == pytest.approx(0.01)
    assert found["perplexity"] == pytest.approx(10.517, abs=1e-3)
    assert found["recall"] == pytest.approx(0.1)
    assert (found["seconds"], found["saved"]) == (0.25, pytest.approx(90))
    assert "| 2 | 0.0100 | +10.5 % | +0.100 | 0.25 s | 90 % |" in table(lines(0.01))


def test_bars_are_missed_by_what_is_above_them_or_no_number():
    assert missed(lines(0.01)) == []
    assert len(missed(lines(0.015))) == 2
    assert len(missed(lines(0.023))) == 6
    assert len(missed(lines(0.01, recall=0.13))) == 2
    assert len(missed(lines(float("nan")))) == 6


def test_flops_are_those_that_torch_counts():
    config = transformers.LlamaConfig(**{**SHAPE, "num_attention_heads": 4, "head_dim": 16})
    config._attn_implementation = "eager"
    model = transformers.LlamaModel(config).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.ones((1, 64), dtype=torch.long))
    # Torch counts all pairs of tokens, of which causal attention needs the lower half.
    full = 4 * SHAPE["num_hidden_layers"] * 64 * 64 * 64
    expected = counter.get_total_flops() - full + full * 65 / 128
    # Rotary angles are products of matrices, too, and not counted here.
    assert Costs(config).prefill(64) == pytest.approx(expected, rel=2e-3)


def test_what_a_blend_costs_is_its_rows_and_its_choice():
    config = transformers.LlamaConfig(**{**SHAPE, "head_dim": 16})
    costs = Costs(config)
    later = range(10, 20)
    first = costs.estimate([10, 11], later, 0)
    assert (first.recompute, first.choosing) == (4 * costs.layer([10, 11]), 0)
    assert first.prefill == costs.prefill(20)
    kv = 10 * 2 * 2 * 64 * 32
    assert costs.estimate([10, 11], later, 1).choosing == costs.layer(later) + kv
    chosen = costs.estimate([10, 11], later, 3)
    assert chosen.choosing == 3 * costs.layer(later) + kv
    assert chosen.share == (chosen.recompute + chosen.choosing) / chosen.prefill
    assert costs.estimate([], later, 3).share == 0
