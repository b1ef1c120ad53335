"""Durable PUT, and GET of what is on a daemon's disk and not in its RAM, over loopback.

usage: disk_loopback.py get|put HOST:PORT FIRST COUNT SECONDS     one client, for `measure`
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Sources" / "Python"))

from kdn import Client, Get, Key, Put  # noqa: E402
from torture_model import Pattern  # noqa: E402

OBJECT_BYTES = 4 << 20
CLIENTS = 4
BATCH = 2
GIBIBYTE = 1 << 30
CALL_SECONDS = 120.0


def name(number: int) -> Key:
    """The key of an object; each has bytes of its own."""
    return Key.opaque(b"loopback/%d" % number)


def put(client: Client, first: int, count: int) -> dict[str, Any]:
    """Stores objects, each acknowledged as durable."""
    pattern = Pattern(1)
    began = time.monotonic()
    for start in range(first, first + count, BATCH):
        puts = [
            Put(name(number), pattern.of(b"%d" % number, 1, OBJECT_BYTES), durability="disk")
            for number in range(start, min(start + BATCH, first + count))
        ]
        for result in client.put_from(puts):
            if result.error is not None:
                raise result.error
    return {"objects": count, "misses": 0, "seconds": time.monotonic() - began}


def get(client: Client, first: int, count: int, seconds: float) -> dict[str, Any]:
    """Reads objects round and round, so that none is in RAM when its turn comes again."""
    buffers = [bytearray(OBJECT_BYTES) for _ in range(BATCH)]
    numbers = itertools.cycle(range(first, first + count))
    hits = misses = 0
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        items = [Get(name(next(numbers)), buffer) for buffer in buffers]
        for result in client.get_into(items):
            hits += result.hit
            misses += not result.hit
    return {"objects": hits, "misses": misses, "seconds": time.monotonic() - began}


def measure(
    operation: str, server: str, pid: int, objects: int, seconds: float
) -> dict[str, Any]:
    """All clients at once: bytes a second, and CPU time of the daemon for each GiB."""
    with Client(server) as client:
        before, cpu = client.stats()["disk"], cpu_seconds(pid)
        share = objects // CLIENTS
        workers = [
            subprocess.Popen(
                [sys.executable, __file__, operation, server, str(number * share), str(share),
                 str(seconds)],
                stdout=subprocess.PIPE,
            )
            for number in range(CLIENTS)
        ]
        rows = [json.loads(worker.communicate()[0]) for worker in workers]
        after = client.stats()["disk"]
        done = sum(row["objects"] for row in rows) * OBJECT_BYTES
        return {
            "kind": "disk_loopback", "operation": operation, "clients": CLIENTS,
            "object_bytes": OBJECT_BYTES, "misses": sum(row["misses"] for row in rows),
            "gigabytes_per_second": done / 1e9 / max(row["seconds"] for row in rows),
            "server_cpu_seconds_per_gibibyte": (cpu_seconds(pid) - cpu) / (done / GIBIBYTE),
            "read_from_disk": (after["read_bytes_total"] - before["read_bytes_total"]) / done,
            "written_to_disk":
                (after["written_bytes_total"] - before["written_bytes_total"]) / done,
        }


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    if len(sys.argv) != 6 or sys.argv[1] not in ("get", "put"):
        print(__doc__, file=sys.stderr)
        return 64
    operation, server, first, count, seconds = sys.argv[1:]
    with Client(server, streams=1, timeout=CALL_SECONDS, verify=False) as client:
        if operation == "put":
            row = put(client, int(first), int(count))
        else:
            row = get(client, int(first), int(count), float(seconds))
    print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
