"""Prompts of fixed texts and slots: what stands where is known before a slot is filled.

The fixed texts are documents, learnt once, and each slot reserves positions for a document that is
named later. Whatever fills it, the texts behind it stand where they stood.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kdn.blending.plan import PIECES_MAX, POSITION_LIMIT
from kdn.compose import BlendPiece
from kdn.errors import FieldError


@dataclass(frozen=True)
class Text:
    """A fixed text: the name of the document that holds it."""

    document: str


@dataclass(frozen=True)
class Slot:
    """A place for a document of at most `positions` tokens.

    An optional one may stay empty: it is left out then, and those behind it move up.
    """

    name: str
    positions: int
    optional: bool = False


@dataclass(frozen=True)
class Template:
    """Fixed texts and slots in their order, optional slots at the end.

    Raises FieldError naming `count`, `positions`, `slot` (two of one name) or `optional` (one with
    something behind it that must keep its place).
    """

    parts: tuple[Text | Slot, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if not 1 <= len(self.parts) <= PIECES_MAX:
            raise FieldError("count", len(self.parts), f"1 to {PIECES_MAX} texts and slots")
        names = [slot.name for slot in self.slots]
        for name in names:
            if names.count(name) > 1:
                raise FieldError("slot", name, "one slot of this name")
        for slot in self.slots:
            if not 1 <= slot.positions < POSITION_LIMIT:
                raise FieldError("positions", slot.positions, f"1 to {POSITION_LIMIT - 1}")
        optional = [isinstance(part, Slot) and part.optional for part in self.parts]
        if optional != sorted(optional):
            raise FieldError("optional", optional.index(True), "slots at the end alone")

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots in their order."""
        return tuple(part for part in self.parts if isinstance(part, Slot))

    def fill(self, documents: Mapping[str, str]) -> list[BlendPiece]:
        """The pieces with `documents` (slot's name to document's name) in the slots.

        Raises FieldError naming `slot`: one that does not exist, or that is empty but not
        optional. A document that is too long for its slot is found when the blend is planned.
        """
        known = {slot.name for slot in self.slots}
        for name in documents:
            if name not in known:
                raise FieldError("slot", name, f"one of {', '.join(sorted(known))}")
        return list(self._filled(documents))

    def _filled(self, documents: Mapping[str, str]) -> Iterator[BlendPiece]:
        for part in self.parts:
            if isinstance(part, Text):
                yield BlendPiece(part.document)
            elif part.name in documents:
                yield BlendPiece(documents[part.name], slot=part.positions)
            elif not part.optional:
                raise FieldError("slot", part.name, "filled")
