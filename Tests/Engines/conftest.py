"""Fixtures of all engine tests: a real daemon, the reference model and text."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
from daemon_fixtures import kdnd, own_kdnd  # noqa: F401 (fixtures)

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def material() -> pathlib.Path:
    """The folder with `smollm2/`, `smollm2.gguf` and `lcet10.txt`; made once, then cached."""
    venv = pathlib.Path(sys.executable).parents[1]
    script = ROOT / "Scripts" / "lib" / "model"
    done = subprocess.run([script, venv], stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(done.stdout.strip())
