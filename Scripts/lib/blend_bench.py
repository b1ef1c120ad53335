"""What blending makes of a model's predictions, how soon the first token is there, and its FLOPs.

Three documents of 512 tokens, each learnt alone through a daemon, are put together in several ways
and compared with a full prefill of the same tokens. "unrelated": the first two are of other texts
than the third, which the continuation follows; "consecutive": the three are neighbours. What
settles documents is learnt from texts that no case has. A lead is a text that says nothing.

usage: blend_bench.py --cache FOLDER [--quick] [--output FILE] [--threads N] [--settling FILE]

SETTLING is read if it is there, else learnt and written. CACHE holds the model and gets the texts;
the daemon's program is named in KDND. Writes lines of JSON, prints tables in Markdown and the bars
missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import transformers
from bench_lead import LEAD
from blend_bench_model import (
    CONTINUED_TOKENS, PIECE_TOKENS, PIECES, Case, Judge, Scores, concatenated,
)
from blend_bench_report import missed, table
from codec_bench_texts import HELD, LEARNED_ESSAYS, LEARNED_MANUALS, Document, read
from daemon_process import running_daemon

import kdn
from kdn.engines import transformers_blend as blending
from kdn.engines._selection import deviation_layer_of

MORE = ("secA5", "secD5", "topics/cache", "ref/request-response")
QUICK_CASES = 2
QUICK_TEXTS = 5
OTHERS = (1, 5)  # how far on in the list of texts the unrelated documents are

Made = tuple[Any, int, float]


class Bench:
    """One run: the model, its documents, and a daemon."""

    settling: blending.Settling

    def __init__(self, cache: pathlib.Path, client: Any, threads: int) -> None:
        self.cache = cache
        self.client = client
        self.judge = Judge(cache / "smollm2", threads)
        self.model = self.judge.model
        self.lead = blending.Lead(self.judge.tokenizer(LEAD).input_ids)
        self.methods: dict[str, Callable[[list[str]], Made]] = {
            "concatenate": self._concatenate,
            "re-rotate": lambda names: self._blend(names, 0.0, drop_first=False),
            "re-rotate, drop first": lambda names: self._blend(names, 0.0),
            "first 10 %": lambda names: self._blend(names, 0.10, "first"),
            "deviation 10 %": lambda names: self._blend(names, 0.10, "deviation"),
            "first 15 %": lambda names: self._blend(names, 0.15, "first"),
            "deviation 15 %": lambda names: self._blend(names, 0.15, "deviation"),
            "lead": lambda names: self._blend(names, 0.0, settling=self.lead),
            "lead, deviation 10 %": lambda names: self._blend(
                names, 0.10, "deviation", settling=self.lead
            ),
            "settled": lambda names: self._settled(names, 0.0),
            "settled, deviation 10 %": lambda names: self._settled(names, 0.10),
            "settled, deviation 15 %": lambda names: self._settled(names, 0.15),
        }

    def settle(self, quick: bool, file: pathlib.Path | None) -> dict[str, Any]:
        """Learns what settles documents, of texts that no case has, or reads it; says how long."""
        started = time.monotonic()
        if file is not None and file.exists():
            self.settling = blending.Settling.decoded(file.read_bytes())
            return {"bench": "blend", "settling": "read", "bytes": file.stat().st_size}
        used = {text.name for text in _texts()}
        ids = []
        for text in (*LEARNED_ESSAYS, *LEARNED_MANUALS):
            if text.name not in used:
                found = self.judge.tokenizer(read(text, self.cache)).input_ids
                ids.append(found[: PIECES * PIECE_TOKENS])
        ids = [one for one in ids if len(one) == PIECES * PIECE_TOKENS]
        ids = ids[:QUICK_TEXTS] if quick else ids
        self.settling = blending.learn_settling(self.model, ids, piece_tokens=PIECE_TOKENS)
        data = self.settling.encoded()
        if file is not None:
            file.write_bytes(data)
        seconds = time.monotonic() - started
        return {
            "bench": "blend", "settling": f"{len(ids)} texts", "seconds": seconds,
            "bytes": len(data),
        }

    def run(self, quick: bool) -> Iterator[dict[str, Any]]:
        """A line for each case and method."""
        for case in self._cases(quick):
            names = [f"{case.name}/{number}" for number in range(PIECES)]
            for name, ids in zip(names, case.documents, strict=True):
                for settling in (self.settling, self.lead):
                    blending.learn_document(
                        self.model, list(ids), name, self.client, settling=settling
                    )
            reference, scores = self.judge.reference(case)
            yield self._line(case, "full prefill", scores)
            for method, make in self.methods.items():
                made = self.judge.score(case, reference, lambda: make(names))
                yield self._line(case, method, made)
            for name in names:
                blending.forget_document(name, self.client)

    @staticmethod
    def _line(case: Case, method: str, scores: Scores) -> dict[str, Any]:
        return {
            "bench": "blend", "setting": case.setting, "case": case.name, "method": method,
            **dataclasses.asdict(scores),
        }

    def _cases(self, quick: bool) -> Iterator[Case]:
        texts = _texts()
        needed = PIECES * PIECE_TOKENS + CONTINUED_TOKENS
        ids = [self.judge.token_ids(read(text, self.cache), needed) for text in texts]
        pieces = [
            [tuple(tokens[n * PIECE_TOKENS : (n + 1) * PIECE_TOKENS]) for n in range(PIECES)]
            for tokens in ids
        ]
        for number in range(QUICK_CASES if quick else len(texts)):
            after = tuple(ids[number][PIECES * PIECE_TOKENS :])
            foreign = [pieces[(number + far) % len(texts)][0] for far in OTHERS]
            yield Case(
                f"unrelated/{number}", "unrelated", (*foreign, pieces[number][2]), after
            )
            yield Case(f"consecutive/{number}", "consecutive", tuple(pieces[number]), after)

    def _blend(
        self, names: list[str], share: float, selection: str = "first", **options: Any
    ) -> Made:
        made = blending.blend(
            self.model, names, self.client, recompute=share, selection=selection, **options
        )
        depth = 0
        if selection == "deviation":
            depth = options.get("deviation_layer") or deviation_layer_of(self.model)
        return made.cache, made.end_position, _flops(made, depth)

    def _settled(self, names: list[str], share: float) -> Made:
        return self._blend(names, share, "deviation", settling=self.settling.name)

    def _concatenate(self, names: list[str]) -> Made:
        alone = [blending.compose(self.model, [name], self.client) for name in names]
        return concatenated(self.model, alone), sum(one.row_count for one in alone), 0.0


def _flops(made: blending.Blend, depth: int) -> float:
    """What was computed anew, and what it took to choose."""
    if not made.recomputed:
        return 0.0
    cost = made.cost(deviation_layer=depth)
    return cost.recompute + cost.choosing


def _texts() -> list[Document]:
    """Texts of several kinds, each in another style than its neighbours."""
    known = {text.name: text for text in (*LEARNED_ESSAYS, *LEARNED_MANUALS)}
    return [*HELD, *(known[name] for name in MORE)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("blend.jsonl"))
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--settling", type=pathlib.Path)
    options = parser.parse_args()
    lines: list[dict[str, Any]] = []
    with options.output.open("w") as output, running_daemon("--ram", "1GiB") as daemon:
        with kdn.Client(daemon.address) as client:
            _write(output, _about(options.threads))
            bench = Bench(options.cache, client, options.threads)
            _write(output, bench.settle(options.quick, options.settling))
            for line in bench.run(options.quick):
                lines.append(line)
                _write(output, line)
                print(f"{line['case']} {line['method']}: {line['kl']:.4f}", file=sys.stderr)
    print(table(lines))
    faults = missed(lines)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults and not options.quick else 0


def _write(output: Any, line: dict[str, Any]) -> None:
    output.write(json.dumps(line) + "\n")
    output.flush()


def _about(threads: int) -> dict[str, Any]:
    return {
        "bench": "blend about",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "model": "SmolLM2-135M-Instruct, f32", "threads": threads,
        "cpus": os.cpu_count(), "machine": platform.machine(),
        "torch": torch.__version__, "transformers": transformers.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
