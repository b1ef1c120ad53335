"""The processes of an end-to-end test: LMCache's server, vLLM, a daemon that speaks RESP too."""

from __future__ import annotations

import json
import os
import pathlib
import queue
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path(sys.executable).parent
READY_SECONDS = 300.0
MARK = "RESULT "

# vLLM scans triton, whose stand-in for the CPU trips over llvmlite's guarded functions.
SHIM = "import llvmlite.binding.ffi as f\nf._lib_fn_wrapper.get = lambda s, k, d=None: d\n"

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "LMCACHE_TRACK_USAGE": "false",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def until(holds: Callable[[], bool], seconds: float = READY_SECONDS) -> bool:
    """Asks again and again until it holds or the time is over."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.05)
    return True


def plugin(address: str, **settings: Any) -> dict[str, Any]:
    """The `--l2-adapter` that loads KDN's adapter."""
    return {
        "type": "plugin",
        "module_path": "kdn.engines.lmcache",
        "class_name": "KDNL2Adapter",
        "adapter_params": {"address": address, **settings},
    }


def resp(port: int) -> dict[str, Any]:
    """The `--l2-adapter` of LMCache's own client for Redis."""
    return {"type": "resp", "host": "127.0.0.1", "port": port, "num_workers": 2}


class Process:
    """A child with its output in a file."""

    def __init__(
        self,
        command: list[Any],
        log: pathlib.Path,
        environment: dict[str, str] | None = None,
        pipes: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else output,
                stderr=output,
                pass_fds=pass_fds,
                env={**os.environ, **ENVIRONMENT, **(environment or {})},
            )

    @property
    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def begin_stop(self) -> None:
        """Asks it to end, and does not wait."""
        if self.process.poll() is None:
            self.process.terminate()

    def stop(self, seconds: float = 60.0) -> None:
        self.begin_stop()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def stop_all(*processes: Process) -> None:
    """Ends them side by side."""
    for process in processes:
        process.begin_stop()
    for process in processes:
        process.stop()


class LMCacheServer(Process):
    """`lmcache server` with L2 adapters, and its counters."""

    def __init__(self, folder: pathlib.Path, *adapters: dict[str, Any], chunk: int = 256) -> None:
        self.port, self.http = free_port(), free_port()
        command = [
            BIN / "lmcache", "server", "--host", "127.0.0.1", "--port", self.port,
            "--l1-size-gb", 1, "--eviction-policy", "LRU", "--chunk-size", chunk,
            "--supported-transfer-mode", "auto",
            "--http-host", "127.0.0.1", "--http-port", self.http,
        ]
        for adapter in adapters:
            command += ["--l2-adapter", json.dumps(adapter)]
        super().__init__(command, folder / f"lmcache-{self.port}.log")

    def wait_ready(self) -> LMCacheServer:
        assert until(self._answers), f"lmcache server did not get ready:\n{self.tail}"
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"lmcache server ended:\n{self.tail}"
        try:
            return '"healthy"' in self._ask("/healthcheck")
        except (urllib.error.URLError, ConnectionError):
            return False

    def _ask(self, path: str, method: str = "GET") -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return str(reply.read().decode())

    def clear_l1(self) -> None:
        self._ask("/cache/clear", "POST")

    def adapter_status(self) -> dict[str, Any]:
        return dict(json.loads(self._ask("/status"))["storage_manager"]["l2_adapters"][0])

    def counter(self, name: str) -> int:
        """The sum of a counter of LMCache over its labels; 0 if nothing was counted yet."""
        pattern = rf"^lmcache_mp_{name}_total(?:{{[^}}]*}})? (\S+)$"
        return int(sum(map(float, re.findall(pattern, self._ask("/metrics"), re.MULTILINE))))

    def wait_counter(self, name: str, value: int) -> int:
        """The counter, once it has reached `value` (LMCache counts a moment after the fact)."""
        until(lambda: self.counter(name) >= value, 20)
        return self.counter(name)


class Engine(Process):
    """vLLM with LMCacheMPConnector."""

    def __init__(self, folder: pathlib.Path, model: pathlib.Path, port: int) -> None:
        shim = folder / "shim"
        shim.mkdir(exist_ok=True)
        (shim / "sitecustomize.py").write_text(SHIM)
        super().__init__(
            [sys.executable, HERE / "lmcache_engine.py", model, port],
            folder / f"engine-{port}-{time.monotonic_ns()}.log",
            {"PYTHONPATH": str(shim)},
            pipes=True,
        )
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_ready(self) -> Engine:
        assert self._answer() == {"ready": True}
        return self

    def generate(self, tokens: list[int]) -> dict[str, Any]:
        """The new tokens, and how many of the prompt's came from a cache."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(tokens).encode() + b"\n")
        self.process.stdin.flush()
        return self._answer()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            text = line.decode(errors="replace")
            if text.startswith(MARK):
                self._answers.put(dict(json.loads(text.removeprefix(MARK))))
        self._answers.put(None)

    def _answer(self) -> dict[str, Any]:
        try:
            answer = self._answers.get(timeout=READY_SECONDS)
        except queue.Empty:
            answer = None
        assert answer is not None, f"vLLM did not answer:\n{self.tail}"
        return answer

    def begin_stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
