"""Clients of Redis that people use, unchanged, against the RESP facade."""

from __future__ import annotations

import asyncio
import csv
import os
import subprocess

import glide
import pytest
import redis
import redis.asyncio
from conftest import SMALL
from daemon_process import running_daemon
from kdn import Client, Key
from resp_connection import LISTENING, RESPConnection, command, resp_address
from resp_tenants import tenants_file

CALL_SECONDS = 60.0
PIPELINE = 10_000
REQUESTS = 2000
VERSIONS = pytest.mark.parametrize("protocol", [2, 3])
TOKENS = {"red": "red's token", "blue": "blue's token"}


@pytest.fixture(scope="module")
def daemon():
    """A daemon that everybody enters."""
    with running_daemon(*SMALL, *LISTENING) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def address(daemon):
    return resp_address(daemon)


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """The address of a daemon that only tenants enter."""
    flags = tenants_file(tmp_path_factory.mktemp("tenants"), **TOKENS)
    with running_daemon(*SMALL, *LISTENING, *flags) as daemon:
        yield resp_address(daemon)


def connected(address, **options) -> redis.Redis:
    host, port = address
    return redis.Redis(
        host=host, port=port, socket_timeout=CALL_SECONDS, **{"retry": None, **options})


def use(client: redis.Redis) -> None:
    """What a program does with a cache."""
    value = os.urandom(100_000)
    assert client.ping() is True
    assert client.set("a", value) is True
    assert client.get("a") == value
    assert client.get("none") is None
    assert client.set("b", b"two", ex=100) is True
    assert 90 < client.ttl("b") <= 100
    assert client.mget(["a", "none", "b"]) == [value, None, b"two"]
    assert client.exists("a", "b", "none") == 2
    assert client.set("b", b"three", nx=True) is None
    assert client.set("c", b"three", nx=True, px=100_000) is True
    assert 0 < client.pttl("c") <= 100_000
    assert client.set("none", b"x", xx=True) is None
    assert client.execute_command("SETEX", "d", 100, b"four") is True
    assert client.setnx("d", b"five") is False
    assert client.expire("a", 100) is True
    assert client.persist("a") is True
    assert client.ttl("a") == -1
    assert client.strlen("a") == len(value)
    assert client.type("a") in (b"string", "string")
    assert set(client.scan_iter(match="[a-d]")) == {b"a", b"b", b"c", b"d"}
    assert client.dbsize() == 4
    assert client.info("replication")["role"] == "master"
    assert client.info()["kdn_version"]
    assert client.config_get("save")["save"] == ""
    assert client.echo("hello") == b"hello"
    assert client.delete("a", "b") == 2
    assert client.unlink("c", "none") == 1
    assert client.delete("d") == 1
    with pytest.raises(redis.ResponseError, match="wrong number of arguments for 'get' command"):
        client.execute_command("GET")
    with pytest.raises(redis.ResponseError, match="unknown command 'LPUSH'"):
        client.lpush("list", "x")


def use_connection(client: redis.Redis) -> None:
    """What a program asks about its connection."""
    assert client.client_setname("worker") is True
    assert client.client_getname() in (b"worker", "worker")
    assert client.client_id() > 0
    seen = client.client_info()
    assert (seen["name"], seen["lib-name"]) == ("worker", "redis-py")
    assert client.execute_command("COMMAND COUNT") == len(client.command())
    assert client.command()["get"]["arity"] == 2


@VERSIONS
def test_redis_py_in_both_versions_of_the_protocol(address, protocol):
    with connected(address, protocol=protocol) as client:
        use(client)
        use_connection(client)


def test_redis_py_with_its_own_choice_of_version(address):
    with connected(address) as client:
        use(client)


