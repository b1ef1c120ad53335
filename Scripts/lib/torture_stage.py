"""Where Scripts/torture plays: directories, plain or on a disk that lies, and one kdnd on them."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import random
import shutil
import time
from collections.abc import Iterator

from daemon_process import DaemonProcess
from lying_disk import LyingDisk, lying_disk

MEBIBYTE = 1 << 20
RAM_BYTES = 48 * MEBIBYTE
TOKEN = "torture"
DIRECTORY_IN_USE = 78
# Superblock, lock, two journals and a checkpoint are in the cap, too.
BESIDE_SEGMENTS_BYTES = 32 * MEBIBYTE


class Stage:
    """The directories of one stretch of loops, and the daemon that serves them at the moment."""

    def __init__(self, disks: list[LyingDisk], paths: list[pathlib.Path], size_mib: int) -> None:
        self.disks = disks
        self.paths = paths
        self.capacity = size_mib * MEBIBYTE * len(paths)
        self.size_mib = size_mib
        self.daemon: DaemonProcess | None = None
        self._lives: list[DaemonProcess] = []

    @property
    def log_bytes(self) -> int:
        """Bytes that segments may take."""
        return self.capacity - BESIDE_SEGMENTS_BYTES * len(self.paths)

    def flags(self) -> list[str]:
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        flags = ["--tcp", "127.0.0.1:0", "--ram", f"{RAM_BYTES >> 20}MiB", "--set", "slab=4MiB"]
        for namespace in ("shared", "solo"):
            flags += ["--set", f"namespaces={namespace}:{digest}"]
        flags += ["--set", "disk_segment=8MiB", "--set", "disk_staging=8MiB"]
        for path in self.paths:
            flags += ["--disk", f"{path}:{self.size_mib}MiB"]
        return flags

    def start(self) -> DaemonProcess:
        """A daemon that serves; it may still be recovering."""
        self._spawn().wait_ready()
        assert self.daemon is not None
        return self.daemon

    def _spawn(self) -> DaemonProcess:
        self.daemon = DaemonProcess(*self.flags())
        self._lives.append(self.daemon)
        return self.daemon

    def start_and_kill(self, seconds: float) -> None:
        """A daemon that is killed so soon that it cannot have recovered, or just so."""
        self._spawn()
        time.sleep(seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL; returns once nothing of it is left."""
        assert self.daemon is not None
        self.daemon.kill()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.daemon is not None
        self.daemon.terminate()
        return self.daemon.wait()

    def second_is_refused(self) -> str | None:
        """What is wrong with the answer to a second daemon on the same directories, if anything."""
        assert self.daemon is not None
        second = DaemonProcess(*self.flags())
        try:
            code = second.wait(20)
        finally:
            second.kill()
        if code != DIRECTORY_IN_USE:
            return f"a second daemon ended with {code}, not {DIRECTORY_IN_USE}: {second.log}"
        if str(self.daemon.pid) not in second.log:
            return f"a second daemon does not name {self.daemon.pid}: {second.log}"
        return None

    def lose_power(self, rng: random.Random) -> int:
        """Power is lost on all disks; how many sectors went."""
        return sum(disk.lose_power(rng.getrandbits(64))["sectors_lost"] for disk in self.disks)

    def keep(self, folder: pathlib.Path) -> None:
        """Copies the directories as they are now, and what all daemons on them logged."""
        for number, path in enumerate(self.paths):
            shutil.copytree(path, folder / f"disk-{number}")
        logs = (f"# process {life.pid}\n{life.log}" for life in self._lives)
        (folder / "kdnd.log").write_text("".join(logs))

    def last_lines(self, count: int) -> str:
        """How the logs of the daemon, and of the one that ended before it, end."""
        logs = (life.log.splitlines(keepends=True)[-count:] for life in self._lives[-2:])
        return "".join(f"# process {n}\n{''.join(lines)}" for n, lines in enumerate(logs))

    def bytes_on_disk(self) -> int:
        """What the directories really take."""
        return sum(
            file.stat().st_blocks * 512 for path in self.paths for file in path.iterdir()
        )


@contextlib.contextmanager
def stage(folder: pathlib.Path, directories: int, size_mib: int, lies: bool) -> Iterator[Stage]:
    """Fresh directories in `folder`; the daemon is gone and all is removed at the end."""
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        disks: list[LyingDisk] = []
        paths: list[pathlib.Path] = []
        for number in range(directories):
            place = folder / f"disk-{number}"
            if lies:
                disks.append(stack.enter_context(lying_disk(place)))
                paths.append(disks[-1].path)
            else:
                place.mkdir(parents=True)
                paths.append(place)
        made = Stage(disks, paths, size_mib)
        try:
            yield made
        finally:
            if made.daemon is not None:
                made.daemon.kill()
