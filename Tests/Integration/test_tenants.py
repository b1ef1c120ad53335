"""Tenants that come, change and go by orders of an administrator, while the daemon runs."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import urllib.error
import urllib.request

import pytest
from daemon_process import DaemonProcess
from disk_daemon import disk_daemon
from kdn import Client, Key, ServerError, Status
from kdn.wire import Op
from raw_connection import RawConnection

ADMIN_TOKEN = "an administrator's token"
KEY = Key.opaque(b"object")
KILLED = -9


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Orders:
    """Orders to a daemon over HTTP."""

    def __init__(self, daemon: DaemonProcess) -> None:
        found = re.search(r"\badmin=(127\.0\.0\.1:\d+)\b", daemon.log)
        assert found is not None, daemon.log
        self._root = f"http://{found.group(1)}"

    def __call__(self, method: str, path: str, body: object = None) -> tuple[int, dict]:
        request = urllib.request.Request(
            self._root + path, method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@pytest.fixture
def flags(tmp_path) -> tuple[str, ...]:
    return (
        "--admin", "127.0.0.1:0", "--set", f"admin_tokens=ann:{sha256(ADMIN_TOKEN)}",
        "--set", f"namespaces_file={tmp_path / 'namespaces.json'}",
    )


def add(orders: Orders, name: str, token: str) -> None:
    assert orders("POST", "/namespaces", {"name": name})[0] == 201
    status, _ = orders("POST", f"/namespaces/{name}/tokens", {"sha256": sha256(token)})
    assert status in (200, 201)


def refused(address: str, name: str, token: str) -> bool:
    with Client(address, name, token) as client:
        try:
            client.ping()
        except ServerError as error:
            return error.status is Status.UNAUTHORISED
    return False


def test_a_tenant_comes_and_goes_without_a_restart(start, flags, tmp_path):
    daemon = start(*flags)
    orders = Orders(daemon)
    add(orders, "red", "red's")
    file = tmp_path / "namespaces.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "red's" not in file.read_text()
    with Client(daemon.address, "red", "red's") as client:
        client.put(KEY, b"bytes")
    with RawConnection(daemon.address) as connection:
        connection.hello(namespace="red", token="red's")
        assert orders("DELETE", "/namespaces/red")[0] == 200
        farewell = connection.receive()
        assert (farewell.op, farewell.status) == (Op.GOAWAY, Status.UNAUTHORISED)
        assert connection.at_end()
    assert refused(daemon.address, "red", "red's")
    add(orders, "red", "red's")
    with Client(daemon.address, "red", "red's") as client:
        assert client.get(KEY) is None, "the name is the same, the tenant is not"


def test_a_token_is_replaced_while_clients_go_on(start, flags):
    daemon = start(*flags)
    orders = Orders(daemon)
    add(orders, "red", "old")
    body = {"sha256": sha256("new"), "grace_seconds": 600}
    with RawConnection(daemon.address) as connection:
        connection.hello(namespace="red", token="old")
        status, detail = orders("POST", "/namespaces/red/rotate", body)
        assert status == 200
        assert [token["id"] for token in detail["tokens"]] == [
            sha256("old")[:12], sha256("new")[:12],
        ]
        assert connection.ping(2).status == Status.OK
        for token in ("old", "new"):
            assert not refused(daemon.address, "red", token)
        assert orders("DELETE", f"/namespaces/red/tokens/{sha256('old')[:12]}")[0] == 200
        assert connection.receive().status == Status.UNAUTHORISED
    assert refused(daemon.address, "red", "old")
    assert not refused(daemon.address, "red", "new")


def test_tenants_of_the_file_are_there_after_a_kill(start, flags):
    first = start(*flags)
    add(Orders(first), "red", "red's")
    limits = {"ram_bytes_max": 1 << 20}
    assert Orders(first)("PUT", "/namespaces/red/limits", limits)[0] == 200
    first.process.kill()
    assert first.wait() == KILLED
    second = start(*flags)
    assert not refused(second.address, "red", "red's")
    status, found = Orders(second)("GET", "/namespaces")
    assert status == 200
    red = next(one for one in found["namespaces"] if one["name"] == "red")
    assert red["limits"]["ram_bytes_max"] == 1 << 20 and red["source"] == "file"


def test_what_a_removed_tenant_had_on_disk_does_not_come_back(flags, tmp_path):
    with disk_daemon(tmp_path / "cache", flags=flags) as daemon:
        daemon.start()
        assert daemon.process is not None
        orders = Orders(daemon.process)
        add(orders, "red", "red's")
        with Client(daemon.process.address, "red", "red's") as client:
            client.put(KEY, b"x" * 100_000, durability="disk")
        assert orders("DELETE", "/namespaces/red")[0] == 200
        add(orders, "red", "red's")
        daemon.restart(clean=False)
        assert daemon.process is not None
        with Client(daemon.process.address, "red", "red's") as client:
            assert client.get(KEY) is None


def test_a_removal_that_a_kill_cut_short_is_finished(flags, tmp_path):
    """The file says that the tenant is leaving, as it does between the order and the purge."""
    file = tmp_path / "namespaces.json"
    with disk_daemon(tmp_path / "cache", flags=flags) as daemon:
        daemon.start()
        assert daemon.process is not None
        add(Orders(daemon.process), "red", "red's")
        with Client(daemon.process.address, "red", "red's") as client:
            client.put(KEY, b"x" * 100_000, durability="disk")
        daemon.end(clean=False)
        leaving = {"schema": 1, "namespaces": [{"name": "red", "leaving": True}]}
        file.write_text(json.dumps(leaving))
        daemon.start()
        assert daemon.process is not None
        orders = Orders(daemon.process)
        for _ in range(1000):
            if orders("POST", "/namespaces", {"name": "red"})[0] == 201:
                break
        status, _ = orders("POST", "/namespaces/red/tokens", {"sha256": sha256("red's")})
        assert status in (200, 201)
        with Client(daemon.process.address, "red", "red's") as client:
            assert client.get(KEY) is None


def test_a_tenant_of_the_configuration_is_not_an_administrators(start, flags):
    daemon = start(*flags, "--set", f"namespaces=blue:{sha256('blue')}")
    orders = Orders(daemon)
    for method, path, body in [
        ("POST", "/namespaces", {"name": "blue"}),
        ("POST", "/namespaces", {"name": "default"}),
        ("DELETE", "/namespaces/blue", None),
    ]:
        status, fault = orders(method, path, body)
        assert (status, fault["code"]) == (409, "conflict"), fault


def test_without_a_file_there_is_nowhere_to_keep_tenants(start, flags):
    daemon = start(*flags[:4])
    status, fault = Orders(daemon)("POST", "/namespaces", {"name": "red"})
    assert (status, fault["code"], fault["field"]) == (503, "unavailable", "namespaces_file")
