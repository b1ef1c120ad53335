"""The facade and a real Redis, asked the same, answer the same."""

from __future__ import annotations

import random

import pytest
from conftest import SMALL
from daemon_process import running_daemon
from redis_oracle import comparable, running_redis, some_command
from resp_connection import LISTENING, RESPConnection, command, resp_address
from test_resp_bytes import BROKEN, REFUSED, ending

ROUNDS = 20
COMMANDS_AT_ONCE = 100


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture(scope="module")
def address():
    with running_daemon(*SMALL, *LISTENING) as daemon:
        yield resp_address(daemon)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("version", [2, 3])
def test_commands_made_by_chance_get_the_same_replies(address, redis_server, version, seed):
    dice = random.Random(seed)
    with RESPConnection(address) as ours, RESPConnection(redis_server) as theirs:
        for connection in (ours, theirs):
            connection.ask("HELLO", version)
            connection.ask("DEL", *(f"key{number}" for number in range(6)), "a")
        for turn in range(ROUNDS):
            first = turn * COMMANDS_AT_ONCE
            asked = [some_command(dice, first + each) for each in range(COMMANDS_AT_ONCE)]
            for connection in (ours, theirs):
                connection.send(b"".join(command(*words) for words in asked))
            for words in asked:
                mine, its = (comparable(words, each.reply()) for each in (ours, theirs))
                assert mine == its, (seed, words)


@pytest.mark.parametrize("words", [words for words, _ in REFUSED])
def test_a_wrong_command_gets_the_error_of_redis(address, redis_server, words):
    with RESPConnection(address) as ours, RESPConnection(redis_server) as theirs:
        assert ours.ask(*words.split()) == theirs.ask(*words.split())


@pytest.mark.parametrize("data", [data for data, _ in BROKEN[1:]], ids=lambda data: repr(data[:20]))
def test_a_broken_stream_gets_the_error_of_redis(address, redis_server, data):
    assert ending(address, data)[0] == ending(redis_server, data)[0]
