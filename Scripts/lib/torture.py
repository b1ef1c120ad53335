"""Scripts/torture: kdnd is killed again and again while it is written to and read from, and must
keep what it acknowledged as durable, forget what was purged, and never be wrong."""

from __future__ import annotations

import argparse
import pathlib
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass

from daemon_process import ROOT

sys.path.insert(0, str(ROOT / "Sources" / "Python"))
sys.path.insert(0, str(ROOT / "Tests" / "Integration"))

from torture_book import FAULTS, Book, Shelf  # noqa: E402
from torture_check import Check  # noqa: E402
from torture_model import Pattern  # noqa: E402
from torture_stage import TOKEN, Stage, stage  # noqa: E402
from torture_worker import Worker  # noqa: E402

WORKERS = 8
STORM_SECONDS = (0.05, 1.5)
EARLY_KILL_SECONDS = 0.12
LOOPS_PER_STAGE = 5


@dataclass(frozen=True)
class Kind:
    """How roomy a stage is. What must survive a loop is what was stored within the last `window`
    of the log's bytes; a stage ends when `budget` of them have been stored."""

    name: str
    size_mib: int
    objects: int
    chains: int
    window: float
    budget: float


# Nothing may be lost: not half of the log is written before the stage ends. The dead count, too.
ROOMY = Kind("roomy", 1024, 40, 3, 1.0, 0.45)
# Reclaim all the time: what is old may be gone, what is young may not.
FULL = Kind("full", 128, 120, 4, 0.15, float("inf"))


