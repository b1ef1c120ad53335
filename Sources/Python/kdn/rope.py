"""Rotary position facts of a layout: what it takes to undo and redo the rotation of keys."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kdn.errors import FieldError

SCALINGS = ("none", "linear", "dynamic", "yarn", "llama3", "longrope")
PAIRINGS = ("neox", "interleaved")
KEY_STATES = ("before", "after")
FACTORS_MAX = 4096

_ROPE = struct.Struct("<dBBBBHH")
_FIXED_FACTORS = {"none": 0, "linear": 1, "dynamic": 2, "yarn": 5, "llama3": 4, "longrope": 3}


@dataclass(frozen=True)
class RoPE:
    """Rotary facts; `factors` in the order of the scaling, `keys` stored before or after rotation.

    Factors: linear: factor. dynamic: factor, original context. yarn: factor, original context,
    betaFast, betaSlow, attentionFactor. llama3: factor, lowFreqFactor, highFreqFactor, original
    context. longrope: factor, original context, attentionFactor, then rotary_dims / 2 short and
    rotary_dims / 2 long factors.
    """

    theta: float
    rotary_dims: int
    scaling: str = "none"
    factors: tuple[float, ...] = ()
    pairing: str = "neox"
    keys: str = "after"

    def __post_init__(self) -> None:
        object.__setattr__(self, "theta", float(self.theta))
        object.__setattr__(self, "factors", tuple(float(factor) for factor in self.factors))
        if not (math.isfinite(self.theta) and self.theta > 0):
            raise FieldError("theta", self.theta, "finite and greater than 0")
        for field, value, known in (
            ("scaling", self.scaling, SCALINGS),
            ("pairing", self.pairing, PAIRINGS),
            ("keys", self.keys, KEY_STATES),
        ):
            if value not in known:
                raise FieldError(field, value, f"one of {', '.join(known)}")
        if not 2 <= self.rotary_dims <= 4096 or self.rotary_dims % 2:
            raise FieldError("rotaryDims", self.rotary_dims, "even, 2 to 4096")
        expected = _FIXED_FACTORS[self.scaling]
        if self.scaling == "longrope":
            expected += self.rotary_dims
        if len(self.factors) != expected or expected > FACTORS_MAX:
            raise FieldError("factorCount", len(self.factors), expected)
        if not all(math.isfinite(factor) for factor in self.factors):
            raise FieldError("factors", self.factors[:8], "finite")

    def check_dims(self, dims: int) -> None:
        """Raises FieldError if more dims are rotated than a head (or latent rope part) has."""
        if self.rotary_dims > dims:
            raise FieldError("rotaryDims", self.rotary_dims, f"at most {dims}")

    def encode(self) -> bytes:
        """The facts as they follow a group."""
        head = _ROPE.pack(
            self.theta,
            SCALINGS.index(self.scaling),
            PAIRINGS.index(self.pairing),
            KEY_STATES.index(self.keys),
            0,
            self.rotary_dims,
            len(self.factors),
        )
        return head + struct.pack(f"<{len(self.factors)}d", *self.factors)


def decode_rope(take: Callable[[struct.Struct], tuple[Any, ...]]) -> RoPE:
    """Rotary facts from a reader; raises FieldError naming the field at fault."""
    theta, scaling, pairing, keys, reserved, dims, factor_count = take(_ROPE)
    for field, value, known in (
        ("scaling", scaling, SCALINGS),
        ("pairing", pairing, PAIRINGS),
        ("keys", keys, KEY_STATES),
    ):
        if value >= len(known):
            raise FieldError(field, value, f"below {len(known)}")
    if reserved:
        raise FieldError("reserved", reserved, "zero")
    if factor_count > FACTORS_MAX:
        raise FieldError("factorCount", factor_count, f"at most {FACTORS_MAX}")
    factors = take(struct.Struct(f"<{factor_count}d"))
    return RoPE(theta, dims, SCALINGS[scaling], factors, PAIRINGS[pairing], KEY_STATES[keys])
