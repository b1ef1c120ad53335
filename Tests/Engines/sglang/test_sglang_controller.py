"""SGLang's own cache controller, with its threads, over KDN."""

from __future__ import annotations

import threading
import types
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sglang_hashes
import sglang_parts as parts
import torch
from sglang.srt.managers.cache_controller import HiCacheController
from sglang.srt.mem_cache.cpp_utils import native_hash
from sglang.srt.mem_cache.memory_pool import MHATokenToKVPool
from sglang.srt.mem_cache.radix_cache import RadixKey
from sglang.srt.mem_cache.utils import get_storage_hash_str
from sglang.srt.runtime_context import get_parallel

SECONDS = 20.0
LONE = {
    "tp_rank": 0, "tp_size": 1, "pp_rank": 0, "pp_size": 1, "attn_dcp_rank": 0, "attn_dcp_size": 1,
}  # fmt: skip
PAGES = 6


@pytest.fixture
def control(kdnd, request, monkeypatch) -> Iterator[Callable[..., Any]]:
    """Makes controllers over a host pool, attached to the daemon."""
    monkeypatch.setattr(native_hash, "_load_native_hash_module", lambda: sglang_hashes.MODULE)
    made = []

    def make(host: Any, interface: int) -> HiCacheController:
        device = MHATokenToKVPool(
            parts.TOKENS, parts.PAGE, torch.bfloat16, parts.HEADS, parts.DIM, parts.LAYERS, "cpu",
            False, enable_alt_stream=False,
        )  # fmt: skip
        extra = parts.config(kdnd.tcp, extra={"interface_v1": interface}).extra_config
        controller = HiCacheController(
            types.SimpleNamespace(get_kvcache=lambda: device), host, parts.PAGE, None,
            threading.Event(), io_backend="direct", storage_backend="dynamic",
            prefetch_threshold=parts.PAGE, model_name=request.node.name,
            storage_backend_extra_config=extra,
        )  # fmt: skip
        made.append(controller)
        return controller

    with get_parallel().override(**LONE):
        yield make
        for controller in made:
            controller.detach_storage_backend()


def prompt(salt: str | None = None, changed_page: int | None = None) -> RadixKey:
    tokens = array("q", range(100, 100 + PAGES * parts.PAGE))
    if changed_page is not None:
        tokens[changed_page * parts.PAGE] = 7
    return RadixKey(tokens, None, cache_salt=salt)


def back_up(controller: HiCacheController, key: RadixKey, pages: list[int]) -> int:
    """Writes a prompt's pages to storage; returns how many tokens were acknowledged."""
    page_hashes = get_storage_hash_str(key, None, page_size=parts.PAGE)
    places = parts.indices(controller.mem_pool_host, pages)
    controller.write_storage(places, key.token_ids, page_hashes)
    return controller.ack_backup_queue.get(timeout=SECONDS).completed_tokens


def prefetch(controller: HiCacheController, key: RadixKey, pages: list[int]) -> tuple[int, int]:
    """Looks a prompt up and reads what is there; returns tokens that hit and that came."""
    places = parts.indices(controller.mem_pool_host, pages)
    controller.prefetch("request", key)
    operation = controller.prefetch_hit_queue.get(timeout=SECONDS)
    operation.host_indices = places[: operation.storage_hit_count]
    controller.prefetch_buffer.put(operation)
    came = 0
    while not (ack := controller.ack_prefetch_queue.get(timeout=SECONDS)).completed_req:
        came = ack.completed_tokens
    return operation.storage_hit_count, came


@pytest.mark.parametrize("layout", ["layer_first", "page_first", "page_first_direct"])
@pytest.mark.parametrize("interface", [0, 1], ids=["tensors", "addresses"])
def test_a_prompt_written_by_one_controller_is_read_by_another(control, layout, interface):
    old, new = parts.mha_pool(layout), parts.mha_pool(layout)
    parts.fill(old, 1)
    writer, reader = control(old, interface), control(new, interface)
    stored, received = [3, 1, 4, 2, 9, 6], [5, 8, 7, 10, 0, 11]
    total = PAGES * parts.PAGE
    assert back_up(writer, prompt(), stored) == total
    assert prefetch(reader, prompt(), received) == (total, total)
    for there, here in zip(stored, received):
        assert parts.page_bytes(new, here) == parts.page_bytes(old, there)
    assert writer.storage_backend.counters.saved == PAGES
    assert reader.storage_backend.counters.loaded == PAGES


@pytest.mark.parametrize("interface", [0, 1], ids=["tensors", "addresses"])
def test_a_prompt_that_differs_hits_up_to_there_and_under_another_salt_nowhere(control, interface):
    pool = parts.mha_pool("page_first")
    parts.fill(pool, 2)
    controller = control(pool, interface)
    pages = list(range(PAGES))
    assert back_up(controller, prompt("tenant-a"), pages) == PAGES * parts.PAGE
    common = 4 * parts.PAGE
    assert prefetch(controller, prompt("tenant-a", changed_page=4), pages) == (common, common)
    assert prefetch(controller, prompt("tenant-a", changed_page=0), pages) == (0, 0)
    for salt in ("tenant-b", None):
        assert prefetch(controller, prompt(salt), pages) == (0, 0)


@pytest.mark.parametrize("interface", [0, 1], ids=["tensors", "addresses"])
def test_with_the_daemon_gone_between_lookup_and_read_nothing_comes(control, own_kdnd, interface):
    pool = parts.mha_pool("page_first")
    controller = control(pool, interface)
    # This one talks to a daemon of its own.
    own = parts.make(own_kdnd.tcp, pool, extra={"interface_v1": interface})
    controller.storage_backend, before = own, controller.storage_backend
    before.close()
    pages = list(range(PAGES))
    total = PAGES * parts.PAGE
    assert back_up(controller, prompt(), pages) == total
    lookup = own.batch_exists

    def die_after_lookup(keys, extra_info=None):
        found = lookup(keys, extra_info)
        own_kdnd.process.kill()
        own_kdnd.process.wait()
        return found

    own.batch_exists = die_after_lookup
    assert prefetch(controller, prompt(), pages) == (total, 0)
    assert back_up(controller, prompt("new"), pages) == 0
