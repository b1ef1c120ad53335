"""Planes: the layers whose KV is stored together, with the layout of their objects."""

from __future__ import annotations

import functools
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from kdn.engines import _measure, _rope
from kdn.keys import Key, Part
from kdn.layouts import AttentionGroup, Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdn.engines._measure import LayerFacts
    from kdn.rope import RoPE


@dataclass(frozen=True, eq=False)
class Plane:
    """Layers with one sliding window and one count of KV heads; one object per chunk.

    Full and sliding layers are stored apart, because for a given prefix a sliding layer needs only
    the chunks under its window. Payload: `[layer][K, V][kvHead][token][dim]`.
    """

    layers: tuple[LayerFacts, ...]

    @property
    def window(self) -> int:
        return self.layers[0].window

    @property
    def kv_heads(self) -> int:
        return self.layers[0].kv_heads

    @functools.cached_property
    def layout(self) -> Layout:
        groups: dict[tuple[int, RoPE | None], list[int]] = {}
        for layer in self.layers:
            groups.setdefault((layer.head_dim, layer.rope), []).append(layer.number)
        return Layout(
            dtype=_measure.DTYPES[self.layers[0].dtype],
            groups=tuple(
                AttentionGroup(
                    layers=tuple(numbers),
                    kv_heads=self.kv_heads,
                    head_dim=head_dim,
                    sliding_window=self.window,
                    rope=rope,
                )
                for (head_dim, rope), numbers in groups.items()
            ),
        )

    @functools.cached_property
    def layout_id(self) -> bytes:
        return self.layout.id

    @functools.cached_property
    def part(self) -> Part:
        first, last = self.layers[0].number, self.layers[-1].number
        return Part(first, last - first + 1, 0, self.kv_heads)

    def layer_bytes(self, layer: LayerFacts, tokens: int) -> int:
        return 2 * layer.kv_heads * tokens * layer.head_dim * layer.dtype.itemsize

    def chunk_bytes(self, tokens: int) -> int:
        return sum(self.layer_bytes(layer, tokens) for layer in self.layers)

    def key(self, chunk_hash: bytes) -> Key:
        return Key.layout(chunk_hash, self.layout_id, self.part)

    def first_token_needed(self, tokens: int) -> int:
        """The first token whose KV the token at position `tokens` still attends to."""
        return 0 if self.window == 0 else max(0, tokens - (self.window - 1))

    def chunks_needed(self, tokens: int, chunk_tokens: int) -> range:
        """The chunks that hold what the token at position `tokens` attends to."""
        return range(self.first_token_needed(tokens) // chunk_tokens, -(-tokens // chunk_tokens))

    def views(
        self, buffer: torch.Tensor, layers: Sequence[LayerFacts], tokens: int
    ) -> Iterator[tuple[LayerFacts, torch.Tensor]]:
        """Each layer's `[…, 2, kvHeads, tokens, headDim]` in bytes `[…, bytes of the layers]`."""
        offset = 0
        for layer in layers:
            size = self.layer_bytes(layer, tokens)
            flat = buffer[..., offset : offset + size].view(layer.dtype)
            shape = (*flat.shape[:-1], 2, layer.kv_heads, tokens, layer.head_dim)
            yield layer, flat.view(shape)
            offset += size


@dataclass(frozen=True)
class Description:
    """All that storing and retrieving needs to know of a model."""

    planes: tuple[Plane, ...]
    # The prompt length from which KV of a prefix depends on what follows, if there is one.
    limit: int | None

    @property
    def full(self) -> tuple[Plane, ...]:
        return tuple(plane for plane in self.planes if plane.window == 0)

    @property
    def sliding(self) -> tuple[Plane, ...]:
        return tuple(plane for plane in self.planes if plane.window != 0)

    def allows(self, tokens: int) -> bool:
        return self.limit is None or tokens < self.limit


def longest_prefix(
    there: Mapping[Plane, Sequence[bool]], chunk_tokens: int, token_limit: int
) -> int:
    """The longest prefix, in tokens, of which every plane has the chunks that are needed.

    `there` says of each plane which chunks it has; the prefix has at most `token_limit` tokens.
    """
    count = min((len(chunks) for chunks in there.values()), default=0)
    for end in range(count, 0, -1):
        tokens = min(end * chunk_tokens, token_limit)
        if all(
            chunks[number]
            for plane, chunks in there.items()
            for number in plane.chunks_needed(tokens, chunk_tokens)
        ):
            return tokens
    return 0


_descriptions: weakref.WeakKeyDictionary[Any, tuple[Any, Description]] = weakref.WeakKeyDictionary()


def describe(model: Any) -> Description:
    """The model's planes, measured once per model object, and again once it was moved or cast.

    Raises UnsupportedModel for a model whose KV cannot be described.
    """
    _measure.text_config(model)
    state = (model.dtype, model.device)
    known = _descriptions.get(model)
    if known is not None and known[0] == state:
        return known[1]
    layers = _measure.measure(model)
    planes: dict[tuple[int, int], list[LayerFacts]] = {}
    for layer in layers:
        planes.setdefault((layer.window, layer.kv_heads), []).append(layer)
    limits = [limit for layer in layers if (limit := _rope.prefix_limit(layer.rope)) is not None]
    description = Description(
        planes=tuple(Plane(tuple(members)) for members in planes.values()),
        limit=min(limits, default=None),
    )
    _descriptions[model] = (state, description)
    return description
