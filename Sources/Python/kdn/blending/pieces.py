"""What a blend is asked to be made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BlendPiece:
    """A document by name; `epoch` 0 is any, `slot` positions are reserved (0: its length)."""

    name: str
    epoch: int = 0
    slot: int = 0
