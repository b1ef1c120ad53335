"""Which link a client takes by itself, and that none is taken in place of the one asked for."""

from __future__ import annotations

import os

import pytest
from kdn import FieldError, KDNError, Key
from link_node import connect
from material import random_bytes


@pytest.fixture
def automatic(node):
    """A client that was told nothing but the address."""
    with connect(node.address) as client:
        yield client


def test_the_link_asked_for_is_the_one_taken(node):
    with node.client() as client:
        client.ping()
        assert client.link.kind == node.link and client.link.reason.startswith("asked for")


def test_a_client_on_the_daemons_host_takes_shared_memory_and_says_why(automatic, salt):
    key, data = Key.opaque(salt), random_bytes(1 << 20)
    automatic.put(key, data)
    assert automatic.get(key) == data
    assert automatic.link.kind == "shm" and automatic.link.reason


def test_without_shared_memory_the_next_best_is_taken(start, salt):
    node = start("--set", "shm=off")
    best = {"tcp": "tcp", "unix": "unix", "shm": "unix", "rdma": "rdma"}[node.link]
    key, data = Key.opaque(salt), random_bytes(100_000)
    with connect(node.address) as client:
        client.put(key, data)
        assert client.get(key) == data
        assert client.link.kind == best and client.link.reason


def test_what_the_daemon_does_not_serve_is_an_error_and_not_another_link(start):
    node = start("--set", "shm=off")
    for address in (node.tcp, f"unix://{node.unix}"):
        with connect(address, link="shm") as client, pytest.raises(KDNError):
            client.ping()
    with pytest.raises(FieldError):
        connect(f"unix://{node.unix}", link="tcp")
    with pytest.raises(FieldError):
        connect(node.tcp, link="pigeon")


def test_a_user_that_is_not_listed_gets_no_shared_memory(start, salt):
    node = start("--set", f"shm_uids={os.getuid() + 1}")
    key, data = Key.opaque(salt), random_bytes(100_000)
    with connect(f"unix://{node.unix}") as client:
        client.put(key, data)
        assert client.get(key) == data
        assert client.link.kind == "unix" and client.link.reason
    with connect(f"unix://{node.unix}", link="shm") as client:
        with pytest.raises(KDNError):
            client.ping()
