"""The adapter and a real daemon, driven with LMCache's own classes as its controllers do."""

from __future__ import annotations

import pytest
import torch
from lmcache.v1.distributed.api import MemoryLayoutDesc
from lmcache.v1.memory_management import BytesBufferMemoryObj
from lmcache_parts import (
    L1,
    SHAPE,
    Driver,
    bytes_of,
    layout,
    memories,
    memory,
    object_key,
    object_keys,
)

from kdn.engines.lmcache import KDNL2Adapter
from kdn.engines.lmcache.memory import Arena, Loan


def counters(driver: Driver) -> dict:
    return driver.adapter.report_status()["counters"]


def test_the_three_descriptors_are_distinct(driver):
    adapter = driver.adapter
    assert len({
        adapter.get_store_event_fd(),
        adapter.get_lookup_and_lock_event_fd(),
        adapter.get_load_event_fd(),
    }) == 3


def test_what_was_stored_is_found_by_another_server_and_loaded_byte_for_byte(adapters):
    keys, stored = object_keys(7), memories(7, seeded=True)
    writer, reader = adapters(), adapters()
    result = writer.store(keys, stored)
    assert result.is_successful()
    assert result.bytes_transferred() == 7 * stored[0].get_size()
    asked = [*keys, object_key(100)]
    assert reader.look_up(asked) == [True] * 7 + [False]
    loaded = memories(8)
    assert reader.load(asked, loaded) == [True] * 7 + [False]
    assert [bytes_of(m) for m in loaded[:7]] == [bytes_of(m) for m in stored]
    assert counters(reader)["load_bytes"] == result.bytes_transferred()


def test_a_second_store_of_the_same_or_other_bytes_succeeds_and_keeps_the_first(adapters):
    keys, first = object_keys(2), memories(2, seeded=True)
    assert adapters().store(keys, first).is_successful()
    other = [memory(seed=77), memory(seed=78)]
    again = adapters().store(keys, other)
    assert again.is_successful()
    loaded = memories(2)
    assert adapters().load(keys, loaded) == [True, True]
    assert [bytes_of(m) for m in loaded] == [bytes_of(m) for m in first]


def test_bits_stand_for_their_own_keys_also_behind_a_gap(adapters):
    keys, stored = object_keys(9), memories(9, seeded=True)
    present = [0, 1, 4, 5, 8]
    writer, reader = adapters(), adapters()
    assert writer.store([keys[i] for i in present], [stored[i] for i in present]).is_successful()
    bits = [i in present for i in range(9)]
    assert reader.look_up(keys) == bits
    assert counters(reader)["leased_keys"] == 5
    loaded = memories(9)
    assert reader.load(keys, loaded) == bits
    assert all(bytes_of(loaded[i]) == bytes_of(stored[i]) for i in present)


@pytest.mark.parametrize("change", [
    {"model": "other"}, {"rank": 0x02010201}, {"group": 1}, {"salt": "tenant"},
])
def test_an_object_of_another_model_rank_group_or_salt_is_a_miss(adapters, change):
    driver = adapters()
    assert driver.store([object_key(1)], [memory(seed=1)]).is_successful()
    other = object_key(1, **change)
    layouts = {0: layout()[0], 1: layout()[0]}
    assert driver.look_up([other], layouts) == [False]
    assert driver.load([other], [memory()]) == [False]


def test_servers_with_other_numbers_or_shapes_never_read_each_others_bytes(adapters):
    bf16, shape = torch.bfloat16, (2, 3, 32, 8)
    writer = adapters()
    assert writer.store([object_key(1)], [memory(seed=1)]).is_successful()
    for found in (layout(shape, bf16), layout(SHAPE, torch.int8), layout((1, 6, 16, 8))):
        assert adapters().look_up([object_key(1)], found) == [False]
    same_size = memory(shape, bf16)
    assert same_size.get_size() == memory().get_size()
    assert adapters().load([object_key(1)], [same_size]) == [False]
    assert bytes_of(same_size) == bytes(same_size.get_size())


def test_an_object_whose_axes_are_unknown_is_stored_opaque_and_found_again(adapters):
    flat = (96,)
    writer, reader = adapters(), adapters()
    stored, loaded = memory(flat, seed=4), memory(flat)
    assert writer.store([object_key(1)], [stored]).is_successful()
    assert reader.look_up([object_key(1)], layout(flat)) == [True]
    assert reader.adapter.report_status()["leases"] == 0
    assert reader.load([object_key(1)], [loaded]) == [True]
    assert bytes_of(loaded) == bytes_of(stored)


def test_a_lookup_without_shapes_finds_what_this_server_stored(adapters):
    nothing_said = {0: MemoryLayoutDesc([], [])}
    writer, stranger = adapters(), adapters()
    assert writer.store(object_keys(2), memories(2, seeded=True)).is_successful()
    assert writer.look_up(object_keys(3), nothing_said) == [True, True, False]
    assert stranger.look_up(object_keys(3), nothing_said) == [False] * 3


def test_several_tensors_in_one_object_travel_as_one(adapters):
    shapes = [torch.Size((2, 3, 16, 8)), torch.Size((2, 1, 16, 4))]
    dtypes = [torch.bfloat16, torch.float32]
    size = sum(shape.numel() * dtype.itemsize for shape, dtype in zip(shapes, dtypes))
    items = []
    for seed in (5, None):
        item = memory((size,), torch.uint8, seed=seed)
        item.meta.shapes, item.meta.dtypes = shapes, dtypes
        items.append(item)
    stored, loaded = items
    writer, reader = adapters(), adapters()
    assert writer.store([object_key(1)], [stored]).is_successful()
    assert reader.look_up([object_key(1)], {0: MemoryLayoutDesc(shapes, dtypes)}) == [True]
    assert counters(reader)["leased_keys"] == 1
    assert reader.load([object_key(1)], [loaded]) == [True]
    assert bytes_of(loaded) == bytes_of(stored)


