"""Pages by their addresses (v1), out of and into SGLang's own host pools."""

from __future__ import annotations

import itertools

import pytest
import sglang_parts as parts
import torch

import kdn

MHA_LAYOUTS = ("layer_first", "page_first", "page_first_direct", "page_head")
MLA_LAYOUTS = ("layer_first", "page_first", "page_first_direct")
POOLS = [
    *(pytest.param(parts.mha_pool, layout, False, id=f"mha-{layout}") for layout in MHA_LAYOUTS),
    *(pytest.param(parts.mla_pool, layout, True, id=f"mla-{layout}") for layout in MLA_LAYOUTS),
]


@pytest.mark.parametrize(("make_pool", "layout", "latent"), POOLS)
def test_pages_come_back_bit_for_bit_into_another_engines_pool(attach, make_pool, layout, latent):
    writer, reader = make_pool(layout), make_pool(layout)
    parts.fill(writer, 1)
    keys, stored, received = parts.hashes("p", 3), [1, 5, 2], [7, 3, 11]
    source = attach(writer, is_mla_model=latent)
    assert source.batch_set_v1(keys, parts.indices(writer, stored)) == [True] * 3
    target = attach(reader, is_mla_model=latent)
    assert target.batch_exists(keys) == 3
    assert target.batch_get_v1(keys, parts.indices(reader, received)) == [True] * 3
    for there, here in zip(stored, received):
        assert parts.page_bytes(reader, here) == parts.page_bytes(writer, there)
    untouched = set(range(reader.page_num)) - set(received)
    assert not any(any(parts.page_bytes(reader, page)) for page in untouched)
    size = len(parts.page_bytes(writer, 0))
    assert (source.counters.saved, source.counters.saved_bytes) == (3, 3 * size)
    assert (target.counters.loaded, target.counters.loaded_bytes) == (3, 3 * size)


@pytest.mark.parametrize(("make_pool", "layout", "latent"), POOLS)
def test_pages_are_the_flat_pages_of_the_other_interface(attach, make_pool, layout, latent):
    pool = make_pool(layout)
    parts.fill(pool, 2)
    by_address = attach(pool, is_mla_model=latent)
    by_tensor = attach(pool, is_mla_model=latent, extra={"interface_v1": 0})
    old, new = parts.hashes("old", 1)[0], parts.hashes("new", 1)[0]
    assert by_address.batch_set_v1([old], parts.indices(pool, [4])) == [True]
    flat = by_tensor.get(old, pool.get_dummy_flat_data_page())
    assert torch.equal(flat.view(torch.uint8), pool.get_data_page(16).view(torch.uint8))
    assert by_tensor.set(new, pool.get_data_page(20))
    before = parts.page_bytes(pool, 5)
    assert by_address.batch_get_v1([new], parts.indices(pool, [9])) == [True]
    assert parts.page_bytes(pool, 9) == before


def test_a_gap_ends_what_exists_and_is_the_only_page_that_is_not_read(attach):
    pool = parts.mha_pool("page_first")
    parts.fill(pool, 3)
    expected = [parts.page_bytes(pool, page) for page in range(5)]
    keys = parts.hashes("gap", 5)
    backend = attach(pool)
    stored = [keys[0], keys[1], keys[3]]
    assert backend.batch_set_v1(stored, parts.indices(pool, [0, 1, 3])) == [True] * 3
    parts.wipe(pool)
    assert backend.batch_exists(keys) == 2
    assert [backend.exists(key) for key in keys] == [True, True, False, True, False]
    found = backend.batch_get_v1(keys, parts.indices(pool, [0, 1, 2, 3, 4]))
    assert found == [True, True, False, True, False]
    for page in (0, 1, 3):
        assert parts.page_bytes(pool, page) == expected[page]
    assert not any(parts.page_bytes(pool, 2)) and not any(parts.page_bytes(pool, 4))
    assert (backend.counters.loaded, backend.counters.missed) == (3, 2)


def test_what_is_there_already_is_not_sent_again(attach, monkeypatch):
    pool = parts.mha_pool("page_first")
    parts.fill(pool, 4)
    keys = parts.hashes("again", 4)
    backend = attach(pool)
    put, sent = backend._client.put_from, []

    def record(items, timeout):
        sent.append(len(items))
        return put(items, timeout=timeout)

    monkeypatch.setattr(backend._client, "put_from", record)
    assert backend.batch_set_v1(keys[:3], parts.indices(pool, [0, 1, 2])) == [True] * 3
    assert backend.batch_set_v1(keys, parts.indices(pool, [0, 1, 2, 3])) == [True] * 4
    assert (backend.counters.saved, backend.counters.present) == (4, 3)
    assert sent == [3, 1]


