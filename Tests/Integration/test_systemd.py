"""What kdnd and its units say to systemd, heard by a socket in its place."""

from __future__ import annotations

import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest
from activation import Supervisor, activated, listening
from daemon_process import daemon_binary
from kdn import Client, Key

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "Config" / "systemd").iterdir())
CLEAN, CONFIGURATION = 0, 78
EXPOSURE_MAX = "20"


@pytest.fixture
def units(tmp_path):
    """The units, with the daemon that was built in the place of the installed one."""
    for unit in UNITS:
        text = unit.read_text().replace("/usr/bin/kdnd", str(daemon_binary().resolve()))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


@pytest.fixture(params=["path", "abstract"])
def supervisor(request, tmp_path):
    name = str(tmp_path / "notify") if request.param == "path" else f"@kdn-test-{tmp_path.name}"
    supervisor = Supervisor(name)
    yield supervisor
    supervisor.close()


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60
    )


def test_the_units_are_what_systemd_understands(units):
    done = analyze("verify", "--man=no", *(str(path) for path in sorted(units.iterdir())))
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "no warnings either"


@pytest.mark.parametrize("service", ["kdnd.service", "kdn-blend-worker.service"])
def test_the_services_are_hardened(units, service):
    done = analyze(
        "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", str(units / service)
    )
    assert done.returncode == 0, done.stdout


def test_the_workers_unit_starts_it_as_its_example_says(tmp_path):
    unit = (ROOT / "Config/systemd/kdn-blend-worker.service").read_text().replace("\\\n", "")
    command = re.search(r"^ExecStart=/bin/sh -c '(.*)'$", unit, re.MULTILINE)
    assert command is not None
    # A Python that tells what it was started with.
    told = tmp_path / "python"
    told.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    told.chmod(0o755)
    lines = (ROOT / "Config/worker/blend-worker.env").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(settings) >= {"KDN_PYTHON", "KDN_MODEL", "KDN_ADDRESS", "KDN_NAMESPACE"}
    done = subprocess.run(
        ["/bin/sh", "-c", command.group(1).replace("$$", "$")], capture_output=True, text=True,
        timeout=60, env={**settings, "KDN_PYTHON": str(told)}, check=True,
    )
    assert done.stdout.split("\n")[:-1] == [
        "-m", "kdn.blending.worker", "--model", settings["KDN_MODEL"], "--dtype", "float32",
    ]


def test_the_service_waits_longer_than_a_drain_takes():
    text = (ROOT / "Config" / "systemd" / "kdnd.service").read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)s$", text, re.MULTILINE)
    drain = re.search(r"^drain_timeout_ms: (\d+)$", (ROOT / "Config/kdnd.yaml").read_text(), re.M)
    assert stop is not None and drain is not None
    assert int(stop.group(1)) > int(drain.group(1)) / 1000


def test_start_reload_and_end_are_told(supervisor, start):
    daemon = start(environment=supervisor.environment)
    beginning = supervisor.next()
    assert int(beginning["EXTEND_TIMEOUT_USEC"]) > 0, "a start may take its time"
    ready = supervisor.until("READY")
    assert daemon.address in ready["STATUS"]
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    daemon.process.send_signal(signal.SIGHUP)
    reloading = supervisor.next()
    assert reloading["RELOADING"] == "1"
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert before <= int(reloading["MONOTONIC_USEC"]) <= after
    assert supervisor.next()["READY"] == "1"
    daemon.terminate()
    stopping = supervisor.next()
    assert stopping["STOPPING"] == "1"
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 30_000_000, "more than the drain timeout"
    assert daemon.wait() == CLEAN


def test_a_reload_that_is_refused_is_told_as_ended_too(supervisor, start, tmp_path):
    file = tmp_path / "kdnd.yaml"
    file.write_text("max_keys: 7\n")
    daemon = start("--config", str(file), environment=supervisor.environment)
    supervisor.until("READY")
    file.write_text("max_keys: none\n")
    daemon.process.send_signal(signal.SIGHUP)
    assert supervisor.next()["RELOADING"] == "1"
    assert supervisor.next()["READY"] == "1"


