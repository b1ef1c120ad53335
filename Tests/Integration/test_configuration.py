"""Flags, environment, file: which wins, what is refused, and with which exit code."""

from __future__ import annotations

import pathlib
import re
import subprocess

import pytest
from daemon_process import daemon_binary, daemon_environment

ROOT = pathlib.Path(__file__).resolve().parents[2]
OK, USAGE, CONFIGURATION = 0, 64, 78
HASH = "ab" * 32


def run(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(daemon_binary()), *flags],
        capture_output=True,
        text=True,
        timeout=60,
        env=daemon_environment(environment),
    )


def checked(*flags: str, **environment: str) -> dict[str, str]:
    """What --check-config prints: each key's value and source."""
    done = run("--check-config", *flags, **environment)
    assert done.returncode == OK, done.stderr
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def test_version_and_help_end_well():
    version = run("--version")
    assert version.returncode == OK and version.stdout.startswith("kdnd ")
    help_text = run("--help")
    assert help_text.returncode == OK
    for flag in ("--config", "--tcp", "--unix", "--ram", "--check-config", "--log-format"):
        assert flag in help_text.stdout


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path):
    file = tmp_path / "kdnd.yaml"
    file.write_text("ram: 64MiB\nslab: 2MiB\nmax_keys: 7\n")
    found = checked(
        "--config", str(file), "--ram", "96MiB", KDN_RAM="80MiB", KDN_SLAB="4MiB"
    )
    assert found["ram"] == "96MiB  # flag"
    assert found["slab"] == "4MiB  # environment"
    assert found["max_keys"] == "7  # file"
    assert found["loops"] == "0  # default"


def test_the_file_can_be_named_by_the_environment(tmp_path):
    file = tmp_path / "kdnd.yaml"
    file.write_text("max_keys: 7\n")
    assert checked(KDN_CONFIG=str(file))["max_keys"] == "7  # file"


def test_the_documented_file_is_accepted_and_holds_the_defaults():
    documented = checked("--config", str(ROOT / "Config" / "kdnd.yaml"))
    defaults = checked()
    assert documented.keys() == defaults.keys()
    for key, value in defaults.items():
        assert documented[key].split("  #")[0] == value.split("  #")[0], key


def test_lists_come_from_everywhere():
    twice = checked("--tcp", "127.0.0.1:1", "--tcp", "127.0.0.1:2")
    assert twice["tcp"] == "[127.0.0.1:1, 127.0.0.1:2]  # flag"
    once = checked(KDN_TCP="127.0.0.1:1,127.0.0.1:2")
    assert once["tcp"] == "[127.0.0.1:1, 127.0.0.1:2]  # environment"


WRONG_VALUES = [
    ("ram", "12q"),
    ("ram", "-1"),
    ("ram", "1MiB"),
    ("ram", "99999999999999999999"),
    ("slab", "1KiB"),
    ("tcp", "localhost"),
    ("tcp", "127.0.0.1:65536"),
    ("tcp", "127.0.0.1:x"),
    ("unix", "/" + "x" * 200),
    ("loops", "many"),
    ("loops", "257"),
    ("max_connections", "0"),
    ("max_keys", "65537"),
    ("credit", "1B"),
    ("max_deadline_ms", "0"),
    ("log_format", "xml"),
    ("log_level", "loud"),
    ("prefault", "perhaps"),
    ("namespaces", "name-without-hash"),
    ("namespaces", f"bad name:{HASH}"),
    ("namespaces", "name:abcd"),
    ("namespace_limits", "default"),
    ("namespace_limits", "default ram=much"),
    ("namespace_limits", "default speed=1"),
    ("namespace_limits", "nobody ram=1GiB"),
    ("namespaces_file", "relative"),
    ("tls", "127.0.0.1"),
    ("tls_clients", "CN=engine=default"),
    ("unix_mode", "rw"),
    ("admin", "localhost"),
    ("admin_tokens", "ann"),
    ("admin_tokens", "ann:abcd"),
    ("admin_hosts", "a b"),
    ("slow_request_ms", "soon"),
]


@pytest.mark.parametrize(("key", "value"), WRONG_VALUES)
def test_a_wrong_value_is_refused_by_name(key, value):
    done = run("--check-config", "--set", f"{key}={value}")
    assert done.returncode == CONFIGURATION
    assert f"configuration: {key}:" in done.stderr
    assert done.stdout == ""


