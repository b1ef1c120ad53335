"""LMCache's own test of L2 adapters, its benchmark with verification, and its legacy connectors."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
from lmcache_daemon import RespDaemon, stand_in_cli
from lmcache_processes import BIN, ENVIRONMENT, HERE, MARK, LMCacheServer, plugin, resp
from lmcache_sdist import own_test

WAYS = ("plugin", "resp")
SECONDS = 200


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RespDaemon]:
    daemon = RespDaemon(tmp_path_factory.mktemp("kdnd"))
    yield daemon
    daemon.stop()


def run(command: list[object], folder: pathlib.Path, **environment: str) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, **environment},
        timeout=SECONDS,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    assert done.returncode == 0, output[-4000:]
    return output


@pytest.mark.parametrize("way", WAYS)
def test_lmcaches_own_integration_test_passes(
    way: str, daemon: RespDaemon, tmp_path: pathlib.Path
) -> None:
    options = ["-p", "lmcache_plugin_shim"] if way == "plugin" else []
    path = os.pathsep.join((str(stand_in_cli(tmp_path)), os.environ["PATH"]))
    output = run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull,
            "--rootdir", tmp_path, *options, own_test(tmp_path),
        ],
        tmp_path,
        PATH=path, PYTHONPATH=str(HERE), KDN_ADDRESS=daemon.tcp,
        REDIS_HOST="127.0.0.1", REDIS_PORT=str(daemon.resp_port),
    )
    assert "7 passed" in output, output[-4000:]
    assert "skipped" not in output


@pytest.mark.parametrize("way", WAYS)
def test_lmcaches_benchmark_verifies_every_byte(
    way: str, daemon: RespDaemon, tmp_path: pathlib.Path
) -> None:
    adapter = plugin(daemon.tcp) if way == "plugin" else resp(daemon.resp_port)
    output = run(
        [
            BIN / "lmcache", "bench", "l2", "--no-skip-verify", "--lookup-max-hit-rate", "1",
            "--num-keys", 8, "--in-flight", 3, "--rounds", 3, "--data-size-kb", 512,
            "--l2-adapter", json.dumps(adapter),
        ],
        tmp_path,
    )
    assert "data verified OK" in output and "MISMATCH" not in output
    successes = [line.split()[-1] for line in output.splitlines() if "Total success:" in line]
    assert successes == ["72"] * 3, output[-4000:]
    timeouts = [line.split()[-1] for line in output.splitlines() if "Rounds timed out:" in line]
    assert timeouts == ["0"] * 3


@pytest.mark.parametrize("scheme", ["redis", "resp"])
def test_the_legacy_connectors_store_and_load(
    scheme: str, daemon: RespDaemon, tmp_path: pathlib.Path
) -> None:
    url = f"{scheme}://127.0.0.1:{daemon.resp_port}"
    output = run([sys.executable, HERE / "lmcache_legacy_connector.py", url], tmp_path)
    (line,) = [line for line in output.splitlines() if line.startswith(MARK)]
    assert json.loads(line.removeprefix(MARK)) == {
        "before": False, "after": True, "at_once": True, "other": False,
        "bytes": 5_898_240, "equal": True,
    }
