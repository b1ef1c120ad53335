"""Scripts/soak: mixed load on a real kdnd, with clients killed at random; then its books."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from daemon_process import ROOT, DaemonProcess, running_daemon

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "Sources" / "Python"))

from kdn import Client  # noqa: E402

POOL_BYTES = 48 << 20
RAM_MIB = 256
PROCESSES = 8
THREADS = 4
KILL_SECONDS_MEAN = 1.0
SAMPLE_SECONDS = 1.0
SETTLE_SECONDS = 30.0
# The first fifth of a run fills the pool and the allocator's free lists.
WARM_UP = 0.2
# The heap may grow from the first to the last third of what follows by this much and no more.
HEAP_GROWTH_BYTES_MAX = 4 << 20
HEAP_GROWTH_MAX = 0.05
# Code, libraries and the allocator's own memory, which the cap on the cache does not count.
BESIDE_RAM_BYTES = 64 << 20


class Worker:
    """One client process; what it reports is added up, what it finds wrong is kept."""

    def __init__(self, address: str, pool: pathlib.Path, seed: int, totals: Totals) -> None:
        command = [sys.executable, str(HERE / "soak_worker.py"), address, str(pool), str(seed)]
        self.process = subprocess.Popen(
            [*command, str(THREADS)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT / "Sources" / "Python")},
        )
        self._reader = threading.Thread(target=self._read, args=(totals,), daemon=True)
        self._reader.start()

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def _read(self, totals: Totals) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                # The last line of a process that was killed may be cut off.
                if line.endswith(b"\n"):
                    totals.add(json.loads(line))


class Totals:
    """What all workers reported."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def add(self, report: dict[str, Any]) -> None:
        with self._lock:
            if "wrong" in report:
                self.wrong.append(report["wrong"])
            else:
                self.counts.update(report)


@dataclass
class Sample:
    """The daemon at one moment."""

    at: float
    resident: int
    heap: int
    files: int
    connections: int
    charged: int


@dataclass
class Verdict:
    """Checks and their outcomes."""

    lines: list[str] = field(default_factory=list)
    failed: int = 0

    def check(self, good: bool, text: str) -> None:
        """Notes a check."""
        self.lines.append(f"{'ok    ' if good else 'FAILED'} {text}")
        self.failed += not good


