"""SIGHUP: what changes while the daemon runs, and what refuses the whole reload."""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable

import pytest
from daemon_process import DaemonProcess, daemon_binary
from kdn import Client, Key, ServerError, Status, bodies, wire
from kdn.wire import Op
from raw_connection import RawConnection

CONFIGURATION = 78
DONE, REFUSED = "msg=reloaded", "not reloaded"
OUTCOME = f'{DONE}|msg="{REFUSED}'


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Reloaded:
    """A daemon with a configuration file of the test's."""

    def __init__(self, start: Callable[..., DaemonProcess], folder: pathlib.Path, text: str):
        self.file = folder / "kdnd.yaml"
        self.tenants = folder / "namespaces.json"
        self.file.write_text(text)
        self.outcomes = 0
        self.daemon = start("--config", str(self.file), "--log-level", "info")

    def reload(self, text: str | None = None) -> str:
        """Writes the file, sends SIGHUP and returns the line that says what came of it."""
        if text is not None:
            self.file.write_text(text)
        self.outcomes += 1
        self.daemon.process.send_signal(signal.SIGHUP)
        return self.daemon.wait_lines(OUTCOME, self.outcomes)[-1]


@pytest.fixture
def reloaded(start, tmp_path) -> Callable[[str], Reloaded]:
    return lambda text: Reloaded(start, tmp_path, text)


def put(address: str, name: str, token: str) -> None:
    with Client(address, name, token) as client:
        client.put(Key.opaque(b"a"), b"bytes")


def test_tenants_and_limits_change_without_a_restart(reloaded):
    red, blue = sha256("red"), sha256("blue")
    daemon = reloaded(f"namespaces: ['red:{red}']\nmax_keys: 10\n")
    address = daemon.daemon.address
    put(address, "red", "red")
    with pytest.raises(ServerError) as caught:
        put(address, "blue", "blue")
    assert caught.value.status is Status.UNAUTHORISED
    with RawConnection(address) as old:
        assert old.hello(namespace="red", token="red").limits.keys_per_request == 10
        both = f"namespaces: ['red:{red}', 'blue:{blue}']\nmax_keys: 20\n"
        line = daemon.reload(both)
        assert "namespaces" in line and "max_keys" in line
        put(address, "blue", "blue")
        assert old.ping(9).status == Status.OK, "a connection that stands goes on"
    with RawConnection(address) as new:
        assert new.hello(namespace="red", token="red").limits.keys_per_request == 20


def test_a_connection_ends_with_the_token_that_opened_it(reloaded):
    old, new = sha256("old"), sha256("new")
    daemon = reloaded(f"namespaces: ['red:{old}']\n")
    with RawConnection(daemon.daemon.address) as connection:
        connection.hello(namespace="red", token="old")
        assert DONE in daemon.reload(f"namespaces: ['red:{new}']\n")
        farewell = connection.receive()
        assert (farewell.op, farewell.status) == (Op.GOAWAY, Status.UNAUTHORISED)
        assert connection.at_end()
    with pytest.raises(ServerError):
        put(daemon.daemon.address, "red", "old")
    put(daemon.daemon.address, "red", "new")


BAD_FILES = {
    "a value": "max_keys: none\n",
    "an unknown key": "frobnicate: 1\n",
    "not YAML": "max_keys: [\n",
    "another memory": "max_keys: 20\nslab: 32MiB\n",
    "another listener": "max_keys: 20\nunix: /somewhere/else\n",
    "a certificate that is not there": "tls_certificate: /none\ntls_key: /none\n",
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_reload_with_anything_wrong_changes_nothing(kind, reloaded):
    daemon = reloaded("max_keys: 10\n")
    # slab stands in a flag, which wins: the file cannot change it.
    text = BAD_FILES[kind].replace("slab: 32MiB", "disk_depth: 9")
    assert REFUSED in daemon.reload(text)
    with RawConnection(daemon.daemon.address) as connection:
        assert connection.hello().limits.keys_per_request == 10
    assert DONE in daemon.reload("max_keys: 20\n")
    with RawConnection(daemon.daemon.address) as connection:
        assert connection.hello().limits.keys_per_request == 20


def test_the_keys_that_cannot_change_are_named(reloaded):
    daemon = reloaded("")
    line = daemon.reload("disk_depth: 9\nhuge_pages: 'off'\nmax_keys: 5\n")
    assert "disk_depth" in line and "huge_pages" in line and "max_keys" not in line


def test_the_level_of_the_log_changes(reloaded):
    daemon = reloaded("")
    flagged = daemon.reload("log_level: debug\n")
    assert "log_level" not in flagged, "the flag wins over the file"


def make_certificate(folder: pathlib.Path, name: str) -> None:
    """Puts a new certificate and its key in the place of those that are there."""
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-addext", "subjectAltName=DNS:localhost",
            "-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem"),
        ],
        check=True, capture_output=True, timeout=60,
    )


