"""The main job of Scripts/quickstart: learn in one process, retrieve in another over each link,
compare; and once more after the daemon was killed and started again."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

import kdn
from kdn.engines import transformers as engine

CHUNK_TOKENS = 256
ANSWER_TOKENS = 40
SPEED_UP_MIN = 10.0
# One retrieve takes some 0.1 s, which another process can easily double: the median counts.
RETRIEVES = 5
# What the client chooses by itself, and each link by name.
LINKS = ("auto", "tcp", "unix", "shm")
WRITTEN_SECONDS = 30.0
OPENING = "<|im_start|>user\n"
QUESTION = "\n\nWhen and where was the workshop held?<|im_end|>\n<|im_start|>assistant\n"


class Job:
    """The model, the prompt's two pieces and a connection: what both processes begin with."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        folder = arguments.material / "smollm2"
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        text = OPENING + (arguments.material / "lcet10.txt").read_text("utf-8", "replace")
        # Whole chunks, so that both processes run exactly the same tokens on top of the text.
        count = arguments.tokens // CHUNK_TOKENS * CHUNK_TOKENS
        self.text = self.tokenizer(text)["input_ids"][:count]
        self.question = self.tokenizer(QUESTION)["input_ids"]
        self.server = arguments.server
        self.client = self.connect(arguments)
        engine.prepare(self.model)

    def connect(self, arguments: argparse.Namespace) -> kdn.Client:
        """The client that is there from the start, on the link that it chooses by itself."""
        self.unix = f"unix://{arguments.socket}"
        return kdn.Client(self.server)

    def over(self, link: str) -> kdn.Client:
        """A client over a link; `auto` is given the TCP address, as from another host."""
        if link == "auto":
            return self.client
        return kdn.Client(self.server if link == "tcp" else self.unix, link=link)

    def ask(self, ids: list[int], cache: Any) -> torch.Tensor:
        """The logits `[n, vocabulary]` of `ids` on top of `cache`."""
        with torch.inference_mode():
            return self.model(input_ids=torch.tensor([ids]), past_key_values=cache).logits[0]

    def answer(self, logits: torch.Tensor, cache: Any) -> str:
        """The greedy continuation of the question."""
        ids: list[int] = []
        while len(ids) < ANSWER_TOKENS:
            token = int(logits[-1].argmax())
            if token == self.tokenizer.convert_tokens_to_ids("<|im_end|>"):
                break
            ids.append(token)
            logits = self.ask([token], cache)
        return self.tokenizer.decode(ids).strip()


def learn(job: Job) -> tuple[dict[str, Any], torch.Tensor]:
    """Prefills and stores the text, then asks the question on top of the cache just computed."""
    learned = engine.learn(job.model, job.text, client=job.client, chunk_tokens=CHUNK_TOKENS)
    if learned.cache is None or learned.tokens != len(job.text):
        sys.exit(f"quickstart: the text was not stored: {learned}")
    started = time.monotonic()
    logits = job.ask(job.question, learned.cache)
    question_seconds = time.monotonic() - started
    facts = {
        "tokens": len(job.text),
        "question_tokens": len(job.question),
        "bytes": learned.stored.bytes_sent,
        "kv_seconds": learned.prefill_seconds,
        "question_seconds": question_seconds,
        "store_seconds": learned.seconds - learned.prefill_seconds,
    }
    return facts, logits


def retrieve(job: Job) -> tuple[dict[str, Any], torch.Tensor]:
    """Retrieves the text's KV and asks the same question on top of it, several times over each
    link in turn."""
    clients = {link: job.over(link) for link in LINKS}
    rows: dict[str, list[dict[str, Any]]] = {link: [] for link in LINKS}
    first = None
    for _ in range(RETRIEVES):
        for link, client in clients.items():
            facts, logits, cache = retrieve_once(job, client)
            if first is None:
                first = facts, logits, cache
            elif not torch.equal(logits, first[1]):
                sys.exit(f"quickstart: a retrieve over {link} gave different logits")
            rows[link].append(facts)
    facts, logits, cache = first
    facts["median"] = median(rows["auto"])
    facts["links"] = {link: median(rows[link]) for link in LINKS}
    facts["chosen"] = [job.client.link.kind, job.client.link.reason]
    facts["answer"] = job.answer(logits, cache)
    return facts, logits


