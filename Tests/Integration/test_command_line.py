"""The command line `kdn` against a real kdnd: verbs, JSON, exit codes, the benchmark."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import subprocess

import pytest
from conftest import ROOT
from kdn import AttentionGroup, Client, Key, Layout, Part, Put, chain_root, chunk_hashes

OK, NO, FAILED, USAGE = 0, 1, 2, 64
KDN = os.environ.get("KDN", str(ROOT / ".build/release/kdn"))


@pytest.fixture
def kdn(daemon):
    """Runs `kdn` against the test's daemon."""

    def run(*arguments: str, stdin: bytes = b"", **variables: str):
        environment = {**os.environ, "KDN_ADDRESS": daemon.address, **variables}
        return subprocess.run(
            [KDN, *arguments], input=stdin, capture_output=True, env=environment, timeout=60
        )

    return run


def test_what_is_put_is_got_byte_for_byte(kdn, tmp_path):
    value = os.urandom(3_000_000)
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(value)
    assert kdn("put", "a", str(source)).returncode == OK
    assert kdn("get", "a", str(target)).returncode == OK
    assert target.read_bytes() == value
    assert kdn("put", "b", stdin=b"through the pipe").returncode == OK
    assert kdn("get", "b").stdout == b"through the pipe"


def test_exit_codes_tell_yes_no_and_failure(kdn):
    assert kdn("exists", "nothing").returncode == NO
    assert kdn("get", "nothing").returncode == NO
    assert kdn("pin", "nothing").returncode == NO
    assert kdn("purge", "nothing").returncode == NO
    assert kdn("put", "a", stdin=b"1").returncode == OK
    assert kdn("exists", "a").returncode == OK
    assert kdn("put", "a", stdin=b"2").returncode == FAILED
    assert kdn("ping", KDN_ADDRESS="127.0.0.1:1").returncode == FAILED
    assert kdn("ping", KDN_TOKEN="wrong").returncode == FAILED
    assert kdn("nonsense").returncode == USAGE


def test_a_conflict_names_what_the_daemon_refused(kdn):
    kdn("put", "a", stdin=b"1")
    result = kdn("put", "a", stdin=b"2")
    assert b"conflict" in result.stderr and b"checksum" in result.stderr


def test_json_is_one_object_for_each_verb(kdn):
    kdn("put", "a", stdin=b"1")
    for verb in (["ping"], ["info"], ["stats"], ["exists", "a"], ["pin", "a"], ["purge", "a"]):
        result = kdn(*verb, "--json")
        assert result.returncode == OK, result.stderr
        assert isinstance(json.loads(result.stdout), dict)


def test_a_chain_matches_by_tokens_and_by_hashes(kdn, client, tmp_path):
    layout = Layout("bf16", [AttentionGroup(layers=[0], kv_heads=1, head_dim=8)])
    layout_id = client.register_layout(layout)
    part = Part(0, 1, 0, 1)
    tokens = list(range(96))
    hashes = chunk_hashes(chain_root("a model", b"salt"), tokens, 32)
    for index, chunk in enumerate(hashes[:2]):
        key = Key.layout(chunk, layout_id, part)
        parent = hashes[index - 1] if index else None
        data = bytes(layout.bytes_per_token(part) * 32)
        put = Put(key, data, parent=parent, first_token=32 * index, token_count=32)
        assert client.put_from([put])[0].state == "published"
    file = tmp_path / "tokens"
    file.write_text(" ".join(map(str, tokens)))
    names = ["--layout", layout_id.hex(), "--part", "0:1:0:1", "--json"]
    chain = ["--model", "a model", "--tokens-file", str(file), "--chunk-tokens", "32"]
    found = kdn("match", *names, *chain, "--salt", "salt")
    assert found.returncode == NO and json.loads(found.stdout)["matched_chunks"] == 2
    other = kdn("match", *names, *chain, "--salt", "pepper")
    assert json.loads(other.stdout)["matched_chunks"] == 0
    assert kdn("match", *names, *[chunk.hex() for chunk in hashes[:2]]).returncode == OK
    assert kdn("purge", "--prefix", hashes[0].hex()).returncode == OK
    assert kdn("match", *names, hashes[0].hex()).returncode == NO


def test_purging_all_leaves_nothing(kdn, client):
    for name in "abc":
        kdn("put", name, stdin=name.encode())
    assert kdn("purge", "--all").returncode == OK
    assert client.exists([Key.opaque(name.encode()) for name in "abc"]) == [False] * 3


def test_a_token_comes_from_a_file_or_the_environment(start, tmp_path):
    digest = hashlib.sha256(b"secret").hexdigest()
    daemon = start("--set", f"namespaces=alice:{digest}")
    file = tmp_path / "token"
    file.write_text("secret\n")
    base = [KDN, "ping", "--address", daemon.address, "--namespace", "alice"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("KDN_")}
    by_file = subprocess.run([*base, "--token-file", str(file)], env=plain, timeout=60)
    by_variable = subprocess.run(base, env={**plain, "KDN_TOKEN": "secret"}, timeout=60)
    without = subprocess.run(base, env=plain, timeout=60, capture_output=True)
    codes = (by_file.returncode, by_variable.returncode, without.returncode)
    assert codes == (OK, OK, FAILED)


def test_the_benchmark_prints_json_lines_with_ratios(kdn, client):
    arguments = ["--sizes", "1MiB", "--working-set", "8MiB", "--duration", "0.1", "--rounds", "1"]
    result = kdn("bench", "--op", "get", "--json", "--kdn", "--ceiling", *arguments)
    assert result.returncode == OK, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    samples = [line for line in lines if line["kind"] == "sample"]
    assert {sample["target"] for sample in samples} == {"kdn", "ceiling"}
    assert all(sample["gigabytes_per_second"] > 0 for sample in samples)
    assert any(line["kind"] == "ratio" for line in lines)
    assert client.stats()["namespace"]["objects"] == 0


def test_the_binary_is_the_one_that_was_built():
    assert pathlib.Path(KDN).is_file(), "build it: swift build -c release --product kdn"
