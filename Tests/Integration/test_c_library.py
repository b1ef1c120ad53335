"""libkdn, used by programs in C: it does what its header says, and misuse hurts nobody."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest
from daemon_process import ROOT

SOURCES = ROOT / "Tests" / "Integration" / "c_library"
INCLUDE = ROOT / "Sources" / "KDNLibrary" / "include"
STRICT = ("-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g")
CASES = ("options", "arguments", "room", "threads", "forks")


def library() -> pathlib.Path:
    """The library that the environment variable KDN_LIBRARY names, or the one to be shipped."""
    named = os.environ.get("KDN_LIBRARY", ROOT / ".build" / "release" / "libkdn.so.1")
    assert pathlib.Path(named).exists(), f"no {named}: build it by Scripts/lib/release KDNLibrary"
    return pathlib.Path(named)


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> pathlib.Path:
    """A folder with the programs, and the library under the name that they load."""
    folder = tmp_path_factory.mktemp("libkdn")
    (folder / "libkdn.so.1").symlink_to(library().resolve())
    for name in ("example", "misuse"):
        command = ["gcc", *STRICT, f"-I{INCLUDE}", str(SOURCES / f"{name}.c"), "-pthread"]
        command += ["-o", str(folder / name), str(folder / "libkdn.so.1"), f"-Wl,-rpath,{folder}"]
        built = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert built.returncode == 0, built.stderr
    return folder


def run(programs: pathlib.Path, *command: str) -> str:
    done = subprocess.run(
        [str(programs / command[0]), *command[1:]], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def address(start, tmp_path):
    """Where a fresh daemon is reached by a link: `address(link)`."""
    path = tmp_path / "kdn.sock"
    daemon = start("--unix", str(path))
    return lambda link: daemon.address if link == "tcp" else f"unix://{path}"


@pytest.mark.parametrize("link", ["tcp", "unix", "shm"])
@pytest.mark.parametrize("length", [1016, 16 << 10, 5_000_000, 40_000_000])
def test_the_example_stores_and_reads_an_object(programs, address, link, length):
    lines = run(programs, "example", address(link), link, str(length)).splitlines()
    assert lines[0].startswith(f"link: {link} at ")
    assert lines[1:5] == [
        "stored: published",
        "stored: present",
        f"fetched: {length} bytes, right; the other: miss 1",
        "range: right",
    ]
    assert lines[5:] == ([f"in place: {length} bytes, right"] if link == "shm" else [])


def test_the_best_link_is_chosen_and_explained(programs, address):
    first = run(programs, "example", address("auto")).splitlines()[0]
    assert re.fullmatch(r"link: shm at unix://\S+, \S.*", first), first


@pytest.mark.parametrize("link", ["tcp", "unix", "shm"])
@pytest.mark.parametrize("case", CASES)
def test_what_may_go_wrong_does_no_harm(programs, address, case, link):
    assert run(programs, "misuse", case, address(link), link) == f"{case}: ok\n"


def test_leases_and_regions_outlive_their_client(programs, address):
    assert run(programs, "misuse", "closed", address("shm"), "shm") == "closed: ok\n"


def test_rdma_without_a_device_is_refused_with_a_reason(programs, address):
    if pathlib.Path("/dev/infiniband").exists():
        return
    done = subprocess.run(
        [str(programs / "example"), address("tcp"), "rdma"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert re.search(r"kdn_connect: cannot connect: .*(rdma|RDMA|device)", done.stderr), done.stderr


def test_only_the_functions_of_the_header_are_exported():
    header = (INCLUDE / "kdn.h").read_text()
    declared = set(re.findall(r"^(?:[a-z]\S* )+\**(kdn_\w+)\(", header, re.MULTILINE))
    assert len(declared) == 27
    symbols = subprocess.run(
        ["nm", "--dynamic", "--defined-only", "--extern-only", str(library())],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    exported = {line.split()[-1].split("@")[0] for line in symbols.splitlines()}
    assert exported - {"KDN_1"} == declared


def test_the_header_is_c_plus_plus_too(tmp_path):
    source = tmp_path / "uses.cpp"
    source.write_text("#include <kdn.h>\nstatic_assert(sizeof(kdn_options) == 88, \"ABI 1\");\n")
    compiler = shutil.which("g++")
    assert compiler is not None
    command = [compiler, "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}", "-c", str(source)]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "uses.o")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_library_names_itself(programs):
    dump = subprocess.run(
        ["readelf", "--dynamic", str(programs / "libkdn.so.1")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "[libkdn.so.1]" in dump
