"""Scripts/bench links: one object got over each link of one kdnd, and from openlake's local mode.

usage: link_bench.py --kdn FILE --openlake-python FILE --output FILE [--rounds N]

Python clients take turns, each in a process of its own, and every get's bytes are compared with
those that were stored, outside the time that is measured. `place` is shared memory read in place:
nothing is copied. openlake keeps no checksums: where it is verified, its client compares one of its
own. Then `kdn bench` measures the same links with the client in Swift, by turns as well. Appends
what each round measured as JSON lines; prints medians as a table for the docs, and the bars; exits
with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Scripts" / "lib"), str(ROOT / "Sources" / "Python")]

from bench_report import table as print_swift_table  # noqa: E402
from daemon_process import running_daemon  # noqa: E402
from openlake_process import openlake_daemon  # noqa: E402

WORKER = pathlib.Path(__file__).with_name("link_bench_worker.py")
# Object sizes, and how many are got in one sample of each.
GETS = {64 << 10: 400, 4 << 20: 100, 64 << 20: 30}
KDN_TARGETS = ("tcp", "unix", "shm", "place")
SWIFT_SECONDS = 0.5
NAMES = {
    "tcp": "TCP", "unix": "Unix socket", "shm": "shared memory, copied once",
    "place": "shared memory, in place", "openlake": "openlake-vllm, local mode",
}
FIRST_BYTE_MICROSECONDS_MOST = 100.0
THROUGHPUT_TO_TCP_LEAST = 10.0
WARM_UP_GETS = 3
Line = dict[str, Any]


class Worker:
    """A process of link_bench_worker.py."""

    def __init__(self, python: str, target: str, address: str) -> None:
        self.target = target
        path = os.pathsep.join([str(ROOT / "Sources" / "Python")])
        self._process = subprocess.Popen(
            [python, str(WORKER), target, address],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def ask(self, **order: Any) -> Line:
        """What it answers to an order."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"link_bench: the worker for {self.target} ended ({self._process.wait()})")
        return json.loads(answer)

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.communicate()


class Bench:
    """One run of all rounds."""

    def __init__(self, kdn: str, openlake_python: str, rounds: int) -> None:
        self.kdn = kdn
        self.openlake_python = openlake_python
        self.rounds = rounds
        self.lines: list[Line] = [heading(openlake_python, rounds)]

    def run(self) -> None:
        """Size by size, so that each target holds the objects of one size alone."""
        for size in GETS:
            self._measure(size)
        self._measure_swift()

    def _measure(self, size: int) -> None:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            path = f"{folder}/kdnd"
            daemon = stack.enter_context(running_daemon("--unix", path, "--ram", "1GiB"))
            lake = stack.enter_context(openlake_daemon(self.openlake_python))
            places = {"tcp": daemon.address}
            workers = [
                Worker(sys.executable, target, places.get(target, f"unix://{path}"))
                for target in KDN_TARGETS
            ]
            workers.append(Worker(self.openlake_python, "openlake", lake))
            for worker in workers:
                stack.callback(worker.close)
                worker.ask(op="store", size=size)
            for verify in (False, True):
                for worker in workers:
                    worker.ask(op="get", size=size, verify=verify, gets=WARM_UP_GETS)
                for number in range(1, self.rounds + 1):
                    for worker in workers:
                        self._sample(worker, size, verify, number)

    def _measure_swift(self) -> None:
        """GET and PUT of the client in Swift over the same links."""
        sizes = ",".join(f"{size >> 10}KiB" for size in GETS)
        with tempfile.TemporaryDirectory() as folder, running_daemon(
            "--unix", f"{folder}/kdnd", "--ram", "2GiB"
        ) as daemon:
            for more in (["--op", "get", "--in-place"], ["--op", "put"]):
                done = subprocess.run(
                    [self.kdn, "bench", "--json", "--address", daemon.address,
                     "--server-pid", str(daemon.pid), "--link", "tcp,unix,shm", "--sizes", sizes,
                     "--both-verify", "--working-set", "128MiB", "--duration", str(SWIFT_SECONDS),
                     "--rounds", str(self.rounds), *more],
                    stdout=subprocess.PIPE, text=True, env=quiet_environment(),
                )
                if done.returncode != 0:
                    sys.exit(f"link_bench: kdn bench {' '.join(more)} ended with {done.returncode}")
                self.lines += [json.loads(line) for line in done.stdout.splitlines()]

    def _sample(self, worker: Worker, size: int, verify: bool, number: int) -> None:
        answer = worker.ask(op="get", size=size, verify=verify, gets=GETS[size])
        first = sorted(answer["first"])
        line = {
            "kind": "link", "target": worker.target, "object_bytes": size, "verify": verify,
            "round": number, "gets": len(first),
            "first_byte_p50_microseconds": quantile(first, 0.50) * 1e6,
            "first_byte_p99_microseconds": quantile(first, 0.99) * 1e6,
            "gigabytes_per_second": size * len(first) / sum(answer["whole"]) / 1e9,
        }
        self.lines.append(line)
        print(
            f"{worker.target:<9} {size >> 10:>6} KiB verify {'on ' if verify else 'off'}"
            f" {line['first_byte_p50_microseconds']:>10.1f} us p50"
            f" {line['gigabytes_per_second']:>8.2f} GB/s",
            file=sys.stderr, flush=True,
        )


