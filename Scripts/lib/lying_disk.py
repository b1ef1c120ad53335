"""A directory on a disk that lies, for tests: a mount, served by a process of its own."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from fuse_wire import unmount

SERVER = pathlib.Path(__file__).with_name("lying_disk_server.py")


class LyingDisk:
    """The other end of lying_disk_server.py."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / "mount"
        self.path.mkdir(parents=True)
        backing = folder / "backing"
        backing.mkdir()
        command = [sys.executable, str(SERVER), str(self.path), str(backing)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def lose_power(self, seed: int) -> dict[str, int]:
        """What was not synchronised is lost, as `seed` decides; nobody may have a file open."""
        return self._ask("power_loss", seed=seed)

    def fault(self, op: str, name: str = "*", **more: Any) -> None:
        """From now on `op` on files called so fails; see lying_disk_server.py."""
        self._ask("fault", op=op, name=name, **more)

    def clear(self) -> None:
        """Ends all faults, and answers what was held."""
        self._ask("clear")

    def counts(self) -> dict[str, Any]:
        """How often each fault struck, in the order they were made, and each operation came."""
        return self._ask("counts")

    def close(self) -> None:
        """Unmounts; the process ends by that."""
        unmount(self.path)
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate(timeout=20)

    def _ask(self, command: str, **more: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **more}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the lying disk is gone: {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        assert "error" not in answer, answer
        return answer


@contextlib.contextmanager
def lying_disk(folder: pathlib.Path) -> Iterator[LyingDisk]:
    """A mount in `folder`, which is made, for as long as the block runs."""
    disk = LyingDisk(folder)
    try:
        yield disk
    finally:
        disk.close()
