"""KV stored at one parallel size and read at another, through a real daemon."""

from __future__ import annotations

import hashlib
import os
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllm_engines import engine, llama_config

from kdn import Client
from kdn.engines.vllm.cover import cover
from kdn.engines.vllm.planes import describe
from kdn.engines.vllm.rank_plane import RankPlane
from kdn.errors import FieldError
from kdn.keys import Part
from kdn.results import Get, GetResult, Put

CHUNK = 32
LAYERS = 6


def rank_planes(heads: int, tp: int, stages: Any = None, **more: Any) -> list[RankPlane]:
    """The plane of each rank of an engine, pipeline stage by stage."""
    stages = stages or ((0, LAYERS),)
    return [
        describe(
            engine(heads, tp, rank, LAYERS, stages=stages, stage=stage, **more), CHUNK, "canonical"
        ).planes[0]
        for stage in range(len(stages))
        for rank in range(tp)
    ]


def whole_payload(heads: int, seed: int = 0, dim: int = 8) -> numpy.ndarray:
    """The payload of the whole model, `[layer, K and V, head, bytes of a head]`."""
    generator = numpy.random.default_rng(seed)
    shape = (LAYERS, 2, heads, CHUNK * dim * 4)
    return generator.integers(0, 256, shape, numpy.uint8)


def slice_of(whole: numpy.ndarray, part: Part) -> bytes:
    layers = slice(part.first_layer, part.first_layer + part.layer_count)
    heads = slice(part.first_kv_head, part.first_kv_head + part.kv_head_count)
    return whole[layers, :, heads].tobytes()


class Store:
    """Objects in a dict, and what the daemon's GET does with a part of them."""

    def __init__(self, whole: numpy.ndarray, grid: tuple[Part, ...], plane: RankPlane) -> None:
        self.whole = whole
        self.keys = {plane.key(bytes(32), part): part for part in grid}
        self.requested = 0

    def get_into(self, gets: list[Get]) -> None:
        for get in gets:
            stored = self.keys[get.key]
            part = get.part or stored
            assert stored.first_layer <= part.first_layer
            assert part.first_layer + part.layer_count <= stored.first_layer + stored.layer_count
            assert stored.first_kv_head <= part.first_kv_head
            data = slice_of(self.whole, part)
            buffer: Any = get.buffer
            buffer[:] = numpy.frombuffer(data, numpy.uint8)
            self.requested += len(data)


HEADS = st.sampled_from([1, 2, 3, 4, 6, 8])
SPLITS = [((0, 6),), ((0, 3), (3, 6)), ((0, 1), (1, 4), (4, 6))]


@given(
    heads=HEADS,
    data=st.data(),
    written_stages=st.sampled_from(SPLITS),
    read_stages=st.sampled_from(SPLITS),
)
def test_any_split_is_read_at_any_other_as_slices_of_the_whole(
    heads: int, data: Any, written_stages: Any, read_stages: Any
) -> None:
    sizes = [n for n in (1, 2, 3, 4, 6, 8, 12, 16) if heads % n == 0 or n % heads == 0]
    writers = rank_planes(heads, data.draw(st.sampled_from(sizes)), written_stages)
    readers = rank_planes(heads, data.draw(st.sampled_from(sizes)), read_stages)
    whole = whole_payload(heads)
    grid = writers[0].grids[0]
    plane = data.draw(st.sampled_from(readers))
    count = len(plane.layers)
    first = data.draw(st.integers(0, count - 1))
    layers = range(first, data.draw(st.integers(first + 1, count)))
    start, length = plane.layer_range(layers[0], len(layers))
    out = numpy.zeros(length, numpy.uint8)
    store = Store(whole, grid, plane)
    found = cover(plane, grid, bytes(32), out, layers)
    store.get_into(found.gets)
    found.finish()
    wanted = slice_of(whole, plane.part)[start : start + length]
    assert out.tobytes() == wanted
    assert store.requested == length


def test_the_own_part_is_one_get_of_the_whole_object_straight_into_the_payload() -> None:
    plane = rank_planes(4, 2)[1]
    out = numpy.zeros(plane.chunk_bytes, numpy.uint8)
    found = cover(plane, plane.grids[0], bytes(32), out)
    assert [(get.key, get.part, get.ranges) for get in found.gets] == [
        (plane.key(bytes(32)), None, None)
    ]
    buffer: Any = found.gets[0].buffer
    buffer[:] = 7
    assert out.tobytes() == b"\7" * len(out)


def test_parts_that_do_not_make_up_the_ranks_part_once_are_refused() -> None:
    plane = rank_planes(4, 1)[0]
    out = numpy.zeros(plane.chunk_bytes, numpy.uint8)
    half, other = Part(0, 6, 0, 2), Part(0, 6, 2, 2)
    for grid in ((), (half,), (half, half), (half, other, other), (half, Part(0, 5, 2, 2))):
        with pytest.raises(FieldError):
            cover(plane, grid, bytes(32), out)
    for size in (len(out) - 1, len(out) + 1):
        with pytest.raises(FieldError):
            cover(plane, (half, other), bytes(32), numpy.zeros(size, numpy.uint8))
    with pytest.raises(FieldError):
        cover(plane, (half, other), bytes(32), numpy.zeros(2 * len(out), numpy.uint8)[::2])


