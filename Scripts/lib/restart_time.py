"""How long a daemon takes to start on a disk that is full: by bytes, and what that means for 1 TB.

usage: restart_time.py [--sizes-gib 1,5,10,20] [--folder DIR] [--output FILE]

Objects of 4 MiB, each with bytes of its own. After each size the daemon is ended by SIGKILL and by
SIGTERM; the time counts from the start of the process to `ready` in its log, and to the moment when
STATS says that all that is on disk is known. Needs KDND.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from daemon_process import ROOT, DaemonProcess

sys.path.insert(0, str(ROOT / "Sources" / "Python"))

from kdn import Client, Key, Put  # noqa: E402
from torture_model import Pattern  # noqa: E402

GIBIBYTE = 1 << 30
OBJECT_BYTES = 4 << 20
CONNECTIONS = 2
BATCH = 4
ROUNDS = 3
TERABYTE = 10**12
# Rooms for segments that are open, and for what is not a segment.
SLACK_GIB = 2
CHECKED = 16


class Filled:
    """One directory that grows, and the daemons on it."""

    def __init__(self, folder: pathlib.Path, capacity_gib: int) -> None:
        self.flags = ["--tcp", "127.0.0.1:0", "--ram", "512MiB", "--disk",
                      f"{folder}:{capacity_gib}GiB"]
        self.pattern = Pattern(1)
        self.count = 0
        self.daemon, _ = self._start()

    def fill(self, gibibytes: int) -> None:
        """Stores durable objects until there are so many bytes."""
        wanted = gibibytes * GIBIBYTE // OBJECT_BYTES
        batches = [range(start, min(start + BATCH, wanted))
                   for start in range(self.count, wanted, BATCH)]
        clients = [Client(self.daemon.address, streams=1, timeout=120.0)
                   for _ in range(CONNECTIONS)]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            turns = (clients[index % CONNECTIONS] for index in range(len(batches)))
            list(pool.map(self._store, turns, batches))
        for client in clients:
            client.close()
        self.count = wanted

    def _store(self, client: Client, numbers: range) -> None:
        puts = [Put(self._key(number), self._data(number), durability="disk") for number in numbers]
        for result in client.put_from(puts):
            if result.error is not None:
                raise result.error

    @staticmethod
    def _key(number: int) -> Key:
        return Key.opaque(b"restart/%d" % number)

    def _data(self, number: int) -> bytes:
        return self.pattern.of(b"%d" % number, 1, OBJECT_BYTES)

    def restart(self, clean: bool) -> dict[str, float]:
        """Ends the daemon, starts another and times it; checks that all is there."""
        if clean:
            self.daemon.terminate()
            if self.daemon.wait() != 0:
                raise RuntimeError(self.daemon.log)
        else:
            self.daemon.kill()
        self.daemon, times = self._start()
        with Client(self.daemon.address, timeout=60.0) as client:
            there = client.stats()["disk"]["objects"]
            if there != self.count:
                raise RuntimeError(f"{there} of {self.count} objects are there")
            for number in range(0, self.count, max(1, self.count // CHECKED)):
                if client.get(self._key(number)) != self._data(number):
                    raise RuntimeError(f"object {number} is wrong")
        return times

    def _start(self) -> tuple[DaemonProcess, dict[str, float]]:
        began = time.monotonic()
        daemon = DaemonProcess(*self.flags)
        daemon.wait_ready(300)
        ready = time.monotonic() - began
        with Client(daemon.address, timeout=60.0) as client:
            while not client.stats()["disk"]["ready"]:
                time.sleep(0.001)
            known = time.monotonic() - began
            recovery = client.stats()["disk"]["recovery"]
        return daemon, {
            "serving_seconds": ready,
            "all_known_seconds": known,
            "recovery_milliseconds": recovery["milliseconds"],
        }


def slope_line(end: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Least squares of the time that recovery took, by objects, and what that means for 1 TB; what
    else a start takes (memory, sockets) does not grow with the disk."""
    counts = [line["objects"] for line in lines]
    rate, start = statistics.linear_regression(
        counts, [line["recovery_milliseconds"] for line in lines]
    )
    objects = TERABYTE // OBJECT_BYTES
    return {
        "kind": "restart_slope", "end": end,
        "recovery_microseconds_per_object": rate * 1000,
        "recovery_seconds_at_one_terabyte": (start + rate * objects) / 1000,
    }


def measure(folder: pathlib.Path, sizes: list[int]) -> list[dict[str, Any]]:
    """One line for each size and kind of end: medians; then a line with the slopes."""
    filled = Filled(folder, max(sizes) + SLACK_GIB)
    lines: list[dict[str, Any]] = []
    try:
        for size in sizes:
            filled.fill(size)
            for end, clean in (("SIGKILL", False), ("SIGTERM", True)):
                rounds = [filled.restart(clean) for _ in range(ROUNDS)]
                medians = {name: statistics.median(each[name] for each in rounds)
                           for name in rounds[0]}
                line = {"kind": "restart", "end": end, "gibibytes": size,
                        "objects": filled.count, "rounds": ROUNDS, **medians}
                lines.append(line)
                print(json.dumps(line), flush=True)
    finally:
        filled.daemon.kill()
    for end in ("SIGKILL", "SIGTERM") if len(sizes) > 1 else ():
        lines.append(slope_line(end, [line for line in lines if line.get("end") == end]))
        print(json.dumps(lines[-1]), flush=True)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="restart_time")
    parser.add_argument("--sizes-gib", default="1,5,10,20")
    parser.add_argument("--folder", type=pathlib.Path, default=None)
    parser.add_argument("--output", type=pathlib.Path, default=None)
    arguments = parser.parse_args()
    sizes = sorted(int(text) for text in arguments.sizes_gib.split(","))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        free = os.statvfs(folder)
        if free.f_bavail * free.f_frsize < (max(sizes) + SLACK_GIB) * GIBIBYTE:
            parser.error(f"{folder} has too little room; name another with --folder")
        lines = measure(pathlib.Path(folder, "disk"), sizes)
    if arguments.output is not None:
        with arguments.output.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
