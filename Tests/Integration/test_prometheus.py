"""What Prometheus makes of the daemon: its rules, a scrape, and the queries for Grafana."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from admin_page import admin_address
from daemon_process import ROOT, DaemonProcess
from kdn import Client, Key

CONFIG = ROOT / "Config" / "prometheus"
GRAFANA = ROOT / "Config" / "grafana" / "kdn.json"
RULES = CONFIG / "kdn.rules.yml"
RULE_TESTS = CONFIG / "kdn.rules.test.yml"
_METRIC = re.compile(r"\b(?:kdn_|process_)[a-z0-9_]+")
_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def promtool(*arguments: str | pathlib.Path, input: str | None = None) -> str:
    """Runs promtool; fails with what it printed if it found anything."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, input=input, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def used_metrics(texts: list[str]) -> set[str]:
    return {name for text in texts for name in _METRIC.findall(text)}


def read(address: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
        return answer.read().decode()


@pytest.fixture
def watched(
    start: Callable[..., DaemonProcess], tmp_path: pathlib.Path
) -> tuple[DaemonProcess, str]:
    """A daemon with a disk tier and a tenant with every limit, after some traffic; its address."""
    directory = tmp_path / "disk"
    directory.mkdir()
    daemon = start(
        "--admin", "127.0.0.1:0",
        "--disk", f"{directory}:1GiB", "--set", "disk_segment=16MiB",
        "--set", "namespace_limits=default ram=64MiB disk=512MiB pinned=16MiB connections=50",
    )  # fmt: skip
    with Client(daemon.address) as client:
        for number in range(8):
            client.put(Key.opaque(b"%d" % number), os.urandom(1 << 16))
        for number in range(12):
            client.get(Key.opaque(b"%d" % number))
    return daemon, admin_address(daemon)


def test_rules_and_configuration_are_sound() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("check", "config", CONFIG / "prometheus.yml")


def test_rules_fire_and_keep_quiet_as_their_tests_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS)


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = yaml.safe_load(RULE_TESTS.read_text())["tests"]
    checks = [check for case in cases for check in case.get("promql_expr_test", [])]
    for alert in alerts():
        name = f'alertname="{alert["alert"]}"'
        values = [
            sample["value"]
            for check in checks
            if name in check["expr"]
            for sample in check["exp_samples"]
        ]
        assert {0, 1} <= set(values), alert["alert"]


def test_a_rule_test_can_fail(tmp_path: pathlib.Path) -> None:
    shutil.copy(RULE_TESTS, tmp_path)
    broken = RULES.read_text().replace("kdn_ready == 0", "kdn_ready == 2")
    (tmp_path / RULES.name).write_text(broken)
    with pytest.raises(AssertionError, match="KDNNotReady"):
        promtool("test", "rules", tmp_path / RULE_TESTS.name)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_each_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert all(len(text) > 20 for text in rule["annotations"].values())


def test_a_scrape_is_what_prometheus_asks_of_one(watched: tuple[DaemonProcess, str]) -> None:
    scrape = read(watched[1], "/metrics")
    assert 'kdn_hits_total{tier="ram"} 8' in scrape
    promtool("check", "metrics", input=scrape)


def test_what_rules_and_grafana_ask_for_is_in_a_scrape(watched: tuple[DaemonProcess, str]) -> None:
    scrape = read(watched[1], "/metrics")
    families = set(re.findall(r"^# TYPE (\S+) ", scrape, re.MULTILINE))
    samples = {found[0] for found in _SAMPLE.findall(scrape)}
    expressions = [rule["expr"] for rule in rules()] + grafana_expressions()
    used = used_metrics(expressions)
    assert len(used) > 40
    # A family may be empty now, as that of the limits that no tenant has; it must be announced.
    assert used <= samples | families


def test_grafana_dashboard_has_queries_that_prometheus_understands() -> None:
    dashboard = json.loads(GRAFANA.read_text())
    assert dashboard["schemaVersion"] >= 36
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == [
        "datasource", "job", "instance",
    ]  # fmt: skip
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(panels) >= 25
    assert all(target["datasource"]["uid"] == "${datasource}"
               for panel in panels for target in panel["targets"])  # fmt: skip
    groups = [{"name": "grafana", "rules": [
        {"record": f"grafana:{number}", "expr": concrete(expression)}
        for number, expression in enumerate(grafana_expressions())
    ]}]  # fmt: skip
    done = subprocess.run(
        ["promtool", "check", "rules", "/dev/stdin"],
        input=yaml.safe_dump({"groups": groups}), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def grafana_expressions() -> list[str]:
    dashboard = json.loads(GRAFANA.read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def concrete(expression: str) -> str:
    """A query of the dashboard with its variables filled in."""
    for variable, value in (
        ("$__rate_interval", "1m"), ("$job", ".*"), ("$instance", ".*"),
    ):  # fmt: skip
        expression = expression.replace(variable, value)
    return expression


@contextlib.contextmanager
def prometheus(target: str, folder: pathlib.Path) -> Iterator[str]:
    """A real Prometheus on a port of the kernel's choice that scrapes `target` each second."""
    settings = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    settings["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    shutil.copy(RULES, folder)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    process = subprocess.Popen(
        ["prometheus", f"--config.file={folder / 'prometheus.yml'}",
         f"--storage.tsdb.path={folder / 'data'}", "--web.listen-address=127.0.0.1:0"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        address = None
        for line in process.stderr:
            found = re.search(r'msg="Listening on" .*address=(127\.0\.0\.1:\d+)', line)
            address = found.group(1) if found else address
            if address and "ready to receive web requests" in line:
                break
        assert address is not None, "prometheus did not listen"
        yield address
    finally:
        process.terminate()
        # Its log is read to the end, so that it never waits for room in the pipe.
        process.communicate(timeout=30)


def query(address: str, expression: str) -> list[dict[str, Any]]:
    text = read(address, "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
    return json.loads(text)["data"]["result"]


def test_a_real_prometheus_scrapes_the_daemon(
    watched: tuple[DaemonProcess, str],
    tmp_path: pathlib.Path,
    eventually: Callable[[Callable[[], bool]], None],
) -> None:
    daemon, address = watched
    with prometheus(address, tmp_path) as server, Client(daemon.address) as client:
        key = Key.opaque(b"1")

        def rate() -> float:
            client.get(key)
            found = query(server, 'rate(kdn_requests_total{operation="GET"}[10s])')
            return float(found[0]["value"][1]) if found else 0.0

        eventually(lambda: rate() > 0)
        assert [result["value"][1] for result in query(server, 'up{job="kdn"}')] == ["1"]
        (build,) = query(server, "kdn_build_info")
        assert build["metric"]["version"] and build["metric"]["instance"] == address
        eventually(lambda: len(query(server, "kdn:lookups:rate5m > 0")) == 1)
        answered = [bool(query(server, concrete(each))) for each in grafana_expressions()]
        # What needs errors, refusals, MATCH or two minutes of samples has nothing to say here.
        assert sum(answered) > len(answered) / 2
        assert query(server, 'ALERTS{alertname=~"KDNDown|KDNNotReady|KDNReloadFailed"}') == []
