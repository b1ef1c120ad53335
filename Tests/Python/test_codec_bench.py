"""The codec benchmark: its peers, its sums, its plot; and the static tables' generator."""

from __future__ import annotations

import math
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Scripts/lib"))

import codec_bench_peers as peers  # noqa: E402
import shape_tables  # noqa: E402
from codec_bench_plot import plotted  # noqa: E402
from codec_bench_report import missed, shift_missed  # noqa: E402

RNG = np.random.default_rng(5)
KEYS = RNG.standard_normal((3, 2, 320, 64)).astype(np.float32)
VALUES = RNG.standard_normal((3, 2, 320, 64)).astype(np.float32)


def test_the_tables_are_what_the_generator_writes() -> None:
    assert shape_tables.FILE.read_text() == shape_tables.source(shape_tables.rows())


def test_each_class_holds_all_slots_and_costs_close_to_its_shape() -> None:
    for number, row in enumerate(shape_tables.rows(), start=1):
        assert sum(row) == shape_tables.SLOTS
        assert min(row) >= 0 and min(row[0], *row[126:131]) >= 1
        assert row[1:] == row[:0:-1]
        if not 17 <= number <= 41:
            continue
        *half, beyond = shape_tables.probabilities(2 ** ((number - 25) / 4))
        entropy = -half[0] * math.log2(half[0]) - sum(
            2 * p * math.log2(p) for p in half[1:] if p > 0
        )
        cost = half[0] * -math.log2(row[128] / 2048)
        for symbol in range(1, 128):
            share = row[128 + symbol]
            bits = -math.log2(share / 2048) if share else 16 - math.log2(row[0] / 2048)
            cost += 2 * half[symbol] * bits
        assert entropy < cost + beyond * 32 < entropy + 0.02


def test_the_shape_is_a_distribution_of_unit_variance() -> None:
    edges = [step / 50 for step in range(1, 600)]
    within = [0.0, *map(shape_tables.mass_within, edges)]
    assert within[-1] == pytest.approx(1, abs=1e-9)
    variance = sum((b - a) * (edge - 0.01) ** 2 for a, b, edge in zip(within, within[1:], edges))
    assert variance == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "bits", "error"),
    [
        ("fp8 e4m3", 8.0, 0.027),
        ("KIVI-4", 4.5, 0.09),
        ("KIVI-2", 2.5, 0.45),
        ("TurboQuant-4", 4.25, 0.1),
    ],
)
def test_codecs_of_others_take_their_bits_and_err_as_they_should(
    name: str, bits: float, error: float
) -> None:
    keys, values, taken = peers.PEERS[name](KEYS, VALUES)
    assert taken == bits
    for plane, decoded in ((KEYS, keys), (VALUES, values)):
        found = float(np.sqrt(np.mean((plane - decoded) ** 2)))
        assert 0.7 * error < found < 1.3 * error


def test_cachegen_pays_for_white_noise_what_its_bins_are_worth() -> None:
    keys, _, fine = peers.PEERS["CacheGen, fine"](KEYS, VALUES)
    _, _, coarse = peers.PEERS["CacheGen"](KEYS, VALUES)
    assert 0.7 < fine - coarse < 1.1
    # Bins of .25, .5 and .75 of a difference's spread, which is the root of 2 here.
    wanted = math.sqrt(2) * math.sqrt((0.25**2 + 0.5**2 + 0.75**2) / 3 / 12)
    assert math.sqrt(np.mean((KEYS - keys) ** 2)) == pytest.approx(wanted, rel=0.1)


def line(codec: str, ratio: float, kl: float, **others: object) -> dict[str, object]:
    facts = {"codec": codec, "ratio": ratio, "kl": kl, "recall_change": 0.0}
    return {**facts, "perplexity_change": 0.0, "blocks": {}, **others}


def test_bars_that_are_missed_are_named() -> None:
    ours = [line("small", 10.5, 0.005), line("archive", 17.0, 0.009, perplexity_change=-0.006)]
    theirs = [line("good", 12.0, 0.006), line("bad", 4.0, 0.02), line("exact-like", 3.0, 0.001)]
    assert missed(ours, theirs) == [
        "archive: ratio 17.00, wanted 18.0",
        "archive: perplexity -0.0060",
        "good is not beaten at its KL 0.00600",
        "exact-like is not beaten at its KL 0.00100",
    ]
    strangers = [line("small", 9, 0.013), line("archive", 8, 0.03, blocks={"uniform": 4})]
    assert shift_missed(strangers) == [
        "small under domain shift: KL 0.01300 without falling back"
    ]


def test_the_plot_is_a_picture_with_each_codec_inside_it() -> None:
    ours = [line("exact", 1.5, 0.0), line("small", 11.5, 0.0034)]
    theirs = [line("fp8 & more", 2.0, 0.0019)]
    picture = ElementTree.fromstring(plotted(ours, theirs))
    space = "{http://www.w3.org/2000/svg}"
    words = {element.text for element in picture.iter(f"{space}text")}
    assert {"exact", "small", "fp8 & more"} <= words
    places = [
        (float(mark.attrib["cx"]), float(mark.attrib["cy"]))
        for mark in picture.iter(f"{space}circle")
    ]
    assert len(places) == 2
    assert all(74 <= x <= 740 and 20 <= y <= 416 for x, y in places)
