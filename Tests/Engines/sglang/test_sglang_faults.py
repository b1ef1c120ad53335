"""A daemon that is away, settings that are wrong, and SGLang's own fault injection."""

from __future__ import annotations

import socket
import sys
import time
from typing import Any

import pytest
import sglang_parts as parts
import torch
from sglang.srt.mem_cache.hicache_storage import (
    HiCacheStorageFailureInjector,
    PoolName,
    PoolTransfer,
)

from kdn.errors import FieldError

DEADLINE_SECONDS = 20.0
daemons: Any = sys.modules["kdn_daemon_fixtures"]  # what daemon_fixtures has loaded


def assert_all_miss(backend: Any, pool: Any, keys: list[str]) -> None:
    """Every method answers as for a page that is not there, and none raises."""
    two = parts.indices(pool, [0, 1])
    flat = [pool.get_dummy_flat_data_page() for _ in keys]
    moved = [PoolTransfer(PoolName.KV, two, keys=keys)]
    assert backend.batch_exists(keys) == 0
    assert not backend.exists(keys[0])
    assert backend.batch_get_v1(keys, two) == [False, False]
    assert backend.batch_set_v1(keys, two) == [False, False]
    assert backend.batch_exists_v2(keys, moved).kv_hit_pages == 0
    assert backend.batch_get_v2(moved) == {PoolName.KV: [False, False]}
    assert backend.batch_set_v2(moved) == {PoolName.KV: [False, False]}
    assert backend.get(keys[0], flat[0]) is None
    assert backend.get(keys[0]) is None
    assert backend.batch_get(keys, flat) == [None, None]
    assert not backend.set(keys[0], flat[0])
    assert not backend.batch_set(keys, flat)


def test_nobody_there_is_a_miss_for_every_method():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    pool = parts.mha_pool("page_first")
    backend = parts.make(address, pool)
    assert_all_miss(backend, pool, parts.hashes("k", 2))
    assert backend.clear() is False
    assert backend.get_stats() is not None
    backend.close()


def test_a_daemon_that_accepts_and_says_nothing_is_a_miss_within_the_deadline():
    pool = parts.mha_pool("page_first")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        limits = {"kdn_timeout": 0.2, "kdn_lookup_timeout": 0.1}
        backend = parts.make(address, pool, extra=limits)
        assert_all_miss(backend, pool, parts.hashes("k", 2))
        backend.close()


def test_a_daemon_killed_and_started_again_is_a_miss_and_then_of_use_again(own_kdnd, tmp_path):
    pool, keys = parts.mha_pool("page_first"), parts.hashes("killed", 2)
    backend = parts.make(own_kdnd.unix, pool)
    two = parts.indices(pool, [0, 1])
    assert backend.batch_set_v1(keys, two) == [True, True]
    assert backend.batch_get_v1(keys, two) == [True, True]
    own_kdnd.process.kill()
    own_kdnd.process.wait()
    assert_all_miss(backend, pool, keys)
    again = daemons.start_daemon(daemons.require_binary(), tmp_path / "s")
    try:
        give_up = time.monotonic() + DEADLINE_SECONDS
        while backend.batch_set_v1(keys, two) != [True, True]:
            assert time.monotonic() < give_up
        assert backend.batch_get_v1(keys, two) == [True, True]
        assert backend.counters.saved == 4
    finally:
        backend.close()
        daemons.stop_daemon(again)


def test_after_close_everything_misses(attach):
    pool, keys = parts.mha_pool("page_first"), parts.hashes("closed", 2)
    backend = attach(pool)
    assert all(backend.batch_set_v1(keys, parts.indices(pool, [0, 1])))
    backend.close()
    assert_all_miss(backend, pool, keys)
    assert attach(pool).batch_exists(keys) == 2


def test_a_pool_that_was_destroyed_is_neither_read_nor_written(attach):
    pool, keys = parts.mha_pool("page_first"), parts.hashes("destroyed", 2)
    backend = attach(pool)
    two = parts.indices(pool, [0, 1])
    assert all(backend.batch_set_v1(keys, two))
    pool.destroy()
    assert backend.batch_get_v1(keys, two) == [False, False]
    assert backend.batch_set_v1(keys, two) == [False, False]
    assert backend.counters.errors == 2


