"""What edits of documents do to a blend's rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from kdn.edits import DROP, REQUANTISE, SCALE_KEYS, SCALE_VALUES, ListedEdit
from kdn.errors import FieldError, ServerError, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdn.blending.plan import BlendPlan, Span


# What a server says to verbs that it does not have.
UNKNOWN = (Status.UNKNOWN_OP, Status.UNSUPPORTED)


@dataclass(frozen=True)
class Scales:
    """What the keys and the values of each row are multiplied by, f32 `[rows]`."""

    keys: torch.Tensor
    values: torch.Tensor


def listed(client: Any, name: str, timeout: float | None) -> list[ListedEdit]:
    """A document's edits; none where the server knows no edits."""
    try:
        return list(client.list_edits(name, timeout=timeout))
    except ServerError as error:
        if error.status in UNKNOWN:
            return []
        raise


def check_unchanged(
    client: Any, name: str, before: list[ListedEdit], timeout: float | None
) -> None:
    """Raises FieldError naming `edits` if a document was edited meanwhile."""
    if listed(client, name, timeout) != before:
        raise FieldError("edits", name, "left alone while they are blended: try again")


def check_assembled(edits: Sequence[Sequence[ListedEdit]]) -> None:
    """Raises FieldError naming `edits` if one can be applied by the server alone."""
    if any(one.edit.kind == REQUANTISE for some in edits for one in some):
        raise FieldError("edits", "requantise", "applied by the server alone: source='server'")


def drops(edits: Sequence[ListedEdit]) -> tuple[Span, ...]:
    """The spans of tokens that edits leave out."""
    return tuple(span for one in edits if one.edit.kind == DROP for span in one.edit.spans)


def scales(plan: BlendPlan, edits: Sequence[Sequence[ListedEdit]]) -> Scales | None:
    """Factors of all rows, `edits` of each piece in their order; None where nothing is scaled."""
    kinds = {one.edit.kind for some in edits for one in some}
    if not kinds.intersection((SCALE_KEYS, SCALE_VALUES)):
        return None
    factors = []
    for kind in (SCALE_KEYS, SCALE_VALUES):
        rows = []
        for placement, some in zip(plan.placements, edits, strict=True):
            tokens = torch.ones(placement.token_count, dtype=torch.float32)
            for one in some:
                if one.edit.kind == kind:
                    for start, end in one.edit.spans:
                        tokens[start:end] *= one.edit.strength
            rows += [tokens[start:end] for start, end in placement.kept]
        factors.append(torch.cat(rows))
    return Scales(*factors)
