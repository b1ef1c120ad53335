"""How soon the HTTP endpoint answers while the data loops are saturated, and what scrapes cost.

usage: admin_bench.py --kdn PROGRAM --output FILE [--rounds N] [--seconds S]

Load is `kdn bench` with more connections than there are cores. First without a question, then with
a scrape of /metrics each second, in random order; medians of the throughput are compared, which
differ by several per cent from run to run on a small machine. What a scrape costs by itself is CPU
time of an idle daemon; that has the bar.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from daemon_process import DaemonProcess, running_daemon

PATHS = ("/healthz", "/readyz?verbose", "/stats", "/metrics", "/namespaces", "/slowlog")
LIMIT_MS = 100.0
COST_LIMIT = 0.01
IDLE_SCRAPES = 200


@contextmanager
def daemon() -> Iterator[tuple[DaemonProcess, str]]:
    """A kdnd with an endpoint, and the endpoint's address."""
    flags = ("--tcp", "127.0.0.1:0", "--ram", "1GiB", "--admin", "127.0.0.1:0")
    with running_daemon(*flags) as process:
        found = re.search(r'\badmin="?([^\s"]+)', process.log)
        assert found, "the log names no endpoint"
        yield process, found[1]


def ask(endpoint: str, path: str) -> float:
    """Milliseconds until an answer is whole, a connection for itself included."""
    host, port = endpoint.rsplit(":", 1)
    began = time.perf_counter()
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 200, f"{path}: {answer.status}"
    return (time.perf_counter() - began) * 1000


def start_load(kdn: str, address: str, seconds: float) -> subprocess.Popen[str]:
    """GETs of 1 MiB over eight connections."""
    command = [
        kdn, "bench", "--json", "--address", address, "--op", "get", "--sizes", "1MiB",
        "--connections", "8", "--rounds", "1", "--duration", str(seconds), "--no-verify",
        "--working-set", "64MiB",
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def rate(load: subprocess.Popen[str]) -> float:
    """Bytes a second that a load reached."""
    output, _ = load.communicate(timeout=120)
    assert load.returncode == 0, f"kdn bench ended with {load.returncode}"
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return next(row["gigabytes_per_second"] for row in rows if "gigabytes_per_second" in row)


def question_times(kdn: str, address: str, endpoint: str, seconds: float) -> list[float]:
    """Milliseconds of questions asked as long as a load runs, twenty a second."""
    load = start_load(kdn, address, seconds)
    times: list[float] = []
    turn = 0
    while load.poll() is None:
        times.append(ask(endpoint, PATHS[turn % len(PATHS)]))
        turn += 1
        time.sleep(0.05)
    rate(load)
    return times


def scraped_rate(kdn: str, address: str, endpoint: str, seconds: float, scrapes: bool) -> float:
    """What a load reaches with a scrape each second, or without."""
    load = start_load(kdn, address, seconds)
    while load.poll() is None:
        if scrapes:
            ask(endpoint, "/metrics")
        time.sleep(1)
    return rate(load)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def scrape_cost(process: DaemonProcess, endpoint: str) -> float:
    """CPU milliseconds of one scrape."""
    before = cpu_seconds(process.pid)
    for _ in range(IDLE_SCRAPES):
        ask(endpoint, "/metrics")
    return (cpu_seconds(process.pid) - before) * 1000 / IDLE_SCRAPES


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kdn", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    with daemon() as (process, endpoint):
        assert process.tcp
        times = question_times(arguments.kdn, process.tcp, endpoint, 6 * arguments.seconds)
        rates: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(arguments.rounds):
            for scrapes in random.sample([False, True], 2):
                rates[scrapes].append(
                    scraped_rate(arguments.kdn, process.tcp, endpoint, arguments.seconds, scrapes))
        cost = scrape_cost(process, endpoint)
    plain, scraped = (statistics.median(rates[key]) for key in (False, True))
    row = {
        "questions": len(times), "p50_ms": round(percentile(times, 0.5), 2),
        "p99_ms": round(percentile(times, 0.99), 2), "max_ms": round(max(times), 2),
        "gigabytes_per_second": round(plain, 3),
        "gigabytes_per_second_scraped_each_second": round(scraped, 3),
        "ratio": round(scraped / plain, 4),
        "ratio_of_each_pair": [
            round(with_it / without, 3) for without, with_it in zip(rates[False], rates[True])
        ], "cpu_ms_per_scrape": round(cost, 3),
        "share_of_a_core_at_15_s": round(cost / 15_000, 6),
    }
    with open(arguments.output, "w") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=1))
    met = {
        f"p99 of {len(times)} questions under load: {row['p99_ms']} ms <= {LIMIT_MS}":
            row["p99_ms"] <= LIMIT_MS,
        f"a scrape's share of a core at 15 s: {row['share_of_a_core_at_15_s']} <= {COST_LIMIT}":
            row["share_of_a_core_at_15_s"] <= COST_LIMIT,
    }
    for text, holds in met.items():
        print("met    " if holds else "MISSED ", text)
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
