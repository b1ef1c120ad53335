"""The adapter's other sides: delete, listing, usage, listeners, settings, and how it is loaded."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from lmcache.v1.distributed.internal_api import L2AdapterListener
from lmcache.v1.distributed.l2_adapters import create_l2_adapter
from lmcache.v1.distributed.l2_adapters.config import parse_args_to_l2_adapters_config
from lmcache_parts import L1, memories, memory, object_key, object_keys

from kdn import Client, FieldError
from kdn.engines.lmcache import KDNL2Adapter, KDNL2AdapterConfig


def test_delete_removes_objects_and_their_bytes_from_the_usage(adapters):
    driver = adapters()
    keys = object_keys(3, salt="a")
    size = memory().get_size()
    assert driver.store(keys, memories(3, seeded=True)).is_successful()
    assert driver.adapter.get_usage().bytes_by_cache_salt == {"a": 3 * size}
    driver.adapter.delete(keys[:2])
    assert driver.look_up(keys) == [False, False, True]
    usage = driver.adapter.get_usage()
    assert (usage.total_bytes_used, usage.usage_fraction) == (size, -1.0)
    driver.adapter.delete([object_key(999)])


def test_listing_pages_through_what_is_still_there(adapters):
    driver = adapters()
    keys = object_keys(5)
    assert driver.store(keys, memories(5, seeded=True)).is_successful()
    assert driver.store([object_key(1, model="other")], [memory(seed=9)]).is_successful()
    with Client(driver.adapter.report_status()["address"]) as client:
        client.purge(keys=[driver.adapter._tasks.known.get(keys[2]).named.key])
    listed, cursor = [], None
    while True:
        page = driver.adapter.list_l2_keys("model", page_size=2, cursor=cursor)
        listed += [entry.key.to_object_key() for entry in page.entries]
        cursor = page.next_page_token
        if cursor is None:
            break
    assert sorted(k.chunk_hash for k in listed) == sorted(
        k.chunk_hash for k in keys if k is not keys[2]
    )
    for wrong in ({"page_size": 0}, {"cursor": "x"}):
        with pytest.raises(ValueError):
            driver.adapter.list_l2_keys(**wrong)


def test_listeners_hear_of_stores_loads_and_deletes_and_may_fail(driver):
    heard = []

    class Listener(L2AdapterListener):
        def on_l2_keys_stored(self, keys, sizes):
            heard.append(("stored", len(keys), sum(sizes)))
            raise RuntimeError("a listener's own fault")

        def on_l2_keys_accessed(self, keys):
            heard.append(("accessed", len(keys)))

        def on_l2_keys_deleted(self, keys):
            heard.append(("deleted", len(keys)))

    driver.adapter.register_listener(Listener())
    key, size = object_key(1), memory().get_size()
    assert driver.store([key], [memory(seed=1)]).is_successful()
    assert driver.load([key], [memory()]) == [True]
    driver.adapter.delete([key])
    driver.adapter.close()
    assert heard == [("stored", 1, size), ("accessed", 1), ("deleted", 1)]


def test_lmcache_loads_the_adapter_as_a_plugin(kdnd):
    spec = (
        '{"type": "plugin", "module_path": "kdn.engines.lmcache", "class_name": "KDNL2Adapter",'
        f' "adapter_params": {{"address": "{kdnd.tcp}", "streams": 1}}}}'
    )
    configs = parse_args_to_l2_adapters_config(SimpleNamespace(l2_adapter=[spec]))
    l1 = L1(1 << 16)
    adapter = create_l2_adapter(configs.adapters[0], l1_memory_desc=l1.description)
    try:
        assert isinstance(adapter, KDNL2Adapter)
        assert adapter.report_status()["address"] == kdnd.tcp
    finally:
        adapter.close()


@pytest.mark.parametrize(("setting", "field"), [
    ({"adress": "x"}, "adapter_params"), ({"address": "host:0"}, "address"),
    ({"timeout": 0}, "timeout"), ({"streams": 2.5}, "streams"), ({"lease_ms": True}, "lease_ms"),
    ({"token": "a", "token_file": "b"}, "token_file"),
])
def test_wrong_settings_are_refused_by_name(setting, field):
    with pytest.raises(FieldError) as raised:
        KDNL2AdapterConfig.from_dict(setting)
    assert raised.value.field == field


def test_the_address_comes_from_the_environment_if_it_is_not_given(monkeypatch):
    monkeypatch.setenv("KDN_ADDRESS", "example:1234")
    assert KDNL2AdapterConfig.from_dict({}).address == "example:1234"
    monkeypatch.delenv("KDN_ADDRESS")
    assert KDNL2AdapterConfig.from_dict({}).address == "127.0.0.1:9440"


def test_the_status_says_whether_the_server_answers(driver):
    assert driver.store([object_key(1)], [memory(seed=1)]).is_successful()
    status = driver.adapter.report_status()
    assert status["is_healthy"] and status["is_reachable"]
    assert (status["known_keys"], status["counters"]["stored"]) == (1, 1)
    assert status["server"]["schema"] == 1
