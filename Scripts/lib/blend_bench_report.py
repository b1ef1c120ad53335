"""The blend benchmark's tables and bars."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

SETTINGS = ("unrelated", "consecutive")
# Method, the most KL in nats per token, and the most that repeating may cost in nats per token.
BARS = (
    ("settled", 0.022, None),
    ("deviation 10 %", 0.016, 0.12),
    ("deviation 15 %", 0.014, None),
)


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Means over the cases, in Markdown."""
    parts = []
    for setting in SETTINGS:
        chosen = [line for line in lines if line["setting"] == setting]
        parts += [
            setting, "",
            "| Method | cases | KL | perplexity | recall | first token | FLOPs saved |",
            "|---|---|---|---|---|---|---|",
        ]
        for method in dict.fromkeys(line["method"] for line in chosen):
            mine = summary(chosen, method)
            parts.append(
                f"| {method} | {mine['cases']} | {mine['kl']:.4f} | {mine['perplexity']:+.1f} % "
                f"| {mine['recall']:+.3f} | {mine['seconds']:.2f} s | {mine['saved']:.0f} % |"
            )
        parts.append("")
    return "\n".join(parts)


def summary(lines: Sequence[dict[str, Any]], method: str) -> dict[str, float]:
    """Of one setting and method: KL and recall change in nats a token, perplexity change in %.

    All are means over the cases that the method was measured on, beside their full prefills.
    `seconds` is the median, `saved` the share of a full prefill's FLOPs in %.
    """
    full = {line["case"]: line for line in lines if line["method"] == "full prefill"}
    mine = [line for line in lines if line["method"] == method]

    def change(field: str) -> float:
        return statistics.mean(line[field] - full[line["case"]][field] for line in mine)

    return {
        "cases": len(mine),
        "kl": statistics.mean(line["kl"] for line in mine),
        "perplexity": 100 * math.expm1(change("continuation")),
        "recall": change("recall"),
        "seconds": statistics.median(line["seconds"] for line in mine),
        "saved": 100 * (1 - statistics.mean(
            line["flops"] / full[line["case"]]["flops"] for line in mine
        )),
    }


def missed(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The bars that did not hold, a sentence each."""
    faults = []
    for setting in SETTINGS:
        chosen = [line for line in lines if line["setting"] == setting]
        for method, kl, recall in BARS:
            found = summary(chosen, method)
            if not found["kl"] <= kl:
                faults.append(f"{setting}, {method}: KL {found['kl']:.4f}, at most {kl} wanted")
            if recall is not None and not found["recall"] <= recall:
                faults.append(
                    f"{setting}, {method}: recall {found['recall']:+.3f}, at most +{recall} wanted"
                )
    return faults
