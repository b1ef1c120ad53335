"""The codec benchmark's report: means over documents, tables, and the bars that were missed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from codec_bench_model import Scores

# Least ratio, most KL, most change of recall, as the classes promise; and of perplexity.
BARS: dict[str, tuple[float, float, float]] = {
    "exact": (1.45, 0.0, 0.0),
    "high": (3.9, 0.002, 0.05),
    "balanced": (6.0, 0.008, 0.05),
    "small": (10.0, 0.006, 0.05),
    "archive": (18.0, 0.010, math.inf),
}
ARCHIVE_PERPLEXITY = 0.005
SHIFT_FACTOR = 2.0


@dataclass
class Coding:
    """What coding a document's chunks took, and what the model made of the result."""

    codec: str
    document: str
    profile: str
    bits_per_element: float
    scores: Scores
    base: Scores
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    raw_bytes: int = 0
    blocks: dict[str, int] = field(default_factory=dict)

    def line(self) -> dict[str, Any]:
        """The document's line of JSON."""
        return {
            "kind": "document",
            "codec": self.codec,
            "document": self.document,
            "profile": self.profile,
            "bits_per_element": self.bits_per_element,
            "kl": self.scores.kl,
            "perplexity_change": math.expm1(self.scores.continuation - self.base.continuation),
            "recall_change": self.scores.recall - self.base.recall,
            "top1_agreement": self.scores.agreement,
            "blocks": self.blocks,
        }


def summary(codings: Sequence[Coding]) -> list[dict[str, Any]]:
    """One line per codec and profile: means over the documents."""
    found = []
    for codec, profile in dict.fromkeys((c.codec, c.profile) for c in codings):
        mine = [c for c in codings if (c.codec, c.profile) == (codec, profile)]
        bits = statistics.fmean(c.bits_per_element for c in mine)
        change = statistics.fmean(c.scores.continuation - c.base.continuation for c in mine)
        line: dict[str, Any] = {
            "kind": "codec",
            "codec": codec,
            "profile": profile,
            "documents": len(mine),
            "bits_per_element": bits,
            "ratio": 16 / bits,
            "kl": statistics.fmean(c.scores.kl for c in mine),
            "perplexity_change": math.expm1(change),
            "top1_agreement": statistics.fmean(c.scores.agreement for c in mine),
            "recall_change": statistics.fmean(c.scores.recall - c.base.recall for c in mine),
            "blocks": {},
        }
        for coding in mine:
            for kind, count in coding.blocks.items():
                line["blocks"][kind] = line["blocks"].get(kind, 0) + count
        for way in ("encode", "decode"):
            seconds = sum(getattr(c, f"{way}_seconds") for c in mine)
            raw = sum(c.raw_bytes for c in mine)
            line[f"{way}_gigabytes_per_second"] = raw / seconds / 1e9 if seconds else None
        found.append(line)
    return found


def table(lines: Sequence[dict[str, Any]], title: str) -> str:
    """The summary in Markdown."""
    rows = [
        f"| {title} | bytes/element | ratio | KL | perplexity | top-1 | recall | GB/s in | out |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        speeds = [
            f"{speed:.2f}" if (speed := line[f"{way}_gigabytes_per_second"]) else ""
            for way in ("encode", "decode")
        ]
        rows.append(
            f"| {line['codec']} | {line['bits_per_element'] / 8:.3f} | {line['ratio']:.2f} "
            f"| {line['kl']:.5f} | {100 * line['perplexity_change']:+.2f} % "
            f"| {100 * line['top1_agreement']:.1f} % | {line['recall_change']:+.3f} "
            f"| {' | '.join(speeds)} |"
        )
    return "\n".join(rows) + "\n"


def missed(ours: Sequence[dict[str, Any]], peers: Sequence[dict[str, Any]]) -> list[str]:
    """The bars that were not reached, in words."""
    found = []
    for line in ours:
        if line["codec"] not in BARS:
            continue
        ratio, kl, recall = BARS[line["codec"]]
        if line["ratio"] < ratio:
            found.append(f"{line['codec']}: ratio {line['ratio']:.2f}, wanted {ratio}")
        if line["kl"] > kl:
            found.append(f"{line['codec']}: KL {line['kl']:.5f}, wanted {kl} at most")
        if line["recall_change"] > recall:
            found.append(f"{line['codec']}: recall {line['recall_change']:+.3f}, wanted {recall}")
        changed = abs(line["perplexity_change"])
        if line["codec"] == "archive" and changed > ARCHIVE_PERPLEXITY:
            found.append(f"archive: perplexity {line['perplexity_change']:+.4f}")
    for peer in peers:
        better = [o for o in ours if o["kl"] <= peer["kl"] and o["ratio"] > peer["ratio"]]
        if not better:
            found.append(f"{peer['codec']} is not beaten at its KL {peer['kl']:.5f}")
    return found


def shift_missed(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Classes that lose too much on strange text though none of their blocks fell back."""
    return [
        f"{line['codec']} under domain shift: KL {line['kl']:.5f} without falling back"
        for line in lines
        if line["kl"] > SHIFT_FACTOR * BARS[line["codec"]][1] and not line["blocks"].get("uniform")
    ]
