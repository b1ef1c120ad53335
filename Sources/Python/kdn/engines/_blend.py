"""A blend: its plan, its rows, and the cache that comes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import DynamicSlidingWindowLayer

from kdn.engines import _measure
from kdn.engines._costs import CostEstimate, Costs

if TYPE_CHECKING:
    from transformers import DynamicCache

    from kdn.blending.plan import BlendPlan
    from kdn.engines._assemble import Layers
    from kdn.engines._delivery import Delivered
    from kdn.engines._edits import Scales


@dataclass
class Blend:
    """The KV of several documents, to go on with at `end_position`.

    `ids` and `positions` are of its rows. `epochs` says what each name stood for. `recomputed` are
    the rows that were computed anew. Its layers may still be on their way: see `cache`.
    """

    plan: BlendPlan
    ids: list[int]
    positions: list[int]
    epochs: tuple[int, ...]
    config: Any = field(repr=False)
    delivery: Delivered = field(repr=False)
    # What edits multiply rows by: also those that are computed anew.
    scales: Scales | None = field(default=None, repr=False)
    bytes: int = 0
    recomputed: list[int] = field(default_factory=list)
    seconds: float = 0.0
    made: DynamicCache | None = field(default=None, repr=False)

    @property
    def cache(self) -> DynamicCache:
        """An ordinary cache of the model, which grows by what is run on it.

        Waits for layers that are on their way: raises DocumentUnavailable or the client's errors
        if one does not come.
        """
        if self.made is None:
            self.made = _cache(self.config, self.delivery.all())
        return self.made

    @property
    def end_position(self) -> int:
        """The position of the first token behind the blend."""
        return self.plan.end_position

    @property
    def row_count(self) -> int:
        """How many tokens the documents have in the cache."""
        return self.plan.row_count

    @property
    def grown(self) -> int:
        """How many tokens were run on the cache behind the documents."""
        return 0 if self.made is None else int(self.made.get_seq_length()) - self.row_count

    def cost(self, *, deviation_layer: int = 0) -> CostEstimate:
        """What computing the plan's tokens anew costs beside a full prefill of all rows.

        `deviation_layer`: tokens are chosen by that layer's keys, which costs a pass up to there;
        0: the plan has chosen. Of a dense decoder: see CostEstimate.
        """
        later = range(self.plan.placements[0].row_count, self.row_count)
        if not later:
            later = range(self.row_count)
        rows = self.recomputed or self.plan.recompute_rows
        return Costs(self.config).estimate(rows, later, deviation_layer)

    def positions_for(self, tokens: int) -> torch.Tensor:
        """`position_ids` `[1, tokens]` of the tokens behind what the cache holds now."""
        start = self.end_position + self.grown
        device = self.cache.layers[0].keys.device
        return torch.arange(start, start + tokens, device=device)[None]


def _cache(config: Any, layers: Layers) -> DynamicCache:
    """A cache with these rows in every layer."""
    cache = _measure.new_cache(config)
    for number, (keys, values) in layers.items():
        layer: Any = cache.layers[number]
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        if isinstance(layer, DynamicSlidingWindowLayer):
            layer.cumulative_length = keys.shape[2]
    return cache
