"""What the reports of the knowledge benchmarks share."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Iterable
from typing import Any, TextIO

import torch
import transformers


def run_facts(command: str) -> dict[str, Any]:
    """What this run is, on which machine."""
    return {
        "kind": "run",
        "command": command,
        "started_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "kernel": platform.platform(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def write(output: TextIO, lines: Iterable[dict[str, Any]]) -> None:
    """Writes lines of JSON, at once, so that a run that is ended has told what it measured."""
    for line in lines:
        output.write(json.dumps(line, sort_keys=True) + "\n")
    output.flush()


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, after Wilson."""
    if count == 0:
        return 0.0, 1.0
    z = 1.959964
    share, spread = hits / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * (share * (1 - share) / count + spread / 4 / count) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)
