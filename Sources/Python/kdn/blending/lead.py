"""Leads: a short text in front of which a document is computed once more, for its later places.

At the start of a text KV is unlike what it is anywhere else: the first tokens take the attention
that has nowhere to go, and what stands beside them is read too little. Computed behind a lead, a
document's first lines are as readable as its others. What is kept is the document's own KV, moved
back to position 0; the lead itself is never part of a blend.
"""

from __future__ import annotations

import array
import hashlib
import sys
from dataclasses import dataclass

from kdn.errors import FieldError

TOKENS_MAX = 4096
_U32 = next(code for code in "IL" if array.array(code).itemsize == 4)


@dataclass(frozen=True)
class Lead:
    """The token ids of a text that says nothing of its own; a sentence or two will do.

    Raises FieldError naming `lead` for none, too many, or ids that are no u32.
    """

    ids: tuple[int, ...]

    def __init__(self, ids: object) -> None:
        object.__setattr__(self, "ids", tuple(ids))  # type: ignore[call-overload]
        if not 1 <= len(self.ids) <= TOKENS_MAX:
            raise FieldError("lead", len(self.ids), f"1 to {TOKENS_MAX} tokens")
        if not all(0 <= token < 1 << 32 for token in self.ids):
            raise FieldError("lead", "a token id", "0 to 4294967295")

    @property
    def name(self) -> bytes:
        """What COMPOSE is asked for: SHA-256 of a label and the ids, u32 little-endian."""
        packed = array.array(_U32, self.ids)
        if sys.byteorder == "big":
            packed.byteswap()
        return hashlib.sha256(b"kdn/1/lead" + packed.tobytes()).digest()
