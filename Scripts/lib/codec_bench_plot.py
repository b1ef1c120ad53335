"""The codec benchmark's plot: KL against ratio, as SVG, readable on light and dark pages."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT = 760, 470
LEFT, RIGHT, TOP, BOTTOM = 74, 20, 20, 54
RATIOS = (1.5, 2, 3, 4, 6, 8, 10, 15, 20, 30)
RATIO_RANGE = (1.4, 32.0)
KL_MIN = 1e-4
KL_MAX = 1.0
LABEL_HEIGHT, LABEL_WIDTH, LETTER_WIDTH = 15, 110, 8
# Of a name's foot from its point: above it, below it, and on outwards.
LABEL_OFFSETS = (-8, 20, -23, 35, -38, 50, -53)
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #57606a; }
  .title { font-size: 14px; }
  .axis { stroke: #8c959f; }
  .grid { stroke: #8c959f; stroke-opacity: .25; }
  .ours { stroke: #0a7d4f; fill: #0a7d4f; }
  polyline.line { stroke-width: 2; fill: none; }
  .peer { stroke: #b35900; fill: #b35900; }
  text.ours, text.peer { stroke: none; }
  @media (prefers-color-scheme: dark) {
    text { fill: #adbac7; }
    .ours { stroke: #3fb98a; fill: #3fb98a; }
    .peer { stroke: #e8964a; fill: #e8964a; }
  }
"""


def across(ratio: float) -> float:
    """Where a ratio is, in pixels from the left."""
    low, high = map(math.log, RATIO_RANGE)
    return LEFT + (math.log(ratio) - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def down(kl: float) -> float:
    """Where a KL is, in pixels from the top; nothing lies below the axis."""
    low, high = math.log(KL_MIN), math.log(KL_MAX)
    share = (math.log(max(kl, KL_MIN)) - low) / (high - low)
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def _text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} class="{style}">{html.escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def _axes() -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [_line(LEFT, bottom, right, bottom, "axis"), _line(LEFT, TOP, LEFT, bottom, "axis")]
    for ratio in RATIOS:
        x = across(ratio)
        parts.append(_line(x, TOP, x, bottom, "grid"))
        parts.append(_text(x, bottom + 18, f"{ratio:g}", anchor="middle"))
    for power in range(round(math.log10(KL_MIN)), round(math.log10(KL_MAX)) + 1):
        y = down(10.0**power)
        parts.append(_line(LEFT, y, right, y, "grid"))
        parts.append(_text(LEFT - 8, y + 4, f"{10.0**power:g}", anchor="end"))
    middle = (LEFT + right) / 2
    parts.append(_text(middle, HEIGHT - 12, "times smaller than bf16", "title", "middle"))
    turned = f'transform="translate(16 {(TOP + bottom) / 2:.1f}) rotate(-90)"'
    words = "KL to the model on exact KV, nats"
    parts.append(f'<text {turned} text-anchor="middle" class="title">{words}</text>')
    return parts


def _marks(
    lines: Sequence[dict[str, Any]], style: str, taken: list[tuple[float, float, float]]
) -> list[str]:
    """Points with their names, each name beside its point where no other name is."""
    parts = []
    for line in lines:
        x, y = across(line["ratio"]), down(line["kl"])
        if style == "ours":
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="ours"/>')
        else:
            box = f'x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"'
            parts.append(f'<rect {box} class="peer"/>')
        ends = x > WIDTH - LABEL_WIDTH
        width = LETTER_WIDTH * len(line["codec"])
        left = x + 4 - width if ends else x - 4
        at = next(
            (
                y + offset
                for offset in LABEL_OFFSETS
                if not any(
                    abs(y + offset - other) < LABEL_HEIGHT and left < high and low < left + width
                    for low, high, other in taken
                )
            ),
            y + LABEL_OFFSETS[0],
        )
        taken.append((left, left + width, at))
        shift = 4.0 if ends else -4.0
        parts.append(_text(x + shift, at, line["codec"], style, "end" if ends else "start"))
    return parts


def _curves(lines: Sequence[dict[str, Any]]) -> list[str]:
    """A line through the points of one class at several steps."""
    parts = []
    for name in dict.fromkeys(line["codec"].partition(":")[0] for line in lines):
        mine = [line for line in lines if line["codec"].partition(":")[0] == name]
        if len(mine) > 1:
            points = " ".join(f"{across(o['ratio']):.1f},{down(o['kl']):.1f}" for o in mine)
            parts.append(f'<polyline points="{points}" class="ours line"/>')
    return parts


def plotted(ours: Sequence[dict[str, Any]], peers: Sequence[dict[str, Any]]) -> str:
    """The plot of two summaries; `exact` has no KL and lies on the axis."""
    curve = sorted(ours, key=lambda line: float(line["ratio"]))
    taken: list[tuple[float, float, float]] = []
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" aria-label="KL against ratio of KDN\'s codec classes and of other codecs">',
        f"<style>{STYLE}</style>",
        *_axes(),
        *_curves(curve),
        *_marks(curve, "ours", taken),
        *_marks(peers, "peer", taken),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
