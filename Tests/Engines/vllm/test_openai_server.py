"""vLLM's OpenAI server with KDN's connector, over a restart: the one line that users change."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from typing import Any

import pytest

import kdn

SOURCES = pathlib.Path(__file__).resolve().parents[3] / "Sources" / "Python"
THE_LINE = (
    '{"kv_connector":"KDNConnector","kv_connector_module_path":"kdn.engines.vllm",'
    '"kv_role":"kv_both"}'
)
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE",
}
OPTIONS = [
    "--dtype", "float32", "--enforce-eager", "--max-model-len", "1024", "--max-num-seqs", "4",
    "--distributed-executor-backend", "uni", "--host", "127.0.0.1",
]
CHARACTERS = 2600  # about 600 tokens
WHOLE = 512  # tokens in whole chunks of 256
START_SECONDS = 300.0
ANSWER_SECONDS = 180.0
STOP_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server process that is up."""

    def __init__(self, model: pathlib.Path, kdn_address: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", str(model), "--served-model-name", "smollm2", *OPTIONS]
        command += ["--port", str(port), "--kv-transfer-config", THE_LINE]
        path = os.pathsep.join([str(SOURCES), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={
                **os.environ, **ENVIRONMENT, "PYTHONPATH": path, "KDN_ADDRESS": kdn_address
            },
            start_new_session=True,
        )
        self.log: list[str] = []
        self._up = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._up.wait(START_SECONDS)
        if not self._answers():
            self.stop()
            raise AssertionError("the server did not start:\n" + "".join(self.log[-60:]))

    def _answers(self) -> bool:
        """Whether it listens: it says that it is complete a moment before it does."""
        pause, end = threading.Event(), time.monotonic() + STOP_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=10) as answer:
                    return answer.status == 200
            except OSError:
                pause.wait(0.05)
        return False

    def complete(self, prompt: str, **more: Any) -> dict[str, Any]:
        """An answer of the completions API, greedy."""
        body = {
            "model": "smollm2", "prompt": prompt, "max_tokens": 16, "temperature": 0,
            "ignore_eos": True, **more,
        }
        request = urllib.request.Request(
            f"{self.url}/v1/completions", json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return json.load(answer)

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all series of a metric with these labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=ANSWER_SECONDS) as answer:
            text = answer.read().decode()
        found = re.findall(rf"^{re.escape(name)}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        assert found, f"no metric {name}"
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        return sum(float(value) for own, value in found if wanted <= set(own.split(",")))

    def stop(self) -> None:
        """Asks the server to end, and sees to it that all of its processes do."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(STOP_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line)
            if "Application startup complete" in line:
                self._up.set()
        self._up.set()


@pytest.fixture
def serve(material, kdnd):
    running: list[Server] = []

    def start() -> Server:
        running.append(Server(material / "smollm2", kdnd.tcp))
        return running[-1]

    yield start
    for server in running:
        server.stop()


def wait_for_stores(client: kdn.Client, count: int) -> None:
    """Returns once the daemon has published so many objects."""
    pause, end = threading.Event(), time.monotonic() + STOP_SECONDS
    while client.stats()["pool"]["stores_total"] < count:
        assert time.monotonic() < end, "the chunks were not stored"
        pause.wait(0.05)


def test_a_restarted_server_finds_the_prompts_of_before(serve, material, kdnd):
    book = (material / "lcet10.txt").read_text("utf-8", "replace")
    text, other = book[:CHARACTERS], book[-CHARACTERS:]
    hits, source = "vllm:external_prefix_cache_hits_total", "vllm:prompt_tokens_by_source_total"
    with kdn.Client(kdnd.tcp) as client:
        client.purge(namespace=True)
        before = client.stats()["pool"]["stores_total"]
        first = serve()
        cold = first.complete(text)
        wait_for_stores(client, before + WHOLE // 256)
    assert first.metric(hits) == 0
    assert first.metric(source, source="external_kv_transfer") == 0
    prompt_tokens = cold["usage"]["prompt_tokens"]
    assert WHOLE < prompt_tokens < WHOLE + 256
    first.stop()
    second = serve()
    warm = second.complete(text)
    assert warm["choices"][0]["text"] == cold["choices"][0]["text"]
    assert warm["usage"]["prompt_tokens"] == prompt_tokens
    assert second.metric(hits) == WHOLE
    assert second.metric(source, source="external_kv_transfer") == WHOLE
    assert second.metric(source, source="local_compute") == prompt_tokens - WHOLE
    assert second.metric("vllm:kdn_load_objects_total") == WHOLE // 256
    # Another tenant's salt: the same text, and nothing of it is found.
    salted = second.complete(text, cache_salt="another tenant")
    assert salted["choices"][0]["text"] == cold["choices"][0]["text"]
    assert second.metric(hits) == WHOLE
    assert second.metric("vllm:kdn_load_failed_requests_total") == 0
    # A hand-over's parameter comes through the API: nobody prefills, so it is computed at once.
    waited = second.complete(other, kv_transfer_params={"kdn_wait_ms": 1})
    assert waited["usage"]["completion_tokens"] == 16
    assert second.metric("vllm:kdn_load_failed_requests_total") == 1
