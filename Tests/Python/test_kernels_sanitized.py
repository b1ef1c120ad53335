"""The kernels under the sanitizers of addresses and of what C leaves undefined."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

HERE = pathlib.Path(__file__).parent
ROUNDS = 600


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the environment of a process needs that decodes with such kernels."""
    clang = shutil.which("clang")
    assert clang is not None, "clang comes with the Swift toolchain"
    target = tmp_path_factory.mktemp("sanitized") / "libkdnkernels.so.1"
    sources = sorted((ROOT / "Sources" / "CKernels").glob("*.c"))
    flags = ["-std=gnu11", "-O1", "-g", "-fPIC", "-shared", "-ffp-contract=off"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    include = ROOT / "Sources" / "CKernels" / "include"
    command = [clang, *flags, "-shared-libasan", "-I", include, "-o", target, *sources]
    subprocess.run(command, check=True, timeout=300)
    name = f"libclang_rt.asan-{os.uname().machine}.so"
    runtime = subprocess.run(
        [clang, f"-print-file-name={name}"], check=True, capture_output=True, text=True
    )
    return {
        "KDN_KERNELS": str(target),
        "LD_PRELOAD": runtime.stdout.strip(),
        # Python itself leaks at its end; and each of its objects is to have memory of its own.
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
    }


def test_spoiled_blocks_touch_nothing_else_and_all_paths_agree_on_them(sanitized) -> None:
    vectors = ROOT / "Tests" / "Vectors" / "codecs.json"
    command = [sys.executable, HERE / "spoiled_blocks.py", vectors, str(ROUNDS)]
    source = str(ROOT / "Sources" / "Python")
    found = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": source, **sanitized}, capture_output=True,
        text=True, timeout=600,
    )  # fmt: skip
    print(found.stdout)
    assert found.returncode == 0, found.stdout + found.stderr[-8000:]