def median(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The times of the retrieve whose first token was the median."""
    ordered = sorted(rows, key=first_token_seconds)
    middle = ordered[len(ordered) // 2]
    return {name: middle[name] for name in ("kv_seconds", "question_seconds")}


def first_token_seconds(facts: dict[str, Any]) -> float:
    """From the start until the question's logits are there."""
    return facts["kv_seconds"] + facts["question_seconds"]


def retrieve_again(job: Job) -> tuple[dict[str, Any], torch.Tensor]:
    """One retrieve and its answer."""
    facts, logits, cache = retrieve_once(job, job.client)
    facts["answer"] = job.answer(logits, cache)
    return facts, logits


def retrieve_once(job: Job, client: kdn.Client) -> tuple[dict[str, Any], torch.Tensor, Any]:
    """One retrieve and the question's first logits, each timed."""
    prompt = job.text + job.question
    started = time.monotonic()
    found = engine.retrieve(job.model, prompt, client=client, chunk_tokens=CHUNK_TOKENS)
    retrieved = time.monotonic()
    logits = job.ask(prompt[found.tokens :], found.cache)
    facts = {
        "tokens": found.tokens,
        "bytes": found.bytes,
        "cause": found.cause.name.lower(),
        "kv_seconds": retrieved - started,
        "question_seconds": time.monotonic() - retrieved,
    }
    return facts, logits, found.cache


def wait_written(server: str) -> None:
    """Returns once the daemon has written to disk what it holds; it does so by itself."""
    deadline = time.monotonic() + WRITTEN_SECONDS
    with kdn.Client(server) as client:
        while True:
            stats = client.stats()
            if stats["disk"]["objects"] >= stats["pool"]["objects"] > 0:
                return
            if time.monotonic() > deadline:
                sys.exit(f"quickstart: not all was written to disk: {stats['disk']}")
            time.sleep(0.05)


def report(work: pathlib.Path) -> int:
    """Prints the comparison; returns the exit status."""
    steps = ("learn", "retrieve", "restart")
    cold, warm, disk = (json.loads((work / f"{step}.json").read_text()) for step in steps)
    logits = [(work / f"{step}.logits").read_bytes() for step in steps]
    identical = [each == logits[0] for each in logits[1:]]
    timed = (cold, warm, warm["median"], disk)
    first_token = [first_token_seconds(facts) for facts in timed]
    speed_ups = [first_token[0] / seconds for seconds in first_token[1:]]
    told = ["yes" if each else "NO" for each in identical]
    rows = [
        ("", "computed", "retrieved", f"median of {RETRIEVES}", "after kill -9"),
        ("tokens of text", cold["tokens"], warm["tokens"], "", disk["tokens"]),
        ("KV, MB", *(f"{facts['bytes'] / 1e6:.1f}" for facts in (cold, warm)), "",
         f"{disk['bytes'] / 1e6:.1f}"),
        ("prefill / retrieve, s", *(f"{facts['kv_seconds']:.3f}" for facts in timed)),
        (
            f"question of {cold['question_tokens']} tokens, s",
            *(f"{facts['question_seconds']:.3f}" for facts in timed),
        ),
        ("time to first token, s", *(f"{seconds:.3f}" for seconds in first_token)),
        ("speed-up", "", *(f"{speed_up:.1f}x" for speed_up in speed_ups)),
        ("logits bit-identical", "", told[0], "", told[1]),
        ("store, s (after prefill)", f"{cold['store_seconds']:.3f}"),
    ]
    print()
    for label, *cells in rows:
        print(f"{label:26}" + "".join(f"{cell!s:>14}" for cell in cells))
    report_links(warm, first_token[0])
    print(f"\nquestion: {QUESTION.partition('<')[0].strip()}\nanswer:   {warm['answer']}")
    return 0 if is_good(cold, warm, disk, all(identical), speed_ups[1]) else 1


def report_links(warm: dict[str, Any], computed: float) -> None:
    """Prints what each link makes of the time to first token; their logits were compared."""
    kind, reason = warm["chosen"]
    print(f"\nlink chosen by the client: {kind} ({reason})")
    print(f"{'median by link':26}" + "".join(f"{link:>14}" for link in LINKS[1:]))
    timed = [warm["links"][link] for link in LINKS[1:]]
    rows = [
        ("retrieve, s", [f"{facts['kv_seconds']:.4f}" for facts in timed]),
        ("time to first token, s", [f"{first_token_seconds(facts):.4f}" for facts in timed]),
        ("speed-up", [f"{computed / first_token_seconds(facts):.1f}x" for facts in timed]),
    ]
    for label, cells in rows:
        print(f"{label:26}" + "".join(f"{cell:>14}" for cell in cells))
    print(f"{'logits bit-identical':26}" + f"{'yes':>14}" * len(timed))


def is_good(
    cold: dict[str, Any], warm: dict[str, Any], disk: dict[str, Any], identical: bool,
    speed_up: float,
) -> bool:
    """Whether all holds that is claimed; says what does not."""
    faults = [
        f"only {facts['tokens']} tokens were retrieved {when}: {facts['cause']}"
        for facts, when in ((warm, "from RAM"), (disk, "after kill -9"))
        if facts["tokens"] != cold["tokens"]
    ]
    if warm["chosen"][0] != "shm":
        faults.append(f"the client chose {warm['chosen'][0]} and not shared memory")
    if speed_up < SPEED_UP_MIN:
        faults.append(f"the median speed-up is below {SPEED_UP_MIN:g}x")
    if disk["answer"] != warm["answer"]:
        faults.append("the answer after kill -9 is another one")
    if not identical:
        faults.append("logits differ")
    for fault in faults:
        print(f"quickstart: {fault}")
    return not faults


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--material", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--server", default="")
    parser.add_argument("--socket", type=pathlib.Path, default=pathlib.Path())
    parser.add_argument("--tokens", type=int, default=2048)
    steps = ("learn", "retrieve", "written", "restart", "report")
    parser.add_argument("step", choices=steps)
    arguments = parser.parse_args()
    if arguments.step == "report":
        return report(arguments.work)
    if arguments.step == "written":
        wait_written(arguments.server)
        return 0
    logging.disable_progress_bar()
    jobs = {"learn": learn, "retrieve": retrieve, "restart": retrieve_again}
    facts, logits = jobs[arguments.step](Job(arguments))
    (arguments.work / f"{arguments.step}.json").write_text(json.dumps(facts))
    raw = logits.contiguous().view(torch.uint8).numpy().tobytes()
    (arguments.work / f"{arguments.step}.logits").write_bytes(raw)
    return 0


if __name__ == "__main__":
    sys.exit(main())
