"""What a blend costs beside a full prefill, counted before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CostEstimate:
    """Multiplications and additions, each counted as one, without embedding and head.

    `prefill` of all rows in one pass; `recompute` of the rows that are computed anew, `choosing` of
    what it takes to find out which.
    """

    prefill: float
    recompute: float
    choosing: float

    @property
    def share(self) -> float:
        """What the blend costs, as a share of the prefill."""
        return (self.recompute + self.choosing) / self.prefill


class Costs:
    """Of a dense decoder with gated layers, as most are; experts are counted as one layer."""

    def __init__(self, config: Any) -> None:
        dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        heads = config.num_attention_heads * dim
        kv_heads = getattr(config, "num_key_value_heads", config.num_attention_heads) * dim
        self.layers: int = config.num_hidden_layers
        self._kv = 2 * 2 * config.hidden_size * kv_heads
        self._linear = 2 * config.hidden_size * (
            2 * heads + 2 * kv_heads + 3 * config.intermediate_size
        )
        self._seen = 4 * heads

    def layer(self, rows: Sequence[int]) -> float:
        """One layer for rows that see as many as stand before them, and themselves."""
        return len(rows) * self._linear + self._seen * float(sum(rows) + len(rows))

    def prefill(self, rows: int) -> float:
        """All layers for a whole prompt."""
        return self.layers * self.layer(range(rows))

    def estimate(self, rows: Sequence[int], later: Sequence[int], depth: int) -> CostEstimate:
        """Of computing `rows` anew, chosen by the keys of layer `depth` among `later`, the rows
        from there to the last; depth 0: the plan had chosen.
        """
        choosing = 0.0
        if depth and rows:
            choosing = depth * self.layer(later) + len(later) * self._kv
        return CostEstimate(
            self.prefill(later[-1] + 1), self.layers * self.layer(rows), choosing
        )
