"""What edits of a text's KV make the model say: emphasise, suppress, drop, and taking them back.

Texts of 750 tokens hold four sentences "The passkey of X is N.", one of them marked; after each
edit the model chooses among the four numbers, for a question that names whose passkey is meant and
for one that does not. Side effect: KL divergence, in nats per token, on 64 tokens with which the
text goes on and which have nothing to do with passkeys.

usage: edit_bench.py --material FOLDER [--cases N] [--quick] [--output FILE]

Each text is a document of a daemon's (KDND), which makes the edits that it has; the others, and a
check of each of the daemon's bytes, are of tensors. FOLDER holds the model and the text
(Scripts/lib/model). Writes lines of JSON, prints a table, and exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from daemon_process import running_daemon
from edit_bench_cases import AMBIGUOUS, CONTEXT_TOKENS, Case, cases, named
from edit_bench_daemon import EditedDocument
from edit_bench_operations import Directions, Edit, edited, prefilled
from knowledge_model import Planes, Question, Reader, divergence
from knowledge_report import run_facts, wilson, write

import kdn

CASES = 64
QUICK_CASES = 8
SKIPPED_TOKENS = 2000
# Room for one document and each way that it is edited, at 46 kB a token.
RAM = "1GiB"
# The least share of ambiguous questions that choose the marked fact with `emphasise` as it is
# shipped, and the most that it may disturb the rest.
EMPHASISED_MIN = 0.85
SIDE_EFFECT_MAX = 0.012

SHIPPED = Edit("scaleKeys", 1.75, part="digits")
SETTINGS: dict[str, Edit | None] = {
    "none": None,
    "K x 1.25": Edit("scaleKeys", 1.25),
    "K x 1.4": Edit("scaleKeys", 1.4),
    "K x 1.5": Edit("scaleKeys", 1.5),
    "V x 1.5": Edit("scaleValues", 1.5),
    "K x 1.5, digits": Edit("scaleKeys", 1.5, part="digits"),
    "K x 1.75, digits (emphasise)": SHIPPED,
    "K x 1.75, digits, reverted": None,
    "K x 0.75": Edit("scaleKeys", 0.75),
    "K x 0.5 (suppress)": Edit("scaleKeys", 0.5),
    "K x 0": Edit("scaleKeys", 0.0),
    "K x -0.5": Edit("scaleKeys", -0.5),
    "K x -1": Edit("scaleKeys", -1.0),
    "K + 2 mean queries": Edit("addToKeys", 2.0),
    "K - 2 mean queries": Edit("addToKeys", -2.0),
    "dropped": Edit("drop"),
    "others dropped": Edit("drop", target="others"),
    "K x 1.75, digits of a wrong one": Edit("scaleKeys", 1.75, target="wrong", part="digits"),
}
EMPHASISE = "K x 1.75, digits (emphasise)"
SUPPRESS = "K x 0.5 (suppress)"
REVERTED = "K x 1.75, digits, reverted"
# The most often that a suppressed fact may still be chosen.
SUPPRESSED_MAX = 0.05


@dataclass(frozen=True)
class Outcome:
    """Of one setting and case. Scores are of the marked number, in nats."""

    setting: str
    case: int
    named_right: bool
    named_nats: float
    other_right: bool
    picks_marked: bool
    ambiguous_nats: float
    side_effect: float


class Bench:
    """The model, a daemon, and what the model says of each case."""

    def __init__(self, reader: Reader, client: kdn.Client) -> None:
        self.reader = reader
        self.client = client

    def outcomes(self, number: int, case: Case) -> Iterator[Outcome]:
        """All settings on one case."""
        _, directions = prefilled(self.reader, case.ids)
        document = EditedDocument(self.reader.model, self.client, case)
        base = self._base(case, document.base)
        for name, edit in SETTINGS.items():
            found = _planes(case, document, directions, name, edit)
            yield self._outcome(name, number, case, found, base)
        document.forget()

    def _base(self, case: Case, planes: Planes) -> torch.Tensor:
        (reading,) = self.reader.read(
            planes, CONTEXT_TOKENS, [Question(case.continued, keep=True)]
        )
        assert reading.tokens is not None
        return reading.tokens

    def _outcome(
        self, name: str, number: int, case: Case, planes: Planes, base: torch.Tensor
    ) -> Outcome:
        answers = [f" {fact.number}" for fact in case.facts]
        other = (case.marked + 1) % len(case.facts)
        questions = [
            self.reader.question(named(case.facts[case.marked].name), answers),
            self.reader.question(named(case.facts[other].name), answers),
            self.reader.question(AMBIGUOUS, answers),
            Question(case.continued, keep=True),
        ]
        right, beside, ambiguous, rest = self.reader.read(planes, CONTEXT_TOKENS, questions)
        assert rest.tokens is not None
        return Outcome(
            setting=name,
            case=number,
            named_right=right.choice == case.marked,
            named_nats=right.scores[case.marked],
            other_right=beside.choice == other,
            picks_marked=ambiguous.choice == case.marked,
            ambiguous_nats=ambiguous.scores[case.marked],
            side_effect=divergence(base, rest.tokens),
        )


def _planes(
    case: Case, document: EditedDocument, directions: Directions, name: str, edit: Edit | None
) -> Planes:
    """KV with one edit, of the daemon where it has such an edit."""
    if edit is None:
        return document.reverted() if name == REVERTED else document.base
    found = document.planes(edit)
    return found or edited(document.base, edit, edit.spans(case), directions)


def summary(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One line per setting: shares with their 95 % intervals, means in nats."""
    found = []
    for name in dict.fromkeys(outcome.setting for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.setting == name]
        edit = SETTINGS[name]
        line: dict[str, Any] = {
            "kind": "setting",
            "setting": name,
            "edit": asdict(edit) if edit else None,
            "cases": len(mine),
            "named_nats": statistics.fmean(outcome.named_nats for outcome in mine),
            "ambiguous_nats": statistics.fmean(outcome.ambiguous_nats for outcome in mine),
            "side_effect": statistics.fmean(outcome.side_effect for outcome in mine),
            "side_effect_max": max(outcome.side_effect for outcome in mine),
        }
        for share in ("named_right", "other_right", "picks_marked"):
            hits = sum(getattr(outcome, share) for outcome in mine)
            line[share] = hits / len(mine)
            line[f"{share}_interval"] = wilson(hits, len(mine))
        found.append(line)
    return found


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The lines as Markdown."""
    rows = [
        "| edit of the marked fact | named: right | nats | another named: right "
        "| ambiguous: marked (95 %) | nats | side effect, mean / most |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        low, high = line["picks_marked_interval"]
        rows.append(
            f"| {line['setting']} | {line['named_right']:.0%} | {line['named_nats']:.2f} "
            f"| {line['other_right']:.0%} | {line['picks_marked']:.0%} ({low:.0%} to {high:.0%}) "
            f"| {line['ambiguous_nats']:.2f} "
            f"| {line['side_effect']:.4f} / {line['side_effect_max']:.4f} |"
        )
    return "\n".join(rows)


def missed(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The bars that were missed."""
    found = []
    by_name = {line["setting"]: line for line in lines}
    shipped, none = by_name[EMPHASISE], by_name["none"]
    if shipped["picks_marked"] < EMPHASISED_MIN:
        found.append(f"{EMPHASISE}: {shipped['picks_marked']:.0%}, wanted {EMPHASISED_MIN:.0%}")
    if shipped["side_effect"] > SIDE_EFFECT_MAX:
        found.append(f"{EMPHASISE}: KL {shipped['side_effect']:.4f}, at most {SIDE_EFFECT_MAX}")
    for share in ("named_right", "picks_marked"):
        if by_name[SUPPRESS][share] > SUPPRESSED_MAX:
            found.append(f"{SUPPRESS}: {share} {by_name[SUPPRESS][share]:.0%}")
    again = by_name[REVERTED]
    if any(again[key] != none[key] for key in ("named_nats", "ambiguous_nats", "side_effect")):
        found.append("what was reverted differs from the base")
    return found