def test_the_watchdog_is_fed_while_the_loops_live(supervisor, start):
    environment = {**supervisor.environment, "WATCHDOG_USEC": "200000"}
    daemon = start(environment=environment)
    supervisor.until("READY")
    for _ in range(3):
        assert supervisor.next()["WATCHDOG"] == "1"
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        # What was under way when it stopped may still come.
        supervisor_is_silent(supervisor)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert supervisor.until("WATCHDOG")["WATCHDOG"] == "1"


def supervisor_is_silent(supervisor: Supervisor) -> None:
    for _ in range(3):
        try:
            supervisor.next(1.0)
        except AssertionError:
            return
    raise AssertionError("a process that is stopped cannot be alive")


def test_a_watchdog_of_another_process_is_not_fed(supervisor, start):
    start(environment={
        **supervisor.environment, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1",
    })
    supervisor.until("READY")
    with pytest.raises(AssertionError):
        supervisor.next(0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("NOTIFY_SOCKET", "relative"), ("NOTIFY_SOCKET", "/" + "x" * 200), ("WATCHDOG_USEC", "soon")],
)
def test_what_no_supervisor_says_is_refused_by_name(name, value):
    done = subprocess.run(
        [str(daemon_binary()), "--check-config"],
        capture_output=True, text=True, timeout=60, env={name: value},
    )
    assert done.returncode == CONFIGURATION
    assert f"environment: {name}" in done.stderr


def test_a_supervisor_that_is_gone_is_no_trouble(start, tmp_path):
    daemon = start(environment={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    daemon.terminate()
    assert daemon.wait() == CLEAN


# Sockets that were passed


@pytest.mark.parametrize("names", [None, "tcp:unix"])
def test_it_serves_on_sockets_that_were_passed_and_leaves_their_paths(names, tmp_path):
    path = tmp_path / "socket"
    elsewhere = tmp_path / "elsewhere"
    with listening(path) as (tcp, unix):
        port = tcp.getsockname()[1]
        flags = ("--tcp", "127.0.0.1:0", "--unix", str(elsewhere))
        with activated([tcp, unix], *flags, names=names) as daemon:
            daemon.wait_ready()
            assert daemon.address == f"127.0.0.1:{port}"
            for address in (daemon.address, f"unix://{path}"):
                with Client(address) as client:
                    client.put(Key.opaque(address.encode()), b"bytes")
            assert not elsewhere.exists(), "the passed socket stands in for the path"
            daemon.terminate()
            assert daemon.wait() == CLEAN
        assert path.is_socket()
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass  # It waits for the next daemon.


def test_sockets_of_one_kind_leave_the_addresses_of_the_others(tmp_path):
    path = tmp_path / "socket"
    with listening(path) as (_, unix):
        with activated([unix], "--tcp", "127.0.0.1:0", names="unix") as daemon:
            daemon.wait_ready()
            with Client(daemon.address) as client, Client(f"unix://{path}") as other:
                client.ping()
                other.ping()


def test_sockets_for_another_process_are_not_touched():
    done = subprocess.run(
        [str(daemon_binary()), "--check-config"],
        capture_output=True, text=True, timeout=60,
        env={"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "x:y"},
    )
    assert done.returncode == CLEAN, done.stderr


@pytest.mark.parametrize("kind", ["datagram", "not listening", "pipe", "exposed", "misnamed"])
def test_what_is_no_such_socket_is_refused(kind, tmp_path):
    with listening(tmp_path / "socket") as (tcp, unix):
        wrong = {
            "datagram": socket.socket(type=socket.SOCK_DGRAM),
            "not listening": socket.socket(),
            "pipe": socket.socketpair()[0],
            "exposed": socket.socket(),
            "misnamed": unix,
        }[kind]
        if kind == "exposed":
            wrong.bind(("0.0.0.0", 0))
            wrong.listen()
        with wrong, activated([wrong], names="tcp") as daemon:
            assert daemon.wait() == CONFIGURATION
            wanted = "namespaces" if kind == "exposed" else "LISTEN_FD"
            assert wanted in daemon.log, daemon.log
