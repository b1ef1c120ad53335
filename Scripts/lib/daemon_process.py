"""One kdnd as a child process: its log, its addresses, what the kernel says of it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY_SECONDS = 30.0
_READY = re.compile(r'"msg":"ready"|\bmsg="?ready\b')
_TCP = re.compile(r'\btcp"?[=:]"?([^\s",]+:\d+)')


def daemon_binary() -> pathlib.Path:
    """The kdnd that the environment variable KDND names, or the one that was built last."""
    if "KDND" in os.environ:
        return pathlib.Path(os.environ["KDND"])
    built = [ROOT / ".build" / build / "kdnd" for build in ("release", "debug")]
    for path in built:
        if path.exists():
            return path
    raise FileNotFoundError(f"no kdnd: build it, or name one in KDND; looked at {built}")


def daemon_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without settings of a kdnd that somebody else runs.

    Without the HTTP endpoint too, whose default port only one of several daemons could have.
    """
    clean = {key: value for key, value in os.environ.items() if not key.startswith("KDN_")}
    return {**clean, "KDN_ADMIN": "", **(extra or {})}


class DaemonProcess:
    """A running kdnd. Its log is read all the time, so that it never blocks on a full pipe."""

    def __init__(
        self,
        *flags: str,
        environment: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        """`wrapper`: a command that becomes kdnd; `pass_fds`: descriptors that it inherits."""
        command = [*wrapper, str(daemon_binary()), *flags]
        self.process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            env=daemon_environment(environment),
            pass_fds=tuple(pass_fds),
        )
        self.tcp: str | None = None
        self._lines: list[str] = []
        self._ready = threading.Event()
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        """HOST:PORT of its TCP listener, once it is ready."""
        assert self.tcp is not None, self.log
        return self.tcp

    @property
    def log(self) -> str:
        """All that it has logged so far."""
        return "".join(self._lines)

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Returns once it serves; raises RuntimeError with its log if it does not."""
        self._ready.wait(seconds)
        if not any(_READY.search(line) for line in self._lines):
            self.kill()
            raise RuntimeError(f"kdnd did not become ready:\n{self.log}")

    def wait_lines(self, pattern: str, count: int = 1, seconds: float = READY_SECONDS) -> list[str]:
        """The lines of its log that match, once there are `count`."""
        wanted = re.compile(pattern)

        def found() -> list[str]:
            return [line for line in self._lines if wanted.search(line)]

        with self._grown:
            done = self._grown.wait_for(lambda: len(found()) >= count, seconds)
            assert done, f"not {count} times {pattern}:\n{self.log}"
            return found()

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 60.0) -> int:
        """The exit code; the log is complete when it returns."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def kill(self) -> None:
        """Ends it at once if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()

    def resident_bytes(self, kind: str = "VmRSS") -> int:
        """Memory that is really there, by /proc: all of it, or RssAnon, RssFile or RssShmem."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{kind}:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None, status
        return int(found.group(1)) << 10

    def open_files(self) -> int:
        """Descriptors that are open, by /proc, without the memory files of slabs, which come and go
        with the shape of what is stored."""
        folder = pathlib.Path(f"/proc/{self.pid}/fd")
        targets = []
        for name in os.listdir(folder):
            # A descriptor may be closed between the listing and the look.
            with contextlib.suppress(FileNotFoundError):
                targets.append(os.readlink(folder / name))
        return sum(not target.startswith("/memfd:") for target in targets)

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr:
            for raw in self.process.stderr:
                line = raw.decode(errors="replace")
                with self._grown:
                    self._lines.append(line)
                    self._grown.notify_all()
                if _READY.search(line):
                    found = _TCP.search(line)
                    self.tcp = found.group(1) if found else None
                    self._ready.set()
        self._ready.set()


@contextlib.contextmanager
def running_daemon(
    *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[DaemonProcess]:
    """A kdnd that serves, on a TCP port of the kernel's choice unless `flags` say otherwise."""
    listen = () if "--tcp" in flags else ("--tcp", "127.0.0.1:0")
    daemon = DaemonProcess(*listen, *flags, environment=environment)
    try:
        daemon.wait_ready()
        yield daemon
    finally:
        daemon.kill()
