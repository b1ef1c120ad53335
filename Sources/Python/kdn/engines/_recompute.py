"""The selective forward pass: some rows of a blend computed anew, against all that was delivered.

The model's own modules run, on the chosen tokens alone: their positions are given, a mask says
which rows each sees, and a cache stands in that takes each layer's new K and V into their rows and
answers with the whole layer. Each layer is asked for when the pass gets there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import DynamicLayer

from kdn.engines import _measure
from kdn.engines._rope import UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kdn.engines._assemble import Layers
    from kdn.engines._edits import Scales

    Pair = tuple[torch.Tensor, torch.Tensor]

# Those to which a mask of any shape can be given.
ATTENTIONS = ("eager", "sdpa")


class _Enough(Exception):  # noqa: N818 (no error: it ends a pass early)
    """The layer that was wanted has its new KV."""


class _Rows(DynamicLayer):  # type: ignore[misc]
    """What stands in for a cache layer: takes the rows' new KV, answers with all rows."""

    def __init__(
        self,
        rows: torch.Tensor,
        delivered: Callable[[], Pair],
        is_last_wanted: bool,
        scales: Scales | None,
    ) -> None:
        super().__init__()
        self._rows = rows
        self._scales = scales
        self._delivered = delivered
        self._is_last_wanted = is_last_wanted
        self.result: Pair | None = None

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> Pair:
        """Puts the new KV `[1, heads, chosen, dim]` into its rows."""
        old = self._delivered()
        if self._scales is not None:
            keys = self._scaled(keys, self._scales.keys)
            values = self._scaled(values, self._scales.values)
        self.result = old[0].clone(), old[1].clone()
        self.result[0][:, :, self._rows] = keys.to(old[0].dtype)
        self.result[1][:, :, self._rows] = values.to(old[1].dtype)
        if self._is_last_wanted:
            raise _Enough
        return self.result

    def _scaled(self, numbers: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        chosen = factors.to(numbers.device)[self._rows][:, None]
        return (numbers.float() * chosen).to(numbers.dtype)


def check_attention(model: Any) -> None:
    """Raises UnsupportedModel where the attention takes no mask."""
    kind = model.config._attn_implementation
    if kind not in ATTENTIONS:
        raise UnsupportedModel(f"attention {kind!r} takes no mask of rows: load with 'sdpa'")


def run_rows(
    model: Any,
    ids: Sequence[int],
    positions: Sequence[int],
    rows: Sequence[int],
    delivered: Callable[[int], Pair],
    last_layer: int | None = None,
    scales: Scales | None = None,
) -> Layers:
    """K and V of every layer, `[1, heads, all rows, dim]`, with `rows` computed anew.

    `ids` and `positions` are of all rows of the blend; `delivered(layer)` gives a layer as it was,
    and is not changed. With `last_layer` the pass ends once that layer has its new KV, and only
    layers up to it are given. New KV is scaled as edits say. Raises UnsupportedModel for attention
    that takes no mask.
    """
    check_attention(model)
    device = model.device
    chosen = torch.tensor(rows, dtype=torch.long, device=device)
    place = torch.tensor(positions, dtype=torch.long, device=device)
    tokens = torch.tensor(ids, dtype=torch.long, device=device)
    cache = _measure.new_cache(model.config)
    stands = [
        _Rows(chosen, partial(delivered, number), number == last_layer, scales)
        for number in range(len(cache.layers))
    ]
    cache.layers = stands
    mask = place[chosen][:, None] >= place[None, :]
    try:
        _measure.forward(
            model,
            tokens[chosen][None],
            cache,
            position_ids=place[chosen][None],
            attention_mask=_mask(model, mask)[None, None],
        )
    except _Enough:
        pass
    results = {number: one.result for number, one in enumerate(stands) if one.result is not None}
    wanted = len(stands) if last_layer is None else last_layer + 1
    if len(results) != wanted:
        raise UnsupportedModel(f"{len(results)} layers took new KV, wanted {wanted}")
    return results


def deviations(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """The squared distance of each row's keys `[1, heads, rows, dim]` from the old, `[rows]`."""
    return (new.float() - old.float()).square().sum(dim=(0, 1, 3))


def _mask(model: Any, allowed: torch.Tensor) -> torch.Tensor:
    """The mask in the form that the model's attention takes."""
    if model.config._attn_implementation == "sdpa":
        return allowed
    mask = torch.zeros(allowed.shape, dtype=model.dtype, device=allowed.device)
    return mask.masked_fill(~allowed, torch.finfo(model.dtype).min)
