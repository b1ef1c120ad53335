"""A kdnd with an administrator, and the command line `kdn` as that administrator calls it."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import subprocess
from collections.abc import Callable

from admin_client import TOKEN
from daemon_process import ROOT, DaemonProcess
from kdn import Client

OK, NO, FAILED, USAGE = 0, 1, 2, 64
KDN = os.environ.get("KDN", str(ROOT / ".build/release/kdn"))
SECONDS = 60


class Node:
    """A daemon with an administrator, and `kdn` as called by one."""

    def __init__(self, daemon: DaemonProcess, folder: pathlib.Path) -> None:
        found = re.search(r"\badmin=([^\s,]+:\d+)", daemon.log)
        assert found is not None, daemon.log
        self.daemon = daemon
        self.folder = folder
        plain = {name: value for name, value in os.environ.items() if not name.startswith("KDN_")}
        self.environment = {
            **plain,
            "KDN_ADDRESS": daemon.address,
            "KDN_ADMIN_ADDRESS": found.group(1),
            "KDN_ADMIN_TOKEN": TOKEN,
        }

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [KDN, *arguments], capture_output=True, text=True, timeout=SECONDS,
            env={**self.environment, **variables},
        )

    def lines(self, *arguments: str, **variables: str) -> list[str]:
        """The lines that a command writes which must succeed."""
        done = self.run(*arguments, **variables)
        assert done.returncode == OK, done.stderr
        return done.stdout.splitlines()

    def json(self, *arguments: str):
        """The one JSON value that a command writes which must succeed."""
        (line,) = self.lines(*arguments, "--json")
        return json.loads(line)

    def client(self, namespace: str, token: str) -> Client:
        return Client(self.daemon.address, namespace=namespace, token=token)

    def admits(self, namespace: str, token: str) -> bool:
        """Whether `kdn` is let in with a token from the environment."""
        done = self.run("info", "--namespace", namespace, KDN_TOKEN=token)
        assert done.returncode in (OK, FAILED), done.stderr
        return done.returncode == OK


def start_node(start: Callable[..., DaemonProcess], folder: pathlib.Path) -> Node:
    """A daemon that an administrator can change, on a configuration file."""
    configuration = folder / "kdnd.yaml"
    configuration.write_text("slow_request_ms: 1\n")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    environment = {
        "KDN_ADMIN_TOKENS": f"root:{digest}",
        "KDN_NAMESPACES_FILE": str(folder / "namespaces.json"),
    }
    daemon = start(
        "--config", str(configuration), "--admin", "127.0.0.1:0", environment=environment
    )
    return Node(daemon, folder)