# Against the daemon.


@pytest.fixture
def client(kdnd: Any) -> Any:
    with Client(kdnd.tcp) as found:
        yield found


def chunk_name(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def store(
    client: Client, planes: list[RankPlane], chunk: bytes, whole: numpy.ndarray
) -> list[Part]:
    """Stores each writing rank's part; the parts are written by hand, as ranks would."""
    client.register_layout(planes[0].layout)
    writers = [plane for plane in planes if plane.writes]
    puts = [
        Put(plane.key(chunk), slice_of(whole, plane.part), token_count=CHUNK) for plane in writers
    ]
    assert [result.state for result in client.put_from(puts)] == ["published"] * len(writers)
    return [plane.part for plane in writers]


def fetch(client: Client, plane: RankPlane, grid: Any, chunk: bytes, layers: Any = None) -> bytes:
    indices = range(len(plane.layers)) if layers is None else layers
    _, length = plane.layer_range(indices[0], len(indices))
    out = numpy.zeros(length, numpy.uint8)
    found = cover(plane, grid, chunk, out, layers)
    results: list[GetResult] = client.get_into(found.gets)
    assert all(result.hit for result in results)
    found.finish()
    return out.tobytes()


def found_grid(client: Client, plane: RankPlane, chunk: bytes) -> Any:
    """The first of the plane's grids in which the chunk is there, as the scheduler looks."""
    for grid in plane.grids:
        if client.match(plane.layout_id, [chunk], list(grid)).chunks == 1:
            return grid
    return None


@pytest.mark.parametrize("readers", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("writers", [1, 2, 4, 8])
def test_parts_of_one_tensor_parallel_size_are_read_by_ranks_of_another(
    client: Client, writers: int, readers: int
) -> None:
    heads = 8
    config = llama_config(rope_parameters={"rope_type": "default", "rope_theta": 1000.0 + writers})
    planes = rank_planes(heads, writers, config=config)
    whole = whole_payload(heads, seed=writers)
    chunk = chunk_name(f"{writers} read by {readers}")
    written = store(client, planes, chunk, whole)
    assert len(written) == writers
    mine = rank_planes(heads, readers, config=config)
    assert mine[0].layout_id == planes[0].layout_id
    grid = found_grid(client, mine[0], chunk)
    assert sorted(map(repr, grid)) == sorted(map(repr, written))
    for plane in mine:
        assert fetch(client, plane, grid, chunk) == slice_of(whole, plane.part)


def test_two_parts_are_read_as_one_and_as_four_layer_by_layer(client: Client) -> None:
    heads = 4
    writers = rank_planes(heads, 2)
    whole = whole_payload(heads)
    chunk = chunk_name("layer by layer")
    store(client, writers, chunk, whole)
    for readers in (1, 4):
        for plane in rank_planes(heads, readers):
            grid = found_grid(client, plane, chunk)
            pieces = [
                fetch(client, plane, grid, chunk, range(index, index + 1))
                for index in range(len(plane.layers))
            ]
            assert b"".join(pieces) == slice_of(whole, plane.part)


def test_pipeline_stages_are_read_by_one_rank(client: Client) -> None:
    heads = 2
    stages = ((0, 2), (2, 6))
    writers = rank_planes(heads, 2, stages)
    whole = whole_payload(heads, seed=5)
    chunk = chunk_name("pipeline")
    written = store(client, writers, chunk, whole)
    assert len(written) == 4
    reader = rank_planes(heads, 1)[0]
    assert fetch(client, reader, written, chunk) == whole.tobytes()


def test_more_ranks_than_heads_store_each_head_once_and_all_read_theirs(client: Client) -> None:
    heads = 2
    planes = rank_planes(heads, 8)
    whole = whole_payload(heads, seed=9)
    chunk = chunk_name("copies")
    written = store(client, planes, chunk, whole)
    assert written == [Part(0, LAYERS, 0, 1), Part(0, LAYERS, 1, 1)]
    for plane in planes:
        assert fetch(client, plane, plane.grids[0], chunk) == slice_of(whole, plane.part)


def test_a_missing_part_makes_the_chunk_a_miss_in_that_grid(client: Client) -> None:
    planes = rank_planes(4, 2, dim=16)
    whole = whole_payload(4, seed=3, dim=16)
    chunk = chunk_name("half of it")
    client.register_layout(planes[0].layout)
    client.put(planes[0].key(chunk), slice_of(whole, planes[0].part), token_count=CHUNK)
    reader = rank_planes(4, 1, dim=16)[0]
    assert found_grid(client, reader, chunk) is None
    out = numpy.zeros(reader.chunk_bytes, numpy.uint8)
    found = cover(reader, planes[0].grids[0], chunk, out)
    assert [result.hit for result in client.get_into(found.gets)] == [True, False]
