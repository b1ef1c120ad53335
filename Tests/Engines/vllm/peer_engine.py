"""A vLLM engine in a process of its own, told what to do by lines of JSON.

As a program it is the engine: the first line of its input holds LLM's arguments, each further one
a request; each answer is a line on its output. `PeerEngine` is the other end, for tests.
"""

from __future__ import annotations

import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = HERE.parents[2] / "Sources" / "Python"
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "VLLM_LOGGING_LEVEL": "WARNING",
}
ARGUMENTS = {
    "dtype": "float32", "enforce_eager": True, "max_model_len": 2048, "max_num_seqs": 4,
    "block_size": 32, "distributed_executor_backend": "uni", "disable_log_stats": False,
    "seed": 0,
}
START_SECONDS = 240.0
ANSWER_SECONDS = 120.0


class PeerEngine:
    """An engine that was started, and may be asked, killed or closed."""

    def __init__(self, model: pathlib.Path, transfer: dict[str, Any] | None, **more: Any) -> None:
        """`transfer` is vLLM's kv_transfer_config; `more` are arguments of LLM, and
        `die_after_objects`: SIGKILL itself once so many objects are stored."""
        path = os.pathsep.join([str(SOURCES), str(HERE), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path}, text=True,
        )
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.send(model=str(model), kv_transfer_config=transfer, **{**ARGUMENTS, **more})

    def ready(self) -> PeerEngine:
        """Waits until the engine is up."""
        assert self.answer(START_SECONDS) == {"ready": True}
        return self

    def send(self, **message: Any) -> None:
        """Gives a line of work; its answer is to be fetched."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def answer(self, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """The next answer; fails if the engine ended instead."""
        found = self._answers.get(timeout=seconds)
        assert found is not None, f"the engine ended with {self.process.wait(30)}"
        return found

    def generate(self, prompt: list[int], tokens: int = 8, **params: Any) -> dict[str, Any]:
        """Tokens, how many of the prompt were cached, and all counters so far."""
        self.send_generate(prompt, tokens, **params)
        return self.answer()

    def send_generate(self, prompt: list[int], tokens: int = 8, **params: Any) -> None:
        """Asks for tokens without waiting; `params` are kv_transfer_params."""
        self.send(op="generate", prompt=prompt, tokens=tokens, params=params or None)

    def wait_for_death(self) -> int:
        """Waits until the process has ended by itself; returns its exit status."""
        return self.process.wait(ANSWER_SECONDS)

    def close(self) -> None:
        """Ends the process, gently if it lets itself."""
        if self.process.poll() is None:
            try:
                self.send(op="quit")
                self.process.wait(30)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()
        self._reader.join(10)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith('{"'):
                self._answers.put(json.loads(line))
        self._answers.put(None)


def make_tiny_llama(folder: pathlib.Path, seed: int = 0) -> pathlib.Path:
    """A Llama of 2 layers with random weights, in fp32, without a tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=1024, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32,
        max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
    return folder


# In the engine's process


def _serve() -> None:
    settings = json.loads(sys.stdin.readline())
    _arm(settings.pop("die_after_objects", None))
    from vllm import LLM

    engine = LLM(skip_tokenizer_init=True, **{k: v for k, v in settings.items() if v is not None})
    _say({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "quit":
            break
        if request["op"] == "reset":
            reset = engine.reset_prefix_cache(reset_connector=request["connector"])
            _say({"reset": reset})
        else:
            _say(_generate(engine, request))
    engine.llm_engine.engine_core.shutdown()
    # Threads of torch would keep a busy machine waiting at a plain exit.
    os._exit(0)


def _generate(engine: Any, request: dict[str, Any]) -> dict[str, Any]:
    from vllm import SamplingParams

    extra = {"kv_transfer_params": request["params"]} if request["params"] else None
    sampling = SamplingParams(
        temperature=0, max_tokens=request["tokens"], ignore_eos=True, extra_args=extra,
        detokenize=False,
    )
    prompt = {"prompt_token_ids": request["prompt"]}
    (output,) = engine.generate([prompt], sampling, use_tqdm=False)
    return {
        "tokens": list(output.outputs[0].token_ids),
        "cached": output.num_cached_tokens or 0,
        "counters": _counters(engine),
    }


def _counters(engine: Any) -> dict[str, float]:
    """Every counter and gauge as `name` or `name{value of its own label}`."""
    found: dict[str, float] = {}
    for metric in engine.get_metrics():
        if hasattr(metric, "value"):
            own = [v for k, v in metric.labels.items() if k not in ("model_name", "engine")]
            name = f"{metric.name}{{{','.join(own)}}}" if own else metric.name
            found[name] = found.get(name, 0) + metric.value
    return found


def _arm(objects: int | None) -> None:
    """Makes this process die, without any farewell, once it has stored so many objects."""
    if objects is None:
        return
    from kdn.client import Client

    put_from, lock, left = Client.put_from, threading.Lock(), [objects]

    def put_and_count(self: Any, items: Any, timeout: float | None = None) -> Any:
        results = []
        for item in items:
            results += put_from(self, [item], timeout)
            with lock:
                left[0] -= sum(result.state == "published" for result in results[-1:])
                if left[0] <= 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        return results

    Client.put_from = put_and_count  # type: ignore[method-assign]


def _say(answer: dict[str, Any]) -> None:
    sys.__stdout__.write(json.dumps(answer) + "\n")
    sys.__stdout__.flush()


if __name__ == "__main__":
    _serve()
