"""One openlaked as a child process: what Scripts/bench links compares shared memory with."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

START_SECONDS = 30.0
OPENLAKE_GIBIBYTES = 1


@contextlib.contextmanager
def openlake_daemon(python: str) -> Iterator[str]:
    """The address of an openlaked; it takes one size of object in its life."""
    folder = pathlib.Path(python).parent
    source = subprocess.run(
        [python, "-c", "import openlake_client as o; print(o.__path__[0])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()
    text = (pathlib.Path(source) / "configs" / "kv_local.toml").read_text()
    address, storage = (f"127.0.0.1:{free_port()}" for _ in range(2))
    text = text.replace("127.0.0.1:9400", address).replace("127.0.0.1:9000", storage)
    lines = [
        f"capacity_gb = {OPENLAKE_GIBIBYTES}" if line.startswith("cpu_ram_frac") else line
        for line in text.splitlines()
    ]
    before = set(pathlib.Path("/dev/shm").glob("openlake_kv_*"))
    with tempfile.TemporaryDirectory() as work:
        config = pathlib.Path(work) / "openlake.toml"
        config.write_text("\n".join(lines))
        # It logs a line for each get otherwise.
        process = subprocess.Popen(
            [str(folder / "openlaked"), "--config", str(config)], cwd=work,
            env={**os.environ, "RUST_LOG": "warn"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )
        try:
            wait_listening(address, process)
            yield address
        finally:
            # What pip installs starts the program proper as a child.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for leaked in set(pathlib.Path("/dev/shm").glob("openlake_kv_*")) - before:
                leaked.unlink()


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_listening(address: str, process: subprocess.Popen[bytes]) -> None:
    """Returns once somebody answers there."""
    host, port = address.split(":")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.05)
    sys.exit("link_bench: openlaked does not listen")
