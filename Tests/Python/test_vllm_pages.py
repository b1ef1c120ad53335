"""Between vLLM's blocks and payloads: bit for bit, in whatever order a block lies in memory."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from vllm_engines import ORDERS, empty_caches, engine

from kdn.engines._rope import UnsupportedModel
from kdn.engines.vllm import pages as pages_module
from kdn.engines.vllm.facts import PLAIN, TRANSPOSED, CacheLayer, EngineFacts
from kdn.engines.vllm.pages import Pages
from kdn.engines.vllm.planes import describe
from kdn.errors import FieldError

CHUNK = 32
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}


def token_rows(
    cache: torch.Tensor, layer: CacheLayer, facts: EngineFacts, blocks: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """K and V `[head, token, dim]` of blocks, one token after another, as bits."""
    bits = cache.view(BITS[cache.element_size()])
    pieces = cache.shape[0] // facts.block_count
    tokens, dim = bits.shape[2], layer.head_dim
    keys, values = [], []
    for block in blocks:
        for piece in range(pieces):
            page = bits[block * pieces + piece]
            for token in range(tokens):
                if facts.key_packing == TRANSPOSED:
                    flat = page.reshape(page.shape[0], -1)
                    keys.append(flat[:, : dim * tokens].reshape(-1, dim, tokens)[:, :, token])
                    values.append(flat[:, dim * tokens :].reshape(-1, tokens, dim)[:, token])
                else:
                    keys.append(page[:, token, :dim])
                    values.append(page[:, token, dim:])
    return torch.stack(keys, 1), torch.stack(values, 1)


def snapshot(caches: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: cache.view(BITS[cache.element_size()]).clone() for name, cache in caches.items()}


def check_round_trip(facts: EngineFacts, order: str = "HND", pieces: int = 1) -> None:
    """Pack gives canonical bytes; unpack elsewhere gives the same, and touches nothing else."""
    found = describe(facts, CHUNK, "canonical")
    caches = empty_caches(facts, order, pieces)
    pages = Pages(found, facts, caches)
    plane = found.planes[0]
    count = CHUNK // facts.block_tokens[0]
    source, target = (tuple(range(first, first + 3 * count, 3)) for first in (1, 2))
    out = numpy.zeros(plane.chunk_bytes, numpy.uint8)
    pages.pack(0, (source,), out)
    for index, layer in enumerate(plane.layers):
        keys, values = token_rows(caches[layer.name], layer, facts, source)
        offset, length = plane.layer_range(index)
        wanted = torch.stack([keys, values]).contiguous().numpy().tobytes()
        assert out[offset : offset + length].tobytes() == wanted
    before = snapshot(caches)
    pages.unpack(0, (target,), out)
    for layer in plane.layers:
        rows = token_rows(caches[layer.name], layer, facts, target)
        kept = token_rows(before[layer.name], layer, facts, source)
        assert torch.equal(rows[0], kept[0]) and torch.equal(rows[1], kept[1])
        mine = caches[layer.name].view(before[layer.name].dtype)
        size = mine.shape[0] // facts.block_count
        others = [b for b in range(facts.block_count) if b not in target]
        for block in others:
            span = slice(block * size, (block + 1) * size)
            assert torch.equal(mine[span], before[layer.name][span])


@pytest.fixture(params=["in this thread", "as on a device"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to copy: what runs on a device runs on the CPU's tensors too."""
    if request.param == "as on a device":
        monkeypatch.setattr(pages_module, "_gather", pages_module._gather_from_device)
        monkeypatch.setattr(pages_module, "_scatter", pages_module._scatter_to_device)
    return str(request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("order", sorted(ORDERS))
def test_blocks_of_any_order_give_canonical_bytes_and_back(
    order: str, dtype: torch.dtype, path: str
) -> None:
    check_round_trip(engine(dtype=dtype), order)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_transposed_keys_of_cpu_blocks_give_canonical_bytes_and_back(
    dtype: torch.dtype, path: str
) -> None:
    check_round_trip(engine(dtype=dtype, packing=TRANSPOSED))


@pytest.mark.parametrize("order", ["HND", "NHD"])
def test_kernel_blocks_that_make_up_a_block_are_joined(order: str, path: str) -> None:
    check_round_trip(engine(), order, pieces=4)


@given(
    heads=st.integers(1, 4),
    dim=st.sampled_from([1, 3, 8]),
    layers=st.integers(1, 3),
    block=st.sampled_from([8, 16, 32]),
    packing=st.sampled_from([PLAIN, TRANSPOSED]),
    order=st.sampled_from(sorted(ORDERS)),
)
def test_any_shape_gives_canonical_bytes_and_back(
    heads: int, dim: int, layers: int, block: int, packing: str, order: str
) -> None:
    facts = engine(heads, layers=layers, dim=2 * dim, block=block, blocks=16, packing=packing)
    check_round_trip(facts, "HND" if packing == TRANSPOSED else order)


def test_padding_between_blocks_is_neither_read_nor_written() -> None:
    facts = engine()
    found = describe(facts, CHUNK)
    padded = empty_caches(facts, padding=64)
    dense = {name: cache.clone() for name, cache in padded.items()}
    raw = {
        name: torch.empty(0, dtype=torch.uint8).set_(cache.untyped_storage())
        for name, cache in padded.items()
    }
    before = {name: memory.clone() for name, memory in raw.items()}
    outs = []
    for caches in (padded, dense):
        out = numpy.empty(found.planes[0].chunk_bytes, numpy.uint8)
        pages = Pages(found, facts, caches)
        pages.pack(0, ((3, 5),), out)
        pages.unpack(0, ((3, 5),), out)
        outs.append(out.tobytes())
    assert outs[0] == outs[1]
    assert all(torch.equal(raw[name], before[name]) for name in raw)


def test_every_rank_packs_its_heads_of_the_whole_models_payload() -> None:
    whole = engine(heads=4)
    caches = empty_caches(whole)
    found = describe(whole, CHUNK)
    payload = numpy.empty(found.planes[0].chunk_bytes, numpy.uint8)
    Pages(found, whole, caches).pack(0, ((1, 2),), payload)
    by_head = payload.reshape(4, 2, 4, -1)
    for rank in range(2):
        facts = engine(heads=4, tp=2, rank=rank)
        mine = {name: cache[:, rank * 2 : rank * 2 + 2] for name, cache in caches.items()}
        share = describe(facts, CHUNK)
        out = numpy.empty(share.planes[0].chunk_bytes, numpy.uint8)
        Pages(share, facts, mine).pack(0, ((1, 2),), out)
        assert out.tobytes() == by_head[:, :, rank * 2 : rank * 2 + 2].tobytes()


def test_layers_are_packed_and_unpacked_alone(path: str) -> None:
    facts = engine()
    found = describe(facts, CHUNK)
    plane = found.planes[0]
    caches = empty_caches(facts)
    pages = Pages(found, facts, caches)
    whole = numpy.empty(plane.chunk_bytes, numpy.uint8)
    pages.pack(0, ((1, 2),), whole)
    before = snapshot(caches)
    for first, count in ((0, 1), (1, 2), (3, 1)):
        offset, length = plane.layer_range(first, count)
        out = numpy.empty(length, numpy.uint8)
        pages.pack(0, ((1, 2),), out, range(first, first + count))
        assert out.tobytes() == whole[offset : offset + length].tobytes()
        pages.unpack(0, ((8, 9),), out, range(first, first + count))
        done = {plane.layer_names[index] for index in range(first + count)}
        for name, cache in caches.items():
            wanted = before[name][1:3] if name in done else before[name][8:10]
            assert torch.equal(cache[8:10].view(torch.int32), wanted)


def test_the_null_block_is_skipped_in_and_refused_out(path: str) -> None:
    facts = engine()
    found = describe(facts, CHUNK)
    caches = empty_caches(facts)
    pages = Pages(found, facts, caches)
    out = numpy.empty(found.planes[0].chunk_bytes, numpy.uint8)
    pages.pack(0, ((1, 2),), out)
    before = snapshot(caches)
    pages.unpack(0, ((0, 7),), out)
    for name, cache in caches.items():
        bits = cache.view(torch.int32)
        assert torch.equal(bits[7], before[name][2])
        assert torch.equal(bits[:7], before[name][:7])
    pages.unpack(0, ((0, 0),), out)
    with pytest.raises(FieldError):
        pages.pack(0, ((0, 7),), out)


def test_layers_of_several_groups_are_taken_from_their_own_blocks() -> None:
    facts = engine(windows=(64,) * 4, groups=(0, 1, 0, 1))
    found = describe(facts, CHUNK)
    caches = empty_caches(facts)
    pages = Pages(found, facts, caches)
    plane = found.planes[0]
    out = numpy.empty(plane.chunk_bytes, numpy.uint8)
    pages.pack(0, ((1, 2), (3, 4)), out)
    for index, layer in enumerate(plane.layers):
        offset, length = plane.layer_range(index)
        rows = token_rows(caches[layer.name], layer, facts, (3, 4) if index % 2 else (1, 2))
        wanted = torch.stack(rows).contiguous().numpy().tobytes()
        assert out[offset : offset + length].tobytes() == wanted


@pytest.mark.parametrize(
    "kind", [{"plain": False}, {"latent": True}, {"plain": False, "dtype": torch.uint8}]
)
def test_opaque_blocks_are_moved_whole(kind: dict[str, Any], path: str) -> None:
    facts = engine(**kind)
    found = describe(facts, CHUNK)
    assert found.mode == "opaque"
    caches = empty_caches(facts)
    if kind.get("latent"):
        caches = {name: cache.squeeze(1) for name, cache in caches.items()}
    pages = Pages(found, facts, caches)
    plane = found.planes[0]
    out = numpy.empty(plane.chunk_bytes, numpy.uint8)
    pages.pack(0, ((4, 2),), out)
    for index, name in enumerate(plane.layer_names):
        offset, length = plane.layer_range(index)
        bits = caches[name].view(BITS[caches[name].element_size()])
        assert out[offset : offset + length].tobytes() == bits[[4, 2]].numpy().tobytes()
    before = snapshot(caches)
    pages.unpack(0, ((9, 6),), out)
    for name, cache in caches.items():
        bits = cache.view(before[name].dtype)
        assert torch.equal(bits[[9, 6]], before[name][[4, 2]])
        assert torch.equal(bits[:6], before[name][:6])


def test_wrong_buffers_and_blocks_are_refused() -> None:
    facts = engine()
    found = describe(facts, CHUNK)
    pages = Pages(found, facts, empty_caches(facts))
    size = found.planes[0].chunk_bytes
    good = numpy.empty(size, numpy.uint8)
    for buffer in (
        numpy.empty(size - 1, numpy.uint8),
        numpy.empty(size // 4, numpy.float32),
        numpy.empty((2, size // 2), numpy.uint8),
        numpy.empty(2 * size, numpy.uint8)[::2],
    ):
        with pytest.raises(FieldError):
            pages.pack(0, ((1, 2),), buffer)
    for blocks in (((1,),), ((1, 2, 3),), ((1, 2), (3, 4)), ((-1, 2),), ((1, 64),)):
        with pytest.raises(FieldError):
            pages.pack(0, blocks, good)
        with pytest.raises(FieldError):
            pages.unpack(0, blocks, good)
    for layers in (range(0), range(3, 5), range(-1, 1), range(0, 4, 2)):
        with pytest.raises(FieldError):
            pages.pack(0, ((1, 2),), good, layers)


@pytest.mark.parametrize(
    "change",
    [
        lambda cache: cache[:, :2],
        lambda cache: cache[:, :, :8],
        lambda cache: cache[..., :8],
        lambda cache: cache[:63],
        lambda cache: cache.to(torch.float64),
        lambda cache: cache.to(torch.bfloat16),
        lambda cache: [cache],
        lambda cache: None,
    ],
)
@pytest.mark.parametrize("packing", [PLAIN, TRANSPOSED])
def test_caches_of_another_shape_are_refused(change: Any, packing: str) -> None:
    facts = engine(packing=packing)
    caches: dict[str, Any] = dict(empty_caches(facts))
    name = facts.layers[2].name
    caches[name] = change(caches[name])
    with pytest.raises(UnsupportedModel):
        Pages(describe(facts, CHUNK), facts, caches)


def test_transposed_blocks_that_are_not_contiguous_are_refused() -> None:
    facts = engine(packing=TRANSPOSED)
    with pytest.raises(UnsupportedModel):
        Pages(describe(facts, CHUNK), facts, empty_caches(facts, "NHD"))


class Kernel:
    """An attention layer as vLLM has them."""

    def __init__(self, backend: str, isa: str | None = None) -> None:
        self.attn_backend = self
        self.name = backend
        if isa is not None:
            self.isa = isa

    def get_name(self) -> str:
        return self.name


@pytest.mark.parametrize(
    ("packing", "kernel", "good"),
    [
        (PLAIN, Kernel("FLASH_ATTN"), True),
        (PLAIN, Kernel("BACKEND_OF_TOMORROW"), False),
        (PLAIN, None, False),
        (TRANSPOSED, Kernel("CPU_ATTN", "vec"), True),
        (TRANSPOSED, Kernel("CPU_ATTN", "amx"), False),
        (TRANSPOSED, Kernel("FLASH_ATTN", "vec"), False),
    ],
)
def test_kernels_other_than_reckoned_with_are_refused(
    packing: str, kernel: Kernel | None, good: bool
) -> None:
    facts = engine(packing=packing)
    found = describe(facts, CHUNK)
    layers = {layer.name: kernel for layer in facts.layers} if kernel else {}
    if good:
        Pages(found, facts, empty_caches(facts), layers)
        return
    with pytest.raises(UnsupportedModel):
        Pages(found, facts, empty_caches(facts), layers)
