"""What the codec classes and those of others make of a model's KV: rate, distortion, speed.

KV of held documents is coded by `kdn codec encode` in chunks of 256 tokens, with profiles that
`kdn profile learn` made of other documents, decoded by `kdn codec decode`, and given back to the
model. Bytes are those of the files. Beside them: the codecs of codec_bench_peers.py. Then profiles
that saw essays only, on technical text.

usage: codec_bench.py --kdn PROGRAM --cache FOLDER --folder FOLDER [--quick] [--output FILE]
                      [--plot FILE]

CACHE holds the model and gets the texts, FOLDER the KV, profiles and objects; what is there of an
earlier run is used again. Writes lines of JSON and an SVG, and prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from codec_bench_model import CHUNK_TOKENS, PREFIX_TOKENS, Bits, Judge, Sample
from codec_bench_peers import PEERS
from codec_bench_plot import plotted
from codec_bench_report import Coding, missed, shift_missed, summary, table
from codec_bench_texts import HELD, LEARNED_ESSAYS, LEARNED_MANUALS, Document, read

from kdn.calibration import Calibration, calibrate

# A class, or a class and a step other than its own: what it can do at the KL of a finer codec.
CLASSES = ("exact", "high", "balanced", "small:0.5", "small", "archive")
LEARNED = ("balanced", "small", "archive")
CALIBRATION_TEXTS = 8
CALIBRATION_TOKENS = 1536
QUICK_TEXTS = 4
QUICK_DOCUMENTS = 4


class Bench:
    """One run: the model, its documents, `kdn`, and where files are."""

    def __init__(self, kdn: str, cache: pathlib.Path, folder: pathlib.Path, quick: bool) -> None:
        self.kdn = kdn
        self.cache = cache
        self.folder = folder
        self.quick = quick
        self.judge = Judge(cache / "smollm2")
        self.layout = folder / "layout"
        folder.mkdir(parents=True, exist_ok=True)
        self.layout.write_bytes(self.judge.layout.encode())

    def learned(self, kinds: str) -> list[Document]:
        """The documents that profiles are learned from."""
        essays, manuals = LEARNED_ESSAYS, LEARNED_MANUALS
        if self.quick:
            essays, manuals = essays[: 2 * QUICK_TEXTS], manuals[: 2 * QUICK_TEXTS]
        return [*essays, *manuals] if kinds == "mixed" else list(essays)

    def held(self) -> list[tuple[str, Sample]]:
        """The documents that are coded."""
        chosen = HELD[:QUICK_DOCUMENTS] if self.quick else HELD
        return [
            (f"{d.kind} {d.name} {d.start}", self.judge.sample(read(d, self.cache))) for d in chosen
        ]

    def dump(self, kinds: str) -> pathlib.Path:
        """A folder with the KV of the learned documents, as `kdn profile learn` reads it."""
        folder = self.folder / f"dump-{kinds}"
        folder.mkdir(exist_ok=True)
        for document in self.learned(kinds):
            name = document.kind + "-" + document.name.replace("/", "-")
            facts = folder / f"{name}.json"
            if facts.exists():
                continue
            shared = self.folder / "dump-mixed" / f"{name}.kv"
            if kinds != "mixed" and shared.exists():
                os.link(shared, folder / f"{name}.kv")
            else:
                ids = self.judge.token_ids(read(document, self.cache), PREFIX_TOKENS)
                self.judge.planes(ids).tofile(folder / f"{name}.kv")
            facts.write_text(json.dumps({"first_token": 0, "token_count": PREFIX_TOKENS}))
        return folder

    def calibration(self) -> pathlib.Path:
        """The calibration file, made if there is none."""
        path = self.folder / "calibration.json"
        if not path.exists():
            count = QUICK_TEXTS if self.quick else CALIBRATION_TEXTS
            every = self.learned("mixed")
            chosen = every[:: max(1, len(every) // count)][:count]
            texts = [self.judge.token_ids(read(d, self.cache), CALIBRATION_TOKENS) for d in chosen]
            (found,) = calibrate(self.judge.model, texts)
            # The judge runs in f32, and KV is stored in bf16: another layout.
            Calibration(self.judge.layout, found.importance).save(path)
        return path

    def profile(self, kind: str, kinds: str) -> pathlib.Path:
        """A profile of a class, learned if there is none."""
        path = self.folder / f"{kind}-{kinds}.kdnf"
        if not path.exists():
            # fmt: off
            self._call("profile", "learn", "--kind", kind, "--layout", self.layout,
                       "--dump", self.dump(kinds), "--calibration", self.calibration(),
                       "--out", path)
            # fmt: on
        return path

    def code(self, codec: str, planes: Bits, kinds: str = "mixed") -> tuple[Bits, dict[str, Any]]:
        """Planes after encoding and decoding, and what both told."""
        codec, _, step = codec.partition(":")
        options = ["--step", step] if step else []
        work = self.folder / "objects"
        work.mkdir(exist_ok=True)
        profile = ["--profile", self.profile(codec, kinds)] if codec in LEARNED else []
        there, back = [], []
        for start in range(0, PREFIX_TOKENS, CHUNK_TOKENS):
            name = work / str(start)
            planes[:, :, :, start : start + CHUNK_TOKENS].tofile(f"{name}.raw")
            there.append(f"{name}.raw {name}.kdne {start} {CHUNK_TOKENS}")
            back.append(f"{name}.kdne {name}.out")
        (work / "there").write_text("\n".join(there))
        (work / "back").write_text("\n".join(back))
        # fmt: off
        encoded = self._call("codec", "encode", "--json", "--class", codec, *options,
                             *profile, "--layout", self.layout, "--list", work / "there")
        decoded = self._call("codec", "decode", "--json", *profile, "--list", work / "back")
        # fmt: on
        found = np.empty_like(planes)
        for start in range(0, PREFIX_TOKENS, CHUNK_TOKENS):
            chunk = np.fromfile(work / f"{start}.out", dtype=np.uint16)
            part = found[:, :, :, start : start + CHUNK_TOKENS]
            part[:] = chunk.reshape(part.shape)
        blocks: dict[str, int] = {}
        for line in encoded:
            for kind, count in line["blocks"].items():
                blocks[kind] = blocks.get(kind, 0) + count
        objects = [work / f"{start}.kdne" for start in range(0, PREFIX_TOKENS, CHUNK_TOKENS)]
        return found, {
            "bytes": sum(file.stat().st_size for file in objects),
            "blocks": blocks,
            "encode_seconds": sum(line["seconds"] for line in encoded),
            "decode_seconds": sum(line["seconds"] for line in decoded),
        }

    def _call(self, *arguments: str | pathlib.Path) -> list[dict[str, Any]]:
        command = [self.kdn, *map(str, arguments)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        if "--json" not in command:
            return []
        return [json.loads(line) for line in output.splitlines()]


def coded(
    bench: Bench, held: Sequence[tuple[str, Sample]], codecs: Sequence[str], kinds: str
) -> Iterator[Coding]:
    """Our classes on documents, one after the other."""
    for document, sample in held:
        base = bench.judge.base(sample)
        for codec in codecs:
            print(f"{codec}: {document}", file=sys.stderr)
            planes, told = bench.code(codec, sample.planes, kinds)
            if codec == "exact" and not np.array_equal(planes, sample.planes):
                raise ValueError(f"{document}: exact gave other bytes")
            yield Coding(
                codec=codec,
                document=document,
                profile=kinds if codec.partition(":")[0] in LEARNED else "",
                bits_per_element=told["bytes"] * 8 / sample.planes.size,
                scores=bench.judge.score(sample, planes),
                base=base,
                encode_seconds=told["encode_seconds"],
                decode_seconds=told["decode_seconds"],
                raw_bytes=sample.planes.nbytes,
                blocks=told["blocks"],
            )


def others(bench: Bench, held: Sequence[tuple[str, Sample]]) -> Iterator[Coding]:
    """The codecs of others, on whole documents at once."""
    for document, sample in held:
        base = bench.judge.base(sample)
        numbers = (sample.planes.astype(np.uint32) << 16).view(np.float32)
        keys, values = (np.ascontiguousarray(numbers[:, plane]) for plane in (0, 1))
        for name, peer in PEERS.items():
            print(f"{name}: {document}", file=sys.stderr)
            *decoded, bits = peer(keys, values)
            rounded = torch.from_numpy(np.stack(decoded, axis=1)).bfloat16()
            planes = rounded.view(torch.int16).numpy().view(np.uint16)
            scores = bench.judge.score(sample, planes)
            yield Coding(name, document, "", bits, scores, base)


def run_facts(arguments: argparse.Namespace) -> dict[str, Any]:
    """What this run was."""
    return {
        "kind": "run",
        "command": "codec_bench.py" + (" --quick" if arguments.quick else ""),
        "started_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "kernel": platform.platform(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def main() -> int:
    """Runs all of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kdn", required=True)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--quick", action="store_true", help="few documents, no domain shift")
    parser.add_argument("--output", type=pathlib.Path, default="bench-results.jsonl")
    parser.add_argument("--plot", type=pathlib.Path)
    arguments = parser.parse_args()
    facts = run_facts(arguments)
    started = time.monotonic()
    bench = Bench(arguments.kdn, arguments.cache, arguments.folder, arguments.quick)
    held = bench.held()
    theirs = list(others(bench, held))
    mine = list(coded(bench, held, CLASSES, "mixed"))
    ours, peers = summary(mine), summary(theirs)
    print(table([*ours, *peers], "codec"))
    failures = missed(ours, peers)
    shifted: list[Coding] = []
    if not arguments.quick:
        strange = [(name, sample) for name, sample in held if name.startswith("technical")]
        shifted = list(coded(bench, strange, LEARNED, "essays"))
        print(table(summary(shifted), "profile of essays, technical text"))
        failures += shift_missed(summary(shifted))
    sizes = [
        {"kind": "profile", "class": kind, "bytes": bench.profile(kind, "mixed").stat().st_size}
        for kind in LEARNED
    ]
    for size in sizes:
        print(f"profile of {size['class']}: {size['bytes']} bytes")
    facts["seconds"] = time.monotonic() - started
    facts["missed"] = failures
    strangers = [{**line, "kind": "shift"} for line in summary(shifted)]
    lines = [facts, *sizes, *ours, *peers, *strangers]
    lines += [coding.line() for coding in [*mine, *theirs, *shifted]]
    with arguments.output.open("w") as output:
        for line in lines:
            output.write(json.dumps(line, sort_keys=True) + "\n")
    if arguments.plot:
        arguments.plot.write_text(plotted(ours, peers))
    for failure in failures:
        print(f"missed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
