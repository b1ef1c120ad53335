"""Which rows of a blend to compute anew, by how far their keys are from what they should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdn.engines import _recompute

if TYPE_CHECKING:
    from kdn.blending.plan import BlendPlan
    from kdn.engines._assemble import Layers
    from kdn.engines._blend import Blend

# Beside the deviating rows: the first of each later document, which carry the most attention.
FIRST_TOKENS = 4
# Keys deviate as they will further up from a tenth of the depth on; those of layer 0 never do.
DEVIATION_DEPTH = 10


def deviation_layer_of(model: Any) -> int:
    """The layer at whose keys to look unless another is named."""
    layers = int(model.config.num_hidden_layers)
    return min(max(1, layers // DEVIATION_DEPTH), layers - 1)


def later_rows(plan: BlendPlan) -> list[int]:
    """All rows but those of the first document, which is exact as it is."""
    return list(range(plan.placements[0].row_count, plan.row_count))


def deviating(
    model: Any, blended: Blend, count: int, depth: int
) -> tuple[list[int], Layers]:
    """`count` rows to compute anew, and what came of finding out: the layers up to `depth`.

    All later documents run through the layers up to the keys of `depth`; equal deviations: lower
    rows.
    """
    later = later_rows(blended.plan)
    delivery = blended.delivery
    probed = _recompute.run_rows(
        model, blended.ids, blended.positions, later, delivery.layer, depth, blended.scales
    )
    scores = _recompute.deviations(probed[depth][0], delivery.layer(depth)[0]).tolist()
    behind = blended.plan.placements[1:]
    chosen = [
        placement.first_row + offset
        for offset in range(FIRST_TOKENS)
        for placement in behind
        if offset < placement.row_count
    ][:count]
    rest = sorted(set(later).difference(chosen), key=lambda row: (-scores[row], row))
    # The probe's KV is what the whole prompt would have given there: it is kept.
    return sorted([*chosen, *rest[: count - len(chosen)]]), probed