def test_found_objects_are_leased_until_every_lock_is_given_back(adapters, kdnd):
    driver = adapters()
    keys = object_keys(4)
    assert driver.store(keys, memories(4, seeded=True)).is_successful()
    assert driver.look_up(keys) == [True] * 4
    assert driver.look_up(keys[:2]) == [True] * 2
    assert driver.adapter.report_status()["leases"] == 2
    driver.adapter.submit_unlock(keys[:2])
    driver.adapter.submit_unlock(keys[2:])
    assert driver.adapter.report_status()["leases"] == 1
    driver.adapter.submit_unlock(keys[:2])
    assert driver.adapter.report_status()["leases"] == 0
    driver.look_up([])  # behind the releases, in the same lane
    assert counters(driver)["leases_released"] == 2


def test_a_lease_keeps_objects_while_stores_fill_the_memory(own_kdnd):
    shape = (2, 4, 256, 1024)  # 8 MiB as float32
    adapter = KDNL2Adapter({"address": own_kdnd.tcp, "timeout": 30.0})
    driver = Driver(adapter)
    try:
        keys = object_keys(3)
        stored = [memory(shape, seed=number) for number in range(3)]
        assert driver.store(keys, stored).is_successful()
        assert driver.look_up(keys, layout(shape)) == [True] * 3
        filler = memory(shape, seed=99)
        for number in range(60):
            driver.store([object_key(1000 + number)], [filler])
        unleased = driver.look_up(object_keys(10, first=1000), layout(shape))
        assert not all(unleased), "the memory was never full"
        loaded = [memory(shape) for _ in range(3)]
        assert driver.load(keys, loaded) == [True] * 3
        assert [bytes_of(m) for m in loaded] == [bytes_of(m) for m in stored]
    finally:
        adapter.close()


def test_objects_in_l1_are_received_where_they_lie(adapters):
    l1 = L1(1 << 20)
    driver = adapters(l1_memory_desc=l1.description)
    stored, loaded = l1.memory(seed=3), l1.memory()
    loan = Loan(loaded, Arena.of(l1.description), writable=True)
    loan.view[0] = 7
    assert loaded.raw_data[0] == 7, "the view is not L1's own memory"
    assert driver.store([object_key(1)], [stored]).is_successful()
    assert driver.load([object_key(1)], [loaded]) == [True]
    assert torch.equal(loaded.raw_data, stored.raw_data)


def test_an_arena_lends_nothing_that_reaches_beyond_it():
    l1 = L1(100)
    arena = Arena.of(l1.description)
    assert len(arena.slice(l1.slab.data_ptr() + 40, 60)) == 60
    assert arena.slice(l1.slab.data_ptr() + 41, 60) is None
    assert arena.slice(l1.slab.data_ptr() - 1, 10) is None
    assert Arena.of(None).slice(0, 0) is None


def test_strided_memory_is_stored_and_loaded_through_a_copy(adapters):
    driver = adapters()
    size = memory().get_size()
    wide = torch.zeros(size, 2, dtype=torch.uint8)
    plain = memory(seed=6)
    strided = memory(raw=wide[:, 0])
    wide[:, 0] = plain.raw_data
    assert not strided.raw_data.is_contiguous()
    assert driver.store([object_key(1)], [strided]).is_successful()
    wide.fill_(9)
    assert driver.load([object_key(1)], [strided]) == [True]
    assert torch.equal(wide[:, 0], plain.raw_data)
    assert bool((wide[:, 1] == 9).all()), "bytes beside the object were touched"


def test_memory_that_cannot_be_received_into_is_a_missing_bit(driver):
    keys, stored = object_keys(3), memories(3, seeded=True)
    assert driver.store(keys, stored).is_successful()
    read_only = BytesBufferMemoryObj(bytes(stored[1].get_size()), stored[1].metadata)
    short = memory()
    short.raw_data = short.raw_data[:10]
    loaded = [memory(), read_only, short]
    assert driver.load(keys, loaded) == [True, False, False]
    assert bytes_of(loaded[0]) == bytes_of(stored[0])


def test_a_store_of_which_a_part_fails_is_a_failure_and_keeps_the_rest(driver):
    broken = memory(seed=1)
    broken.raw_data = broken.raw_data[:10]
    assert not driver.store(object_keys(2), [memory(seed=0), broken]).is_successful()
    assert driver.look_up(object_keys(2)) == [True, False]


def test_encoded_objects_are_found_by_their_tag_alone(adapters):
    encoded, target = memory((200,), torch.uint8, seed=1), memory((200,), torch.uint8)
    writer, reader, plain = adapters(tag="fp8"), adapters(tag="fp8"), adapters()
    assert writer.store([object_key(1)], [encoded]).is_successful()
    assert reader.look_up([object_key(1)], layout()) == [True]
    assert plain.look_up([object_key(1)], layout()) == [False]
    assert counters(reader).get("shapes_differ", 0) == 0
    longer = memory((300,), torch.uint8)
    assert reader.load([object_key(1)], [longer]) == [False]
    assert reader.load([object_key(1)], [target]) == [True]
    assert bytes_of(target) == bytes_of(encoded)


def test_a_server_that_encodes_without_a_tag_misses_and_says_why(driver):
    assert driver.store([object_key(1)], [memory((200,), torch.uint8, seed=1)]).is_successful()
    assert driver.look_up([object_key(1)], layout()) == [False]
    assert driver.look_up([object_key(1)], layout((200,), torch.uint8)) == [True]
    assert counters(driver)["shapes_differ"] == 1
