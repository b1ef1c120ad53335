"""KV of a real model through all that codecs are in: stored, encoded in the background, demoted to
disk, the daemon killed and started again, delivered. Every byte of `exact` must be the one that was
stored; of lossy classes each layer's error must be within the class's bound.

A few passages are computed once, and stored under as many salts as make GIB: other objects to the
daemon, the same bytes to compare with.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from daemon_process import DaemonProcess, running_daemon
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

import kdn
from kdn.engines import transformers as engine
from kdn.engines._planes import describe

CHUNK_TOKENS = 256
PASSAGE_TOKENS = 2048
PASSAGES = 4
LEARNED_PASSAGES = 6
CLASSES = ("exact", "high", "small")
# Root mean square of the error of a layer's keys or values, over that of their deviation from each
# channel's mean, per chunk. A uniform error of a step of .25 deviations is .072 of them; `small`
# spends its error where it costs least, up to .9 of a deviation.
BOUNDS = {"exact": 0.0, "high": 0.1, "small": 0.7}
RATIO_MIN = {"exact": 1.4, "high": 3.8, "small": 9.0}
TOKEN = "soak"
RAM = "1GiB"
WAIT_SECONDS = 600.0
# So much is stored before the disk must have it: what is further ahead is written raw, lest the
# encoder hold up those who store.
AHEAD_BYTES = 32 << 20


@dataclass
class Passage:
    """A text's tokens and its KV, as the model computed it."""

    ids: list[int]
    cache: Any
    prefill_seconds: float


@dataclass
class Tally:
    """What became of the KV of one class."""

    objects: int = 0
    raw_bytes: int = 0
    wire_bytes: int = 0
    worst: float = 0.0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


