"""The jobs of Scripts/lib/quickstart-fidelity: learn for two tenants, one of whose KV is encoded;
retrieve from both over a slow link; compare time, bytes and what the model makes of the KV."""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import statistics
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import torch
from quickstart import CHUNK_TOKENS, QUESTION, Job, first_token_seconds
from transformers.utils import logging

import kdn
from kdn.calibration import calibrate
from kdn.engines import transformers as engine
from kdn.engines._planes import describe

TOKEN = "quickstart"
ADMIN = "http://127.0.0.1:9441"
ROUNDS = 5
# Passages that the profile is learned from: behind the text that is asked about. Ten tokens for
# each channel of the widest run of layers, of which SmolLM2's have 1,152.
PASSAGES = 6
PASSAGE_TOKENS = 2048
CALIBRATION_TEXTS = 3
CALIBRATION_TOKENS = 1024
ENCODED_SECONDS = 120.0
# The divergence, in nats, that a class may cost the question's tokens here.
DIVERGENCE_MAX = {"high": 0.01, "balanced": 0.03, "small": 0.03, "archive": 0.05}


@dataclass
class Case:
    """A way to the first token: whose KV, and by when."""

    name: str
    client: kdn.Client
    deadline: float | None = None
    # Tokens a second that the model computes, which a fresh process has not measured.
    prefill_rate: float | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    logits: torch.Tensor | None = None

    def median(self, name: str) -> float:
        """Of all rounds."""
        return statistics.median(row[name] for row in self.rows)

    @property
    def first_token(self) -> float:
        """The median of the times to the question's logits."""
        return statistics.median(first_token_seconds(row) for row in self.rows)

    @property
    def whole(self) -> bool:
        """Whether the whole text came, each time."""
        return all(row["tokens"] == self.rows[0]["tokens"] > 0 for row in self.rows) and all(
            row["cause"] == "none" for row in self.rows
        )


class Fidelity(Job):
    """The model, the prompt, and a client of each tenant."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.work: pathlib.Path = arguments.work
        super().__init__(arguments)

    def connect(self, arguments: argparse.Namespace) -> kdn.Client:
        """The client of the tenant whose KV stays as it is."""
        return self.tenant("raw")

    def tenant(self, namespace: str, fidelity: str | None = None) -> kdn.Client:
        """A client over TCP, as from another host."""
        return kdn.Client(
            self.arguments.server, namespace=namespace, token=TOKEN, link="tcp", fidelity=fidelity
        )

    def passages(self) -> list[list[int]]:
        """Passages of the report that nobody asks about."""
        text = (self.arguments.material / "lcet10.txt").read_text("utf-8", "replace")
        ids = self.tokenizer(text)["input_ids"]
        step = (len(ids) - 2 * len(self.text)) // PASSAGES
        starts = [2 * len(self.text) + step * number for number in range(PASSAGES)]
        return [ids[start : start + PASSAGE_TOKENS] for start in starts]


def read_passages(job: Fidelity) -> None:
    """Stores the passages' KV, calibrates on three of them, and writes the layout."""
    client = job.tenant("encoded")
    for passage in job.passages():
        learned = engine.learn(job.model, passage, client=client, chunk_tokens=CHUNK_TOKENS)
        if learned.tokens != PASSAGE_TOKENS:
            sys.exit(f"quickstart: a passage was not stored: {learned}")
    texts = [passage[:CALIBRATION_TOKENS] for passage in job.passages()[:CALIBRATION_TEXTS]]
    (calibration,) = calibrate(job.model, texts, rounds=1)
    calibration.save(job.work / "calibration.json")
    (plane,) = describe(job.model).planes
    (job.work / "layout").write_bytes(plane.layout.encode())


def learn(job: Fidelity) -> None:
    """Computes the text's KV once and stores it for both tenants."""
    started = time.monotonic()
    learned = engine.learn(job.model, job.text, client=job.client, chunk_tokens=CHUNK_TOKENS)
    if learned.cache is None or learned.tokens != len(job.text):
        sys.exit(f"quickstart: the text was not stored: {learned}")
    other = engine.store_cache(
        job.model, learned.cache, job.text, client=job.tenant("encoded"), chunk_tokens=CHUNK_TOKENS
    )
    if other.tokens != len(job.text):
        sys.exit(f"quickstart: the text was not stored: {other}")
    asked = time.monotonic()
    job.ask(job.question, learned.cache)
    facts = {
        "kv_seconds": learned.prefill_seconds,
        "question_seconds": time.monotonic() - asked,
        "seconds": time.monotonic() - started,
    }
    (job.work / "learn.json").write_text(json.dumps(facts))


def wait_encoded(fidelity: str) -> None:
    """Returns once nothing is left that is to be encoded; prints what became of it."""
    deadline = time.monotonic() + ENCODED_SECONDS
    while True:
        with urllib.request.urlopen(f"{ADMIN}/stats", timeout=10) as answer:
            coding = json.load(answer)["coding"]
        waiting = coding["queued"] + coding["encoding"]
        if coding["encoded_total"] > 0 and waiting == 0:
            break
        if time.monotonic() > deadline:
            sys.exit(f"quickstart: not all was encoded: {coding}")
        time.sleep(0.2)
    ratio = coding["encoded_raw_bytes_total"] / coding["encoded_bytes_total"]
    print(
        f"{coding['encoded_total']} objects are {fidelity} now, {ratio:.2f} times smaller, for "
        f"{coding['encode_seconds_total']:.1f} s of processor time"
    )