def test_a_wrong_value_in_the_environment_or_file_is_refused_alike(tmp_path):
    assert run("--check-config", KDN_RAM="12q").returncode == CONFIGURATION
    file = tmp_path / "kdnd.yaml"
    file.write_text("ram: 12q\n")
    assert run("--check-config", "--config", str(file)).returncode == CONFIGURATION


def test_a_faulty_secret_is_not_repeated():
    done = run("--check-config", "--set", "admin_tokens=ann:hunter2")
    assert done.returncode == CONFIGURATION
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("tls_certificate", ("tls_key=/none",)),
        ("tls_key", ("tls_certificate=/none",)),
        ("namespaces_file", ()),
    ],
)
def test_files_that_the_configuration_names_are_checked_too(tmp_path, key, more):
    file = tmp_path / "file"
    file.write_text("neither PEM nor JSON")
    flags = [text for each in (f"{key}={file}", *more) for text in ("--set", each)]
    done = run("--check-config", *flags)
    assert done.returncode == CONFIGURATION
    assert re.search(r"configuration: (tls_certificate|tls_key|namespaces_file):", done.stderr)


def test_an_endpoint_for_administrators_that_others_reach_needs_a_token():
    done = run("--check-config", "--admin", "0.0.0.0:9441")
    assert done.returncode == CONFIGURATION
    assert "admin_tokens" in done.stderr
    found = checked("--admin", "0.0.0.0:9441", "--set", f"admin_tokens=ann:{HASH}")
    assert found["admin_tokens"] == "[ann:…]  # flag"


def test_all_faults_are_told_at_once():
    done = run("--check-config", "--ram", "12q", "--loops", "many", "--log-format", "xml")
    assert done.returncode == CONFIGURATION
    for key in ("ram", "loops", "log_format"):
        assert f"configuration: {key}:" in done.stderr


def test_values_that_contradict_each_other_are_refused():
    done = run("--check-config", "--set", "default_lease_ms=2", "--set", "max_lease_ms=1")
    assert done.returncode == CONFIGURATION
    assert "default_lease_ms" in done.stderr


def test_memory_that_holds_no_slab_is_refused_before_anything_is_served():
    done = run("--tcp", "127.0.0.1:0", "--ram", "64MiB", "--set", "slab=1GiB")
    assert done.returncode == CONFIGURATION


WRONG_FILES = ["frobnicate: 1\n", "- a\n- b\n", "ram: [1GiB, 2GiB]\n", "ram: {a: b}\n", "ram: 'x\n"]


@pytest.mark.parametrize("text", WRONG_FILES)
def test_a_wrong_file_is_refused(tmp_path, text):
    file = tmp_path / "kdnd.yaml"
    file.write_text(text)
    done = run("--check-config", "--config", str(file))
    assert done.returncode == CONFIGURATION
    assert done.stderr.startswith("kdnd: configuration")


def test_an_unknown_key_is_refused_by_name(tmp_path):
    file = tmp_path / "kdnd.yaml"
    file.write_text("frobnicate: 1\n")
    done = run("--check-config", "--config", str(file))
    assert "frobnicate" in done.stderr and "no such key" in done.stderr
    assert run("--check-config", "--set", "frobnicate=1").returncode == CONFIGURATION


def test_a_file_that_is_not_there_is_refused(tmp_path):
    done = run("--check-config", "--config", str(tmp_path / "none.yaml"))
    assert done.returncode == CONFIGURATION


@pytest.mark.parametrize("flags", [["--frobnicate"], ["--ram"], ["--set", "ram"], ["surplus"]])
def test_wrong_usage_is_told_from_wrong_configuration(flags):
    assert run(*flags).returncode == USAGE


def test_a_daemon_that_others_can_reach_needs_a_token():
    done = run("--check-config", "--tcp", "0.0.0.0:9440")
    assert done.returncode == CONFIGURATION
    assert "namespaces" in done.stderr
    accepted = checked("--tcp", "0.0.0.0:9440", "--set", f"namespaces=team:{HASH}")
    assert accepted["namespaces"] == "[team:…]  # flag", "hashes are nobody's business"
