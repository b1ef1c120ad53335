"""What the operator's page says can be typed: commands, options, keys, alerts, paths."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import subprocess

import pytest
import yaml
from admin_client import start_admin
from conftest import ROOT
from daemon_process import daemon_binary

PAGE = (ROOT / "Sources/KDNServer/KDN.docc/Operating.md").read_text()
KDN = pathlib.Path(os.environ.get("KDN", str(ROOT / ".build/release/kdn")))
SETTINGS = yaml.safe_load((ROOT / "Config/kdnd.yaml").read_text())


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    """Calls of our programs, in blocks and in running text, as words."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    lines += re.findall(r"`((?:kdn|kdnd) [a-z-][^`]*)`", " ".join(PAGE.split()))
    return [shlex.split(line) for line in lines if re.match(r"(kdn|kdnd) ", line)]


def tree(program: pathlib.Path) -> dict:
    done = subprocess.run(
        [program, "--experimental-dump-help"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)["command"]


TREES = {"kdn": tree(KDN), "kdnd": tree(daemon_binary())}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_and_option_exists(words):
    command, rest = TREES[words[0]], words[1:]
    while rest:
        subs = {sub["commandName"]: sub for sub in command.get("subcommands", [])}
        if rest[0] not in subs:
            break
        command, rest = subs[rest[0]], rest[1:]
    assert not command.get("subcommands") or words[0] == "kdnd", f"{words} names no command"
    known = {
        name["name"]: argument["kind"]
        for argument in command.get("arguments", [])
        for name in argument.get("names", [])
    }
    values = 0
    for word in rest:
        if word.startswith("--"):
            assert word[2:] in known, word
            values += known[word[2:]] == "option"
    positional = [argument for argument in command["arguments"] if argument["kind"] == "positional"]
    plain = len([word for word in rest if not word.startswith("--")]) - values
    required = sum(not argument["isOptional"] for argument in positional)
    assert plain >= required, f"{words} lacks an argument"
    assert plain <= len(positional) or any(one["isRepeating"] for one in positional), words


def test_there_are_commands_of_both_programs():
    assert {words[0] for words in commands()} == {"kdn", "kdnd"} and len(commands()) > 20


def test_every_key_exists():
    keys = [key for block in blocks("yaml") for key in yaml.safe_load(block)]
    assert len(keys) > 4
    for key in keys:
        assert key in SETTINGS, key
    names = set(re.findall(r"`((?:disk|tls|admin|drain|slow|max)_\w+)`", PAGE))
    assert names and names <= set(SETTINGS), names - set(SETTINGS)


def test_every_alert_exists():
    rules = (ROOT / "Config/prometheus/kdn.rules.yml").read_text()
    alerts = set(re.findall(r"alert: (\w+)", rules))
    named = set(re.findall(r"`(KDN\w+)`", PAGE))
    assert len(named) > 5 and named <= alerts, named - alerts


def test_every_unit_exists():
    named = set(re.findall(r"\b(kdnd[\w-]*\.(?:socket|service))\b(?!\.d)", PAGE))
    assert named
    for name in named:
        assert (ROOT / "Config/systemd" / name).is_file(), name


def test_every_miss_cause_is_explained():
    source = (ROOT / "Sources/KDNCore/MissCause.swift").read_text()
    causes = set(re.findall(r'case \.\w+: "(\w+)"', source))
    explained = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert causes and causes <= explained, causes - explained


def test_every_path_of_the_endpoint_answers(start, tmp_path):
    admin = start_admin(start, tmp_path)
    paths = set(re.findall(r"http://127\.0\.0\.1:9441(/[\w?]*)", PAGE))
    assert len(paths) >= 3
    for path in paths:
        assert admin.ask("GET", path, token=None).status_code == 200, path


def test_the_numbers_are_those_of_the_program():
    tier = (ROOT / "Sources/KDNServer/Disk/DiskMemory.swift").read_text()
    per_object = re.search(r"bytesPerObject = (\d+)", tier)
    mean = re.search(r"meanObjectBytes = (\d+) << 10", tier)
    assert per_object is not None and mean is not None
    assert f"| {per_object.group(1)} for each {mean.group(1)} KiB of disk" in PAGE
    plan = (ROOT / "Sources/KDNPool/PoolConfiguration.swift").read_text()
    assert "/ 4, 48 << 20 + memoryBytesMax / 64" in plan
    assert "48 MiB and a 64th of `ram`, at most a quarter" in PAGE
