"""The command line `kdn` over TLS: by address, flag and environment, with a certificate shown."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess

import pytest
from command_line_node import FAILED, KDN, OK, SECONDS, USAGE
from daemon_process import DaemonProcess
from test_certificates import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def secured(start, authority: Authority, *settings: str) -> tuple[DaemonProcess, str]:
    """A daemon with a TLS listener, and HOST:PORT of that."""
    own = authority.sign("server")
    pairs = ("tls=127.0.0.1:0", f"tls_certificate={own.path}", f"tls_key={own.key}", *settings)
    daemon = start(*(word for pair in pairs for word in ("--set", pair)))
    found = re.search(r"\btls=([^\s,]+:\d+)", daemon.log)
    assert found is not None, daemon.log
    return daemon, found.group(1)


def run(*arguments: str | pathlib.Path, **variables: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("KDN_")}
    return subprocess.run(
        [KDN, *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS,
        env={**plain, **variables},
    )


def test_the_address_the_flag_and_the_environment_ask_for_tls(start, authority, tmp_path):
    _, place = secured(start, authority)
    value, back = tmp_path / "value", tmp_path / "back"
    value.write_bytes(os.urandom(3_000_000))
    put = run("put", "a", value, "--address", f"tls://{place}", "--ca", authority.path)
    assert put.returncode == OK, put.stderr
    get = run("get", "a", back, "--tls", KDN_ADDRESS=place, KDN_TLS_CA=str(authority.path))
    assert get.returncode == OK, get.stderr
    assert back.read_bytes() == value.read_bytes()
    ping = run("ping", "--address", f"tls://{place}", "--ca", authority.path)
    assert ping.stdout.startswith(f"tls://{place}: ")


def test_a_daemon_that_nobody_vouches_for_is_refused(start, authority, tmp_path):
    _, place = secured(start, authority)
    folder = tmp_path / "other"
    folder.mkdir()
    for arguments in ([], ["--ca", Authority(folder).path], ["--ca", tmp_path / "none"]):
        done = run("info", "--address", f"tls://{place}", *arguments)
        assert done.returncode == FAILED, arguments
        assert done.stderr.startswith("kdn: ") and done.stderr.count("\n") == 1


def test_plain_and_secured_do_not_mix(start, authority):
    daemon, place = secured(start, authority)
    assert run("info", "--address", place).returncode == FAILED
    on_plain = run("info", "--address", f"tls://{daemon.address}", "--ca", authority.path)
    assert on_plain.returncode == FAILED


def test_a_certificate_opens_a_namespace(start, authority):
    settings = [f"tls_client_ca={authority.path}", "tls_clients=client.example=team"]
    _, place = secured(start, authority, *settings)
    own = authority.sign("client", names="DNS:client.example")
    base = ["info", "--namespace", "team", "--address", f"tls://{place}", "--ca", authority.path]
    assert run(*base).returncode == FAILED
    by_flags = run(*base, "--cert", own.path, "--key", own.key)
    assert by_flags.returncode == OK, by_flags.stderr
    by_variables = run(*base, KDN_TLS_CERT=str(own.path), KDN_TLS_KEY=str(own.key))
    assert by_variables.returncode == OK, by_variables.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--ca", "ca.pem"], ["--cert", "own.pem"], ["--key", "own.key"],
        ["--tls", "--address", "unix:///nowhere"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_wrong_usage(arguments):
    assert run("info", *arguments).returncode == USAGE