def quiet_environment() -> dict[str, str]:
    """Without settings of a daemon that somebody else runs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KDN_")}


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def heading(openlake_python: str, rounds: int) -> Line:
    """What the run was made with."""
    lake = subprocess.run(
        [openlake_python, "-c",
         "import importlib.metadata as m; print(m.version('openlake-vllm'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "kind": "run", "command": f"link_bench.py --rounds {rounds}", "started_at": now,
        "cores": os.cpu_count(), "kernel": platform.platform(), "load_before": os.getloadavg()[0],
        "versions": {
            "kdn": importlib.metadata.version("kdn"), "numpy": importlib.metadata.version("numpy"),
            "openlake-vllm": lake,
        },
    }


def median(lines: list[Line], field: str, target: str, size: int, verify: bool) -> float:
    """Over the rounds."""
    wanted = (target, size, verify)
    return statistics.median(
        line[field] for line in lines
        if line["kind"] == "link"
        and (line["target"], line["object_bytes"], line["verify"]) == wanted
    )


def table(lines: list[Line]) -> Iterator[str]:
    """Rows of the table in the docs: the first byte's p50 / p99 and the throughput."""
    yield "| link | verified | 64 KiB, p50 / p99 | 64 MiB, p50 / p99 | 4 MiB |"
    yield "|---|---|---|---|---|"
    for target in (*KDN_TARGETS, "openlake"):
        for verify in (False, True):
            firsts = [
                " / ".join(
                    microseconds(median(lines, f"first_byte_{each}_microseconds", *case))
                    for each in ("p50", "p99")
                    for case in [(target, size, verify)]
                )
                for size in (64 << 10, 64 << 20)
            ]
            speed = median(lines, "gigabytes_per_second", target, 4 << 20, verify)
            told = "yes" if verify else "no"
            yield f"| {NAMES[target]} | {told} | {firsts[0]} | {firsts[1]} | {speed:,.1f} GB/s |"


def microseconds(value: float) -> str:
    """With a unit that suits."""
    return f"{value:.0f} us" if value < 1000 else f"{value / 1000:.1f} ms"


def swift_median(lines: list[Line], field: str, target: str, size: int) -> float:
    """Over the rounds of `kdn bench`, GET without checksums."""
    return statistics.median(
        line[field] for line in lines
        if line["kind"] == "sample" and line["target"] == target
        and line["workload"]["operation"] == "get" and not line["workload"]["verify"]
        and line["workload"]["object_bytes"] == size
    )


def bars(lines: list[Line]) -> bool:
    """Prints whether shared memory is where it must be, by the client in Swift."""
    met = True
    for size in (64 << 10, 64 << 20):
        value = swift_median(lines, "p50_microseconds", "kdn-shm-place", size)
        good = value < FIRST_BYTE_MICROSECONDS_MOST
        met = met and good
        print(
            f"{'met   ' if good else 'MISSED'}  {size >> 10} KiB in place, p50:"
            f" {value:.1f} us < {FIRST_BYTE_MICROSECONDS_MOST:g} us"
        )
    place, tcp = (
        swift_median(lines, "gigabytes_per_second", target, 4 << 20)
        for target in ("kdn-shm-place", "kdn-tcp")
    )
    good = place >= THROUGHPUT_TO_TCP_LEAST * tcp
    print(
        f"{'met   ' if good else 'MISSED'}  4 MiB in place / TCP: {place:.1f} / {tcp:.2f} GB/s ="
        f" {place / tcp:.1f} >= {THROUGHPUT_TO_TCP_LEAST:g}"
    )
    return met and good


def main() -> int:
    parser = argparse.ArgumentParser(prog="link_bench")
    parser.add_argument("--kdn", required=True)
    parser.add_argument("--openlake-python", required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    bench = Bench(arguments.kdn, arguments.openlake_python, arguments.rounds)
    bench.run()
    with arguments.output.open("a") as output:
        output.writelines(json.dumps(line, sort_keys=True) + "\n" for line in bench.lines)
    print("\n".join(table(bench.lines)))
    print_swift_table(bench.lines)
    return 0 if bars(bench.lines) else 1


if __name__ == "__main__":
    sys.exit(main())