class Soak:
    """One run."""

    def __init__(self, seconds: float, seed: int, pool: pathlib.Path) -> None:
        self.seconds = seconds
        self.random = random.Random(seed)
        self.pool = pool
        self.totals = Totals()
        self.samples: list[Sample] = []
        self.kills = 0
        self.verdict = Verdict()
        self.workers: list[Worker] = []

    def run(self, daemon: DaemonProcess) -> int:
        with Client(daemon.address, streams=1) as client:
            client.ping()
            files_before = daemon.open_files()
            self.load(daemon, client)
            busy = client.stats()
            self.judge_load(busy)
            self.judge_memory(daemon, client, files_before)
        daemon.terminate()
        code = daemon.wait()
        self.verdict.check(code == 0, f"kdnd ended with {code} on SIGTERM")
        self.print_summary()
        return 1 if self.verdict.failed else 0

    # The load

    def load(self, daemon: DaemonProcess, client: Client) -> None:
        self.workers = [self.worker(daemon) for _ in range(PROCESSES)]
        start = time.monotonic()
        next_kill = start + self.pause()
        try:
            while time.monotonic() - start < self.seconds and not self.totals.wrong:
                time.sleep(max(0.0, min(SAMPLE_SECONDS, next_kill - time.monotonic())))
                self.samples.append(self.sample(daemon, client, time.monotonic() - start))
                self.replace_ended(daemon)
                if time.monotonic() >= next_kill:
                    self.kill_one(daemon)
                    next_kill = time.monotonic() + self.pause()
        finally:
            for worker in self.workers:
                worker.kill()

    def pause(self) -> float:
        return self.random.expovariate(1 / KILL_SECONDS_MEAN)

    def worker(self, daemon: DaemonProcess) -> Worker:
        return Worker(daemon.address, self.pool, self.random.getrandbits(32), self.totals)

    def kill_one(self, daemon: DaemonProcess) -> None:
        slot = self.random.randrange(PROCESSES)
        self.workers[slot].kill()
        self.kills += 1
        self.workers[slot] = self.worker(daemon)

    def replace_ended(self, daemon: DaemonProcess) -> None:
        for slot, worker in enumerate(self.workers):
            if worker.process.poll() is not None:
                self.totals.wrong.append(f"a client ended by itself: {worker.process.returncode}")
                self.workers[slot] = self.worker(daemon)

    def sample(self, daemon: DaemonProcess, client: Client, at: float) -> Sample:
        stats = client.stats()
        return Sample(
            at,
            daemon.resident_bytes(),
            daemon.resident_bytes("RssAnon"),
            daemon.open_files(),
            stats["connections"]["open"],
            stats["pool"]["charged_bytes"],
        )

    # The books

    def judge_load(self, stats: dict[str, Any]) -> None:
        check = self.verdict.check
        counts = self.totals.counts
        for wrong in self.totals.wrong[:5]:
            check(False, wrong)
        check(not self.totals.wrong, f"wrong answers: {len(self.totals.wrong)}")
        check(
            counts["hits"] > 0,
            f"{counts['hits']} hits, {counts['bytes_compared'] / 1e9:.1f} GB compared byte by byte",
        )
        evictions = stats["pool"]["evictions_total"]
        check(evictions > 0, f"{evictions} evictions, so the pool was full")
        check(self.kills > 0, f"{self.kills} client processes killed")
        most = max((sample.connections for sample in self.samples), default=0)
        check(most > PROCESSES * THREADS, f"{most - 1} connections of load at once")
        faults = stats["connections"]["framing_faults_total"]
        check(faults == 0, f"{faults} framing faults from our own client")

    def judge_memory(self, daemon: DaemonProcess, client: Client, files_before: int) -> None:
        check = self.verdict.check
        left = self.settle(client)
        check(not left, f"held after the clients are gone: {left or 'nothing'}")
        files = self.settled_files(daemon, files_before)
        check(files == files_before, f"open files {files_before} before, {files} after")
        peak = max((sample.resident for sample in self.samples), default=0)
        cap = (RAM_MIB << 20) + BESIDE_RAM_BYTES
        check(peak <= cap, f"RSS at most {peak >> 20} MiB, allowed {cap >> 20} MiB")
        charged = max((sample.charged for sample in self.samples), default=0)
        check(charged <= RAM_MIB << 20, f"memory charged at most {charged >> 20} of {RAM_MIB} MiB")
        first, last = self.heaps()
        allowed = max(HEAP_GROWTH_BYTES_MAX, int(first * HEAP_GROWTH_MAX))
        check(
            last - first <= allowed,
            f"heap {first / 2**20:.1f} MiB early, {last / 2**20:.1f} MiB late,"
            f" allowed to grow {allowed / 2**20:.1f} MiB",
        )
        client.purge(namespace=True)
        emptied = self.until(lambda: client.stats()["memory"]["allocated_bytes"] == 0)
        check(emptied, "after a purge of the namespace no byte is allocated")

    def settle(self, client: Client) -> dict[str, int]:
        """Waits until nothing is held for the dead, and returns what still is."""

        def held() -> dict[str, int]:
            stats = client.stats()
            pool, connections = stats["pool"], stats["connections"]
            facts = {
                "connections": connections["open"] - 1,
                "transfers": connections["open_transfers"],
                "waiting_gets": connections["waiting_gets"],
                "reservations": pool["reservations"],
                "leases": pool["leases"],
                "waiters": pool["waiters"],
                "pins": pool["pins"],
            }
            return {name: count for name, count in facts.items() if count}

        self.until(lambda: not held())
        return held()

    def settled_files(self, daemon: DaemonProcess, expected: int) -> int:
        self.until(lambda: daemon.open_files() == expected)
        return daemon.open_files()

    @staticmethod
    def until(holds: Any) -> bool:
        deadline = time.monotonic() + SETTLE_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def heaps(self) -> tuple[int, int]:
        """Median heap of the first and of the last third after the warm-up."""
        warm = [sample.heap for sample in self.samples if sample.at >= self.seconds * WARM_UP]
        third = max(1, len(warm) // 3)
        if not warm:
            return 0, 0
        return int(statistics.median(warm[:third])), int(statistics.median(warm[-third:]))

    def print_summary(self) -> None:
        counts = self.totals.counts
        seconds = self.samples[-1].at if self.samples else 0.0
        print(
            f"soak: {seconds:.0f} s, {counts['actions']} actions,"
            f" {counts['published']} stored, {counts['present']} present,"
            f" {counts['misses']} misses, {counts['refused']} refused for want of room"
        )
        for line in self.verdict.lines:
            print(line)
        print(f"soak: {'FAILED' if self.verdict.failed else 'ok'}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("seconds", type=float, nargs="?", default=600.0)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    if not arguments.seconds >= 5:
        parser.error("seconds must be 5 or more")
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().getrandbits(32)
    print(f"soak: {arguments.seconds:g} s, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        pool = pathlib.Path(folder, "pool")
        pool.write_bytes(random.Random(seed).randbytes(POOL_BYTES))
        with running_daemon("--ram", f"{RAM_MIB}MiB") as daemon:
            return Soak(arguments.seconds, seed, pool).run(daemon)


if __name__ == "__main__":
    sys.exit(main())
