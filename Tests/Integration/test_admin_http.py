"""The HTTP endpoint of a real daemon: every route, and who may use it."""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
from collections.abc import Callable, Iterator

import pytest
from admin_client import TOKEN, AdminClient, start_admin
from daemon_process import DaemonProcess
from kdn import Client, Key
from prometheus_client.parser import text_string_to_metric_families

QUESTIONS = (
    "/healthz /readyz /readyz?verbose /version /stats /history /namespaces /slowlog /config "
    "/objects?namespace=default /documents?namespace=default"
).split()
ORDERS = (
    "POST /reload,POST /drain,POST /purge,POST /pin,POST /loglevel,POST /namespaces,"
    "PUT /namespaces/a/limits,POST /namespaces/a/tokens,POST /namespaces/a/rotate,"
    "DELETE /namespaces/a/tokens/0123456789ab,DELETE /namespaces/a"
).split(",")


@pytest.fixture
def admin(start: Callable[..., DaemonProcess], tmp_path: pathlib.Path) -> Iterator[AdminClient]:
    """A daemon with an administrator."""
    yield start_admin(start, tmp_path)


def put(admin: AdminClient, name: bytes, count: int = 1000) -> str:
    """Stores an object in the namespace of development; returns its hash."""
    key = Key.opaque(name)
    with Client(admin.daemon.address) as client:
        client.put(key, bytes(count))
        assert client.get(key) == bytes(count)
        client.get(Key.opaque(b"never stored"))
    return key.data[8:40].hex()


@pytest.mark.parametrize("path", QUESTIONS)
def test_every_question_is_answered_as_the_document_says(admin: AdminClient, path: str) -> None:
    put(admin, b"one")
    assert isinstance(admin.get(path), dict)


def test_the_numbers_are_those_of_what_was_done(admin: AdminClient) -> None:
    put(admin, b"one", 4096)
    stats = admin.get("/stats")
    assert stats["pool"]["objects"] == 1
    assert stats["pool"]["hits_total"] == 1
    assert stats["pool"]["misses_total"]["never_stored"] == 1
    (space,) = (each for each in stats["namespaces"] if each["name"] == "default")
    assert space["ram_objects"] == 1 and space["stored_bytes_total"] == 4096
    assert {each["name"] for each in stats["operations"]} >= {"HELLO", "GET"}


def test_metrics_are_clean_and_agree_with_the_numbers(
    start: Callable[..., DaemonProcess], tmp_path: pathlib.Path
) -> None:
    disk = ("--disk", f"{tmp_path / 'disk'}:512MiB", "--set", "disk_segment=64MiB")
    admin = start_admin(start, tmp_path, *disk)
    put(admin, b"one")
    answer = admin.ask("GET", "/metrics", token=None)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lint = subprocess.run(
        ["promtool", "check", "metrics"], input=answer.text, capture_output=True, text=True
    )
    assert lint.returncode == 0, lint.stderr
    families = {each.name: each for each in text_string_to_metric_families(answer.text)}
    for name in ("kdn_build_info", "kdn_request_duration_seconds", "process_open_fds"):
        assert families[name].samples
    hits = {each.labels["tier"]: each.value for each in families["kdn_hits"].samples}
    assert hits["ram"] == 1
    assert all(each.documentation for each in families.values())


def test_objects_are_listed_page_by_page(admin: AdminClient) -> None:
    hashes = {put(admin, f"object {number}".encode()) for number in range(5)}
    seen, path = [], "/objects?namespace=default&limit=2"
    cursor = ""
    for _ in range(10):
        page = admin.get(path + cursor)
        assert len(page["objects"]) <= 2
        seen += [each["hash"] for each in page["objects"]]
        if "next" not in page:
            break
        cursor = f"&cursor={page['next']}"
    assert sorted(seen) == sorted(hashes)


@pytest.mark.parametrize("order", ORDERS)
def test_no_order_is_taken_without_the_right_token(admin: AdminClient, order: str) -> None:
    method, path = order.split()
    for token in (None, "", "wrong", TOKEN + "x"):
        answer = admin.ask(method, path, token=token)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json()["code"] == "unauthorised"
    assert admin.get("/stats")["state"] == "ready"


def test_objects_are_pinned_and_purged(admin: AdminClient) -> None:
    digest = put(admin, b"one")
    pin = {"namespace": "default", "hashes": [digest], "ttl_milliseconds": 60_000}
    assert admin.order("POST", "/pin", pin) == {"objects": 1}
    assert admin.get("/objects?namespace=default")["objects"][0]["is_pinned"]
    report = admin.order("POST", "/purge", {"namespace": "default", "hashes": [digest]})
    assert report["objects"] == 1
    assert admin.get("/objects?namespace=default")["objects"] == []
    with Client(admin.daemon.address) as client:
        assert client.get(Key.opaque(b"one")) is None


def test_a_tenant_is_added_limited_opened_and_removed(admin: AdminClient) -> None:
    token = "a-token-of-the-tenant"
    digest = hashlib.sha256(token.encode()).hexdigest()
    limits = {"ram_bytes_max": 1 << 20}
    added = admin.order("POST", "/namespaces", {"name": "acme", "limits": limits}, 201)
    assert added["limits"] == limits and added["tokens"] == []
    opened = admin.order("POST", "/namespaces/acme/tokens", {"sha256": digest})
    assert [each["id"] for each in opened["tokens"]] == [digest[:12]]
    with Client(admin.daemon.address, namespace="acme", token=token) as client:
        client.ping()
    changed = admin.order("PUT", "/namespaces/acme/limits", {"connections_max": 3})
    assert changed["limits"] == {"connections_max": 3}
    other = hashlib.sha256(b"another").hexdigest()
    rotated = admin.order("POST", "/namespaces/acme/rotate", {"sha256": other})
    assert [each["id"] for each in rotated["tokens"]] == [other[:12]]
    admin.order("DELETE", f"/namespaces/acme/tokens/{other[:12]}")
    admin.order("DELETE", "/namespaces/acme")
    assert "acme" not in [each["name"] for each in admin.get("/namespaces")["namespaces"]]


def test_orders_become_events(admin: AdminClient) -> None:
    with admin.session.get(admin.url + "/events", stream=True, timeout=20) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        admin.order("POST", "/loglevel", {"level": "debug"})
        data = (line[6:] for line in stream.iter_lines() if line.startswith(b"data: "))
        event = next(found for found in map(json.loads, data) if found["kind"] == "log_level")
        assert event["administrator"] == "root"


def test_a_reload_says_what_changed(admin: AdminClient) -> None:
    assert admin.order("POST", "/reload") == {"changed": []}


def test_a_drain_ends_the_daemon(admin: AdminClient) -> None:
    assert "/drain" in admin.document["paths"]
    assert admin.order("POST", "/drain", status=202) == {"state": "draining"}
    assert admin.daemon.wait() == 0


def test_the_dashboard_comes_with_its_files(admin: AdminClient) -> None:
    page = admin.ask("GET", "/", token=None)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_a_foreign_host_is_not_served(admin: AdminClient) -> None:
    answer = admin.ask("GET", "/stats", token=None, headers={"Host": "evil.example"})
    assert answer.status_code == 421
