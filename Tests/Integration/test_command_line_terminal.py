"""The command line `kdn` in a real terminal: the live view, and bars for long work."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest
from command_line_node import FAILED, KDN, OK, SECONDS, Node, start_node
from disk_daemon import MEBIBYTE
from kdn import Client, Key

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


@pytest.fixture
def node(start, tmp_path):
    return start_node(start, tmp_path)


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
