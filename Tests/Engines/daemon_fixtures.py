"""The daemon fixtures of Tests/Python, for tests with real engines."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys

# Read when torch is loaded: threads that wait must not spin, which costs a busy machine most.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_path = pathlib.Path(__file__).resolve().parents[1] / "Python" / "conftest.py"
_spec = importlib.util.spec_from_file_location("kdn_daemon_fixtures", _path)
assert _spec is not None and _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _fixtures  # where its dataclasses look for their names
_spec.loader.exec_module(_fixtures)

kdnd = _fixtures.kdnd
own_kdnd = _fixtures.own_kdnd
