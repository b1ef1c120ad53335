"""Fidelity: how near delivered objects must be to what was stored, as classes to accept."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass

from kdn.errors import FieldError

RAW_BIT = 1
# From the finest to the coarsest; each with the number of its class and of the bit that accepts it.
FIDELITIES = {"exact": 1, "high": 2, "balanced": 3, "small": 4, "archive": 5}
COARSEST = "archive"


def check_fidelity(fidelity: str | None, *, is_rdma: bool) -> str | None:
    """The fidelity; raises FieldError for a word that is none, or a link that cannot ask for it."""
    if fidelity is None:
        return None
    if fidelity not in FIDELITIES:
        raise FieldError("fidelity", fidelity, f"None or one of {', '.join(FIDELITIES)}")
    if is_rdma:
        raise FieldError("fidelity", fidelity, "None over rdma, which carries raw bytes only")
    return fidelity


# Bits of the classes that lose something.
LOSSY_BITS = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5


@dataclass(frozen=True, slots=True)
class Terms:
    """What GETs of a fidelity say to the server, and what they take of its answers.

    `accepted` are bits for acceptedCodecs, among them those of classes that are coarser than is
    wanted: of an object that is kept in such a one the server would else send what it decodes to,
    and nothing would tell that from what was stored. `wanted` are the bits of what is really
    taken; anything else is a miss INEXACT.
    """

    accepted: int = RAW_BIT
    wanted: int = RAW_BIT
    # Of whole objects, and of parts of them, which always come raw.
    exact: bool = False
    exact_parts: bool = False

    def takes(self, codec: int) -> bool:
        """Whether an object in this codec is near enough."""
        return bool(self.wanted >> codec & 1)


@functools.cache
def terms_of(fidelity: str | None) -> Terms:
    """The terms of a fidelity; zstd and lz4 are accepted where this host has them.

    Without numpy, which decoding needs, only raw bytes are accepted, and such as were never coded
    with a loss unless the fidelity is the coarsest.
    """
    if fidelity is None:
        return Terms()
    guarded = fidelity != COARSEST
    if importlib.util.find_spec("numpy") is None:
        return Terms(exact=guarded, exact_parts=guarded)
    from kdn.codec import plain
    from kdn.codec.container import LZ4, ZSTD

    wanted = RAW_BIT | sum(1 << number for number in range(1, FIDELITIES[fidelity] + 1))
    plain_classes = {16: ZSTD, 17: LZ4}
    wanted |= sum(1 << n for n, kind in plain_classes.items() if plain.available(kind))
    exact = fidelity == "exact"
    return Terms(wanted if exact else wanted | LOSSY_BITS, wanted, exact, guarded)
