"""A daemon with two tenants, a witness in each, and what a hostile client finds there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import tempfile
import time
from collections.abc import Iterator

import pytest
from daemon_process import DaemonProcess, running_daemon
from kdn import Key
from shared_memory_client import SharedMemoryClient, Witness

TOKENS = {"red": "the red token", "blue": "the blue token"}
MEBIBYTE = 1 << 20
WAIT_SECONDS = 20.0
PLAIN_USER = 12345
CREDIT = 64 * MEBIBYTE


@contextlib.contextmanager
def start_site(path: str | pathlib.Path, *flags: str) -> Iterator[DaemonProcess]:
    """A daemon with the tenants on a Unix socket, and a TCP port of the kernel's choice."""
    settings = [f"namespaces={name}:{hashlib.sha256(token.encode()).hexdigest()}"
                for name, token in TOKENS.items()]
    settings += ["slab=4MiB", f"credit={CREDIT}B", "shm_window=2MiB"]
    if "--ram" not in flags:
        flags = ("--ram", "192MiB", *flags)
    arguments = [part for text in settings for part in ("--set", text)]
    with running_daemon("--unix", str(path), *arguments, *flags) as daemon:
        yield daemon


@contextlib.contextmanager
def start_plain(open_files: int, *flags: str) -> Iterator[tuple[DaemonProcess, str]]:
    """A daemon without a tenant, run by a user who is not root, with a hard limit of open files;
    and the path of its socket."""
    wrapper = ["prlimit", f"--nofile={open_files}:{open_files}"]
    if os.getuid() == 0:
        wrapper += ["setpriv", f"--reuid={PLAIN_USER}", f"--regid={PLAIN_USER}", "--clear-groups",
                    "--bounding-set=-all", "--inh-caps=-all"]
    # Not in the tests' own folder, which is closed to other users.
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder).chmod(0o777)
        path = f"{folder}/kdnd.sock"
        daemon = DaemonProcess(
            "--tcp", "127.0.0.1:0", "--unix", path, "--ram", "128MiB", "--set", "slab=4MiB",
            "--set", "unix_mode=0777", *flags, wrapper=wrapper)
        try:
            daemon.wait_ready()
            yield daemon, path
        finally:
            daemon.kill()


class Site:
    """A daemon with two tenants, a witness in each, and hostile clients."""

    def __init__(
        self, folder: pathlib.Path, stack: contextlib.ExitStack, ram: str = "192MiB",
        witnesses: bool = True,
    ) -> None:
        self.path = str(folder / "kdnd.sock")
        self.daemon = stack.enter_context(start_site(self.path, "--ram", ram))
        self.overseer = SharedMemoryClient(self.path).hello()
        stack.callback(self.overseer.close)
        self.witnesses = [
            Witness(self.path, name, token) for name, token in TOKENS.items() if witnesses
        ]
        self.before = self.at_rest()

    def hostile(self, namespace: str = "red") -> SharedMemoryClient:
        """A client that knows its token, and no more."""
        return SharedMemoryClient(self.path).hello(namespace, TOKENS[namespace])

    def at_rest(self) -> dict[str, int]:
        """What the daemon holds while no witness is at work."""
        with contextlib.ExitStack() as stack:
            for witness in self.witnesses:
                stack.enter_context(witness.resting())
            stats = self.overseer.stats()
        shared = stats["shared_memory"]
        return {
            "leases": stats["pool"]["leases"], "reservations": stats["pool"]["reservations"],
            "objects": stats["pool"]["objects"],
            "allocated": stats["memory"]["allocated_bytes"],
            "open": stats["connections"]["open"],
            "transfers": stats["connections"]["open_transfers"],
            "waiting": stats["connections"]["waiting_gets"],
            "leases in place": shared["leases"],
            **{name: shared[name] for name in
               ("leased_bytes", "windows", "window_bytes", "stranded_bytes")},
        }

    def check(self) -> None:
        """Both witnesses have looked, and saw what they should."""
        for witness in self.witnesses:
            witness.wait_look()

    def wait_clean(self) -> None:
        """Returns once the daemon holds what it held before, and no more."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (now := self.at_rest()) != self.before:
            assert time.monotonic() < deadline, f"left behind: {now}, before: {self.before}"

    def end(self) -> None:
        """The witnesses go well, and then nothing is left at all."""
        for witness in self.witnesses:
            witness.stop()
        self.witnesses = []
        nothing = {**dict.fromkeys(self.before, 0), "open": 1}
        self.before = nothing
        self.wait_clean()


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        site = Site(tmp_path_factory.mktemp("site"), stack)
        yield site
        site.end()


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """The module's site; each test must leave it as it was."""
    yield shared_site
    shared_site.check()
    shared_site.wait_clean()


@pytest.fixture
def hostile(site: Site) -> Iterator[SharedMemoryClient]:
    """A client of the namespace red, with nothing yet; what it stored goes with it."""
    with site.hostile() as client:
        yield client
        for key in client.stored:
            client.purge(key)


class Prey:
    """An object that the hostile client stored, leased in place and mapped."""

    def __init__(self, client: SharedMemoryClient, count: int = MEBIBYTE) -> None:
        self.client = client
        self.key = Key.opaque(os.urandom(16))
        self.data = os.urandom(count)
        client.store(self.key, self.data)
        _, self.found = client.lease(self.key, 60_000)
        (self.hit,) = self.found.hits
        self.descriptor, self.slab = client.map_slab(self.hit.slab_id)

    def seen(self) -> bytes:
        return b"".join(self.slab[start : start + count] for start, count in self.hit.extents)

    def drop(self) -> None:
        """Unmaps the slab and takes the object away."""
        self.slab.close()
        self.client.purge(self.key)
