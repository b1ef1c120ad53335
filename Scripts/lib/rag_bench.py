"""Answers from retrieved documents: what reuse and blending of their KV cost in accuracy.

Retrieval is given: a prompt holds the document that answers and two others. The model chooses
among five answers of the same kind by their likelihood, a sum of log probabilities. Documents are
learned into a daemon once, each alone and behind a lead; blends are made of what it has. Model and
KV are in bf16.

usage: rag_bench.py --material FOLDER [--rounds N] [--quick] [--output FILE]

FOLDER holds the model (Scripts/lib/model) and gets the documents. KDND names the daemon. Writes
lines of JSON, prints a table, and exits with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from bench_lead import LEAD
from daemon_process import running_daemon
from knowledge_model import Planes, Reader, Reading, planes_of
from knowledge_report import run_facts, wilson, write
from rag_bench_documents import Asked, Note, Prompt, load, prompts

import kdn
from kdn.engines import transformers_blend as blending

# Prompts for each document, with other documents beside it and in another order.
ROUNDS = 4
QUICK_PROMPTS = 6
# Room for all documents, twice, and the blends, at 23 kB a token.
RAM = "4GiB"
# How far below full prefill a blend may answer.
POINTS_MAX = 0.02
FULL = "full prefill"
ALONE, LED = "blend, nothing computed", "blend behind a lead, nothing computed"
# Share and selection of tokens to compute anew; those that are to answer as full prefill does.
BLENDS = {
    LED: (0.0, "first"),
    "blend, 10 % recomputed": (0.10, "first"),
    "blend, 15 % recomputed": (0.15, "first"),
    "blend, 10 % by deviation": (0.10, "deviation"),
    "blend, 15 % by deviation": (0.15, "deviation"),
}
RESAMPLES = 2000


@dataclass(frozen=True)
class Answer:
    """What one way made of one question `about` a kind of fact; `prompt` is its prompt's number."""

    way: str
    prompt: int
    about: str
    is_right: bool
    nats: float


class Bench:
    """The model, its documents by name, and a daemon that has learned them."""

    def __init__(self, reader: Reader, client: kdn.Client, documents: Iterable[Note]) -> None:
        self.reader = reader
        self.client = client
        self.ids = {made.release: reader.ids(made.text) for made in documents}
        self.lead = blending.Lead(reader.ids(LEAD))
        for name, ids in self.ids.items():
            blending.learn_document(reader.model, list(ids), name, client, settling=self.lead)

    def ways(self) -> dict[str, Callable[[Prompt], tuple[Planes | None, int]]]:
        """By name: what gives the KV of a prompt's documents and the position behind it."""
        found: dict[str, Callable[[Prompt], tuple[Planes | None, int]]] = {
            "no knowledge": lambda _: (None, 0),
            FULL: self._full,
            "concatenated as computed": self._concatenated,
            "reused, keys moved": lambda prompt: self._blended(
                prompt, 0.0, "first", drop_first=False
            ),
            ALONE: lambda prompt: self._blended(prompt, 0.0, "first"),
        }
        for name, (share, selection) in BLENDS.items():
            lead = self.lead if name == LED else None
            found[name] = lambda prompt, share=share, selection=selection, lead=lead: (
                self._blended(prompt, share, selection, settling=lead)
            )
        return found

    def answers(self, number: int, prompt: Prompt) -> list[Answer]:
        """All questions of a prompt, each way; "text in the prompt" computes all in one pass."""
        questions = [self.reader.question(one.prompt, one.candidates) for one in prompt.questions]
        text = self._text(prompt)
        readings = {"text in the prompt": self.reader.read(None, 0, questions, text)}
        for way, make in self.ways().items():
            planes, position = make(prompt)
            readings[way] = self.reader.read(planes, position, questions)
        return [
            _answer(way, number, asked, reading)
            for way, found in readings.items()
            for asked, reading in zip(prompt.questions, found)
        ]

    def _text(self, prompt: Prompt) -> list[int]:
        return [token for name in prompt.retrieved for token in self.ids[name]]

    def _full(self, prompt: Prompt) -> tuple[Planes, int]:
        text = self._text(prompt)
        return self.reader.prefill(text), len(text)

    def _concatenated(self, prompt: Prompt) -> tuple[Planes, int]:
        """Each document's KV as it was computed: keys at positions from 0."""
        alone = [
            planes_of(blending.compose(self.reader.model, [name], self.client).cache)
            for name in prompt.retrieved
        ]
        joined = [
            (torch.cat([keys for keys, _ in layers], 2), torch.cat([v for _, v in layers], 2))
            for layers in zip(*alone)
        ]
        return joined, joined[0][0].shape[2]

    def _blended(
        self, prompt: Prompt, share: float, selection: str, **options: Any
    ) -> tuple[Planes, int]:
        model = self.reader.model
        names = list(prompt.retrieved)
        made = blending.compose(model, names, self.client, recompute=share, **options)
        made = blending.recompute(model, made, selection=selection)
        return planes_of(made.cache), made.end_position


