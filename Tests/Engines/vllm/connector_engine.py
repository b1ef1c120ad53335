"""A vLLM engine with the connector in a process of its own, and a link to the daemon that fails."""

from __future__ import annotations

import json
import os
import pathlib
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE.parents[2] / "Sources" / "Python"
START_SECONDS = 240.0
ANSWER_SECONDS = 240.0


class ConnectorEngine:
    """An engine that obeys; `log` holds what it wrote."""

    def __init__(self, model: pathlib.Path, work: pathlib.Path, address: str, **spec: Any) -> None:
        """`spec`: `kdn` settings, `role`, and `engine`, arguments of LLM."""
        kdn = {"kdn_address": address, **spec.pop("kdn", {})}
        self.log = work / "engine.log"
        path = os.pathsep.join([str(SOURCES), os.environ.get("PYTHONPATH", "")])
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    str(HERE / "connector_driver.py"),
                    json.dumps({"model": str(model), "kdn": kdn, **spec}),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={"OMP_NUM_THREADS": "2", **os.environ, "PYTHONPATH": path},
                text=True,
            )
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._answer(START_SECONDS) == {"ready": True}

    def __call__(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Gives a command and waits for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": verb, **arguments}) + "\n")
        self.process.stdin.flush()
        return self._answer(ANSWER_SECONDS)

    def generate(self, *prompts: list[int], **arguments: Any) -> dict[str, Any]:
        """Greedy continuations of the prompts, all in one call."""
        return self("generate", prompts=list(prompts), **arguments)

    def stored(self) -> None:
        """Waits until all that the engine wants to store is stored."""
        assert self("store") == {"stored": True}

    def forget(self) -> None:
        """Empties the engine's own prefix cache."""
        assert self("forget")["done"]

    def __enter__(self) -> ConnectorEngine:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            assert self.process.stdin is not None
            try:
                self.process.stdin.write('{"do": "exit"}\n')
                self.process.stdin.close()
                self.process.wait(60)
            except (OSError, subprocess.TimeoutExpired):
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
        self._reader.join(5)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _answer(self, seconds: float) -> dict[str, Any]:
        line = self._answers.get(timeout=seconds)
        assert line, f"the engine ended:\n{self.log.read_text()[-6000:]}"
        return json.loads(line)


class FaultyLink:
    """A proxy to a daemon that lets bytes through, until it is told to spoil some.

    `spoil(share, every)`: of each `every` bytes that the daemon sends, one is flipped with
    probability `share`. `when_passed(count, call)`: calls once so many more have passed.
    `move(upstream)`: cuts all connections, further ones go there.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._open: set[socket.socket] = set()
        self.spoilt = 0
        self._random = random.Random(5)
        self._lock = threading.Lock()
        self._share, self._every, self._left = 0.0, 1, 1
        self._alarm: tuple[int, Callable[[], None]] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def spoil(self, share: float, every: int) -> None:
        with self._lock:
            self._share, self._every, self._left = share, every, every // 2

    def when_passed(self, count: int, call: Callable[[], None]) -> None:
        with self._lock:
            self._alarm = (count, call)

    def move(self, upstream: str) -> None:
        with self._lock:
            self._upstream = upstream
            cut = list(self._open)
        for one in cut:
            _shut(one)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            host, port = self._upstream.rsplit(":", 1)
            try:
                far = socket.create_connection((host, int(port)), 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {near, far}
            threading.Thread(target=self._pass, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, watched: bool) -> None:
        buffer = bytearray(1 << 18)
        try:
            while count := source.recv_into(buffer):
                if watched:
                    self._watch(buffer, count)
                target.sendall(memoryview(buffer)[:count])
        except OSError:
            pass
        for one in (source, target):
            _shut(one)
        with self._lock:
            self._open -= {source, target}

    def _watch(self, buffer: bytearray, count: int) -> None:
        call = None
        with self._lock:
            if self._share:
                at = self._left
                while at < count:
                    if self._random.random() < self._share:
                        buffer[at] ^= 0xFF
                        self.spoilt += 1
                    at += self._every
                self._left = at - count
            if self._alarm is not None:
                left = self._alarm[0] - count
                call = self._alarm[1] if left <= 0 else None
                self._alarm = None if left <= 0 else (left, self._alarm[1])
        if call is not None:
            call()


def _shut(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
