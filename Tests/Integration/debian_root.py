"""A fresh Debian in a folder, and programs that run in it; nothing stays mounted."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence

BUILD_SECONDS = 600
SECONDS = 120
# Mounts and network are the command's own and go with it; the daemon's ports are nobody else's.
PRIVATE = ["unshare", "--mount", "--propagation", "private"]
PREPARE = 'mount -t proc proc "$1/proc" && shift && exec "$@"'


def as_root() -> list[str]:
    """What makes a command root's; only root may make roots."""
    return [] if os.geteuid() == 0 else ["sudo"]


def mirror() -> str:
    """Where this host takes its Debian packages from."""
    codename = release()
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"],
        capture_output=True, text=True, check=True,
    )
    for line in done.stdout.splitlines():
        site, _, suite = line.rpartition(" ")
        if suite == codename:
            return site
    raise LookupError(f"apt knows no source of {codename}")


def release() -> str:
    """This host's release, which the programs were built on."""
    found = re.search(
        r"^VERSION_CODENAME=(\w+)$", pathlib.Path("/etc/os-release").read_text(), re.MULTILINE
    )
    assert found is not None
    return found.group(1)


class Started:
    """A program in a root; what was called here may only stand in front of it, as sudo does."""

    def __init__(self, process: subprocess.Popen, pid_file: pathlib.Path) -> None:
        self.process = process
        self._pid_file = pid_file

    @property
    def pid(self) -> int:
        """Its process, once it has logged something."""
        return int(self._pid_file.read_text())

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def end(self, seconds: float = 60.0) -> int:
        """Ends it by SIGTERM, by SIGKILL if that is not heard, and returns its exit code."""
        self._signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        finally:
            if self.runs:
                self._signal(signal.SIGKILL)
                self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        subprocess.run([*as_root(), "kill", f"-{int(number)}", str(self.pid)], check=True)


class DebianRoot:
    """A Debian in a folder."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    @classmethod
    def build(cls, path: pathlib.Path, packages: Sequence[str]) -> DebianRoot:
        """The smallest Debian there is, with `packages` and what they need."""
        command = [
            "debootstrap", "--variant=minbase", f"--include={','.join(packages)}", release(),
            str(path), mirror(),
        ]
        done = subprocess.run(
            [*as_root(), *command], capture_output=True, text=True, timeout=BUILD_SECONDS
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        return cls(path)

    def copy(self, path: pathlib.Path) -> DebianRoot:
        """One that may be changed."""
        subprocess.run([*as_root(), "cp", "-a", str(self.path), str(path)], check=True)
        return DebianRoot(path)

    def remove(self) -> None:
        """Takes all of it away; it must not have mounts, so that nothing else can go."""
        mounts = pathlib.Path("/proc/self/mounts").read_text()
        assert f" {self.path}/" not in mounts, mounts
        subprocess.run([*as_root(), "rm", "-rf", "--one-file-system", str(self.path)], check=True)

    def run(
        self, *command: str, network: int | None = None, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a program as root; `network`: a process whose network it shares."""
        return subprocess.run(
            self._inside([], command, network), capture_output=True, timeout=SECONDS,
            env=_environment(variables),
        )

    def check(self, *command: str, **more) -> str:
        """What a program writes that must succeed."""
        done = self.run(*command, **more)
        assert done.returncode == 0, f"{command}: {done.stdout.decode()}{done.stderr.decode()}"
        return done.stdout.decode()

    def start(self, user: str, command: Sequence[str], log: pathlib.Path) -> Started:
        """Starts a program as `user` in a network of its own; its log goes to a file."""
        whole = self._inside([f"--userspec={user}:{user}", f"--groups={user}"], command, None)
        numbered = 'echo $$ > "$1" && shift && ip link set lo up && exec "$@"'
        pid_file = log.with_suffix(".pid")
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*as_root(), "unshare", "--net", "sh", "-c", numbered, "sh", str(pid_file),
                 *whole[len(as_root()):]],
                stdout=file, stderr=file, env=_environment(None), start_new_session=True,
            )
        return Started(process, pid_file)

    def read(self, path: str) -> str:
        """A file of the root, which only root may read."""
        return self.check("cat", path)

    def write(self, path: str, text: str) -> None:
        """Puts text into a file of the root, whose owner and mode stay."""
        subprocess.run(
            [*as_root(), "tee", str(self.path_of(path))], input=text.encode(), check=True,
            stdout=subprocess.DEVNULL,
        )

    def path_of(self, inside: str) -> pathlib.Path:
        """The place of a path of the root on this host."""
        return self.path / inside.lstrip("/")

    def _inside(
        self, options: list[str], command: Sequence[str], network: int | None
    ) -> list[str]:
        shared = [] if network is None else ["nsenter", f"--net=/proc/{network}/ns/net"]
        return [
            *as_root(), *shared, *PRIVATE, "sh", "-c", PREPARE, "sh", str(self.path),
            "chroot", *options, str(self.path), *command,
        ]


def _environment(variables: Mapping[str, str] | None) -> dict[str, str]:
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", **(variables or {})}
