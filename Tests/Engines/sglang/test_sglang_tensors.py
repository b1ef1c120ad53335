"""Pages as flat tensors: get, set, exists and their batches."""

from __future__ import annotations

import pytest
import sglang_parts as parts
import torch

PLAIN = {"extra": {"interface_v1": 0}}


def some(seed: int, shape: tuple[int, ...] = (6, 8)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def test_a_tensor_comes_back_into_the_callers_memory(attach):
    backend = attach(**PLAIN)
    assert not backend.exists("k")
    assert backend.get("k", torch.zeros(48)) is None
    assert backend.set("k", some(1))
    assert backend.exists("k")
    target = torch.zeros((6, 8), dtype=torch.bfloat16)
    assert backend.get("k", target) is target
    assert torch.equal(target, some(1))


def test_without_a_target_the_bytes_come_as_a_new_tensor(attach):
    backend = attach(**PLAIN)
    assert backend.set("k", some(2))
    assert torch.equal(backend.get("k").view(torch.bfloat16).view(6, 8), some(2))
    assert backend.get("other") is None


def test_tensors_that_are_strided_are_stored_and_filled_as_their_values(attach):
    backend = attach(**PLAIN)
    assert backend.set("k", some(3).t())
    target = torch.zeros((6, 8), dtype=torch.bfloat16).t()
    assert backend.get("k", target) is target
    assert torch.equal(target, some(3).t())


def test_addresses_are_filled_and_stored_from(attach):
    backend = attach(**PLAIN)
    source, target = some(4), torch.zeros((6, 8), dtype=torch.bfloat16)
    size = source.numel() * 2
    assert backend.set("k", target_location=source.data_ptr(), target_sizes=size)
    assert backend.get("k", target.data_ptr(), size) is True
    assert torch.equal(target, source)
    assert backend.get("k", target.data_ptr()) is None
    assert not backend.set("other", target_location=source.data_ptr())


def test_batches_tell_each_page_and_whether_all_are_stored(attach):
    backend = attach(**PLAIN)
    keys = parts.hashes("b", 3)
    assert backend.batch_set(keys[:2], [some(5), some(6)])
    targets = [torch.zeros((6, 8), dtype=torch.bfloat16) for _ in keys]
    found = backend.batch_get(keys, targets)
    assert found[0] is targets[0] and found[1] is targets[1] and found[2] is None
    assert torch.equal(targets[1], some(6))
    assert backend.batch_exists(keys) == 2
    new = backend.batch_get(keys)
    assert torch.equal(new[0].view(torch.bfloat16).view(6, 8), some(5)) and new[2] is None
    assert not backend.batch_set([], [])
    assert not backend.batch_set(keys, [some(5)])


def test_a_target_of_another_length_is_a_miss(attach):
    backend = attach(**PLAIN)
    assert backend.set("k", some(7))
    assert backend.get("k", torch.zeros(3)) is None
    assert backend.get("k", torch.zeros(4096)) is None


@pytest.mark.parametrize("interface", [0, 1])
def test_clear_empties_the_namespace(own_kdnd, interface):
    pool = parts.mha_pool("page_first")
    backend = parts.make(own_kdnd.tcp, pool, extra={"interface_v1": interface})
    keys = parts.hashes("c", 2)
    assert backend.batch_set_v1(keys, parts.indices(pool, [0, 1])) == [True, True]
    assert backend.batch_exists(keys) == 2
    assert backend.clear() is True
    assert backend.batch_exists(keys) == 0
    backend.close()
