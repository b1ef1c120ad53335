"""The paper's Table 1 in small: three ways to give a model knowledge, and what each costs.

The knowledge is the documents of rag_bench_documents.py. In-context: the text stands in each
prompt. Fine-tuning: a LoRA adapter of rank 8, trained on the documents and on every question with
its right answer, merged into the weights. KDN: each document's KV is computed once, stored in a
daemon, and blended for each request, as it is or with 10 % of it computed anew. Measured are the
time to inject all of the knowledge, and per request the CPU time (model and daemon), the time to
the first token, and how many questions are answered right, by choice among five answers.

usage: table1_bench.py --material FOLDER [--quick] [--steps N] [--output FILE]

FOLDER holds the model (Scripts/lib/model) and gets the documents. KDND names the daemon. Writes
lines of JSON and prints a table.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from daemon_process import DaemonProcess, running_daemon
from knowledge_model import Planes, Question, Reader, cache_of, planes_of
from knowledge_report import run_facts, wilson, write
from rag_bench import RAM
from rag_bench_documents import Note, Prompt, load, prompts
from table1_lora import Adapter, Example, train

import kdn
from kdn.engines import transformers_blend as blending

PROMPTS = 40
QUICK_PROMPTS = 1
STEPS = 120
QUICK_STEPS = 2
RANK = 8
KDN = "KDN"
# Of a blend's tokens, how many are computed anew.
RECOMPUTED = {KDN: 0.0, "KDN, 10 % recomputed": 0.10}


@dataclass
class Method:
    """One row: what injecting took, and what each request took, in seconds."""

    name: str
    inject_seconds: float = 0.0
    inject_cpu_seconds: float = 0.0
    delays: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    right: int = 0
    asked: int = 0

    def line(self) -> dict[str, Any]:
        """The row's line of JSON."""
        return {
            "kind": "method",
            "method": self.name,
            "inject_seconds": self.inject_seconds,
            "inject_cpu_seconds": self.inject_cpu_seconds,
            "requests": len(self.delays),
            "delay_seconds": statistics.median(self.delays),
            "delay_seconds_all": self.delays,
            "cpu_seconds": statistics.median(self.cpu),
            "cpu_seconds_all": self.cpu,
            "questions": self.asked,
            "accuracy": self.right / self.asked,
            "accuracy_interval": wilson(self.right, self.asked),
        }


class Meter:
    """Wall and CPU time of this process and of a daemon."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._pid = daemon.pid
        self._started = (time.monotonic(), self._cpu())

    def _cpu(self) -> float:
        stat = pathlib.Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(stat[11]) + int(stat[12])
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")

    def lap(self) -> tuple[float, float]:
        """Seconds and CPU seconds since the last lap or the start."""
        now = (time.monotonic(), self._cpu())
        before, self._started = self._started, now
        return now[0] - before[0], now[1] - before[1]


class Bench:
    """The model with and without an adapter, and a daemon."""

    def __init__(
        self, folder: pathlib.Path, client: kdn.Client, daemon: DaemonProcess, notes: Sequence[Note]
    ) -> None:
        self.reader = Reader.load(folder)
        # Another object: the name that KDN gives to weights is that of the model as it was loaded.
        self.tuned = Reader.load(folder)
        self.client = client
        self.daemon = daemon
        self.ids = {note.release: self.reader.ids(note.text) for note in notes}

    def inject_kdn(self) -> Method:
        """Learns all documents."""
        # The model is measured and named once, which is no part of learning a document.
        blending.learn_document(self.reader.model, [1, 2, 3], "warm-up", self.client)
        method, meter = Method(KDN), Meter(self.daemon)
        for name, ids in self.ids.items():
            blending.learn_document(self.reader.model, list(ids), name, self.client)
        method.inject_seconds, method.inject_cpu_seconds = meter.lap()
        return method

    def inject_tuning(self, asked: Sequence[Prompt], steps: int) -> tuple[Method, list[float]]:
        """Trains an adapter and merges it; also the losses."""
        method, meter = Method("fine-tuning (LoRA)"), Meter(self.daemon)
        adapter = Adapter(self.tuned.model, rank=RANK)
        losses = train(self.tuned.model, adapter, list(self._examples(asked)), steps)
        adapter.merge()
        method.inject_seconds, method.inject_cpu_seconds = meter.lap()
        return method, losses

    def _examples(self, asked: Sequence[Prompt]) -> Iterator[Example]:
        for ids in self.ids.values():
            yield Example(ids)
        for prompt in asked:
            for one in prompt.questions:
                question = self.tuned.question(one.prompt, one.candidates)
                answer = question.candidates[one.right]
                yield Example((*question.prompt, *answer), len(question.prompt))

    def kv(self, method: str, prompt: Prompt) -> tuple[Planes | None, int, list[int]]:
        """For one request: KV, the position behind it, and the text that is still to be read."""
        if method not in RECOMPUTED:
            text = [token for name in prompt.retrieved for token in self.ids[name]]
            return None, 0, text if method == "in-context" else []
        model, names = self.reader.model, list(prompt.retrieved)
        made = blending.compose(model, names, self.client, recompute=RECOMPUTED[method])
        made = blending.recompute(model, made)
        return planes_of(made.cache), made.end_position, []

    def measure(self, method: Method, prompt: Prompt) -> None:
        """One request until its first token, then all questions of the prompt by likelihood."""
        reader = self.tuned if method.name.startswith("fine") else self.reader
        questions = [reader.question(one.prompt, one.candidates) for one in prompt.questions]
        meter = Meter(self.daemon)
        planes, position, text = self.kv(method.name, prompt)
        first_token(reader, planes, position, [*text, *questions[0].prompt])
        delay, cpu = meter.lap()
        method.delays.append(delay)
        method.cpu.append(cpu)
        self._choose(method, reader, prompt, questions, (planes, position, text))

    def _choose(
        self,
        method: Method,
        reader: Reader,
        prompt: Prompt,
        questions: Sequence[Question],
        kv: tuple[Planes | None, int, list[int]],
    ) -> None:
        planes, position, text = kv
        readings = reader.read(planes, position, questions, text)
        for one, reading in zip(prompt.questions, readings):
            method.right += reading.choice == one.right
            method.asked += 1


def first_token(reader: Reader, planes: Planes | None, position: int, ids: Sequence[int]) -> int:
    """What the model says first, behind the KV and these tokens."""
    places = torch.arange(position, position + len(ids))[None]
    with torch.inference_mode():
        hidden = reader.model.model(
            torch.tensor([list(ids)]), position_ids=places, past_key_values=cache_of(planes or [])
        ).last_hidden_state
        return int(reader.model.lm_head(hidden[:, -1]).argmax())


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The lines as Markdown."""
    rows = [
        "| | time to inject | CPU to inject | CPU a request | delay to the first token "
        "| right (95 %) |",
        "|---|---|---|---|---|---|",
    ]
    for line in lines:
        low, high = line["accuracy_interval"]
        rows.append(
            f"| {line['method']} | {line['inject_seconds']:.1f} s "
            f"| {line['inject_cpu_seconds']:.1f} s | {line['cpu_seconds']:.2f} s "
            f"| {line['delay_seconds']:.2f} s "
            f"| {line['accuracy']:.0%} ({low:.0%} to {high:.0%}) |"
        )
    return "\n".join(rows)


