"""What the command line does for administrators, against a real kdnd: each command for people and
for programs, exit codes, the life of a tenant, the live view in a terminal."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import stat
import struct
import subprocess
import termios
import time

import pytest
from admin_client import TOKEN
from conftest import ROOT
from daemon_process import DaemonProcess
from disk_daemon import MEBIBYTE
from kdn import Client, Key

OK, NO, FAILED, USAGE = 0, 1, 2, 64
KDN = os.environ.get("KDN", str(ROOT / ".build/release/kdn"))
SECONDS = 60
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


class Node:
    """A daemon with an administrator, and `kdn` as called by one."""

    def __init__(self, daemon: DaemonProcess, folder: pathlib.Path) -> None:
        found = re.search(r"\badmin=([^\s,]+:\d+)", daemon.log)
        assert found is not None, daemon.log
        self.daemon = daemon
        self.folder = folder
        plain = {name: value for name, value in os.environ.items() if not name.startswith("KDN_")}
        self.environment = {
            **plain,
            "KDN_ADDRESS": daemon.address,
            "KDN_ADMIN_ADDRESS": found.group(1),
            "KDN_ADMIN_TOKEN": TOKEN,
        }

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [KDN, *arguments], capture_output=True, text=True, timeout=SECONDS,
            env={**self.environment, **variables},
        )

    def lines(self, *arguments: str, **variables: str) -> list[str]:
        """The lines that a command writes which must succeed."""
        done = self.run(*arguments, **variables)
        assert done.returncode == OK, done.stderr
        return done.stdout.splitlines()

    def json(self, *arguments: str):
        """The one JSON value that a command writes which must succeed."""
        (line,) = self.lines(*arguments, "--json")
        return json.loads(line)

    def client(self, namespace: str, token: str) -> Client:
        return Client(self.daemon.address, namespace=namespace, token=token)

    def admits(self, namespace: str, token: str) -> bool:
        """Whether `kdn` is let in with a token from the environment."""
        done = self.run("info", "--namespace", namespace, KDN_TOKEN=token)
        assert done.returncode in (OK, FAILED), done.stderr
        return done.returncode == OK


@pytest.fixture
def node(start, tmp_path):
    """A daemon that an administrator can change, on a configuration file."""
    configuration = tmp_path / "kdnd.yaml"
    configuration.write_text("slow_request_ms: 1\n")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    environment = {
        "KDN_ADMIN_TOKENS": f"root:{digest}",
        "KDN_NAMESPACES_FILE": str(tmp_path / "namespaces.json"),
    }
    daemon = start(
        "--config", str(configuration), "--admin", "127.0.0.1:0", environment=environment
    )
    return Node(daemon, tmp_path)


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
    assert node.lines("documents") == ["name  epoch  tokens  chunks"]
    assert node.lines("documents", "--json") == []
    assert node.run("objects", "--namespace", "nobody").returncode == FAILED


def test_the_slow_log_shows_what_took_long(node):
    started = subprocess.Popen(
        [KDN, "get", "later", "-", "--wait-milliseconds", "20000"], env=node.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    try:
        with Client(node.daemon.address) as client:
            deadline = time.monotonic() + SECONDS
            while client.stats()["pool"]["waiters"] == 0:
                assert time.monotonic() < deadline
            client.put(Key.opaque(b"later"), b"now")
        assert started.communicate(timeout=SECONDS)[0] == b"now"
    finally:
        started.kill()
        started.wait()
    header, *rows = node.lines("slowlog")
    assert header.split()[:3] == ["arrived", "operation", "namespace"]
    assert any(" GET " in row and " default " in row for row in rows), rows
    (slow,) = [row for row in node.json("slowlog")["requests"] if row["operation"] == "GET"]
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
        "token-file", "admin-token-file", "token-output", "tokens-file", "chunk-tokens"
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


# Terminals


class Terminal:
    """A program in a pseudo terminal, and all that it wrote there."""

    def __init__(
        self, node: Node, *arguments: str, rows: int = 24, columns: int = 80, only_errors=False
    ) -> None:
        self.master, follower = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(follower)
        output = subprocess.PIPE if only_errors else follower
        self.process = subprocess.Popen(
            [KDN, *arguments], env=node.environment, stdin=follower, stdout=output,
            stderr=follower, start_new_session=True,
        )
        self.follower = follower
        self.written = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, holds) -> None:
        """Reads until what was written fulfils `holds`."""
        deadline = time.monotonic() + SECONDS
        while not holds(self.written):
            assert time.monotonic() < deadline, self.written
            if select.select([self.master], [], [], 1)[0]:
                self.written += os.read(self.master, 65536)

    def end(self) -> int:
        """The exit code; all is read then."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None or select.select([self.master], [], [], 0)[0]:
            assert time.monotonic() < deadline, self.written
            if select.select([self.master], [], [], 0.05)[0]:
                self.written += os.read(self.master, 65536)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.follower)

    def frames(self) -> list[list[str]]:
        """The pictures, line by line, without what moves the cursor."""
        texts = self.written.split(b"\x1b[H")[1:]
        plain = [re.sub(rb"\x1b\[[?0-9]*[A-Za-z]", b"", text).decode() for text in texts]
        return [text.rstrip("\r\n").split("\r\n") for text in plain]


