"""The codecs' static entropy tables, from one normalised shape: Sources/CKernels/shape_tables.inc.

A class stands for a spread sigma / step of 2^((class - 25) / 4); its row has the frequencies, of
2048 in all, of the symbols -127...127 behind that of the escape (column 0). The shape is a
generalised Gaussian, which fits keys, values and coefficients of measured caches to .2 % of the
rate; whichever class costs fewest bits is the encoder's choice.

usage: shape_tables.py [--check] [FILE]
"""

from __future__ import annotations

import argparse
import heapq
import math
import sys
from pathlib import Path

CLASSES = 69
UNIT_CLASS = 25
SLOTS = 2048
SYMBOL_MAX = 127
EXPONENT = 1.7
# A symbol rarer than this is cheaper escaped than given a slot of its own.
KEPT_MIN = 2e-5
ALWAYS_KEPT = 2
COLUMNS_PER_LINE = 16
FILE = Path(__file__).resolve().parents[2] / "Sources/CKernels/shape_tables.inc"


def lower_gamma(shape: float, x: float) -> float:
    """The regularised lower incomplete gamma function, by its series or continued fraction."""
    if x <= 0:
        return 0.0
    scale = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1:
        term = total = 1 / shape
        index = shape
        while term > total * 1e-16:
            index += 1
            term *= x / index
            total += term
        return scale * total
    # Lentz's method.
    b = x + 1 - shape
    c = 1e300
    d = fraction = 1 / b
    for step in range(1, 500):
        a = -step * (step - shape)
        b += 2
        d = 1 / (a * d + b)
        c = b + a / c
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return 1 - scale * fraction


def mass_within(distance: float) -> float:
    """How much of the shape, of unit variance, lies within a distance of its centre."""
    width = math.sqrt(math.gamma(1 / EXPONENT) / math.gamma(3 / EXPONENT))
    return lower_gamma(1 / EXPONENT, (distance / width) ** EXPONENT)


def probabilities(spread: float) -> list[float]:
    """Of the symbols 0...127 (one sign), then of what lies beyond both ends."""
    within = [mass_within((symbol + 0.5) / spread) for symbol in range(SYMBOL_MAX + 1)]
    ones = [(after - before) / 2 for before, after in zip(within, within[1:])]
    return [within[0], *ones, 1 - within[-1]]


def row(spread: float) -> list[int]:
    """One class: integer frequencies that cost fewest bits, alike for both signs."""
    *half, beyond = probabilities(spread)
    kept = [s for s in range(1, SYMBOL_MAX + 1) if s <= ALWAYS_KEPT or half[s] >= KEPT_MIN]
    escaped = beyond + 2 * sum(half[s] for s in range(1, SYMBOL_MAX + 1) if s not in set(kept))
    counts = {symbol: max(1, int(half[symbol] * SLOTS)) for symbol in kept}
    escape = min(max(1, round(escaped * SLOTS)), SLOTS - 1 - 2 * len(kept))
    centre = SLOTS - escape - 2 * sum(counts.values())
    # A pair of slots moves from the centre to the symbol that gains most, or back.
    while True:
        gain, symbol = max(
            (2 * half[s] * math.log2((counts[s] + 1) / counts[s]), s) for s in kept
        )
        loss = half[0] * math.log2(centre / (centre - 2)) if centre > 2 else math.inf
        if gain <= loss:
            break
        counts[symbol] += 1
        centre -= 2
    costs = [
        (2 * half[s] * math.log2(counts[s] / (counts[s] - 1)), s) for s in kept if counts[s] > 1
    ]
    heapq.heapify(costs)
    while centre < 1 or (costs and costs[0][0] < half[0] * math.log2((centre + 2) / centre)):
        _, symbol = heapq.heappop(costs)
        counts[symbol] -= 1
        centre += 2
        if counts[symbol] > 1:
            loss = 2 * half[symbol] * math.log2(counts[symbol] / (counts[symbol] - 1))
            heapq.heappush(costs, (loss, symbol))
    ones = [counts.get(symbol, 0) for symbol in range(1, SYMBOL_MAX + 1)]
    return [escape, *reversed(ones), centre, *ones]


def rows() -> list[list[int]]:
    """All classes, 1 first."""
    return [row(2 ** ((number - UNIT_CLASS) / 4)) for number in range(1, CLASSES + 1)]


def source(tables: list[list[int]]) -> str:
    """The rows as initialisers of C."""
    lines = []
    for table in tables:
        lines.append("{")
        for start in range(0, len(table), COLUMNS_PER_LINE):
            numbers = table[start : start + COLUMNS_PER_LINE]
            lines.append("  " + ", ".join(map(str, numbers)) + ",")
        lines.append("},")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the file, or with --check says whether it is what this would write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it differs")
    parser.add_argument("file", nargs="?", type=Path, default=FILE)
    arguments = parser.parse_args()
    text = source(rows())
    if arguments.check:
        if arguments.file.read_text() != text:
            print(f"{arguments.file} is not what {Path(__file__).name} writes", file=sys.stderr)
            return 1
        return 0
    arguments.file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