def shown_certificate(address: tuple[str, int]) -> tuple[ssl.SSLSocket, bytes]:
    """A connection with TLS and the certificate that it was shown."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["kdnp/1"])
    link = context.wrap_socket(socket.create_connection(address, timeout=20))
    certificate = link.getpeercert(binary_form=True)
    assert certificate is not None
    return link, certificate


def test_new_connections_see_the_new_certificate_and_old_ones_go_on(start, tmp_path):
    make_certificate(tmp_path, "first")
    daemon = start(
        "--tls", "127.0.0.1:0", "--set", f"tls_certificate={tmp_path / 'certificate.pem'}",
        "--set", f"tls_key={tmp_path / 'key.pem'}",
    )
    found = re.search(r"\btls=127\.0\.0\.1:(\d+)", daemon.log)
    assert found is not None, daemon.log
    address = ("127.0.0.1", int(found.group(1)))
    hello = wire.encode_frame(Op.HELLO, 1, bodies.encode_hello("default", "", "integration"))
    old, first = shown_certificate(address)
    with old:
        make_certificate(tmp_path, "second")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_lines(DONE)
        new, second = shown_certificate(address)
        new.close()
        assert first != second
        (tmp_path / "key.pem").write_text("no key")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_lines(REFUSED)
        new, third = shown_certificate(address)
        new.close()
        assert third == second
        old.sendall(hello)
        assert old.recv(4) == hello[:4], "the answer begins as every frame does"


def test_a_file_of_namespaces_is_read_anew(reloaded, tmp_path):
    file = tmp_path / "namespaces.json"
    daemon = reloaded(f"namespaces_file: {file}\n")
    token = {"sha256": sha256("red")}
    file.write_text(json.dumps({"schema": 1, "namespaces": [{"name": "red", "tokens": [token]}]}))
    assert "namespaces_file" in daemon.reload()
    put(daemon.daemon.address, "red", "red")
    file.write_text("{")
    assert REFUSED in daemon.reload()
    put(daemon.daemon.address, "red", "red")
    file.unlink()
    assert "has gone" in daemon.reload()
    put(daemon.daemon.address, "red", "red")


def test_a_token_ends_by_the_clock(reloaded, tmp_path):
    file = tmp_path / "namespaces.json"
    token = {"sha256": sha256("red"), "expires_unix_milliseconds": 1}
    file.write_text(json.dumps({"schema": 1, "namespaces": [{"name": "red", "tokens": [token]}]}))
    daemon = reloaded(f"namespaces_file: {file}\n")
    with pytest.raises(ServerError):
        put(daemon.daemon.address, "red", "red")


def test_several_reloads_at_once_all_end(reloaded):
    daemon = reloaded("max_keys: 10\n")
    for number in range(20):
        daemon.file.write_text(f"max_keys: {11 + number}\n")
        daemon.daemon.process.send_signal(signal.SIGHUP)
    # Signals that come while one waits count as one, but none is lost behind the last write.
    daemon.file.write_text("max_keys: 77\n")
    daemon.daemon.process.send_signal(signal.SIGHUP)
    count = 0
    while granted_keys(daemon) != 77:
        count += 1
        assert DONE in daemon.daemon.wait_lines(OUTCOME, count)[count - 1]


def granted_keys(daemon: Reloaded) -> int:
    with RawConnection(daemon.daemon.address) as connection:
        return connection.hello().limits.keys_per_request


@pytest.mark.parametrize("kind", ["broken", "in both places", "a folder"])
def test_a_daemon_does_not_start_with_a_wrong_file_of_namespaces(kind, tmp_path):
    file = tmp_path / "namespaces.json"
    flags = ["--set", f"namespaces_file={file}", "--tcp", "127.0.0.1:0"]
    if kind == "a folder":
        file.mkdir()
    elif kind == "broken":
        file.write_text("{}")
    else:
        file.write_text(json.dumps({"schema": 1, "namespaces": [{"name": "red"}]}))
        flags += ["--set", f"namespaces=red:{sha256('red')}"]
    process = DaemonProcess(*flags, "--ram", "64MiB", "--set", "slab=4MiB")
    assert process.wait() == CONFIGURATION
    assert "namespaces_file" in process.log
    done = subprocess.run(
        [str(daemon_binary()), "--check-config", *flags], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == CONFIGURATION
    assert "namespaces_file" in done.stderr


def test_clients_do_not_notice_reloads(reloaded):
    daemon = reloaded("max_keys: 10\n")
    with Client(daemon.daemon.address, streams=1) as client:
        for number in range(10):
            daemon.reload(f"max_keys: {20 + number}\n")
            client.put(Key.opaque(bytes([number])), b"bytes")
        assert client.counters.reconnects == 0
        assert not client.counters.errors
