"""Planes: which layers' KV is stored together, and which part of it one rank holds.

In canonical mode a plane is the one that kdn.engines.transformers makes of the same model: same
layout, same keys, whatever the engine's tensor parallel size. In opaque mode a plane is one of
vLLM's KV cache groups, as pages that only an engine like this one can use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdn.engines._measure import DTYPES
from kdn.engines._rope import UnsupportedModel
from kdn.engines.vllm.facts import UNKNOWN
from kdn.engines.vllm.rank_plane import RankPlane
from kdn.engines.vllm.rotary import certain_rope
from kdn.errors import FieldError
from kdn.keys import CHUNK_TOKENS_MAX, CHUNK_TOKENS_MIN, Part, chain_root
from kdn.layouts import AttentionGroup, Group, Layout, OpaqueGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kdn.engines.vllm.facts import CacheLayer, EngineFacts
    from kdn.rope import RoPE

MODES = ("auto", "canonical", "opaque")
GRID_PARTS_MAX = 64


@dataclass(frozen=True, eq=False)
class Description:
    """All that storing and loading needs to know of an engine; made alike on every rank.

    `page_format` is empty in canonical mode, else what pages depend on besides the model, and
    `reason` says why the mode is opaque.
    """

    mode: str
    chunk_tokens: int
    planes: tuple[RankPlane, ...]
    page_format: str = ""
    reason: str = ""

    @property
    def full(self) -> tuple[RankPlane, ...]:
        return tuple(plane for plane in self.planes if plane.window == 0)

    @property
    def sliding(self) -> tuple[RankPlane, ...]:
        return tuple(plane for plane in self.planes if plane.window != 0)

    def root(self, model: str, salt: bytes = b"") -> bytes:
        """The root of chains of chunks of the model named `model`."""
        return chain_root(f"{model}#{self.page_format}" if self.page_format else model, salt)

    def first_token_needed(self, plane: RankPlane, tokens: int) -> int:
        """The first token whose KV the token at position `tokens` still attends to."""
        return 0 if plane.window == 0 else max(0, tokens - (plane.window - 1))

    def chunks_needed(self, plane: RankPlane, tokens: int) -> range:
        """The chunks of the plane that a prefix of `tokens` tokens needs."""
        first = self.first_token_needed(plane, tokens) // self.chunk_tokens
        return range(first, -(-tokens // self.chunk_tokens))

    def longest_prefix(self, there: Sequence[Sequence[bool]], token_limit: int) -> int:
        """The longest prefix, in tokens, of which each plane has the chunks that it needs.

        `there[plane.index]` says which chunks are there. Whole chunks, cut at `token_limit`.
        """
        whole = min((len(chunks) for chunks in there), default=0)
        for plane in self.full:
            chunks = there[plane.index][:whole]
            whole = next((number for number, hit in enumerate(chunks) if not hit), whole)
        for end in range(min(whole, -(-token_limit // self.chunk_tokens)), 0, -1):
            tokens = min(end * self.chunk_tokens, token_limit)
            if all(
                there[plane.index][number]
                for plane in self.sliding
                for number in self.chunks_needed(plane, tokens)
            ):
                return tokens
        return 0


def describe(facts: EngineFacts, chunk_tokens: int = 256, mode: str = "auto") -> Description:
    """What this rank stores of a chunk; `chunk_tokens` is rounded up to whole blocks.

    Raises UnsupportedModel if the KV cannot be described, or not in the mode that is asked for,
    and FieldError for a mode or a chunk size that does not exist.
    """
    if mode not in MODES:
        raise FieldError("mode", mode, f"one of {', '.join(MODES)}")
    if not CHUNK_TOKENS_MIN <= chunk_tokens <= CHUNK_TOKENS_MAX:
        raise FieldError("chunkTokens", chunk_tokens, f"{CHUNK_TOKENS_MIN} to {CHUNK_TOKENS_MAX}")
    unit = math.lcm(*(facts.block_tokens[layer.group] for layer in facts.layers))
    rounded = -(-chunk_tokens // unit) * unit
    if rounded > CHUNK_TOKENS_MAX:
        raise UnsupportedModel(f"blocks of {unit} tokens: a chunk has at most {CHUNK_TOKENS_MAX}")
    reason = "kdn_mode says so"
    try:
        if mode != "opaque":
            try:
                return Description("canonical", rounded, _canonical_planes(facts, rounded))
            except UnsupportedModel as error:
                if mode == "canonical":
                    raise
                reason = str(error)
        planes = _opaque_planes(facts, rounded)
    except FieldError as error:
        raise UnsupportedModel(f"no layout can state this model: {error}") from error
    return Description("opaque", rounded, planes, facts.page_format, reason)


def _all_numbers(facts: EngineFacts) -> list[int]:
    """The numbers of the whole model's layers, of all pipeline ranks.

    Raises UnsupportedModel where other ranks' layers may differ from this rank's.
    """
    if len(facts.stages) == 1:
        return [layer.number for layer in facts.layers]
    first = facts.layers[0]
    for layer in facts.layers:
        if (layer.group, layer.window, layer.block_bytes) != (
            first.group,
            first.window,
            first.block_bytes,
        ):
            raise UnsupportedModel("pipeline parallelism of a model with several kinds of layers")
    return list(range(facts.stages[0][0], facts.stages[-1][1]))


def _shards(facts: EngineFacts) -> int:
    """Into how many shares of heads the ranks split the KV; ranks beyond hold copies."""
    total, ranks = facts.kv_heads, facts.tp_size
    held = max(1, total // ranks)
    if (total % ranks and ranks % total) or any(
        layer.kv_heads != held for layer in facts.layers if not layer.latent
    ):
        raise UnsupportedModel(f"{total} KV heads are not split evenly over {ranks} ranks")
    return min(total, ranks)


def _canonical_planes(facts: EngineFacts, chunk_tokens: int) -> tuple[RankPlane, ...]:
    if facts.key_packing == UNKNOWN:
        odd = [layer.name for layer in facts.layers if not layer.plain]
        raise UnsupportedModel(
            f"blocks of {odd[0]} hold more than plain K and V"
            if odd
            else f"the packing of blocks by the kernels {facts.isa!r} is not known"
        )
    dtype = facts.layers[0].dtype
    if dtype not in DTYPES or any(layer.dtype != dtype for layer in facts.layers):
        raise UnsupportedModel(f"KV of {dtype}")
    shards = _shards(facts)
    numbers = _all_numbers(facts)
    kinds: dict[int, list[CacheLayer]] = {}
    for layer in facts.layers:
        kinds.setdefault(layer.window, []).append(layer)
    planes: list[RankPlane] = []
    for layers in kinds.values():
        if len({layer.kept_window for layer in layers}) > 1:
            raise UnsupportedModel("layers with one window are kept for different times")
        whole = numbers if len(facts.stages) > 1 else [layer.number for layer in layers]
        layout = Layout(DTYPES[dtype], _attention_groups(facts, layers, whole))

        def part(first: int, last: int, share: int, of: int) -> Part:
            heads = facts.kv_heads // of
            return Part(first, last - first + 1, share * heads, heads)

        divisors = [n for n in range(1, facts.kv_heads + 1) if facts.kv_heads % n == 0]
        planes.append(
            _plane(facts, len(planes), chunk_tokens, layers, layout, part, shards, divisors, whole)
        )
    return tuple(planes)


def _attention_groups(
    facts: EngineFacts, layers: list[CacheLayer], whole: list[int]
) -> tuple[Group, ...]:
    by_number = {layer.number: layer for layer in layers}
    groups: dict[tuple[int, RoPE], list[int]] = {}
    for number in whole:
        head_dim = by_number.get(number, layers[0]).head_dim
        rope = certain_rope(facts.config, number, head_dim)
        groups.setdefault((head_dim, rope), []).append(number)
    return tuple(
        AttentionGroup(tuple(members), facts.kv_heads, head_dim, layers[0].window, rope)
        for (head_dim, rope), members in groups.items()
    )


def _opaque_planes(facts: EngineFacts, chunk_tokens: int) -> tuple[RankPlane, ...]:
    numbers = _all_numbers(facts)
    span = numbers[-1] + 1
    planes: list[RankPlane] = []
    for group in dict.fromkeys(layer.group for layer in facts.layers):
        layers = [layer for layer in facts.layers if layer.group == group]
        whole = numbers if len(facts.stages) > 1 else [layer.number for layer in layers]
        shards = _opaque_shards(facts, layers)
        tokens = facts.block_tokens[group]
        sizes = {layer.number: layer.block_bytes for layer in layers}
        members: dict[int, list[int]] = {}
        # The layout has every rank's pages, as layers of their own: rank times span + layer.
        for shard in range(shards):
            for number in whole:
                size = sizes.get(number, layers[0].block_bytes)
                if size % tokens:
                    raise UnsupportedModel(f"blocks of {size} bytes for {tokens} tokens")
                members.setdefault(size // tokens, []).append(shard * span + number)
        window = layers[0].kept_window
        layout = Layout(
            DTYPES.get(layers[0].dtype, "i8"),
            tuple(OpaqueGroup(tuple(m), size, window) for size, m in members.items()),
        )

        def part(first: int, last: int, share: int, of: int) -> Part:
            return Part(share * span + first, last - first + 1)

        planes.append(
            _plane(facts, len(planes), chunk_tokens, layers, layout, part, shards, [], whole)
        )
    return tuple(planes)


def _opaque_shards(facts: EngineFacts, layers: list[CacheLayer]) -> int:
    if all(layer.latent for layer in layers):
        return 1
    try:
        return facts.tp_size if any(layer.latent for layer in layers) else _shards(facts)
    except UnsupportedModel:
        return facts.tp_size


def _plane(
    facts: EngineFacts,
    index: int,
    chunk_tokens: int,
    layers: list[CacheLayer],
    layout: Layout,
    part: Callable[[int, int, int, int], Part],
    shards: int,
    others: Sequence[int],
    whole: Sequence[int],
) -> RankPlane:
    """A plane of this rank, with its own grid and those of `others` numbers of shares."""
    if facts.tp_size % shards:
        raise UnsupportedModel(f"{shards} shares of heads on {facts.tp_size} ranks")
    copies = facts.tp_size // shards
    spans = [
        (mine[0], mine[-1])
        for first, end in facts.stages
        if (mine := [number for number in whole if first <= number < end])
    ]
    everything = [(whole[0], whole[-1])]
    own = tuple(part(*span, share, shards) for span in spans for share in range(shards))
    if len(own) > GRID_PARTS_MAX:
        raise UnsupportedModel(f"{len(own)} ranks hold parts: at most {GRID_PARTS_MAX}")
    grids = [own]
    for count in others:
        grids.append(tuple(part(*span, n, count) for span in everything for n in range(count)))
    groups = tuple(dict.fromkeys(layer.group for layer in layers))
    return RankPlane(
        index=index,
        chunk_tokens=chunk_tokens,
        layers=tuple(layers),
        groups=groups,
        group_blocks=tuple(facts.block_tokens[group] for group in groups),
        layout=layout,
        part=part(layers[0].number, layers[-1].number, facts.tp_rank // copies, shards),
        writes=facts.tp_rank % copies == 0,
        grids=tuple(grid for grid in dict.fromkeys(grids) if len(grid) <= GRID_PARTS_MAX),
    )