def _answer(way: str, number: int, asked: Asked, reading: Reading) -> Answer:
    is_right = reading.choice == asked.right
    return Answer(way, number, asked.kind, is_right, reading.scores[asked.right])


def difference(
    answers: Sequence[Answer], way: str, base: str, seed: int = 8
) -> tuple[float, float, float]:
    """How much more of the questions a way answers than another, with the 95 % interval.

    The interval is of a bootstrap over prompts, whose questions share their documents.
    """
    sums: dict[int, list[int]] = {}
    for answer in answers:
        if answer.way in (way, base):
            entry = sums.setdefault(answer.prompt, [0, 0])
            entry[0] += answer.is_right * ((answer.way == way) - (answer.way == base))
            entry[1] += answer.way == base
    entries = list(sums.values())
    source = random.Random(seed)
    drawn = sorted(_share(source.choices(entries, k=len(entries))) for _ in range(RESAMPLES))
    return _share(entries), drawn[RESAMPLES // 40], drawn[-RESAMPLES // 40 - 1]


def _share(entries: Iterable[Sequence[int]]) -> float:
    more, count = map(sum, zip(*entries))
    return more / count


def summary(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """One line per way: the share of right answers, its interval, and by kind of question."""
    found = []
    for way in dict.fromkeys(answer.way for answer in answers):
        mine = [answer for answer in answers if answer.way == way]
        hits = sum(answer.is_right for answer in mine)
        kinds = sorted({answer.about for answer in mine})
        gap, low, high = difference(answers, way, FULL)
        found.append(
            {
                "kind": "way",
                "way": way,
                "questions": len(mine),
                "accuracy": hits / len(mine),
                "accuracy_interval": wilson(hits, len(mine)),
                "to_full_prefill": gap,
                "to_full_prefill_interval": (low, high),
                "nats": statistics.fmean(answer.nats for answer in mine),
                "by_kind": {
                    kind: statistics.fmean(a.is_right for a in mine if a.about == kind)
                    for kind in kinds
                },
            }
        )
    return found


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The lines as Markdown."""
    kinds = list(lines[0]["by_kind"])
    rows = [
        f"| way | right (95 %) | to full prefill, points (95 %) | nats | {' | '.join(kinds)} |",
        "|---|---|---|---|" + "---|" * len(kinds),
    ]
    for line in lines:
        low, high = line["accuracy_interval"]
        least, most = line["to_full_prefill_interval"]
        by_kind = " | ".join(f"{line['by_kind'][kind]:.0%}" for kind in kinds)
        rows.append(
            f"| {line['way']} | {line['accuracy']:.1%} ({low:.0%} to {high:.0%}) "
            f"| {100 * line['to_full_prefill']:+.1f} ({100 * least:+.1f} to {100 * most:+.1f}) "
            f"| {line['nats']:.2f} | {by_kind} |"
        )
    return "\n".join(rows)


def missed(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The bars that were missed."""
    return [
        f"{line['way']}: {100 * line['to_full_prefill']:+.1f} points to full prefill"
        for line in lines
        if line["way"] in BLENDS and line["to_full_prefill"] < -POINTS_MAX
    ]


def main() -> int:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--material", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="prompts for each document")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PROMPTS} prompts")
    parser.add_argument("--output", type=pathlib.Path, default="bench-results.jsonl")
    arguments = parser.parse_args()
    started = time.monotonic()
    facts = run_facts("rag_bench.py")
    documents = load(arguments.material)
    asked = prompts(documents, arguments.rounds)
    if arguments.quick:
        asked = asked[:: len(asked) // QUICK_PROMPTS][:QUICK_PROMPTS]
    answers: list[Answer] = []
    with (
        arguments.output.open("w") as output,
        running_daemon("--ram", RAM) as daemon,
        kdn.Client(daemon.address) as client,
    ):
        reader = Reader.load(arguments.material / "smollm2", torch.bfloat16)
        bench = Bench(reader, client, documents)
        for number, prompt in enumerate(asked):
            found = bench.answers(number, prompt)
            answers += found
            write(output, ({"kind": "answer", **asdict(one)} for one in found))
            print(f"prompt {number + 1} of {len(asked)}", file=sys.stderr, flush=True)
        lines = summary(answers)
        failures = missed(lines)
        facts |= {"seconds": time.monotonic() - started, "missed": failures}
        write(output, [*lines, facts])
    print(table(lines))
    for failure in failures:
        print(f"missed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
