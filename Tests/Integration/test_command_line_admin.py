"""What the command line does for administrators, against a real kdnd: each command for people and
for programs, exit codes, the life of a tenant, the doctor, completion."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess

import pytest
from admin_client import TOKEN
from command_line_node import FAILED, KDN, NO, OK, USAGE, Node, start_node
from daemon_process import DaemonProcess
from disk_daemon import MEBIBYTE
from kdn import (
    AttentionGroup,
    Client,
    Document,
    Key,
    Layout,
    ServerError,
    Status,
    TokenTexts,
    chunk_hashes,
    document_root,
)
from kdn.token_texts import texts_key


@pytest.fixture
def node(start, tmp_path):
    return start_node(start, tmp_path)


# Questions


def test_the_running_configuration_is_shown_with_its_sources(node):
    assert "slow_request_ms: 1  # file, reloadable" in node.lines("config")
    changed = node.lines("config", "--changed")
    assert all("# default" not in line for line in changed) and len(changed) < 15
    entries = {entry["key"]: entry for entry in node.json("config")["entries"]}
    assert entries["slow_request_ms"]["values"] == ["1"]
    assert hashlib.sha256(TOKEN.encode()).hexdigest() not in json.dumps(entries)


def test_objects_and_documents_are_listed(node):
    with Client(node.daemon.address) as client:
        for number in range(3):
            client.put(Key.opaque(f"object {number}".encode()), bytes(1000 + number))
    header, *rows = node.lines("objects")
    assert header.split() == "hash kind bytes tokens uses tiers pinned part".split()
    assert sorted(int(row.split()[2]) for row in rows) == [1000, 1001, 1002]
    objects = [json.loads(line) for line in node.lines("objects", "--json")]
    assert {row["hash"] for row in objects} == {row.split()[0] for row in rows}
    assert len(node.lines("objects", "--limit", "2")) == 1 + 2
    assert node.lines("documents") == ["name  epoch  tokens  chunks  edits  use"]
    assert node.lines("documents", "--json") == []
    assert node.run("objects", "--namespace", "nobody").returncode == FAILED


def test_documents_are_shown_edited_denied_and_retired(node):
    layout = Layout("bf16", (AttentionGroup((0, 1), 2, 8),))
    hashes = chunk_hashes(document_root("model", b""), list(range(40)), 16, tail=True)
    with Client(node.daemon.address) as client:
        client.register_layout(layout)
        text = Document("a/handbook", layout.id, 40, 16, tuple(hashes), "of ours")
        epoch = client.publish_document(text)
    row = ["a/handbook", str(epoch), "40", "0/3", "0", "allowed"]
    assert [line.split() for line in node.lines("docs")[1:]] == [row]
    (first,) = node.lines(
        "edit", "add", "a/handbook", "scale-keys", "0-4", "8-20", "--strength", "1.5"
    )
    (second,) = node.lines("edit", "add", "a/handbook", "drop", "30-31", "--epoch", str(epoch))
    assert node.lines("edit", "list", "a/handbook") == [
        f"{first} scale_keys 1.5 0-4 8-20", f"{second} drop 30-31",
    ]
    shown = node.json("docs", "show", "a/handbook")
    assert (shown["document"]["edits"], shown["edits"][1]["spans"]) == (2, [[30, 31]])
    assert f"edit {second}: drop 30-31" in node.lines("docs", "show", "a/handbook")
    for wrong in (
        ("drop", "5-4"), ("drop", "0-41"), ("drop", "0-4", "--strength", "2"),
        ("scale-keys", "0-4"),
        ("scale-keys", "0-4", "--strength", "0"), ("drop", "0-4", "2-6"),
        ("drop", "0-4", "--epoch", str(epoch + 9)),
    ):
        done = node.run("edit", "add", "a/handbook", *wrong)
        assert done.returncode in (USAGE, FAILED), wrong
    (third,) = node.lines("edit", "requantise", "a/handbook", "small")
    assert node.lines("edit", "list", "a/handbook")[2:] == [f"{third} requantise small"]
    assert f"edit {third}: requantise small" in node.lines("docs", "show", "a/handbook")
    assert node.run("edit", "requantise", "a/handbook", "exact").returncode == USAGE
    # Its class needs a profile.
    assert node.run("edit", "materialise", "a/handbook").returncode == FAILED
    assert node.lines("edit", "revert", "a/handbook", third) == ["reverted 1"]
    assert node.lines("edit", "materialise", "a/handbook") == ["materialising: 0 of 0"]
    assert node.lines("edit", "revert", "a/handbook", first) == ["reverted 1"]
    assert node.run("edit", "revert", "a/handbook", first).returncode == FAILED
    assert node.lines("edit", "revert", "a/handbook") == ["reverted 1"]
    assert node.run("edit", "revert", "a/handbook").returncode == NO
    assert node.run("edit", "list", "nothing").returncode == FAILED

    assert node.lines("docs", "deny", "a/*", "b") == ["a/*", "b"]
    assert node.lines("docs")[1].split()[-1] == "denied"
    assert node.lines("docs", "allow", "b", "c") == ["a/*"]
    assert node.json("docs", "rules") == {"namespace": "default", "denied": ["a/*"]}
    with Client(node.daemon.address) as client, pytest.raises(ServerError) as fault:
        client.resolve_document("a/handbook")
    assert fault.value.status == Status.FORBIDDEN
    assert node.lines("docs", "retire", "a/handbook") == [f"retired a/handbook, epoch {epoch}"]
    assert node.run("docs", "show", "a/handbook").returncode == FAILED
    assert node.run("docs", "deny", "x", KDN_ADMIN_TOKEN="wrong").returncode == FAILED


def test_a_phrase_is_edited_and_a_share_kept_by_scores(node, tmp_path):
    layout = Layout("bf16", (AttentionGroup((0, 1), 2, 8),))
    hashes = chunk_hashes(document_root("model", b"phrases"), [1, 2, 3, 4], 16, tail=True)
    document = Document("note", layout.id, 4, 16, tuple(hashes))
    with Client(node.daemon.address) as client:
        client.register_layout(layout)
        client.publish_document(document)
    without = node.run("edit", "add", "note", "drop", "--text", "key")
    assert without.returncode == FAILED and "are not kept: never_stored" in without.stderr
    assert "give runs of tokens" in without.stderr
    with Client(node.daemon.address) as client:
        client.put(texts_key(document), TokenTexts((1, 4, 7, 8), b"a key.a.").encode())
    for arguments, wanted in (
        (("emphasise", "--text", "key"), "scale_keys 1.75 1-3"),
        (("suppress", "--text", "a", "--occurrence", "2"), "scale_keys 0.5 2-3"),
        (("scale-keys", "--text", "a", "--all", "--strength", "1.25"), "scale_keys 1.25 0-1 2-3"),
        (("emphasise", "0-2", "--strength", "1.5"), "scale_keys 1.5 0-2"),
        (("drop", "--text", "."), "drop 3-4"),
    ):
        refused = arguments[2] == "."
        done = node.run("edit", "add", "note", *arguments)
        if refused:
            assert done.returncode == FAILED and "value 2" in done.stderr
            continue
        (number,) = done.stdout.split()
        assert node.lines("edit", "list", "note") == [f"{number} {wanted}"]
        node.lines("edit", "revert", "note", number)
    for wrong in (
        ("drop", "0-1", "--text", "key"), ("drop", "0-1", "--all"), ("drop",),
        ("drop", "--text", "key", "--occurrence", "0"), ("drop", "--text", ""),
        ("drop", "--text", "a", "--occurrence", "1", "--all"), ("scale-keys", "--text", "key"),
        ("keep", "0-1"), ("keep", "--permille", "5"), ("drop", "0-1", "--permille", "5"),
        ("keep", "--permille", "0", "--scores", "-"),
        ("keep", "--permille", "5", "--scores", "-", "--strength", "1"),
    ):
        assert node.run("edit", "add", "note", *wrong).returncode == USAGE, wrong

    scores = tmp_path / "scores"
    for text in ("[0.5, 4, -1e0, 3]", "0.5\n4 -1\t3\n"):
        scores.write_text(text)
        share = ("--permille", "500", "--scores", str(scores))
        (number,) = node.lines("edit", "add", "note", "keep", *share)
        # The two lowest go.
        assert node.lines("edit", "list", "note") == [f"{number} drop 0-1 2-3"]
        node.lines("edit", "revert", "note", number)
    for text in ("[1, 2, 3]", "1 2 3 four", "[1, true]", "", "1 2 3 nan"):
        scores.write_text(text)
        assert node.run("edit", "add", "note", "keep", *share).returncode in (FAILED, USAGE), text


def test_the_slow_log_shows_what_took_long(node):
    # It waits for what nobody stores, and so takes at least as long as it may.
    assert node.run("get", "nothing", "--wait-milliseconds", "20").returncode == NO
    header, *rows = node.lines("slowlog")
    assert header.split()[:3] == ["arrived", "operation", "namespace"]
    assert any(" GET " in row and " default " in row for row in rows), rows
    (slow,) = [row for row in node.json("slowlog")["requests"] if row["operation"] == "GET"]
    assert 20_000 <= slow["total_microseconds"]
    assert slow["wait_microseconds"] <= slow["total_microseconds"]


# Orders


def test_a_reload_takes_all_or_nothing(node):
    file = node.folder / "kdnd.yaml"
    file.write_text("slow_request_ms: 7\n")
    assert node.lines("reload") == ["changed: slow_request_ms"]
    assert node.json("reload") == {"changed": []}
    file.write_text("slow_request_ms: 8\nnonsense: 1\n")
    refused = node.run("reload")
    assert refused.returncode == FAILED and "nonsense" in refused.stderr
    assert "slow_request_ms: 7  # file, reloadable" in node.lines("config")


def test_the_log_level_changes(node):
    assert node.lines("loglevel", "debug") == ["debug"]
    assert node.json("loglevel", "info") == {"level": "info"}
    assert node.run("loglevel", "loud").returncode == FAILED


def test_drain_ends_the_daemon(node):
    assert node.lines("drain") == ["draining"]
    assert node.daemon.wait() == 0
    assert node.run("drain").returncode == FAILED


def test_orders_need_the_token_of_an_administrator(node):
    for order in (["reload"], ["loglevel", "info"], ["drain"], ["namespace", "add", "x"]):
        for token in ("", "wrong"):
            refused = node.run(*order, KDN_ADMIN_TOKEN=token)
            assert refused.returncode == FAILED, order
            assert "kdn: " in refused.stderr and refused.stdout == ""
    file = node.folder / "token"
    file.write_text(f"{TOKEN}\n")
    assert node.lines("reload", "--admin-token-file", str(file), KDN_ADMIN_TOKEN="") != []


def test_no_token_can_be_an_argument(node):
    done = subprocess.run(
        [KDN, "--experimental-dump-help"], capture_output=True, text=True, check=True
    )

    def names(command):
        for argument in command.get("arguments", []):
            for name in argument.get("names", []):
                yield name["name"], argument.get("valueName", "")
        for sub in command.get("subcommands", []):
            yield from names(sub)

    tokens = {name for name in names(json.loads(done.stdout)["command"]) if "token" in name[0]}
    assert {name for name, _ in tokens} == {
        "token-file", "admin-token-file", "token-output", "tokens-file",
        "chunk-tokens", "tokens", "first-token",  # of a text
    }
    assert node.run("reload", "--admin-token", TOKEN).returncode == USAGE
    assert node.run("info", "--token", "x").returncode == USAGE


# Tenants


def test_the_life_of_a_tenant(node):
    (first,) = node.lines("namespace", "add", "team", "--ram", "4MiB")
    assert re.fullmatch("[0-9a-f]{64}", first)
    with node.client("team", first) as client:
        client.put(Key.opaque(b"ours"), bytes(MEBIBYTE))
        assert client.get(Key.opaque(b"ours")) == bytes(MEBIBYTE)
    listed = next(line for line in node.lines("namespace", "list") if line.startswith("team "))
    assert "ram=4MiB" in listed and "file" in listed
    assert first not in (node.folder / "namespaces.json").read_text()

    assert node.lines("namespace", "quota", "team", "--connections", "5") == [
        "ram=4MiB connections=5"
    ]
    assert node.lines("namespace", "quota", "team", "--ram", "none") == ["connections=5"]
    assert node.json("namespace", "quota", "team")["limits"]["connections_max"] == 5

    (second,) = node.lines("namespace", "rotate", "team", "--grace", "3600")
    assert node.admits("team", first) and node.admits("team", second)
    (third,) = node.lines("namespace", "rotate", "team", "--grace", "0")
    assert not node.admits("team", first) and not node.admits("team", second)
    assert node.admits("team", third)

    (token,) = next(
        row for row in node.json("namespace", "list")["namespaces"] if row["name"] == "team"
    )["tokens"]
    assert node.lines("namespace", "revoke", "team", token["id"]) == [f"revoked {token['id']}"]
    assert not node.admits("team", third)

    assert node.run("namespace", "remove", "team").returncode == USAGE
    assert node.lines("namespace", "remove", "team", "--yes") == ["removed team"]
    assert all(not line.startswith("team ") for line in node.lines("namespace", "list"))
    assert node.run("namespace", "remove", "team", "--yes").returncode == FAILED


def test_a_time_of_grace_ends_by_itself(node, eventually):
    (first,) = node.lines("namespace", "add", "team")
    (second,) = node.lines("namespace", "rotate", "team", "--grace", "1")
    eventually(lambda: not node.admits("team", first))
    assert node.admits("team", second)


def test_a_token_goes_to_a_file_of_its_owner(node):
    file = node.folder / "team.token"
    said = node.lines("namespace", "add", "team", "--token-output", str(file))
    token = file.read_text().strip()
    assert token not in "".join(said)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert node.admits("team", token)
    assert node.lines("info", "--namespace", "team", "--token-file", str(file))
    # A file that is there is kept, and the daemon is not asked.
    again = node.run("namespace", "add", "other", "--token-output", str(file))
    assert again.returncode == FAILED and file.read_text().strip() == token
    assert "other" not in "".join(node.lines("namespace", "list"))
    # A refused order leaves no file behind.
    unused = node.folder / "unused.token"
    taken = node.run("namespace", "add", "team", "--token-output", str(unused))
    assert taken.returncode == FAILED and not unused.exists()


def test_tenants_as_json(node):
    added = node.json("namespace", "add", "team", "--disk", "1GiB", "--requests", "10")
    assert added["namespace"]["limits"] == {"disk_bytes_max": 1 << 30, "requests_per_second": 10}
    assert re.fullmatch("[0-9a-f]{64}", added["token"])
    rotated = node.json("namespace", "rotate", "team")
    assert rotated["token"] != added["token"] and len(rotated["namespace"]["tokens"]) == 2
    token = rotated["namespace"]["tokens"][0]["id"]
    assert len(node.json("namespace", "revoke", "team", token)["tokens"]) == 1
    assert node.json("namespace", "remove", "team", "--yes")["name"] == "team"


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "a b"), ("add", "team", "--ram", "much"), ("quota", "nobody", "--ram", "1GiB"),
        ("rotate", "nobody"), ("revoke", "nobody", "abc"), ("remove", "nobody", "--yes"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(node, arguments):
    done = node.run("namespace", *arguments)
    assert done.returncode in (NO, FAILED) and done.stdout == ""
    assert done.stderr.startswith("kdn: ") and done.stderr.count("\n") == 1


def test_wrong_usage(node):
    for arguments in (
        ["top", "--interval", "0"], ["top", "--count", "0"], ["objects", "--limit", "0"],
        ["namespace", "add", "x", "--requests", "-1"], ["info", "--ca", "/dev/null"],
        ["info", "--tls", "--address", "unix:///nowhere"],
    ):
        assert node.run(*arguments).returncode == USAGE, arguments


# The doctor


def checks(node: Node, *arguments: str) -> dict[str, dict]:
    done = node.run("doctor", "--json", *arguments)
    report = json.loads(done.stdout)
    severities = {finding["severity"] for finding in report["findings"]}
    assert report["healthy"] == (severities == {"ok"})
    assert done.returncode == (OK if report["healthy"] else NO), done.stderr
    return {finding["check"]: finding for finding in report["findings"]}


def test_the_doctor_finds_a_daemon_with_few_descriptors(start, tmp_path):
    daemon = DaemonProcess(
        "--tcp", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--ram", "128MiB", "--set", "slab=16MiB",
        wrapper=("prlimit", "--nofile=2000:2000"),
    )
    try:
        daemon.wait_ready()
        found = checks(Node(daemon, tmp_path))["open files"]
        assert found["severity"] == "warning" and "kdnd: 2000" in found["found"]
        assert "LimitNOFILE" in found["remedy"]
    finally:
        daemon.kill()
    gone = checks(Node(daemon, tmp_path))["daemon"]
    assert gone["severity"] == "error" and "connection refused" in gone["found"]


def test_the_doctor_tells_of_a_reload_that_failed(node):
    assert checks(node)["reload"]["severity"] == "ok"
    (node.folder / "kdnd.yaml").write_text("nonsense: 1\n")
    assert node.run("reload").returncode == FAILED
    found = checks(node)["reload"]
    assert found["severity"] == "error" and "nonsense" in found["found"]
    people = node.run("doctor")
    assert people.returncode == NO
    assert "ERROR  reload: " in people.stdout and "to be looked at: " in people.stdout
    assert max(map(len, people.stdout.splitlines())) <= 80


def test_the_doctor_looks_at_disk_directories(start, tmp_path):
    memory = pathlib.Path("/dev/shm") / f"kdn-doctor-{os.getpid()}"
    flags = ["--set", "disk_segment=4MiB", "--disk", f"{memory}:64MiB", "--admin", "127.0.0.1:0"]
    try:
        found = checks(Node(start(*flags), tmp_path))[f"disk {memory}"]
        assert found["severity"] == "warning" and "tmpfs" in found["found"]
    finally:
        shutil.rmtree(memory, ignore_errors=True)


def test_the_doctor_looks_at_the_machine_alone_if_told(node):
    found = checks(node, "--host-only")
    assert "kernel" in found and "reload" not in found


# Completion

CHECKS = {
    "bash": ["bash", "-n"],
    "zsh": ["zsh", "-n"],
    "fish": ["fish", "--no-execute"],
}


@pytest.mark.parametrize("shell", sorted(CHECKS))
def test_completion_scripts_are_what_the_shells_understand(shell, tmp_path):
    script = subprocess.run(
        [KDN, "--generate-completion-script", shell], capture_output=True, text=True, check=True
    ).stdout
    file = tmp_path / "completion"
    file.write_text(script)
    done = subprocess.run([*CHECKS[shell], str(file)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "namespace" in script and "slowlog" in script


def test_bash_completes_commands(tmp_path):
    script = subprocess.run(
        [KDN, "--generate-completion-script", "bash"], capture_output=True, text=True, check=True
    ).stdout
    (tmp_path / "completion").write_text(script)
    probe = (
        'source "$0"; COMP_WORDS=(kdn slow); COMP_CWORD=1; COMP_LINE="kdn slow"; '
        'COMP_POINT=${#COMP_LINE}; function=$(complete -p kdn | sed "s/.*-F //;s/ .*//"); '
        '"$function" kdn slow kdn; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", probe, str(tmp_path / "completion")],
        capture_output=True, text=True, timeout=30,
    )
    assert done.stdout.split() == ["slowlog"], done.stderr
