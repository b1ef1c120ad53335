"""Tensors that share large pieces of memory, and chunks that are put into them."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models
import torch
from tiny_caches import FULL

from kdn.engines import _planes
from kdn.engines._memory import ALIGNMENT, PIECE_BYTES, empty_bytes, empty_tensors
from kdn.engines._placing import Placing

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [1, 63, 64, 1000, PIECE_BYTES + 1])
def test_bytes_are_aligned(size: int) -> None:
    memory = empty_bytes(size)
    assert memory.numel() == size
    assert memory.data_ptr() % ALIGNMENT == 0


def test_tensors_have_their_shapes_and_memory_of_their_own() -> None:
    shapes = [
        ((1, 3, number % 7 + 1, 5), dtype, CPU)
        for number in range(60)
        for dtype in (torch.bfloat16, torch.float32)
    ]
    tensors = empty_tensors(shapes)
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
    for number, (tensor, (shape, dtype, _)) in enumerate(zip(tensors, shapes, strict=True)):
        assert (tuple(tensor.shape), tensor.dtype) == (shape, dtype)
        assert tensor.is_contiguous() and tensor.data_ptr() % ALIGNMENT == 0
        assert bool((tensor == number).all())


def test_small_tensors_share_pieces_and_large_ones_have_theirs() -> None:
    small = [((1, 1, 1024, 64), torch.bfloat16, CPU)] * 64
    pieces = [tensor.untyped_storage() for tensor in empty_tensors(small)]
    sizes = {piece.data_ptr(): piece.nbytes() for piece in pieces}
    assert len(sizes) == 2
    assert all(size <= PIECE_BYTES + 2 * ALIGNMENT for size in sizes.values())
    large = [((1, 1, PIECE_BYTES, 1), torch.uint8, CPU)] * 3
    assert len({t.untyped_storage().data_ptr() for t in empty_tensors(large)}) == 3


def test_tensors_elsewhere_are_made_there() -> None:
    (found,) = empty_tensors([((1, 2), torch.float32, torch.device("meta"))])
    assert found.device.type == "meta"


@pytest.mark.parametrize(("first", "end"), [(0, 40), (5, 40), (16, 33), (20, 23)])
def test_chunks_go_to_the_tokens_that_are_wanted(first: int, end: int) -> None:
    (plane,) = _planes.describe(tiny_models.tiny_model(FULL, torch.bfloat16)).planes
    size = 16
    rng = np.random.default_rng(3)
    payload = rng.integers(0, 256, (3, plane.chunk_bytes(size)), np.uint8)
    placing = Placing(plane, first, end, size)
    for chunk in range(first // size, -(-end // size)):
        placing.put(chunk, plane.layers, payload[chunk])
    whole = dict(plane.views(torch.from_numpy(payload), plane.layers, size))
    for facts in plane.layers:
        both = whole[facts].permute(1, 2, 0, 3, 4).reshape(2, facts.kv_heads, 3 * size, -1)
        keys, values = (both[number][:, first:end].view(torch.uint8) for number in range(2))
        assert torch.equal(placing.tensors.keys[facts.number][0].view(torch.uint8), keys)
        assert torch.equal(placing.tensors.values[facts.number][0].view(torch.uint8), values)
