"""Scripts/soak --disk: three times what a disk directory may hold, with reads all the time.

The bytes that its files really take are sampled every 50 ms and must never exceed the cap; each
byte that is read is compared. Prints hit ratio and write amplification.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import random
import sys
import tempfile
import threading
import time
from collections import Counter

from daemon_process import ROOT, running_daemon

sys.path.insert(0, str(ROOT / "Sources" / "Python"))

from kdn import Client, Get, Key, Put, ServerError, Status  # noqa: E402
from torture_model import Pattern  # noqa: E402

MEBIBYTE = 1 << 20
SAMPLE_SECONDS = 0.05
THREADS = 6
FILLS = 3
# Popularity of the names: a few are wanted often, most of them once or twice.
ZIPF_EXPONENT = 0.8


class CapWatch(threading.Thread):
    """The most bytes that a directory was seen to take."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.most = self.samples = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(SAMPLE_SECONDS):
            taken = 0
            for file in self.folder.iterdir():
                # A file may be removed between the listing and the look.
                with contextlib.suppress(FileNotFoundError):
                    taken += file.stat().st_blocks * 512
            self.most = max(self.most, taken)
            self.samples += 1


class Load:
    """Clients that want objects by popularity, and store what they miss."""

    def __init__(self, address: str, seed: int, capacity: int, object_bytes: int) -> None:
        self.address = address
        self.seed = seed
        self.pattern = Pattern(seed)
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.ended = threading.Event()
        self._lock = threading.Lock()
        sizes = random.Random(seed)
        # Together twice what the directory holds, so that half of them must be missing.
        count = 2 * capacity // object_bytes
        self.sizes = [sizes.randrange(1, 2 * object_bytes) for _ in range(count)]
        self.weights = [1 / (rank + 1) ** ZIPF_EXPONENT for rank in range(count)]
        for rank in range(1, count):
            self.weights[rank] += self.weights[rank - 1]

    def start(self) -> list[threading.Thread]:
        threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _run(self, number: int) -> None:
        rng = random.Random(f"{self.seed}/{number}")
        ranks = range(len(self.sizes))
        try:
            with Client(self.address, streams=1, timeout=60.0) as client:
                while not self.ended.is_set():
                    self._want(client, rng.choices(ranks, cum_weights=self.weights)[0], rng)
        except Exception as error:  # noqa: BLE001: whatever ends a client ends the run.
            self.faults.append(repr(error))
            self.ended.set()

    def _want(self, client: Client, rank: int, rng: random.Random) -> None:
        name = b"%d" % rank
        data = self.pattern.of(name, 1, self.sizes[rank])
        found = client.get_into([Get(Key.opaque(name))])[0]
        if found.hit:
            self._count("hits", len(data))
            if found.data is None or bytes(found.data) != data:
                raise ValueError(f"wrong bytes for object {rank}")
            return
        self._count(f"miss {found.cause.name.lower()}", 0)
        durability = "disk" if rng.random() < 0.2 else "ram"
        result = client.put_from([Put(Key.opaque(name), data, durability=durability)])[0]
        if result.stored:
            self._count("stores", len(data))
        elif isinstance(result.error, ServerError) and result.error.status is Status.BUSY:
            self._count("busy", 0)
        elif result.error is not None:
            raise result.error

    def _count(self, name: str, byte_count: int) -> None:
        with self._lock:
            self.counts[name] += 1
            self.counts[f"{name} bytes"] += byte_count


def judge(load: Load, watch: CapWatch, cap: int, disk: dict[str, int], seconds: float) -> bool:
    """Prints what was seen; whether it is as it must be."""
    counts = load.counts
    misses = sum(count for name, count in counts.items() if name.startswith("miss ")
                 and not name.endswith(" bytes"))
    stored = counts["stores bytes"]
    written = disk["written_bytes_total"]
    print(
        f"disk: {seconds:.0f} s, {counts['hits']} hits, {misses} misses,"
        f" hit ratio {counts['hits'] / max(1, counts['hits'] + misses):.3f},"
        f" {counts['busy']} refused for want of room"
    )
    causes = {name[5:]: count for name, count in counts.items()
              if name.startswith("miss ") and not name.endswith(" bytes")}
    print(f"disk: misses by cause {causes}")
    print(
        f"disk: {stored / 1e9:.2f} GB stored, {written / 1e9:.2f} GB written, amplification"
        f" {written / max(1, stored):.3f}; {disk['reclaimed_segments_total']} segments reclaimed,"
        f" {disk['reinserted_total']} objects reinserted"
    )
    print(f"disk: at most {watch.most} of {cap} bytes on disk in {watch.samples} samples")
    checks = [
        (not load.faults, f"faults: {load.faults or 'none'}"),
        (watch.most <= cap, "the cap held"),
        (watch.most > cap // 2 and watch.samples > seconds, "the room was used and watched"),
        (stored >= FILLS * cap, f"stored {stored / cap:.2f} times the cap"),
        (disk["corrupt_total"] == 0, f"{disk['corrupt_total']} corrupt records"),
    ]
    for good, text in checks:
        print(f"{'ok    ' if good else 'FAILED'} {text}")
    return all(good for good, _ in checks)


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak --disk")
    parser.add_argument("seconds", type=float, nargs="?", default=600.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--capacity-mib", type=int, default=2048)
    parser.add_argument("--object-kib", type=int, default=1024)
    parser.add_argument("--folder", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().getrandbits(32)
    cap = arguments.capacity_mib * MEBIBYTE
    sizes = f"{arguments.seconds:g} s, cap {arguments.capacity_mib} MiB"
    print(f"disk: {sizes}, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        place = pathlib.Path(folder, "disk")
        # The daemon makes it, too; the watch wants it before.
        place.mkdir(0o700)
        flags = ["--ram", "256MiB", "--disk", f"{place}:{arguments.capacity_mib}MiB"]
        flags += ["--set", "slab=16MiB", "--set", "disk_segment=32MiB"]
        with running_daemon(*flags) as daemon, Client(daemon.address) as client:
            watch = CapWatch(place)
            watch.start()
            began = time.monotonic()
            load = Load(daemon.address, seed, cap, arguments.object_kib << 10)
            threads = load.start()
            # A slow disk may take longer than was asked for to be filled so often.
            while not load.ended.wait(0.5):
                spent = time.monotonic() - began
                if spent >= arguments.seconds and load.counts["stores bytes"] >= FILLS * cap:
                    break
                if spent > 4 * arguments.seconds + 60:
                    load.faults.append("too slow to fill the directory three times")
                    break
            load.ended.set()
            for thread in threads:
                thread.join()
            disk = client.stats()["disk"]
            watch.ended.set()
            watch.join()
            good = judge(load, watch, cap, disk, time.monotonic() - began)
            daemon.terminate()
            code = daemon.wait()
    print(f"{'ok    ' if code == 0 else 'FAILED'} kdnd ended with {code} on SIGTERM")
    return 0 if good and code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
