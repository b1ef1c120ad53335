"""The edit benchmark through a daemon: EDIT, COMPOSE and taking back, checked against tensors."""

from __future__ import annotations

from typing import Any

import torch
from edit_bench_cases import Case, Span
from edit_bench_operations import Edit, edited
from knowledge_model import Planes, planes_of

import kdn.edits
from kdn.engines import transformers_blend as blending

# Key scales below it wreck the text: the daemon refuses them.
KEY_STRENGTH_MIN = 0.25
NAME = "case"


class EditedDocument:
    """A case's text as a document of a daemon's, edited there one edit at a time."""

    def __init__(self, model: Any, client: kdn.Client, case: Case) -> None:
        self._model = model
        self._client = client
        self._case = case
        blending.learn_document(model, list(case.ids), NAME, client)
        self.base = self._delivered()

    def planes(self, edit: Edit) -> Planes | None:
        """What the daemon delivers with one edit, which is taken back again; None if it has none.

        Raises ValueError where that is not, bit for bit, what the edit does to the base's tensors,
        or where the base is another after the edit was taken back.
        """
        spans = edit.spans(self._case)
        operation = _operation(edit, spans)
        if operation is None:
            return None
        self._client.add_edit(NAME, operation)
        found = self._delivered()
        self._client.revert_edits(NAME)
        _check_same(found, edited(self.base, edit, spans), f"{edit} through the daemon")
        return found

    def reverted(self) -> Planes:
        """What the daemon delivers now; raises ValueError if that is not the base's bits."""
        found = self._delivered()
        _check_same(found, self.base, "what was reverted")
        return found

    def forget(self) -> None:
        """Takes the document out of the daemon."""
        blending.forget_document(NAME, self._client)

    def _delivered(self) -> Planes:
        return planes_of(blending.compose(self._model, [NAME], self._client).cache)


def _operation(edit: Edit, spans: list[Span]) -> kdn.edits.Edit | None:
    if edit.layers is not None:
        return None
    if edit.kind == "scaleKeys" and edit.strength >= KEY_STRENGTH_MIN:
        return kdn.edits.Edit.scale_keys(edit.strength, spans)
    if edit.kind == "scaleValues":
        return kdn.edits.Edit.scale_values(edit.strength, spans)
    return kdn.edits.Edit.drop(spans) if edit.kind == "drop" else None


def _check_same(found: Planes, wanted: Planes, what: str) -> None:
    pairs = [(a, b) for one, other in zip(found, wanted) for a, b in zip(one, other)]
    if len(found) != len(wanted) or not all(torch.equal(a, b) for a, b in pairs):
        raise ValueError(f"{what} is not what the edit does to tensors")