class Soak:
    """The model, its passages, and a daemon on a directory."""

    def __init__(self, arguments: argparse.Namespace, folder: pathlib.Path) -> None:
        self.folder = folder
        material = arguments.material
        path = material / "smollm2"
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16).eval()
        tokenizer = AutoTokenizer.from_pretrained(path)
        text = (material / "lcet10.txt").read_text("utf-8", "replace")
        self.ids = tokenizer(text)["input_ids"]
        engine.prepare(self.model)
        self.passages = [self.compute(PASSAGE_TOKENS * number) for number in range(PASSAGES)]
        each = sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers(0))
        self.rounds = max(1, round(arguments.gib * (1 << 30) / (each * PASSAGES * len(CLASSES))))
        self.passage_bytes = each
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        (folder / "disk").mkdir()
        limit = int(arguments.gib * 2) + 2
        (folder / "kdnd.yaml").write_text(
            json.dumps(
                {
                    "tcp": ["127.0.0.1:0"],
                    "unix": str(folder / "kdnd.socket"),
                    "ram": RAM,
                    "disk": [f"{folder / 'disk'}:{limit}GiB"],
                    "namespaces": [f"{name}:{digest}" for name in CLASSES],
                    "namespace_codecs": [f"{name} ram={name} disk={name}" for name in CLASSES],
                    "codec_age": 1,
                    "codec_cpu": 100,
                }
            )
        )

    def compute(self, start: int) -> Passage:
        ids = self.ids[start : start + PASSAGE_TOKENS]
        started = time.monotonic()
        cache = engine.prefill(self.model, ids)
        return Passage(ids, cache, time.monotonic() - started)

    def layers(self, number: int) -> list[Any]:
        return self.passages[number].cache.layers

    @contextlib.contextmanager
    def daemon(self) -> Iterator[DaemonProcess]:
        with running_daemon("--config", str(self.folder / "kdnd.yaml")) as daemon:
            self.address = daemon.address
            yield daemon

    def client(self, name: str) -> kdn.Client:
        return kdn.Client(
            f"unix://{self.folder / 'kdnd.socket'}", namespace=name, token=TOKEN, link="unix",
            fidelity=name,
        )  # fmt: skip

    def names(self) -> Iterator[tuple[str, int, bytes]]:
        """Class, passage and salt of all that is stored, classes taking turns."""
        for number in range(self.rounds):
            for passage in range(PASSAGES):
                for name in CLASSES:
                    yield name, passage, b"soak %d" % number

    # Steps

    def store(self) -> None:
        """Stores all of it, never much more than the disk has taken."""
        clients = {name: self.client(name) for name in CLASSES}
        stored = ahead = 0
        for name, passage, salt in self.names():
            text = self.passages[passage]
            result = engine.store_cache(
                self.model, text.cache, text.ids, client=clients[name], salt=salt,
                chunk_tokens=CHUNK_TOKENS,
            )  # fmt: skip
            if result.tokens != PASSAGE_TOKENS or result.error:
                sys.exit(f"soak: {name} was not stored: {result}")
            stored += result.objects_sent
            ahead += self.passage_bytes
            if ahead > AHEAD_BYTES:
                self.wait(list(clients.values()), stored)
                ahead = 0
        self.wait(list(clients.values()), stored)
        self.stored = stored

    def wait(self, clients: list[kdn.Client], objects: int) -> None:
        """Until the disk has so many objects; the daemon writes them by itself."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            # The profile is one more.
            found = sum(client.stats()["namespace"]["disk_objects"] for client in clients) - 1
            if found >= objects:
                return
            if time.monotonic() > deadline:
                sys.exit(f"soak: {found} of {objects} objects were written")
            time.sleep(0.05)

    def deliver(self) -> dict[str, Tally]:
        """Retrieves all of it and compares it with what was computed."""
        clients = {name: self.client(name) for name in CLASSES}
        tallies = {name: Tally() for name in CLASSES}
        for name, passage, salt in self.names():
            tally = tallies[name]
            text = self.passages[passage]
            # One token more than is stored: the last is always left to the model.
            found = engine.retrieve(
                self.model, [*text.ids, 0], client=clients[name], salt=salt,
                chunk_tokens=CHUNK_TOKENS,
            )  # fmt: skip
            tally.seconds += found.seconds
            tally.wire_bytes += found.bytes
            tally.raw_bytes += self.passage_bytes
            tally.objects += PASSAGE_TOKENS // CHUNK_TOKENS
            if found.tokens != PASSAGE_TOKENS:
                tally.faults.append(f"{salt!r} {passage}: {found.tokens} tokens: {found.cause}")
                continue
            tally.worst = max(tally.worst, self.error(name, found.cache, passage, tally))
        return tallies

    def error(self, name: str, cache: Any, passage: int, tally: Tally) -> float:
        """The largest error of a layer, in deviations; notes what is beyond the bound."""
        worst = 0.0
        for number, (own, found) in enumerate(zip(self.layers(passage), cache.layers, strict=True)):
            for kind in ("keys", "values"):
                stored, got = getattr(own, kind)[0], getattr(found, kind)[0]
                if name == "exact":
                    relative = 0.0 if torch.equal(stored, got) else float("inf")
                else:
                    relative = deviation(stored, got)
                if not relative <= BOUNDS[name]:
                    tally.faults.append(f"passage {passage} layer {number} {kind}: {relative:.3f}")
                worst = max(worst, relative)
        return worst


def deviation(stored: torch.Tensor, got: torch.Tensor) -> float:
    """The largest error of a chunk of `[heads, tokens, headDim]`, in deviations of the plane."""
    shape = (stored.shape[0], -1, CHUNK_TOKENS, stored.shape[2])
    before, after = (each.float().reshape(shape) for each in (stored, got))
    error = (after - before).square().mean(dim=(0, 2, 3))
    spread = (before - before.mean(dim=2, keepdim=True)).square().mean(dim=(0, 2, 3))
    return float((error / spread).sqrt().max())


def learn_profile(soak: Soak) -> pathlib.Path:
    """Learns a profile for `small` from passages that are not stored."""
    dump = soak.folder / "dump"
    dump.mkdir()
    for number in range(LEARNED_PASSAGES):
        cache = soak.compute(PASSAGE_TOKENS * (PASSAGES + number)).cache
        planes = torch.stack([torch.stack([each.keys[0], each.values[0]]) for each in cache.layers])
        planes.contiguous().view(torch.uint8).numpy().tofile(dump / f"{number}.kv")
        facts = {"first_token": 0, "token_count": PASSAGE_TOKENS}
        (dump / f"{number}.json").write_text(json.dumps(facts))
    (plane,) = describe(soak.model).planes
    layout, profile = soak.folder / "layout", soak.folder / "profile.kdnf"
    layout.write_bytes(plane.layout.encode())
    run_kdn(
        soak, "profile", "learn", "--kind", "small", "--layout", str(layout), "--dump", str(dump),
        "--out", str(profile),
    )  # fmt: skip
    shutil.rmtree(dump)
    return profile


def run_kdn(soak: Soak, *arguments: str) -> None:
    """Runs `kdn` with the tenant of `small`."""
    settings = {"KDN_TOKEN": TOKEN, "KDN_NAMESPACE": "small", "KDN_ADDRESS": soak.address}
    subprocess.run(
        [os.environ["KDN"], *arguments], env={**os.environ, **settings}, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def show(soak: Soak, tallies: dict[str, Tally], stored_seconds: float) -> int:
    """Prints what became of each class; returns the exit status."""
    total = sum(tally.raw_bytes for tally in tallies.values())
    print(
        f"\n{total / 1e9:.2f} GB of KV, {soak.stored} objects, stored and encoded in "
        f"{stored_seconds:.0f} s; then kill -9, a new daemon, and all of it delivered"
    )
    print(f"{'class':10}{'objects':>9}{'GB':>8}{'GB sent':>9}{'ratio':>8}{'worst error':>13}"
          f"{'bound':>7}{'s':>8}")  # fmt: skip
    faults = []
    for name, tally in tallies.items():
        ratio = tally.raw_bytes / max(1, tally.wire_bytes)
        raw, sent = tally.raw_bytes / 1e9, tally.wire_bytes / 1e9
        print(
            f"{name:10}{tally.objects:>9}{raw:>8.2f}{sent:>9.3f}{ratio:>8.2f}"
            f"{tally.worst:>13.3f}{BOUNDS[name]:>7}{tally.seconds:>8.1f}"
        )
        faults += [f"{name}: {fault}" for fault in tally.faults]
        if ratio < RATIO_MIN[name]:
            faults.append(f"{name}: {ratio:.2f} times smaller, not {RATIO_MIN[name]}")
    for fault in faults[:20]:
        print(f"soak: {fault}")
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("gib", type=float)
    parser.add_argument("--material", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        soak = Soak(arguments, pathlib.Path(name))
        with soak.daemon() as daemon:
            run_kdn(soak, "profile", "use", str(learn_profile(soak)))
            started = time.monotonic()
            soak.store()
            stored_seconds = time.monotonic() - started
            daemon.kill()
        with soak.daemon() as daemon:
            # Until then what is asked for is not ready: a miss.
            daemon.wait_lines("disk recovered", seconds=WAIT_SECONDS)
            tallies = soak.deliver()
        return show(soak, tallies, stored_seconds)


if __name__ == "__main__":
    sys.exit(main())
