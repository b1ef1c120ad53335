"""A real Redis to compare with, and commands made by chance."""

from __future__ import annotations

import contextlib
import pathlib
import random
import socket
import subprocess
from collections.abc import Iterator


@contextlib.contextmanager
def running_redis(folder: pathlib.Path) -> Iterator[tuple[str, int]]:
    """The address of a Redis without disk, at a port that was free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "",
         "--appendonly", "no", "--dir", str(folder)],
        stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert any("Ready to accept connections" in line for line in server.stdout)
        yield ("127.0.0.1", port)
    finally:
        server.kill()
        server.communicate()


_KEYS = [f"key{number}" for number in range(6)]
# TTLs so far apart that they can be told when rounded, and no two the same, since a millisecond
# would decide which is the later; and the end of the century.
_STEP_SECONDS = 200
_STEPS = 40_009
_FAR = "4102444800"
_NEAR_SECONDS = 10_000_000
_WRONG = [
    "GET", "SET a", "SETNX a", "EXPIRE a", "TTL", "SET a b EX", "SET a b EX 0", "SET a b NX XX",
    "SET a b EX x", "EXPIRE a x", "EXPIRE a 10 NX GT", "EXPIRE a 10 GT LT", "EXPIRE a 10 MAYBE",
    "NOSUCH thing", "SCAN x", "SCAN 0 COUNT 0", "CLIENT NOSUCH", "CONFIG NOSUCH", "PING a b",
    "SETEX a 0 b", "SETEX a b", "SET a b KEEPTTL EX 10", "FLUSHDB NOW", "SELECT 77", "SELECT x",
]


def some_command(dice: random.Random, serial: int) -> list[str]:
    """A command that a cache and Redis answer alike; one in ten is wrong.

    Each of less than 40,000 serials has a TTL of its own.
    """
    key = dice.choice(_KEYS)
    seconds = str(_STEP_SECONDS * (5 + serial * 7919 % _STEPS))
    value = "x" * dice.choice([1, 2, 100, 5000]) + str(dice.randrange(5))
    condition = dice.choice([[], ["NX"], ["XX"]])
    expiry = dice.choice([
        [], [], ["EX", seconds], ["PX", f"{seconds}000"], ["KEEPTTL"], ["EXAT", _FAR],
        ["PXAT", f"{_FAR}000"]])
    keys = dice.choices(_KEYS, k=dice.randrange(1, 5))
    flag = dice.choice([[], [], ["NX"], ["XX"], ["GT"], ["LT"], ["XX", "GT"]])
    return dice.choice([
        ["SET", key, value, *condition, *expiry], ["SET", key, value], ["set", key, value],
        ["SETNX", key, value], ["SETEX", key, seconds, value],
        ["PSETEX", key, f"{seconds}000", value], ["GET", key], ["GET", key], ["MGET", *keys],
        ["EXISTS", *keys], ["DEL", *keys[:2]], ["UNLINK", key], ["STRLEN", key], ["TYPE", key],
        ["TTL", key], ["PTTL", key], ["EXPIRE", key, seconds, *flag],
        ["PEXPIRE", key, f"{seconds}000", *flag], ["EXPIREAT", key, _FAR], ["EXPIRE", key, "-1"],
        ["PERSIST", key], ["DBSIZE"], ["PING"], ["ECHO", value], ["SCAN", "0", "COUNT", "1000"],
        ["SCAN", "0", "COUNT", "1000", "MATCH", "key[0-2]"],
        dice.choice(_WRONG).split(), dice.choice(_WRONG).split(), dice.choice(_WRONG).split(),
    ])


def comparable(command: list[str], reply: object) -> object:
    """A reply without what may differ: the order of names, and seconds that have passed."""
    name = command[0].upper()
    if name in ("TTL", "PTTL") and isinstance(reply, int) and reply > 0:
        seconds = reply / (1000 if name == "PTTL" else 1)
        return "far" if seconds > _NEAR_SECONDS else round(seconds / _STEP_SECONDS)
    if name == "SCAN" and isinstance(reply, list):
        return [reply[0], sorted(reply[1])]
    return reply
