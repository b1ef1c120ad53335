"""The Debian package on a fresh Debian: what it brings, that it serves, and how it goes again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import stat
import subprocess
import time

import pytest
from conftest import EVENTUALLY_SECONDS, ROOT
from daemon_process import daemon_binary
from debian_root import DebianRoot, as_root

CONFIGURATION = "/etc/kdn/kdnd.yaml"
SOCKET = "unix:///run/kdn/kdnd.sock"
ADMIN_TOKEN = "of-the-package-test"
EDIT = """
# Edited by an operator.
ram: 128MiB
slab: 16MiB
disk_segment: 4MiB
"""
FILES = {
    "/usr/bin/kdnd": 0o755,
    "/usr/bin/kdn": 0o755,
    "/usr/lib/kdn/libkdn.so.1": 0o644,
    "/usr/lib/kdn/libkdnkernels.so.1": 0o644,
    "/usr/include/kdn.h": 0o644,
    "/lib/systemd/system/kdnd.service": 0o644,
    "/lib/systemd/system/kdnd.socket": 0o644,
    "/lib/systemd/system/kdnd-unix.socket": 0o644,
    "/lib/systemd/system/kdn-blend-worker.service": 0o644,
    "/usr/share/doc/kdn/examples/worker/blend-worker.env": 0o644,
    "/usr/lib/sysusers.d/kdn.conf": 0o644,
    "/usr/share/bash-completion/completions/kdn": 0o644,
    "/usr/share/zsh/vendor-completions/_kdn": 0o644,
    "/usr/share/fish/vendor_completions.d/kdn.fish": 0o644,
    "/usr/share/doc/kdn/copyright": 0o644,
    "/usr/share/doc/kdn/examples/prometheus/kdn.rules.yml": 0o644,
    CONFIGURATION: 0o640,
}
MANUAL_PAGES = ("man1/kdn.1.gz", "man5/kdnd.yaml.5.gz", "man8/kdnd.8.gz")


# The package and the root it is tried in


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("package")


@pytest.fixture(scope="module")
def package(folder) -> pathlib.Path:
    """The package of the programs that the tests use; lintian has looked at it."""
    command = [ROOT / "Scripts/package", "--output", folder, "--binaries", daemon_binary().parent]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def newer(package, folder) -> pathlib.Path:
    """The same with a higher version and another default configuration."""
    tree = folder / "newer"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    text = re.sub(r"^(Version: .*)$", r"\1+1", control.read_text(), flags=re.MULTILINE)
    control.write_text(text)
    configuration = tree / CONFIGURATION.lstrip("/")
    configuration.write_text(configuration.read_text() + "# of the newer package\n")
    result = folder / "newer.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(result)]
    subprocess.run(command, check=True, capture_output=True)
    return result


@pytest.fixture(scope="module")
def base(package, folder):
    """A Debian with systemd and what the package depends on, as it comes from the archive."""
    root = DebianRoot.build(folder / "base", ["systemd", *dependencies(package)])
    yield root
    root.remove()


@pytest.fixture(scope="module")
def installed(base, package, folder):
    """A Debian with the package, which no test changes."""
    root = base.copy(folder / "installed")
    install(root, package)
    yield root
    root.remove()


@pytest.fixture
def debian(base, tmp_path):
    """A Debian for a test alone."""
    root = base.copy(tmp_path / "root")
    yield root
    root.remove()


def field(package: pathlib.Path, name: str) -> str:
    done = subprocess.run(
        ["dpkg-deb", "--field", str(package), name], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def dependencies(package: pathlib.Path) -> list[str]:
    """Names of the packages that must be there, of alternatives the first."""
    wanted = field(package, "Depends").split(",")
    return [re.split(r"[\s|(:]", entry.strip())[0] for entry in wanted]


def install(root: DebianRoot, package: pathlib.Path, *options: str) -> str:
    subprocess.run(
        [*as_root(), "cp", str(package), str(root.path_of("/tmp/kdn.deb"))], check=True
    )
    return root.check("dpkg", *options, "--install", "/tmp/kdn.deb")


# What systemd would do


class Service:
    """kdnd in a root, started as its unit says; systemd itself can only be the first process."""

    def __init__(self, root: DebianRoot, log: pathlib.Path) -> None:
        unit = root.path_of("/lib/systemd/system/kdnd.service").read_text()
        self.settings = dict(re.findall(r"^(\w+)=(.+)$", unit, re.MULTILINE))
        self.root = root
        self.log = log
        for kind, parent in (("Runtime", "/run"), ("State", "/var/lib"), ("Cache", "/var/cache")):
            place = f"{parent}/{self.settings[f'{kind}Directory']}"
            mode = self.settings[f"{kind}DirectoryMode"]
            owner = f"--owner={self.settings['User']}"
            root.check("install", "-d", owner, f"--group={self.settings['Group']}",
                       f"--mode={mode}", place)
        command = self.settings["ExecStart"].split()
        self.process = root.start(self.settings["User"], command, log)
        self._wait_ready()

    def kdn(self, *arguments: str, **variables: str) -> str:
        """What the packaged command line writes, in the daemon's network."""
        return self.root.check(
            "/usr/bin/kdn", *arguments, network=self.process.pid,
            variables={"KDN_ADDRESS": SOCKET, "KDN_ADMIN_TOKEN": ADMIN_TOKEN, **variables},
        )

    def end(self) -> None:
        assert self.process.end() == 0, self.log.read_text()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + EVENTUALLY_SECONDS
        while "msg=ready" not in self.log.read_text():
            alive = self.process.runs and time.monotonic() < deadline
            assert alive, self.log.read_text()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.process.wait(0.05)


