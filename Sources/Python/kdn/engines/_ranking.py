"""Rankings: how much each token of a document gains by being computed anew, measured beforehand."""

from __future__ import annotations

import array
import math
import sys
from typing import TYPE_CHECKING, Any

from kdn.blending.errors import DocumentUnavailable
from kdn.engines._documents import scores_key
from kdn.engines.transformers import prefill
from kdn.errors import FieldError
from kdn.results import Get

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdn.engines._documents import KnownDocument
    from kdn.engines._planes import Plane


def encoded(scores: Sequence[float], count: int) -> bytes:
    """Raises FieldError naming `scores` unless they are one finite number for each token."""
    if len(scores) != count:
        raise FieldError("scores", len(scores), f"one for each of {count} tokens")
    if not all(math.isfinite(score) for score in scores):
        raise FieldError("scores", "not a number, or infinite", "finite")
    data = array.array("f", scores)
    if sys.byteorder == "big":
        data.byteswap()
    return data.tobytes()


def stored(client: Any, document: KnownDocument, timeout: float | None) -> tuple[float, ...]:
    """The scores of a document; raises DocumentUnavailable where there are none, or not as many."""
    count = len(document.ids)
    get = Get(key=scores_key(document.resolved.document), buffer=bytearray(4 * count))
    result = client.get_into([get], timeout=timeout)[0]
    if not result.hit or result.nbytes != 4 * count:
        raise DocumentUnavailable(document.name, "its scores", result.cause)
    found = array.array("f", bytes(get.buffer))
    if sys.byteorder == "big":
        found.byteswap()
    if not all(math.isfinite(score) for score in found):
        raise FieldError("scores", document.name, "finite")
    return tuple(found)


def measured(
    model: Any, plane: Plane, ids: Sequence[int], behind: Sequence[int]
) -> list[float]:
    """How much the values of each token change when a text stands behind another.

    Keys are left aside: they turn with the position, and change with the values. The sum over the
    layers of the squared change, each layer's in units of its mean square.
    """
    import torch

    alone, whole = prefill(model, list(ids)), prefill(model, [*behind, *ids])
    total = torch.zeros(len(ids), dtype=torch.float64)
    for facts in plane.layers:
        here = alone.layers[facts.number].values[0].double().cpu()
        there = whole.layers[facts.number].values[0, :, len(behind) :].double().cpu()
        unit = here.square().mean().clamp_min(1e-30)
        total += (there - here).square().mean(dim=(0, 2)) / unit
    return [float(score) for score in total]