@pytest.mark.parametrize("wrong", ["keys", "bytes", "surrogate"])
def test_arguments_that_no_engine_gives_are_misses_too(attach, wrong):
    pool = parts.mha_pool("page_first")
    backend = attach(pool)
    given = {"keys": [1, None], "bytes": [b"a", b"b"], "surrogate": ["\ud800", "b"]}
    keys: list[Any] = given[wrong]
    assert backend.batch_exists(keys) == 0
    assert backend.batch_set_v1(keys, parts.indices(pool, [0, 1])) == [False, False]
    assert backend.batch_get_v1(keys, parts.indices(pool, [0, 1])) == [False, False]
    assert backend.counters.errors == 3


def test_layouts_that_only_give_flat_copies_go_by_those(attach, monkeypatch):
    monkeypatch.setattr("kdn.engines.sglang.pools.STAGED_BYTES_MAX", 2000)
    pool, keys = parts.mha_pool("page_first"), parts.hashes("staged", 5)
    monkeypatch.setattr(type(pool), "get_page_buffer_meta", no_addresses)
    parts.fill(pool, 11)
    expected = [parts.page_bytes(pool, page) for page in range(5)]
    backend = attach(pool)
    assert backend._backing.kv_port.window_pages == 1
    assert all(backend.batch_set_v1(keys[:4], parts.indices(pool, [0, 1, 2, 3])))
    parts.wipe(pool)
    found = backend.batch_get_v1(keys, parts.indices(pool, [0, 1, 2, 3, 4]))
    assert found == [True, True, True, True, False]
    assert [parts.page_bytes(pool, page) for page in range(4)] == expected[:4]
    assert not any(parts.page_bytes(pool, 4))


def no_addresses(pool: Any, indices: torch.Tensor) -> Any:
    raise ValueError("Unsupported layout")


def test_under_sglangs_fault_injection_calls_miss_and_reach_nobody(attach):
    pool, keys = parts.mha_pool("page_first"), parts.hashes("injected", 2)
    with parts.injected_failures(1.0):
        wrapped = attach(pool)
    assert isinstance(wrapped, HiCacheStorageFailureInjector)
    assert_all_miss(wrapped, pool, keys)
    assert wrapped._backend.counters.looked_up == wrapped._backend.counters.saved == 0
    with parts.injected_failures(0.0):
        whole = attach(pool)
    assert whole.batch_set_v1(keys, parts.indices(pool, [0, 1])) == [True, True]
    assert whole.batch_exists(keys) == 2


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"kdn_adress": "127.0.0.1:1"}, "kdn_adress"),
        ({"kdn_timeout": 0}, "kdn_timeout"),
        ({"kdn_timeout": "soon"}, "kdn_timeout"),
        ({"kdn_lookup_timeout": 1e9}, "kdn_lookup_timeout"),
        ({"kdn_streams": 0}, "kdn_streams"),
        ({"kdn_streams": 1.5}, "kdn_streams"),
        ({"kdn_streams": True}, "kdn_streams"),
        ({"kdn_ttl": -1}, "kdn_ttl"),
        ({"kdn_namespace": 7}, "kdn_namespace"),
        ({"kdn_token_file": "/does/not/exist"}, "kdn_token_file"),
        ({"kdn_token": "t", "kdn_token_file": "f"}, "kdn_token_file"),
        ({"kdn_address": "host:99999"}, "address"),
        ({"kdn_ca": "ca.pem"}, "ca"),
    ],
)
def test_wrong_settings_are_errors_at_the_start(extra, field):
    with pytest.raises(FieldError) as caught:
        parts.make("127.0.0.1:1", extra=extra)
    assert caught.value.field == field


def test_where_nothing_names_the_weights_the_start_fails():
    with pytest.raises(FieldError, match="kdn_model_name"):
        parts.make("127.0.0.1:1", model_name=None)
    parts.make("127.0.0.1:1", model_name=None, extra={"kdn_model_name": "m@1"}).close()