def test_other_bytes_under_a_page_that_is_there_leave_the_first_ones(attach, monkeypatch):
    pool = parts.mha_pool("page_first")
    parts.fill(pool, 5)
    key = parts.hashes("conflict", 1)
    backend = attach(pool)
    assert backend.batch_set_v1(key, parts.indices(pool, [0])) == [True]
    # Two engines that store at the same time: neither sees the other's page.
    monkeypatch.setattr(backend._client, "exists", lambda keys, timeout: [False] * len(keys))
    assert backend.batch_set_v1(key, parts.indices(pool, [1])) == [True]
    assert (backend.counters.saved, backend.counters.present) == (1, 1)
    assert backend.batch_get_v1(key, parts.indices(pool, [2])) == [True]
    assert parts.page_bytes(pool, 2) == parts.page_bytes(pool, 0)


@pytest.mark.parametrize("layout", ["page_first", "layer_first"])
@pytest.mark.parametrize("piece", [0, -1])
def test_a_byte_that_changed_on_the_way_is_a_miss(attach, monkeypatch, layout, piece):
    pool = parts.mha_pool(layout)
    parts.fill(pool, 6)
    keys = parts.hashes("flip", 3)
    backend = attach(pool)
    assert backend.batch_set_v1(keys, parts.indices(pool, [0, 1, 2])) == [True] * 3
    receive = backend._client.get_into

    def flip(gets, timeout):
        results = receive(gets, timeout=timeout)
        second = len(gets) // 3
        hit = gets[second : 2 * second][piece].buffer
        hit[0] ^= 1
        return results

    monkeypatch.setattr(backend._client, "get_into", flip)
    assert backend.batch_get_v1(keys, parts.indices(pool, [3, 4, 5])) == [True, False, True]
    assert (backend.counters.corrupt, backend.counters.loaded) == (1, 2)


def test_an_object_of_another_length_is_a_miss(attach, kdnd):
    pool = parts.mla_pool("page_first")
    backend = attach(pool, is_mla_model=True)
    (key,) = parts.hashes("short", 1)
    name = backend._backing.kv_names[0].key(key)
    with kdn.Client(kdnd.tcp) as client:
        client.put(name, b"short")
    assert backend.batch_exists([key]) == 1
    assert backend.batch_get_v1([key], parts.indices(pool, [0])) == [False]


def test_a_batch_as_large_as_sglang_makes_them_goes_through(attach):
    pool, count = parts.mha_pool("layer_first"), 128
    parts.fill(pool, 7)
    keys = parts.hashes("large", count)
    pages = list(itertools.islice(itertools.cycle(range(pool.page_num)), count))
    backend = attach(pool)
    assert all(backend.batch_set_v1(keys, parts.indices(pool, pages)))
    assert backend.batch_exists(keys) == count
    before = parts.page_bytes(pool, pages[-1])
    parts.wipe(pool)
    assert all(backend.batch_get_v1(keys, parts.indices(pool, pages)))
    assert parts.page_bytes(pool, pages[-1]) == before
    assert backend.counters.saved + backend.counters.present == count


def test_heads_split_for_larger_engines_are_found_by_each_of_their_ranks(attach):
    whole = parts.mha_pool("page_head")
    parts.fill(whole, 8)
    keys = parts.hashes("heads", 2)
    writer = attach(whole, tp_lcm_size=4, should_split_heads=True)
    assert writer.batch_set_v1(keys, parts.indices(whole, [1, 2])) == [True, True]
    assert writer.counters.saved == 8
    expected = whole.kv_buffer[:, 1:3]
    for count in (2, 4):
        heads = parts.HEADS // count
        for rank in range(count):
            pool = parts.mha_pool("page_head", heads=heads)
            split = {"tp_lcm_size": 4, "should_split_heads": count < 4}
            reader = attach(pool, tp_rank=rank, tp_size=count, **split)
            assert reader.batch_exists(keys) == 2
            assert reader.batch_get_v1(keys, parts.indices(pool, [3, 4])) == [True, True]
            own = expected[:, :, rank * heads : (rank + 1) * heads]
            assert torch.equal(pool.kv_buffer[:, 3:5].view(torch.int16), own.view(torch.int16))


def test_metrics_tell_pages_and_are_taken_once(attach):
    pool = parts.mha_pool("page_first")
    backend = attach(pool)
    keys = parts.hashes("metrics", 3)
    backend.batch_set_v1(keys, parts.indices(pool, [0, 1, 2]))
    backend.batch_get_v1(keys[:2], parts.indices(pool, [3, 4]))
    taken = backend.get_stats()
    assert (taken.backup_pgs, taken.prefetch_pgs) == ([3], [2])
    assert all(speed > 0 for speed in taken.backup_bandwidth + taken.prefetch_bandwidth)
    assert backend.get_stats().prefetch_pgs == []
    assert attach(pool, enable_storage_metrics=False).get_stats() is None