def measured(
    bench: Bench, every: Sequence[Prompt], chosen: Sequence[Prompt], steps: int
) -> tuple[list[Method], list[float]]:
    """All methods, taking turns request by request; and the losses of fine-tuning."""
    kdn_row = bench.inject_kdn()
    print(f"learned in {kdn_row.inject_seconds:.1f} s", file=sys.stderr, flush=True)
    tuning_row, losses = bench.inject_tuning(every, steps)
    print(f"trained in {tuning_row.inject_seconds:.1f} s", file=sys.stderr, flush=True)
    others = [
        Method(name, kdn_row.inject_seconds, kdn_row.inject_cpu_seconds)
        for name in RECOMPUTED
        if name != KDN
    ]
    methods = [Method("no knowledge"), Method("in-context"), tuning_row, kdn_row, *others]
    for number, prompt in enumerate(chosen):
        for method in methods:
            bench.measure(method, prompt)
        print(f"prompt {number + 1} of {len(chosen)}", file=sys.stderr, flush=True)
    return methods, losses


def main() -> int:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--material", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS, help="of the optimiser")
    parser.add_argument("--quick", action="store_true", help="one prompt, two steps")
    parser.add_argument("--output", type=pathlib.Path, default="bench-results.jsonl")
    arguments = parser.parse_args()
    started = time.monotonic()
    facts = run_facts("table1_bench.py")
    documents = load(arguments.material)
    every = prompts(documents)
    count = QUICK_PROMPTS if arguments.quick else PROMPTS
    chosen = every[:: max(1, len(every) // count)][:count]
    steps = arguments.steps
    if arguments.quick:
        steps, every = QUICK_STEPS, chosen
        wanted = {name for prompt in chosen for name in prompt.retrieved}
        documents = [made for made in documents if made.release in wanted]
    with running_daemon("--ram", RAM) as daemon, kdn.Client(daemon.address) as client:
        bench = Bench(arguments.material / "smollm2", client, daemon, documents)
        methods, losses = measured(bench, every, chosen, steps)
    lines = [method.line() for method in methods]
    print(table(lines))
    facts |= {
        "seconds": time.monotonic() - started,
        "documents": len(documents),
        "document_tokens": sum(map(len, bench.ids.values())),
        "rank": RANK,
        "steps": steps,
        "losses": losses,
    }
    with arguments.output.open("w") as output:
        write(output, [facts, *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main())
