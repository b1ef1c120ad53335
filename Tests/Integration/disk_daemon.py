"""A kdnd with disk directories that ends and starts again while its directories stay."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import time
from collections.abc import Iterator, Mapping

from daemon_process import DaemonProcess
from kdn import (
    AttentionGroup,
    Client,
    Get,
    GetResult,
    Key,
    Layout,
    MissCause,
    Put,
    chain_root,
    chunk_hashes,
)

MEBIBYTE = 1 << 20
RECOVERY_SECONDS = 30.0
SEGMENT = 4 * MEBIBYTE
CHUNK_TOKENS = 32
LAYOUT = Layout("bf16", (AttentionGroup(tuple(range(4)), 4, 64),))
WHOLE = LAYOUT.whole()
CHUNK_BYTES = LAYOUT.bytes_per_token() * CHUNK_TOKENS


class DiskDaemon:
    """Flags and directories of a daemon, and the process that has them at the moment."""

    def __init__(
        self,
        *paths: pathlib.Path,
        size: str = "64MiB",
        ram: str = "64MiB",
        flags: tuple[str, ...] = (),
    ) -> None:
        self.paths = paths
        self.flags = ["--tcp", "127.0.0.1:0", "--ram", ram, "--set", "slab=4MiB"]
        self.flags += ["--set", f"disk_segment={SEGMENT}B", *flags]
        for path in paths:
            self.flags += ["--disk", f"{path}:{size}"]
        self.process: DaemonProcess | None = None
        self.client: Client | None = None

    def start(
        self, *more: str, environment: Mapping[str, str] | None = None, recovered: bool = True
    ) -> Client:
        """A client of a new process, which knows by then what is on its disks."""
        self.process = DaemonProcess(*self.flags, *more, environment=environment)
        self.process.wait_ready()
        self.client = Client(self.process.address, timeout=30.0)
        if recovered:
            self.wait_recovered()
        return self.client

    def wait_recovered(self) -> None:
        """Returns once all that is on disk is known."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while not self.disk()["ready"]:
            assert time.monotonic() < deadline, self.log

    def refused(self, *more: str) -> tuple[int, str]:
        """Exit code and log of a process that is not to start."""
        process = DaemonProcess(*self.flags, *more)
        try:
            return process.wait(20), process.log
        finally:
            process.kill()

    def disk(self) -> dict:
        """The disk section of STATS."""
        assert self.client is not None
        return self.client.stats()["disk"]

    @property
    def log(self) -> str:
        assert self.process is not None
        return self.process.log

    def tells(self, text: str) -> bool:
        """Whether it logs this: what it has done may be seen before its log has been read."""
        assert self.process is not None
        return bool(self.process.wait_lines(re.escape(text)))

    def end(self, clean: bool) -> None:
        """SIGTERM or SIGKILL."""
        assert self.process is not None
        if clean:
            self.process.terminate()
            assert self.process.wait() == 0, self.process.log
        else:
            self.process.kill()
        self._close()

    def restart(
        self, clean: bool, *more: str, environment: Mapping[str, str] | None = None
    ) -> Client:
        """Ends it and starts it again."""
        self.end(clean)
        return self.start(*more, environment=environment)

    def close(self) -> None:
        """Whatever runs is killed."""
        if self.process is not None:
            self.process.kill()
        self._close()

    def _close(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None


@contextlib.contextmanager
def disk_daemon(*paths: pathlib.Path, **more) -> Iterator[DiskDaemon]:
    """A DiskDaemon that is not started yet; it ends with the block."""
    daemon = DiskDaemon(*paths, **more)
    try:
        yield daemon
    finally:
        daemon.close()


def names(prefix: str, count: int) -> list[Key]:
    return [Key.opaque(f"{prefix}/{number}".encode()) for number in range(count)]


def store(
    client: Client, keys: list[Key], byte_count: int, durability: str = "disk"
) -> list[bytes]:
    """Random bytes under each key."""
    objects = [os.urandom(byte_count) for _ in keys]
    for key, data in zip(keys, objects, strict=True):
        client.put(key, data, durability=durability)
    return objects


def store_chain(client: Client, name: bytes, chunks: int) -> tuple[list[bytes], list[bytes]]:
    """A chain of durable chunks: its hashes and the bytes of each chunk."""
    client.register_layout(LAYOUT)
    root = chain_root("integration", name)
    hashes = chunk_hashes(root, range(chunks * CHUNK_TOKENS), CHUNK_TOKENS)
    objects = [os.urandom(CHUNK_BYTES) for _ in hashes]
    puts = [
        Put(
            chunk_key(digest), data, hashes[index - 1] if index else None, index * CHUNK_TOKENS,
            CHUNK_TOKENS, durability="disk",
        )
        for index, (digest, data) in enumerate(zip(hashes, objects, strict=True))
    ]
    results = client.put_from(puts)
    assert all(result.stored for result in results), results
    return hashes, objects


def chunk_key(digest: bytes) -> Key:
    return Key.layout(digest, LAYOUT.id, WHOLE)


def fetch(client: Client, keys: list[Key]) -> list[GetResult]:
    return client.get_into([Get(key) for key in keys])


def causes(client: Client, keys: list[Key]) -> list[MissCause]:
    """Why each key is missed; NONE for a hit."""
    return [result.cause for result in fetch(client, keys)]


def check_same(client: Client, keys: list[Key], objects: list[bytes]) -> None:
    """Each key is there, byte for byte."""
    results = fetch(client, keys)
    missed = [f"{index}: {row.cause.name}" for index, row in enumerate(results) if not row.hit]
    assert not missed, f"{len(missed)} of {len(keys)} missed: {missed[:20]}"
    assert all(result.data == data for result, data in zip(results, objects, strict=True))


def hits_of(client: Client, keys: list[Key], objects: list[bytes]) -> int:
    """How many keys are there; those that are must be right."""
    hits = 0
    for result, data in zip(fetch(client, keys), objects, strict=True):
        assert not result.hit or result.data == data
        hits += result.hit
    return hits


def bytes_on_disk(*paths: pathlib.Path) -> int:
    """What the files of directories really take."""
    taken = 0
    for path in paths:
        for entry in path.iterdir():
            # A file may be removed between the listing and the look.
            with contextlib.suppress(FileNotFoundError):
                taken += entry.stat().st_blocks * 512
    return taken
