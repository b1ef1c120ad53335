"""Between vLLM's blocks and the payload of a chunk: the one place that knows how pages lie.

Payload of a layer: `[K, V][kvHead][token][dim]` in canonical mode, whole blocks one after another
in opaque mode. Bits are moved as they are, never converted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy
import torch

from kdn.engines._rope import UnsupportedModel
from kdn.engines.vllm.facts import TRANSPOSED
from kdn.engines.vllm.rank_plane import NULL_BLOCK
from kdn.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdn.engines.vllm.facts import CacheLayer, EngineFacts
    from kdn.engines.vllm.planes import Description
    from kdn.engines.vllm.rank_plane import RankPlane

# Backends whose blocks are `[head][token][K, V]` in vLLM's logical axes, whatever their strides.
PLAIN_BACKENDS = frozenset({"FLASH_ATTN", "FLASHINFER", "FLEX_ATTENTION", "TRITON_ATTN"})
CPU_BACKEND = "CPU_ATTN"
# Bits without meaning, so that no copy can change them; numpy has no bfloat16 of its own.
BITS = {
    1: (torch.uint8, numpy.uint8),
    2: (torch.int16, numpy.int16),
    4: (torch.int32, numpy.int32),
}


@dataclass(frozen=True)
class LayerView:
    """One layer's cache as bits: `sides` are views `[block, …]` of what a payload holds in turn.

    Canonical: keys and values, `[block, head, token, dim]`; opaque: the blocks as they are.
    `pieces` kernel blocks make up one block of the engine's.
    """

    sides: tuple[torch.Tensor, ...]
    pieces: int
    headed: bool


class Pages:
    """This rank's KV cache, to be read and written chunk by chunk.

    Calls may run in several threads as long as no two of them touch the same block. On a device
    they run on the current stream and return when the bytes have arrived.
    """

    def __init__(
        self,
        description: Description,
        facts: EngineFacts,
        kv_caches: Mapping[str, Any],
        attention_layers: Mapping[str, Any] | None = None,
    ) -> None:
        """Checks the caches against the description; raises UnsupportedModel if they differ.

        `attention_layers`, vLLM's own by name, says which kernels really work on the caches.
        """
        self._planes = description.planes
        self._block_count = facts.block_count
        self._views: list[tuple[LayerView, ...]] = []
        canonical = description.mode == "canonical"
        for plane in self._planes:
            views = []
            for layer in plane.layers:
                cache = _cache(layer, kv_caches)
                if attention_layers is not None:
                    _check_kernel(layer, facts, attention_layers.get(layer.name), canonical)
                tokens = facts.block_tokens[layer.group]
                view = _canonical_view if canonical else _opaque_view
                views.append(view(layer, cache, facts, tokens))
            self._views.append(tuple(views))

    def pack(
        self,
        plane: int,
        blocks: Sequence[Sequence[int]],
        out: numpy.ndarray,
        layers: range | None = None,
    ) -> None:
        """Copies a chunk's blocks, `plane.blocks(…)`, into `out`, its payload.

        `layers` selects neighbouring layers by their place in the plane. Raises FieldError for
        blocks that are missing or do not exist, and for an `out` of another size.
        """
        for view, ids, part in self._walk(plane, blocks, out, layers):
            if NULL_BLOCK in ids:
                raise FieldError("blocks", NULL_BLOCK, "blocks that hold KV")
            if view.sides[0].device.type == "cpu":
                _gather(view, ids, part)
            else:
                _gather_from_device(view, ids, part)

    def unpack(
        self,
        plane: int,
        blocks: Sequence[Sequence[int]],
        payload: numpy.ndarray,
        layers: range | None = None,
    ) -> None:
        """Copies a chunk's payload into its blocks, except those that are the null block.

        Raises FieldError as `pack` does.
        """
        for view, ids, part in self._walk(plane, blocks, payload, layers):
            if view.sides[0].device.type == "cpu":
                _scatter(view, ids, part)
            else:
                _scatter_to_device(view, ids, part)

    def _walk(
        self,
        number: int,
        blocks: Sequence[Sequence[int]],
        buffer: numpy.ndarray,
        layers: range | None,
    ) -> Iterator[tuple[LayerView, Sequence[int], numpy.ndarray]]:
        """Each layer's view, block ids, and bytes of the payload; all checked beforehand."""
        plane = self._planes[number]
        chosen = range(len(plane.layers)) if layers is None else layers
        if not chosen or chosen.step != 1 or chosen[0] < 0 or chosen[-1] >= len(plane.layers):
            raise FieldError("layers", chosen, f"neighbours, below {len(plane.layers)}")
        start, length = plane.layer_range(chosen[0], len(chosen))
        if buffer.dtype != numpy.uint8 or buffer.shape != (length,):
            raise FieldError("payload", (buffer.dtype.name, *buffer.shape), f"{length} of uint8")
        if not buffer.flags.c_contiguous:
            raise FieldError("payload", buffer.strides, "contiguous")
        self._check_blocks(plane, blocks)
        for index in chosen:
            offset, size = plane.layer_range(index)
            part = buffer[offset - start : offset - start + size]
            yield self._views[number][index], blocks[plane.layer_groups[index]], part

    def _check_blocks(self, plane: RankPlane, blocks: Sequence[Sequence[int]]) -> None:
        if len(blocks) != len(plane.groups):
            raise FieldError("blocks", len(blocks), f"of {len(plane.groups)} groups")
        for ids, tokens in zip(blocks, plane.group_blocks, strict=True):
            if len(ids) != plane.chunk_tokens // tokens:
                raise FieldError("blocks", len(ids), plane.chunk_tokens // tokens)
            if min(ids) < 0 or max(ids) >= self._block_count:
                raise FieldError("blocks", (min(ids), max(ids)), f"below {self._block_count}")


def _cache(layer: CacheLayer, kv_caches: Mapping[str, Any]) -> torch.Tensor:
    cache = kv_caches.get(layer.name)
    if not isinstance(cache, torch.Tensor):
        raise UnsupportedModel(f"{layer.name} has a {type(cache).__name__} for its cache")
    if cache.element_size() not in BITS or cache.dim() < 2:
        raise UnsupportedModel(f"{layer.name} caches {cache.dtype} of {cache.dim()} dimensions")
    return cache


def _check_kernel(layer: CacheLayer, facts: EngineFacts, module: Any, canonical: bool) -> None:
    """Raises UnsupportedModel unless the layer's kernels are those that were reckoned with."""
    if facts.isa and getattr(module, "isa", facts.isa) != facts.isa:
        raise UnsupportedModel(f"{layer.name} uses the kernels {module.isa!r}, not {facts.isa!r}")
    if not canonical:
        return
    backend = getattr(module, "attn_backend", None)
    name = backend.get_name() if backend is not None else None
    known = {CPU_BACKEND} if facts.isa else PLAIN_BACKENDS
    if name not in known:
        raise UnsupportedModel(
            f"{layer.name} uses the backend {name}, whose pages are not known: "
            "set kdn_mode to opaque"
        )


def _canonical_view(
    layer: CacheLayer, cache: torch.Tensor, facts: EngineFacts, block_tokens: int
) -> LayerView:
    """Keys and values of `[block, head, token, 2 * dim]`, in whatever order they lie in memory."""
    pieces, rest = divmod(cache.shape[0], facts.block_count)
    wanted = (layer.kv_heads, block_tokens // max(1, pieces), 2 * layer.head_dim)
    if rest or tuple(cache.shape[1:]) != wanted or cache.dtype != layer.dtype:
        raise UnsupportedModel(
            f"{layer.name} caches {cache.dtype} {tuple(cache.shape)}, not {layer.dtype} "
            f"{(facts.block_count, *wanted)}"
        )
    bits = cache.view(BITS[cache.element_size()][0])
    heads, tokens, width = wanted
    dim = layer.head_dim
    if facts.key_packing != TRANSPOSED:
        return LayerView((bits[..., :dim], bits[..., dim:]), pieces, headed=True)
    if pieces != 1 or bits.stride()[1:] != (tokens * width, width, 1):
        raise UnsupportedModel(f"{layer.name} has blocks that are not contiguous")
    keys, values = bits.view(cache.shape[0], heads, 2, tokens * dim).unbind(2)
    keys = keys.view(-1, heads, dim, tokens).transpose(2, 3)
    return LayerView((keys, values.view(-1, heads, tokens, dim)), 1, headed=True)


def _opaque_view(
    layer: CacheLayer, cache: torch.Tensor, facts: EngineFacts, block_tokens: int
) -> LayerView:
    """The cache's blocks as they are; padding between blocks is left out."""
    size = prod(cache.shape[1:]) * cache.element_size()
    if cache.shape[0] != facts.block_count or size != layer.block_bytes:
        raise UnsupportedModel(
            f"{layer.name} caches {cache.shape[0]} blocks of {size} bytes, not "
            f"{facts.block_count} of {layer.block_bytes}"
        )
    return LayerView((cache.view(BITS[cache.element_size()][0]),), 1, headed=False)


def _kernel_blocks(view: LayerView, ids: Sequence[int]) -> list[int]:
    if view.pieces == 1:
        return list(ids)
    return [block * view.pieces + piece for block in ids for piece in range(view.pieces)]


def _payload_shape(view: LayerView, count: int) -> tuple[int, ...]:
    """The shape of a layer's payload of `count` kernel blocks, the block's axis included."""
    block = tuple(view.sides[0].shape[1:])
    if not view.headed:
        return (1, count, *block)
    heads, tokens, dim = block
    return (2, heads, count, tokens, dim)


def _by_block(view: LayerView, side: Any) -> Any:
    """One side of a payload with its block axis in front, `[block, …]` as in the cache."""
    return side.swapaxes(0, 1) if view.headed else side


def _gather(view: LayerView, ids: Sequence[int], part: numpy.ndarray) -> None:
    """By numpy, in this thread: torch's copies wake a team of threads that spin."""
    found = _kernel_blocks(view, ids)
    bits = part.view(BITS[view.sides[0].element_size()][1])
    shape = _payload_shape(view, len(found))
    for side, target in zip(view.sides, bits.reshape(shape), strict=True):
        source, rows = side.numpy(), _by_block(view, target)
        for row, block in enumerate(found):
            numpy.copyto(rows[row], source[block])


def _scatter(view: LayerView, ids: Sequence[int], part: numpy.ndarray) -> None:
    found = _kernel_blocks(view, ids)
    bits = part.view(BITS[view.sides[0].element_size()][1])
    shape = _payload_shape(view, len(found))
    for side, origin in zip(view.sides, bits.reshape(shape), strict=True):
        target, rows = side.numpy(), _by_block(view, origin)
        for row, block in enumerate(found):
            if block >= view.pieces:
                numpy.copyto(target[block], rows[row])


def _gather_from_device(view: LayerView, ids: Sequence[int], part: numpy.ndarray) -> None:
    """Puts the payload together on the device, then copies it in one piece."""
    found = _kernel_blocks(view, ids)
    first = view.sides[0]
    shape = _payload_shape(view, len(found))
    staging = torch.empty(shape, dtype=first.dtype, device=first.device)
    index = torch.tensor(found, device=first.device)
    for side, target in zip(view.sides, staging, strict=True):
        _by_block(view, target).copy_(side.index_select(0, index))
    torch.from_numpy(part).copy_(staging.reshape(-1).view(torch.uint8))


def _scatter_to_device(view: LayerView, ids: Sequence[int], part: numpy.ndarray) -> None:
    found = _kernel_blocks(view, ids)
    first = view.sides[0]
    bits = torch.from_numpy(part.view(BITS[first.element_size()][1]))
    staging = bits.to(first.device).reshape(_payload_shape(view, len(found)))
    kept = [row for row, block in enumerate(found) if block >= view.pieces]
    rows = torch.tensor(kept, dtype=torch.int64, device=first.device)
    index = torch.tensor([found[row] for row in kept], dtype=torch.int64, device=first.device)
    for side, origin in zip(view.sides, staging, strict=True):
        side.index_copy_(0, index, _by_block(view, origin).index_select(0, rows))