def retrieve(job: Fidelity, case: Case) -> tuple[dict[str, Any], torch.Tensor]:
    """One retrieve, what it lacks computed, and the question's logits."""
    prompt = job.text + job.question
    started = time.monotonic()
    found = engine.retrieve(
        job.model,
        prompt,
        client=case.client,
        chunk_tokens=CHUNK_TOKENS,
        deadline=case.deadline,
        prefill_rate=case.prefill_rate,
    )
    retrieved = time.monotonic()
    logits = job.ask(prompt[found.tokens :], found.cache)
    facts = {
        "tokens": found.tokens,
        "cause": found.cause.name.lower(),
        "bytes": found.bytes,
        "kv_seconds": retrieved - started,
        "question_seconds": time.monotonic() - retrieved,
    }
    return facts, logits[-len(job.question) :]


def divergence(logits: torch.Tensor, other: torch.Tensor) -> float:
    """The mean KL divergence of the question's tokens, in nats."""
    exact, found = (torch.log_softmax(each.double(), dim=-1) for each in (logits, other))
    return float((exact.exp() * (exact - found)).sum(dim=-1).mean())


def compare(job: Fidelity) -> int:
    """Both tenants' KV in turn, then again with a deadline between the two; returns the status."""
    fidelity = job.arguments.fidelity
    raw = Case("raw", job.client)
    encoded = Case(fidelity, job.tenant("encoded", fidelity))
    run_rounds(job, [raw, encoded])
    deadline = math.sqrt(raw.median("kv_seconds") * encoded.median("kv_seconds"))
    computed = json.loads((job.work / "learn.json").read_text())
    speed = len(job.text) / computed["kv_seconds"]
    hurried = [Case(case.name, case.client, deadline, speed) for case in (raw, encoded)]
    run_rounds(job, hurried)
    show(job, computed, [raw, encoded], hurried)
    return 0 if is_good(fidelity, [raw, encoded]) else 1


def run_rounds(job: Fidelity, cases: list[Case]) -> None:
    """Each case once a round, after one that does not count."""
    for number in range(ROUNDS + 1):
        for case in cases:
            row, case.logits = retrieve(job, case)
            if number > 0:
                case.rows.append(row)


def show(
    job: Fidelity, computed: dict[str, float], cases: list[Case], hurried: list[Case]
) -> None:
    """Prints the comparison."""
    raw, encoded = cases
    rate = job.arguments.link_rate
    cold = first_token_seconds(computed)
    print(f"\n{'TCP over ' + rate:26}{'computed':>16}" + "".join(f"{c.name:>16}" for c in cases))
    rows = [
        ("MB on the wire", "", [f"{case.median('bytes') / 1e6:.2f}" for case in cases]),
        ("prefill / retrieve, s", f"{computed['kv_seconds']:.3f}",
         [f"{case.median('kv_seconds'):.3f}" for case in cases]),
        ("time to first token, s", f"{cold:.3f}", [f"{case.first_token:.3f}" for case in cases]),
        ("speed-up", "", [f"{cold / case.first_token:.1f}x" for case in cases]),
    ]  # fmt: skip
    for label, first, cells in rows:
        print(f"{label:26}{first:>16}" + "".join(f"{cell:>16}" for cell in cells))
    promised = raw.median("bytes") / encoded.median("bytes")
    gained = raw.median("kv_seconds") / encoded.median("kv_seconds")
    print(f"\nthe bytes promise {promised:.2f}x, the retrieve is {gained:.2f}x as quick")
    print(f"KL divergence of the question's tokens: {divergence(raw.logits, encoded.logits):.4f}")
    deadline = hurried[0].deadline or 0
    print(f"\nwith a deadline of {deadline:.3f} s, which the raw bytes cannot meet:")
    for case in hurried:
        met = sum(row["kv_seconds"] <= deadline for row in case.rows)
        print(
            f"  {case.name:10} {case.median('kv_seconds'):.3f} s, {case.rows[0]['tokens']} tokens, "
            f"in time {met} of {len(case.rows)} times"
        )


def is_good(fidelity: str, cases: list[Case]) -> bool:
    """Whether all holds that does not hang on how busy this machine is; says what does not.

    The times are for the reader to judge.
    """
    raw, encoded = cases
    faults = [f"{case.name}: not the whole text: {case.rows}" for case in cases if not case.whole]
    if encoded.median("bytes") >= raw.median("bytes") / 2:
        faults.append("encoded KV is not half as long as raw KV")
    if divergence(raw.logits, encoded.logits) > DIVERGENCE_MAX[fidelity]:
        faults.append(f"encoded KV costs more than {DIVERGENCE_MAX[fidelity]} nats")
    for fault in faults:
        print(f"quickstart: {fault}")
    return not faults


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--material", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--fidelity", choices=tuple(DIVERGENCE_MAX), required=True)
    parser.add_argument("--link-rate", required=True)
    parser.add_argument("step", choices=("passages", "learn", "wait", "compare"))
    arguments = parser.parse_args()
    if arguments.step == "wait":
        wait_encoded(arguments.fidelity)
        return 0
    logging.disable_progress_bar()
    job = Fidelity(arguments)
    if arguments.step == "compare":
        return compare(job)
    {"passages": read_passages, "learn": learn}[arguments.step](job)
    return 0


if __name__ == "__main__":
    sys.exit(main())
