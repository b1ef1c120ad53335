"""Tensors that share large pieces of memory, and chunks that are put into them."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import tiny_models
import torch
from tiny_caches import FULL

from kdn.codec.container import Header, planes_of
from kdn.engines import _planes
from kdn.engines._memory import ALIGNMENT, PIECE_BYTES, Pieces, empty_bytes, empty_tensors
from kdn.engines._placing import Placing
from kdn.pages import ADVISED_BYTES, HUGE_PAGE_BYTES, kept_in_pages

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
    small = [((1, 1, 1024, 64), torch.bfloat16, CPU)] * (2 * PIECE_BYTES >> 17)
    pieces = [tensor.untyped_storage() for tensor in empty_tensors(small)]
    sizes = {piece.data_ptr(): piece.nbytes() for piece in pieces}
    assert len(sizes) == 2
    assert all(size <= PIECE_BYTES + HUGE_PAGE_BYTES for size in sizes.values())
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


@pytest.mark.parametrize(("first", "end"), [(0, 48), (16, 48), (5, 40), (32, 33)])
def test_whole_chunks_have_rooms_that_are_theirs(first: int, end: int) -> None:
    (plane,) = _planes.describe(tiny_models.tiny_model(FULL, torch.bfloat16)).planes
    size = 16
    rng = np.random.default_rng(4)
    payload = rng.integers(0, 256, (3, plane.chunk_bytes(size)), np.uint8)
    copied, placed = (Placing(plane, first, end, size) for _ in range(2))
    for placing in (copied, placed):
        for tensors in (placing.tensors.keys, placing.tensors.values):
            for tensor in tensors.values():
                tensor.fill_(0)
    layers = planes_of(plane.layout, plane.part, size)
    shapes = [shape for layer in layers for shape in layer]
    header = cast(Header, SimpleNamespace(planes=layers, token_count=size))
    for chunk in range(3):
        whole = first <= chunk * size and (chunk + 1) * size <= end
        rooms = placed.rooms(chunk, header)
        assert (rooms is not None) == whole
        if rooms is None:
            continue
        copied.put(chunk, plane.layers, payload[chunk])
        found = zip(shapes, rooms.of(shapes), rooms.places(shapes), strict=True)
        for shape, room, place in found:
            stored = payload[chunk][shape.offset : shape.offset + shape.byte_count]
            room[:] = stored.reshape(room.shape)
            assert place == (room.ctypes.data, room.strides[0])
    for number in copied.tensors.keys:
        for ours, theirs in (
            (placed.tensors.keys[number], copied.tensors.keys[number]),
            (placed.tensors.values[number], copied.tensors.values[number]),
        ):
            assert torch.equal(ours.view(torch.uint8), theirs.view(torch.uint8))


def test_memory_is_given_anew_only_once_nobody_has_a_view_of_it() -> None:
    pieces = Pieces()
    count = 2 * HUGE_PAGE_BYTES
    tensors = [pieces.take(count) for _ in range(3)]
    assert pieces.spare_bytes == 0
    spans = sorted((t.data_ptr(), t.data_ptr() + t.nbytes) for t in tensors)
    assert all(one[1] <= two[0] for one, two in pairwise(spans))
    assert all(start % HUGE_PAGE_BYTES == 0 for start, _ in spans)
    first = tensors[0].data_ptr()
    views = [tensors[0][5:9].view(2, 2), tensors[0].numpy()[7:]]
    del tensors[0]
    assert pieces.spare_bytes == 0
    views.pop()
    assert pieces.spare_bytes == 0
    views.pop()
    assert pieces.spare_bytes == count + HUGE_PAGE_BYTES
    again = pieces.take(count)
    assert again.data_ptr() == first and pieces.spare_bytes == 0


def test_spare_memory_has_a_limit_and_is_not_used_for_what_is_much_smaller() -> None:
    pieces = Pieces(spare_bytes_max=20 << 20)
    held = [pieces.take(8 << 20) for _ in range(5)]
    held.clear()
    assert pieces.spare_bytes == 20 << 20
    small = pieces.take(HUGE_PAGE_BYTES)
    assert pieces.spare_bytes == 20 << 20 and small.numel() == HUGE_PAGE_BYTES
    large = pieces.take(64 << 20)
    del large
    assert pieces.spare_bytes == 20 << 20


@pytest.mark.parametrize("size", [0, 1000, ADVISED_BYTES - 1, ADVISED_BYTES, ADVISED_BYTES + 7])
def test_what_is_kept_in_pages_is_the_same_and_cannot_be_changed(size: int) -> None:
    data = bytearray(np.random.default_rng(1).integers(0, 256, size, np.uint8).tobytes())
    kept = memoryview(kept_in_pages(data))
    assert kept == data and kept.readonly
    if size:
        data[0] ^= 1
        assert kept != data
