"""Processes of these tests: a real llama.cpp server, and the proxy as users start it."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
from typing import Any

import requests

HERE = pathlib.Path(__file__).resolve().parent
START_SECONDS = 60.0
SAVED_SECONDS = 30.0


class Child:
    """A process whose output is read for as long as it runs; `wait_for` a line of it."""

    def __init__(self, command: list[Any], stream: str) -> None:
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        pipes[stream] = subprocess.PIPE
        self.process = subprocess.Popen(
            [str(word) for word in command], env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes
        )
        self._pipe: Any = getattr(self.process, stream)
        self._changed = threading.Condition()
        self.text = ""
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            with self._changed:
                self.text += line.decode(errors="replace")
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, pattern: str) -> str:
        """The first group of a pattern in the output."""
        with self._changed:
            self._changed.wait_for(
                lambda: re.search(pattern, self.text) or self._ended, START_SECONDS
            )
            found = re.search(pattern, self.text)
        assert found, f"no {pattern!r} in the output:\n{self.text}"
        return found[1]

    def end(self, number: int = signal.SIGKILL) -> int:
        """Ends the process and returns its exit status."""
        self.process.send_signal(number)
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._thread.join(5)
        self._pipe.close()
        return status


class Llama(Child):
    """A llama.cpp server, with a folder for its slots."""

    def __init__(self, model: pathlib.Path, slots: pathlib.Path, cache_type: str = "f16") -> None:
        slots.mkdir(exist_ok=True)
        self.slots = slots
        script = HERE / "llama_server.py"
        super().__init__([sys.executable, script, model, slots, cache_type], "stdout")
        self.url = self.wait_for(r"(http://\S+)")


class Proxy(Child):
    """`python -m kdn.engines.llamacpp` in front of a server; ready when made."""

    def __init__(self, llama: Llama, kdn: str, *options: Any) -> None:
        command = [sys.executable, "-m", "kdn.engines.llamacpp", "--server", llama.url]
        command += ["--slots-dir", llama.slots, "--kdn", kdn, "--listen", "127.0.0.1:0"]
        super().__init__([*command, *options], "stderr")
        self.url = self.wait_for(r"listening on (http://\S+)")
        self.wait_for(r"ready: (\S+)")

    def status(self) -> dict[str, Any]:
        return requests.get(f"{self.url}/kdn/status", timeout=10).json()

    def saved(self) -> dict[str, Any]:
        """The counts once nothing is being saved; the answer waits for that."""
        answer = requests.get(
            f"{self.url}/kdn/status?wait={SAVED_SECONDS}", timeout=SAVED_SECONDS + 10
        )
        report = answer.json()
        assert report["unfinished"] == 0, report
        return report

    def complete(self, path: str = "/completion", **body: Any) -> tuple[dict[str, Any], int]:
        """The answer to a greedy request, and how many tokens were restored for it."""
        answer = requests.post(self.url + path, json={"temperature": 0, **body}, timeout=120)
        assert answer.status_code == 200, answer.text
        return answer.json(), int(answer.headers.get("X-KDN-Restored-Tokens", -1))
