"""The HTTP endpoint answers while clients keep the daemon's data loops busy."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

from admin_client import start_admin
from daemon_process import ROOT, DaemonProcess

REQUESTS = 200
PATHS = ("/healthz", "/stats", "/metrics", "/readyz?verbose", "/objects?namespace=default")
BUSY_CLIENT = """
import os, sys
from kdn import Client, Key
client = Client(sys.argv[1])
names = [f"{os.getpid()} {number}".encode() for number in range(16)]
data = os.urandom(1 << 20)
for name in names:
    client.put(Key.opaque(name), data)
print("busy", flush=True)
while True:
    for name in names:
        client.get(Key.opaque(name))
"""


def test_every_request_is_answered_under_load(
    start: Callable[..., DaemonProcess], tmp_path: pathlib.Path
) -> None:
    admin = start_admin(start, tmp_path)
    environment = {"PYTHONPATH": str(ROOT / "Sources/Python")}
    command = [sys.executable, "-c", BUSY_CLIENT, admin.daemon.address]
    clients = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(2)
    ]
    try:
        for client in clients:
            assert client.stdout is not None and client.stdout.readline() == b"busy\n"
        before = admin.get("/stats")["pool"]["hits_total"]
        milliseconds = []
        for number in range(REQUESTS):
            began = time.perf_counter()
            answer = admin.ask("GET", PATHS[number % len(PATHS)], token=None)
            milliseconds.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 200
        assert admin.get("/stats")["pool"]["hits_total"] > before
        assert all(client.poll() is None for client in clients)
        ordered = sorted(milliseconds)
        print(f"admin p50 {ordered[100]:.1f} ms, p99 {ordered[197]:.1f} ms, max {ordered[-1]:.1f}")
    finally:
        for client in clients:
            client.kill()
            client.wait()