def main() -> int:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--material", type=pathlib.Path, required=True)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CASES} cases")
    parser.add_argument("--output", type=pathlib.Path, default="bench-results.jsonl")
    arguments = parser.parse_args()
    started = time.monotonic()
    facts = run_facts("edit_bench.py") | {"through": "daemon"}
    reader = Reader.load(arguments.material / "smollm2")
    text = (arguments.material / "lcet10.txt").read_text(encoding="latin-1")
    count = QUICK_CASES if arguments.quick else arguments.cases
    made = cases(reader.ids(text)[SKIPPED_TOKENS:], reader.ids, count)
    outcomes: list[Outcome] = []
    with (
        arguments.output.open("w") as output,
        running_daemon("--ram", RAM) as daemon,
        kdn.Client(daemon.address) as client,
    ):
        bench = Bench(reader, client)
        for number, case in enumerate(made):
            found = list(bench.outcomes(number, case))
            outcomes += found
            write(output, ({"kind": "case", **asdict(one)} for one in found))
            print(f"case {number + 1} of {len(made)}", file=sys.stderr, flush=True)
        lines = summary(outcomes)
        failures = missed(lines)
        facts |= {"seconds": time.monotonic() - started, "missed": failures}
        write(output, [*lines, facts])
    print(table(lines))
    for failure in failures:
        print(f"missed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
