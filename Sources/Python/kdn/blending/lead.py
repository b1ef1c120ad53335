"""Leads: a short text in front of which a document is computed once more, for its later places.

At the start of a text KV is unlike what it is anywhere else: the first tokens take the attention
that has nowhere to go, and what stands beside them is read too little. Computed behind a lead, a
document's first lines are as readable as its others. What is kept is the document's own KV, moved
back to position 0; the lead itself is never part of a blend.
"""

from __future__ import annotations

import hashlib
import operator
import struct
from dataclasses import dataclass

from kdn.errors import FieldError

TOKENS_MAX = 4096


@dataclass(frozen=True)
class Lead:
    """The token ids of a text that says nothing of its own; a sentence or two will do.

    Raises FieldError naming `lead` for none, too many, or what is no u32.
    """

    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        try:
            ids = tuple(operator.index(token) for token in self.ids)
        except TypeError:
            raise FieldError("lead", "no token ids", "whole numbers") from None
        if not 1 <= len(ids) <= TOKENS_MAX:
            raise FieldError("lead", len(ids), f"1 to {TOKENS_MAX} tokens")
        if not all(0 <= token < 1 << 32 for token in ids):
            raise FieldError("lead", "a token id", "0 to 4294967295")
        object.__setattr__(self, "ids", ids)

    @property
    def name(self) -> bytes:
        """What COMPOSE is asked for: SHA-256 of a label and the ids, u32 little-endian."""
        packed = struct.pack(f"<{len(self.ids)}I", *self.ids)
        return hashlib.sha256(b"kdn/1/lead" + packed).digest()
