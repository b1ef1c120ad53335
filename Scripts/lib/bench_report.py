"""Shows what `kdn bench --json` wrote, and which bars of the budgets it misses.

usage: bench_report.py table < LINES        one row per target: medians over rounds
       bench_report.py bars FILE            the bars, and 1 as exit code if one is missed
       bench_report.py tls FILE             what TLS costs, from medians over rounds
"""

from __future__ import annotations

import json
import pathlib
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

Line = dict[str, Any]

MEBIBYTE = 1 << 20
CEILING_LEAST = {False: 0.95, True: 0.85}
# Below this size Redis is at the loopback limit itself; from here on it falls behind.
REDIS_FALLS_AT = 16 * MEBIBYTE
REDIS_LEAST_SMALL = 0.95
REDIS_LEAST_LARGE = 2.0
EXISTS_P50_MOST = 1.2
MATCH_TO_EXISTS_MOST = 3.0


class Bar(NamedTuple):
    """A ratio, what it must be, and whether it must be at most or at least that."""

    name: str
    ratio: float
    limit: float
    at_most: bool = False

    @property
    def is_met(self) -> bool:
        return self.ratio <= self.limit if self.at_most else self.ratio >= self.limit

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        if self.is_met:
            return f"met     {self.name}: {self.ratio:.3f} {sign} {self.limit}"
        gap = abs(self.ratio - self.limit) / self.limit
        return f"MISSED  {self.name}: {self.ratio:.3f}, not {sign} {self.limit}, by {gap:.1%}"


def name_of(workload: Line) -> str:
    """A workload in words."""
    size = workload["object_bytes"]
    text = workload["operation"]
    if text not in ("exists", "match"):
        text += f" {size / MEBIBYTE:g}MiB verify {'on' if workload['verify'] else 'off'}"
    if workload["batch"] > 1:
        text += f" batch {workload['batch']}"
    return text


def bars(lines: Iterable[Line]) -> Iterator[Bar]:
    """The bars that the ratios are to be held against."""
    exists_p50: float | None = None
    match_p50: float | None = None
    for line in lines:
        if line["kind"] != "ratio":
            continue
        workload, baseline = line["workload"], line["baseline"]
        operation = workload["operation"]
        name = f"{name_of(workload)}, kdn/{baseline}"
        if operation in ("get", "put"):
            ratio = line["throughput_ratio"]
            if baseline == "ceiling":
                yield Bar(name, ratio, CEILING_LEAST[workload["verify"]])
            elif baseline == "redis" and not workload["verify"]:
                large = workload["object_bytes"] >= REDIS_FALLS_AT
                yield Bar(name, ratio, REDIS_LEAST_LARGE if large else REDIS_LEAST_SMALL)
        elif baseline == "redis" and operation == "exists":
            exists_p50 = line["baseline_p50_microseconds"]
            yield Bar(f"{name}, p50", line["p50_ratio"], EXISTS_P50_MOST, at_most=True)
        elif baseline == "redis" and operation == "match":
            match_p50 = line["target_p50_microseconds"]
    if exists_p50 and match_p50:
        yield Bar(
            "match p50 / EXISTS p50 of Redis",
            match_p50 / exists_p50,
            MATCH_TO_EXISTS_MOST,
            at_most=True,
        )


def table(lines: Iterable[Line]) -> None:
    """Prints one row per workload and target."""
    samples: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in lines:
        if line["kind"] == "sample":
            samples[name_of(line["workload"]), line["target"]].append(line)
    heads = ["GB/s", "op/s", "p50 us", "p99 us", "p99.9 us", "CPU s/GB own", "CPU s/GB server"]
    fields = [
        "gigabytes_per_second",
        "operations_per_second",
        "p50_microseconds",
        "p99_microseconds",
        "p999_microseconds",
        "client_cpu_seconds_per_gigabyte",
        "server_cpu_seconds_per_gigabyte",
    ]
    print(f"{'workload':<24} {'target':<8}" + "".join(f"{head:>16}" for head in heads))
    for (workload, target), rounds in samples.items():
        cells = []
        for field in fields:
            values = [line[field] for line in rounds if line.get(field) is not None]
            cells.append(f"{statistics.median(values):>16.3f}" if values else f"{'-':>16}")
        print(f"{workload:<24} {target:<8}" + "".join(cells))


def tls_costs(lines: Iterable[Line]) -> Iterator[str]:
    """One line per workload: medians plain and over TLS, and their ratio."""
    for line in lines:
        if line["kind"] != "ratio" or line["baseline"] != "kdn-tls":
            continue
        moves = "throughput_ratio" in line
        field, unit = ("gigabytes_per_second", "GB/s") if moves else ("p50_microseconds", "us p50")
        plain, secured = line[f"target_{field}"], line[f"baseline_{field}"]
        yield (
            f"{name_of(line['workload'])}: plain {plain:.3f} {unit}, TLS {secured:.3f} {unit}, "
            f"TLS/plain {secured / plain:.3f}"
        )


def main(arguments: list[str]) -> int:
    """Runs the command that the arguments name."""
    match arguments:
        case ["table"]:
            table(json.loads(line) for line in sys.stdin)
            return 0
        case ["tls", file]:
            text = pathlib.Path(file).read_text("utf-8")
            for cost in tls_costs(json.loads(line) for line in text.splitlines()):
                print(cost)
            return 0
        case ["bars", file]:
            text = pathlib.Path(file).read_text("utf-8")
            found = list(bars(json.loads(line) for line in text.splitlines()))
            for bar in found:
                print(bar)
            missed = sum(not bar.is_met for bar in found)
            print(f"{len(found) - missed} of {len(found)} bars met")
            return 1 if missed or not found else 0
        case _:
            print(__doc__, file=sys.stderr)
            return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