@VERSIONS
def test_a_pipeline_of_redis_py_is_answered_command_by_command(address, protocol):
    with connected(address, protocol=protocol) as client:
        with client.pipeline(transaction=False) as pipeline:
            for number in range(PIPELINE // 2):
                pipeline.set(f"p{number}", b"%d" % number)
                pipeline.get(f"p{number}")
            answers = pipeline.execute()
        assert answers[::2] == [True] * (PIPELINE // 2)
        assert answers[1::2] == [b"%d" % number for number in range(PIPELINE // 2)]
        with client.pipeline(transaction=False) as pipeline:
            pipeline.get("p1").execute_command("GET").get("p2")
            first, error, last = pipeline.execute(raise_on_error=False)
        assert (first, last) == (b"1", b"2")
        assert isinstance(error, redis.ResponseError)


@VERSIONS
def test_redis_py_with_asyncio_and_many_connections(address, protocol):
    host, port = address

    async def one(client: redis.asyncio.Redis, number: int) -> bool:
        value = os.urandom(10_000)
        await client.set(f"async{number}", value)
        return await client.get(f"async{number}") == value

    async def all_of_them() -> list[bool]:
        client = redis.asyncio.Redis(
            host=host, port=port, protocol=protocol, max_connections=20,
            socket_timeout=CALL_SECONDS)
        async with client:
            return list(await asyncio.gather(*(one(client, number) for number in range(20))))

    assert all(asyncio.run(all_of_them()))


@VERSIONS
def test_redis_py_logs_in_to_its_namespace(closed, protocol):
    with connected(closed, protocol=protocol, username="red", password=TOKENS["red"]) as red:
        use(red)
        red.set("mine", b"red")
    with connected(closed, protocol=protocol, password=TOKENS["blue"]) as blue:
        assert blue.get("mine") is None
        assert blue.dbsize() == 0
    with connected(closed, protocol=protocol, username="red", password=TOKENS["red"]) as again:
        assert again.get("mine") == b"red"
        assert again.flushdb() is True
        assert again.dbsize() == 0


@VERSIONS
@pytest.mark.parametrize("login", [{}, {"password": "wrong"},
                                   {"username": "red", "password": TOKENS["blue"]}])
def test_redis_py_without_the_right_login_is_kept_out(closed, protocol, login):
    with connected(closed, protocol=protocol, **login) as stranger:
        with pytest.raises((redis.AuthenticationError, redis.ResponseError)):
            stranger.get("mine")


def test_valkey_glide(address, closed):
    async def use_glide(place, login) -> None:
        host, port = place
        client = await glide.GlideClient.create(
            glide.GlideClientConfiguration(
                [glide.NodeAddress(host, port)], credentials=login, request_timeout=60_000))
        value = os.urandom(100_000)
        assert await client.ping() == b"PONG"
        assert await client.set("glide", value) == "OK"
        assert await client.get("glide") == value
        assert await client.get("nobody") is None
        assert await client.mget(["glide", "nobody"]) == [value, None]
        assert await client.exists(["glide", "nobody"]) == 1
        expiry = glide.ExpirySet(glide.ExpiryType.SEC, 100)
        assert await client.set("brief", b"x", expiry=expiry) == "OK"
        assert 90 < await client.ttl("brief") <= 100
        assert await client.strlen("glide") == len(value)
        assert await client.delete(["glide", "brief"]) == 2
        with pytest.raises(glide.RequestError):
            await client.custom_command(["LPUSH", "list", "x"])
        await client.close()

    asyncio.run(use_glide(address, None))
    login = glide.ServerCredentials(TOKENS["red"], "red")
    asyncio.run(use_glide(closed, login))


def run(*words: str, data: bytes | None = None) -> str:
    """Output of a program, which must succeed."""
    done = subprocess.run(words, input=data, capture_output=True, timeout=120)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.decode()


def test_redis_cli(address, closed):
    host, port = address
    cli = ("redis-cli", "-h", host, "-p", str(port))
    assert run(*cli, "SET", "cli", "value") == "OK\n"
    assert run(*cli, "GET", "cli") == "value\n"
    assert run(*cli, "-3", "GET", "nobody") == "\n"
    assert run(*cli, "-x", "SET", "piped", data=b"from stdin") == "OK\n"
    assert run(*cli, "STRLEN", "piped") == "10\n"
    assert "cli" in run(*cli, "--scan", "--pattern", "cl*").split()
    assert "role:master" in run(*cli, "INFO")
    assert "ERR unknown command 'LPUSH'" in run(*cli, "LPUSH", "a", "b")
    host, port = closed
    login = ("redis-cli", "-h", host, "-p", str(port), "--user", "blue", "--no-auth-warning")
    assert run(*login, "--pass", TOKENS["blue"], "PING") == "PONG\n"
    assert "NOAUTH" in run("redis-cli", "-h", host, "-p", str(port), "PING")


def test_redis_cli_loads_ten_thousand_values_through_its_pipe(address, daemon):
    host, port = address
    data = b"".join(command("SET", f"mass{n}", f"value {n}") for n in range(PIPELINE))
    told = run("redis-cli", "-h", host, "-p", str(port), "--pipe", data=data)
    assert f"errors: 0, replies: {PIPELINE}" in told
    with RESPConnection(address) as connection:
        assert connection.ask("GET", "mass9999") == b"value 9999"
    with Client(daemon.address) as native:
        assert native.get(Key.opaque(b"mass77")) == b"value 77"


@pytest.mark.parametrize("version", [[], ["-3"]], ids=["RESP2", "RESP3"])
def test_redis_benchmark(address, version):
    host, port = address
    with RESPConnection(address) as connection:
        before = commands(connection)
        told = run(
            "redis-benchmark", "-h", host, "-p", str(port), "-t", "ping,set,get", "-n",
            str(REQUESTS), "-c", "8", "-P", "16", "-d", "1000", "-r", "100", "--csv", *version)
        rows = {row["test"]: row for row in csv.DictReader(told.splitlines())}
        assert {"PING_INLINE", "PING_MBULK", "SET", "GET"} <= set(rows), told
        assert all(float(row["rps"]) > 0 for row in rows.values())
        assert commands(connection) - before >= 4 * REQUESTS


def commands(connection: RESPConnection) -> int:
    """How many commands the daemon has carried out."""
    text = connection.ask("INFO", "stats")
    assert isinstance(text, bytes), text
    fields = dict(line.split(":") for line in text.decode().split() if ":" in line)
    return int(fields["total_commands_processed"])
