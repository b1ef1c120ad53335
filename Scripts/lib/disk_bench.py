"""Scripts/bench disk: `kdn bench disk` and fio by turns, on the same directory, size and depth.

usage: disk_bench.py --kdn KDN --output FILE [--folder DIR] [--rounds N] [--size-mib N]
                     [--server HOST:PORT --server-pid PID --working-set-mib N]

`kdn bench disk` runs the daemon's log and engine in its own process, as fio does its jobs. With
--server, durable PUT and GET from disk are measured through the daemon over loopback, too. Writes
what each said as JSON lines and prints medians and the bars; exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import disk_loopback

OBJECT_MIB = 4
LOOPBACK_SECONDS = 5.0
DEPTH = 8
FIO_LEAST = 0.9
CPU_SECONDS_PER_GIBIBYTE_MOST = 0.15
GIBIBYTE = 1 << 30
# What KDN calls it, and what fio calls it.
OPERATIONS = (("put", "write"), ("get", "read"))


class Bench:
    """One run of all rounds."""

    def __init__(self, kdn: str, folder: pathlib.Path, size_mib: int) -> None:
        self.kdn = kdn
        self.folder = folder
        self.size_mib = size_mib
        self.lines: list[dict[str, Any]] = []

    def run(self, rounds: int) -> None:
        self.lines.append({"kind": "versions", "fio": _output(["fio", "--version"]).strip()})
        for number in range(1, rounds + 1):
            for operation, direction in OPERATIONS:
                self._fio(operation, direction, number)
            self._kdn(number)

    def _fio(self, operation: str, direction: str, number: int) -> None:
        command = [
            "fio", "--name=kdn", f"--directory={self.folder}", "--filename=fio.data",
            f"--rw={direction}", f"--bs={OBJECT_MIB}M", f"--size={self.size_mib}M",
            "--direct=1", "--ioengine=libaio", f"--iodepth={DEPTH}", "--fallocate=posix",
            "--end_fsync=1", "--output-format=json",
        ]
        job = json.loads(_output(command))["jobs"][0]
        row = job[direction]
        seconds = row["runtime"] / 1000
        cpu = (job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] / 1000
        self._add({
            "kind": "disk", "target": "fio", "operation": operation, "round": number,
            "command": self._shown(command), "seconds": seconds,
            "gigabytes_per_second": row["bw_bytes"] / 1e9,
            "cpu_seconds_per_gibibyte": cpu / (row["io_bytes"] / GIBIBYTE),
            "object_bytes": OBJECT_MIB << 20, "depth": DEPTH,
        })
        if direction == "read":
            (self.folder / "fio.data").unlink()

    def _kdn(self, number: int) -> None:
        """`kdn bench disk` prints one line for `put` and one for `get`."""
        place = self.folder / "kdn"
        command = [
            self.kdn, "bench", "disk", "--json", "--directory", str(place),
            "--object", f"{OBJECT_MIB}MiB", "--size", f"{self.size_mib}MiB", "--depth", str(DEPTH),
        ]
        for text in _output(command).splitlines():
            line = json.loads(text)
            if line.get("kind") == "disk":
                shown = self._shown(command)
                self._add({**line, "target": "kdn", "round": number, "command": shown})
        shutil.rmtree(place, ignore_errors=True)

    def loopback(self, server: str, pid: int, working_set_mib: int, rounds: int) -> None:
        """Through the daemon; the working set is more than its RAM holds."""
        objects = working_set_mib // OBJECT_MIB
        stored = disk_loopback.measure("put", server, pid, objects, 0.0)
        self._add({**stored, "target": "loopback", "round": 1})
        for number in range(1, rounds + 1):
            read = disk_loopback.measure("get", server, pid, objects, LOOPBACK_SECONDS)
            self._add({**read, "target": "loopback", "round": number})

    def _shown(self, command: list[str]) -> str:
        """The command without the paths of this machine."""
        text = " ".join(command).replace(str(self.folder), "DIR")
        return text.replace(self.kdn, "kdn", 1)

    def _add(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        speed = line.get("gigabytes_per_second")
        if speed is not None:
            print(f"{line['target']:<9} {line['operation']:<4} {speed:>8.3f} GB/s", flush=True)


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def bars(lines: list[dict[str, Any]]) -> bool:
    """Prints medians and whether KDN is where it must be."""
    met = True
    for operation, _ in OPERATIONS:
        speed, cpu = (
            {
                target: statistics.median(
                    line[field] for line in lines
                    if line.get("target") == target and line.get("operation") == operation
                )
                for target in ("fio", "kdn")
            }
            for field in ("gigabytes_per_second", "cpu_seconds_per_gibibyte")
        )
        ratio = speed["kdn"] / speed["fio"]
        good = ratio >= FIO_LEAST and cpu["kdn"] <= CPU_SECONDS_PER_GIBIBYTE_MOST
        met = met and good
        print(
            f"{'met   ' if good else 'MISSED'}  {operation} of {OBJECT_MIB} MiB: kdn/fio"
            f" {speed['kdn']:.3f}/{speed['fio']:.3f} GB/s = {ratio:.3f} >= {FIO_LEAST},"
            f" CPU {cpu['kdn']:.3f} s/GiB (fio {cpu['fio']:.3f})"
            f" <= {CPU_SECONDS_PER_GIBIBYTE_MOST}"
        )
    return met


def main() -> int:
    parser = argparse.ArgumentParser(prog="disk_bench")
    parser.add_argument("--kdn", required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, default=None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size-mib", type=int, default=4096)
    parser.add_argument("--server", default=None)
    parser.add_argument("--server-pid", type=int, default=0)
    parser.add_argument("--working-set-mib", type=int, default=2048)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        bench = Bench(arguments.kdn, pathlib.Path(folder), arguments.size_mib)
        bench.run(arguments.rounds)
        if arguments.server is not None:
            bench.loopback(
                arguments.server, arguments.server_pid, arguments.working_set_mib, arguments.rounds
            )
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in bench.lines)
    arguments.output.write_text(text)
    return 0 if bars(bench.lines) else 1


if __name__ == "__main__":
    sys.exit(main())