class Torture:
    """All loops of one run."""

    def __init__(
        self, loops: int, seed: int, lies: bool, folder: pathlib.Path, keep: pathlib.Path | None
    ) -> None:
        self.loops = loops
        self.seed = seed
        self.lies = lies
        self.folder = folder
        self.keep = keep
        self.book = Book(Pattern(seed))
        self.counts: Counter[str] = Counter()

    def run(self) -> int:
        """Stage after stage, until all loops are done or something is wrong."""
        number = 0
        while self.book.loop < self.loops and not self.book.faults:
            kind = (ROOMY, FULL)[number % 2]
            directories = 1 + number // 2 % 2
            rng = random.Random(f"{self.seed}/stage {number}")
            folder = self.folder / f"stage-{number}"
            with stage(folder, directories, kind.size_mib, self.lies) as place:
                try:
                    self.play(place, kind, rng)
                except Exception as error:
                    self.book.fault("other", repr(error))
                if self.book.faults:
                    self.print_faults(place, kind)
                    if self.keep is not None:
                        place.keep(self.keep)
            number += 1
        return self.print_totals()

    def play(self, place: Stage, kind: Kind, rng: random.Random) -> None:
        """The loops of one stage, each on what the one before left behind."""
        shelves = [
            Shelf(f"{rng.getrandbits(32):08x}", rng, kind.objects, kind.chains)
            for _ in range(WORKERS)
        ]
        self.book.stored_bytes = 0
        window = int(place.log_bytes * kind.window)
        last = min(self.book.loop + LOOPS_PER_STAGE, self.loops)
        place.start()
        while self.book.loop < last and not self.book.faults:
            self.book.loop += 1
            choices = random.Random(f"{self.seed}/loop {self.book.loop}")
            self.loop(place, shelves, window, choices)
            if self.book.stored_bytes > place.log_bytes * kind.budget:
                break

    def loop(self, place: Stage, shelves: list[Shelf], window: int, rng: random.Random) -> None:
        if rng.random() < 0.2:
            self.second_daemon(place)
        ends_well = rng.random() < 0.2
        self.storm(place, shelves, window, rng, ends_well)
        if ends_well and not self.book.faults:
            self.stop(place, shelves)
        else:
            self.counts["kills"] += 1
        self.lose_power(place, rng)
        while rng.random() < 0.3:
            place.start_and_kill(rng.uniform(0, EARLY_KILL_SECONDS))
            self.counts["kills"] += 1
            self.counts["early_kills"] += 1
            self.lose_power(place, rng)
        if self.book.faults:
            return
        place.start()
        self.check(place, shelves, window)
        if place.bytes_on_disk() > place.capacity:
            self.book.fault("other", f"{place.bytes_on_disk()} bytes, cap {place.capacity}")

    def lose_power(self, place: Stage, rng: random.Random) -> None:
        """Sometimes what was written and not synchronised is lost, too."""
        if self.lies and rng.random() < 0.7:
            self.counts["sectors_lost"] += place.lose_power(rng)
            self.counts["power_losses"] += 1

    def second_daemon(self, place: Stage) -> None:
        complaint = place.second_is_refused()
        self.counts["second_daemons"] += 1
        if complaint is not None:
            self.book.fault("other", complaint)

    def storm(
        self, place: Stage, shelves: list[Shelf], window: int, rng: random.Random, ends_well: bool
    ) -> None:
        """All workers at once, until the daemon is killed under them or they are told to end."""
        assert place.daemon is not None
        workers = [
            Worker(
                place.daemon.address, TOKEN, shelf, shelves[:-1], self.book,
                f"{self.seed}/loop {self.book.loop}/{number}", window,
                purges_namespace=number == WORKERS - 1,
            )
            for number, shelf in enumerate(shelves)
        ]
        for worker in workers:
            worker.thread.start()
        ended = threading.Event()
        ended.wait(rng.uniform(*STORM_SECONDS))
        if place.daemon.process.poll() is not None:
            code = place.daemon.process.returncode
            self.book.fault("other", f"the daemon ended by itself: {code}")
        if ends_well:
            for worker in workers:
                worker.stopping.set()
        else:
            place.kill()
        for worker in workers:
            worker.thread.join(60)
            if worker.thread.is_alive():
                self.book.fault("other", f"{worker.shelf.owner} hangs")

    def stop(self, place: Stage, shelves: list[Shelf]) -> None:
        """A clean end: what is there before must be there after, acknowledged as durable or not."""
        for check, some in self.checks(place, shelves, 0):
            for shelf in some:
                for record in check.present(shelf):
                    if record.floor == record.ceiling and not record.ttl_ms:
                        record.durable = record.ceiling
            check.client.close()
        code = place.stop()
        self.counts["stops"] += 1
        if code != 0:
            self.book.fault("other", f"SIGTERM: the daemon ended with {code}")

    def check(self, place: Stage, shelves: list[Shelf], window: int) -> None:
        for check, some in self.checks(place, shelves, window):
            check.wait_recovered()
            check.run(some)
            check.client.close()

    def checks(
        self, place: Stage, shelves: list[Shelf], window: int
    ) -> list[tuple[Check, list[Shelf]]]:
        assert place.daemon is not None
        address = place.daemon.address
        return [
            (Check(address, "shared", TOKEN, self.book, window), shelves[:-1]),
            (Check(address, "solo", TOKEN, self.book, window), shelves[-1:]),
        ]

    def print_faults(self, place: Stage, kind: Kind) -> None:
        print(f"torture: stage {kind.name}, {len(place.paths)} directories, loop {self.book.loop}")
        for line in self.book.faults[:20]:
            print(f"FAULT {line}")
        if place.daemon is not None:
            print(place.last_lines(30), end="")

    def print_totals(self) -> int:
        counts, own = self.book.counts, self.counts
        failed = any(counts[kind] for kind in FAULTS)
        details = {**own, **{name: counts[name] for name in sorted(counts)}}
        print(f"torture: counts {details}, misses {dict(self.book.misses)}")
        print(
            f"torture: {'FAILED' if failed else 'ok'}: {self.book.loop} loops, seed {self.seed},"
            f" {own['kills']} kills ({own['early_kills']} during recovery), {own['stops']} stops,"
            f" {own['power_losses']} power losses, puts acked {counts['acked_disk']} disk"
            f" {counts['acked_ram']} ram, {counts['checked']} gets checked,"
            f" {counts['lost']} lost, {counts['wrong']} wrong, {counts['phantom']} phantom,"
            f" {counts['other']} other faults"
        )
        return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture")
    parser.add_argument("loops", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--lying", action="store_true")
    parser.add_argument("--folder", type=pathlib.Path, default=None)
    parser.add_argument("--keep", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    if arguments.loops < 1:
        parser.error("loops must be 1 or more")
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().getrandbits(32)
    kind = "a disk that lies" if arguments.lying else "plain files"
    print(f"torture: {arguments.loops} loops on {kind}, seed {seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        place = pathlib.Path(folder)
        code = Torture(arguments.loops, seed, arguments.lying, place, arguments.keep).run()
    print(f"torture: {time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