@pytest.fixture
def serve(tmp_path):
    """Starts services; those that a test leaves running are ended."""
    started: list[Service] = []

    def start(root: DebianRoot) -> Service:
        started.append(Service(root, tmp_path / f"log-{len(started)}"))
        return started[-1]

    yield start
    for service in started:
        if service.process.runs:
            service.process.end()


# Tests


def test_the_files_are_there_with_their_modes(installed):
    for name, mode in FILES.items():
        facts = installed.path_of(name).stat()
        assert stat.S_IMODE(facts.st_mode) == mode, name
        assert facts.st_uid == 0, name
    for page in MANUAL_PAGES:
        assert installed.path_of(f"/usr/share/man/{page}").is_file(), page
    listed = installed.check("dpkg", "--listfiles", "kdn").splitlines()
    foreign = ("/usr/", "/etc/kdn", "/lib/systemd/system")
    assert all(name.startswith(foreign) or name in ("/.", "/usr", "/etc", "/lib", "/lib/systemd")
               for name in listed), listed
    assert not installed.check("dpkg", "--verify", "kdn")


def test_the_programs_need_no_swift_and_carry_no_symbols(installed):
    for program in ("/usr/bin/kdnd", "/usr/bin/kdn", "/usr/lib/kdn/libkdn.so.1"):
        needed = installed.check("ldd", program)
        assert "swift" not in needed and "not found" not in needed
        sections = subprocess.run(
            ["readelf", "--sections", "--wide", str(installed.path_of(program))],
            capture_output=True, text=True, check=True,
        ).stdout
        assert ".symtab" not in sections and ".debug_info" not in sections
    assert installed.check("/usr/bin/kdnd", "--version").startswith("kdnd ")


def test_the_user_has_no_shell_and_may_read_the_configuration(installed):
    name, _, user, group, _, home, shell = installed.check("getent", "passwd", "kdn").split(":")
    assert (home, shell.strip()) == ("/var/lib/kdn", "/usr/sbin/nologin") and int(user) > 0
    facts = installed.path_of(CONFIGURATION).stat()
    assert facts.st_gid == int(group) and facts.st_mode & stat.S_IRGRP