@pytest.fixture
def terminal(node):
    opened = []

    def open_terminal(*arguments: str, **more) -> Terminal:
        opened.append(Terminal(node, *arguments, **more))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


def test_top_draws_three_looks_and_gives_the_terminal_back(node, terminal):
    top = terminal("top", "--interval", "0.1", "--count", "3")
    assert top.end() == OK, top.written
    frames = top.frames()
    assert len(frames) == 3
    for frame in frames:
        assert frame[0].startswith("kdnd ") and " ready " in frame[0]
        assert len(frame) < 24 and max(map(len, frame)) <= 80
        assert any(line.startswith("ram ") for line in frame)
        assert any(line.startswith("default ") for line in frame)
    assert top.written.startswith(ENTER + HIDE) and top.written.endswith(SHOW + LEAVE)
    assert termios.tcgetattr(top.follower) == top.before


def test_top_adapts_when_the_terminal_changes(node, terminal):
    top = terminal("top", "--interval", "3600", rows=24, columns=80)
    top.read_until(lambda text: text.count(b"\x1b[J") == 1)
    top.resize(6, 30)
    top.process.send_signal(signal.SIGWINCH)
    top.read_until(lambda text: text.count(b"\x1b[J") == 2)
    small = top.frames()[1]
    assert len(small) <= 5 and max(map(len, small)) <= 30
    assert top.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_top_gives_the_terminal_back_when_it_is_ended(node, terminal, number):
    top = terminal("top", "--interval", "3600")
    top.read_until(lambda text: b"\x1b[J" in text)
    top.process.send_signal(number)
    assert top.end() == OK
    assert top.written.endswith(SHOW + LEAVE)


def test_top_gives_the_terminal_back_when_the_daemon_goes(node, terminal):
    top = terminal("top", "--interval", "0.1")
    top.read_until(lambda text: b"\x1b[J" in text)
    node.daemon.kill()
    assert top.end() == FAILED
    assert LEAVE in top.written and b"kdn: no HTTP endpoint" in top.written


def test_top_outside_a_terminal_writes_text_and_json(node):
    text = node.run("top", "--count", "2", "--interval", "0.1").stdout
    assert "\x1b" not in text and text.count("kdnd ") == 2
    lines = node.lines("top", "--count", "2", "--interval", "0.1", "--json")
    assert [json.loads(line)["state"] for line in lines] == ["ready", "ready"]


def test_long_work_shows_a_bar_on_a_terminal_and_not_in_a_pipe(node, terminal):
    large, small = node.folder / "large", node.folder / "small"
    large.write_bytes(os.urandom(24 * MEBIBYTE))
    small.write_bytes(os.urandom(MEBIBYTE))
    put = terminal("put", "large", str(large), only_errors=True)
    assert put.end() == OK
    assert b"\rput [" in put.written and b" MiB of 24.0 MiB" in put.written
    assert put.written.endswith(b"\r\x1b[K"), "the bar goes when the work is done"
    back = node.folder / "back"
    get = terminal("get", "large", str(back), only_errors=True)
    assert get.end() == OK and b"\rget [" in get.written
    assert back.read_bytes() == large.read_bytes()
    quick = terminal("put", "small", str(small), only_errors=True)
    assert quick.end() == OK and quick.written == b""
    piped = node.run("get", "large", str(back))
    assert piped.returncode == OK and piped.stderr == ""


def test_fsck_shows_a_bar_on_a_terminal(start, terminal, tmp_path, node):
    folder = tmp_path / "disk"
    flags = ["--set", "disk_segment=4MiB", "--disk", f"{folder}:64MiB"]
    daemon = start(*flags)
    with Client(daemon.address) as client:
        for number in range(12):
            client.put(Key.opaque(bytes([number])), os.urandom(MEBIBYTE), durability="disk")
    daemon.terminate()
    assert daemon.wait() == 0
    check = terminal("fsck", str(folder), only_errors=True)
    assert check.end() == OK
    assert b"\rcheck [" in check.written and b"100 %" in check.written
    assert node.run("fsck", str(folder)).stderr == ""


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
