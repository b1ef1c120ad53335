"""A blend worker of a tiny model; as a program, one that kills itself in the middle of a job.

usage: blend_worker_parts.py ADDRESS OBJECTS
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from kdn.blending.worker import Worker
from kdn.client import Client
from kdn.engines.blend_jobs import BlendEngine

MODEL = "llama"
MODEL_NAME = "tiny-for-workers"
CHUNK = 32


class NoTokenizer:
    """Makes a token of each byte."""

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        start = [1] if add_special_tokens else []
        return {"input_ids": [*start, *(byte % 128 for byte in text.encode())]}


def make_engine(client: Any) -> BlendEngine:
    """An engine with random weights, the same in every process."""
    from blend_samples import loud_model

    return BlendEngine(loud_model(MODEL), NoTokenizer(), client, MODEL_NAME, CHUNK)


class DoomedClient(Client):
    """Kills its process, without a word, when so many objects have been stored."""

    objects_left = 0

    def put_from(self, puts: Any, timeout: float | None = None, **options: Any) -> Any:
        if self.objects_left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.objects_left -= len(puts)
        return super().put_from(puts, timeout=timeout, **options)


def main() -> None:
    client = DoomedClient(sys.argv[1])
    client.objects_left = int(sys.argv[2])
    worker = Worker(client, make_engine(client), ["blend"])
    print("ready", flush=True)
    worker.run()


if __name__ == "__main__":
    main()