def test_systemd_understands_the_installed_units(installed):
    units = [name for name in FILES if name.startswith("/lib/systemd/system/")]
    done = installed.run("systemd-analyze", "verify", "--man=no", *units)
    assert done.returncode == 0 and done.stderr == b"", done.stderr.decode()
    enabled = installed.path_of("/etc/systemd/system/multi-user.target.wants/kdnd.service")
    assert os.path.islink(enabled)
    assert not installed.path_of("/etc/systemd/system/sockets.target.wants").exists()


def test_the_packaged_configuration_is_the_default_one_but_for_its_places(installed):
    shipped = (ROOT / "Config/kdnd.yaml").read_text().splitlines()
    packaged = installed.read(CONFIGURATION).splitlines()
    keys = [line for line in packaged if line not in shipped and not line.startswith("#")]
    assert keys == [
        'unix: "/run/kdn/kdnd.sock"', 'namespaces_file: "/var/lib/kdn/namespaces.json"'
    ]
    shown = installed.check("/usr/bin/kdnd", "--config", CONFIGURATION, "--check-config")
    assert "/run/kdn/kdnd.sock" in shown


@pytest.mark.parametrize("page", MANUAL_PAGES)
def test_the_manual_pages_are_clean(installed, page):
    file = installed.path_of(f"/usr/share/man/{page}")
    done = subprocess.run(
        ["man", "--warnings", "--local-file", str(file)], capture_output=True, text=True,
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"},
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "NAME" in done.stdout and "SEE ALSO" in done.stdout


def test_an_installation_serves_is_upgraded_and_goes(debian, serve, package, newer):
    install(debian, package)
    edit(debian)
    first = serve(debian)
    token = first.kdn("namespace", "add", "team").strip()
    debian.write("/tmp/value", "kept over the upgrade" * 1000)
    first.kdn("put", "key", "/tmp/value", "--namespace", "team", KDN_TOKEN=token)
    got = first.kdn("get", "key", "--namespace", "team", KDN_TOKEN=token)
    assert got == "kept over the upgrade" * 1000
    assert first.kdn("ping").startswith(SOCKET)
    first.end()
    edited = debian.read(CONFIGURATION)

    install(debian, newer, "--force-confold")
    assert debian.read(CONFIGURATION) == edited
    facts = debian.path_of(CONFIGURATION).stat()
    assert stat.S_IMODE(facts.st_mode) == 0o640 and facts.st_gid != 0
    assert "# of the newer package" in debian.read(f"{CONFIGURATION}.dpkg-dist")
    second = serve(debian)
    assert "team" in second.kdn("namespace", "list")
    got = second.kdn("get", "key", "--namespace", "team", KDN_TOKEN=token)
    assert got == "kept over the upgrade" * 1000, "from disk"
    second.end()

    debian.check("dpkg", "--remove", "kdn")
    assert not debian.path_of("/usr/bin/kdnd").exists()
    assert debian.read(CONFIGURATION) == edited
    assert debian.path_of("/var/lib/kdn/namespaces.json").exists()
    debian.check("dpkg", "--purge", "kdn")
    assert left_over(debian) == []
    assert debian.run("getent", "passwd", "kdn").returncode == 0, "the user stays"


def edit(root: DebianRoot) -> None:
    """What an operator does: less memory, a disk, an administrator."""
    digest = hashlib.sha256(ADMIN_TOKEN.encode()).hexdigest()
    text = root.read(CONFIGURATION)
    for key in re.findall(r"^(\w+):", EDIT, re.MULTILINE):
        text = re.sub(rf"^{key}: .*$", "", text, flags=re.MULTILINE)
    text = text.replace("\ndisk: []\n", '\ndisk: ["/var/cache/kdn:64MiB"]\n')
    text = text.replace("\nadmin_tokens: []\n", f'\nadmin_tokens: ["root:{digest}"]\n')
    root.write(CONFIGURATION, text + EDIT)


def left_over(root: DebianRoot) -> list[str]:
    """Whatever has our name, but for dpkg's own log and the runtime directory that systemd ends."""
    done = root.check(
        "find", "/etc", "/usr", "/var", "/lib", "(", "-name", "*kdn*", ")", "-not", "-path",
        "/usr/share/zoneinfo/*",
    )
    return done.splitlines()
