"""Rotation tables: cosines and sines by a fixed sequence of operations, the same bits everywhere.

No C library is asked: each float64 operation is rounded by itself, in the order of CKernels.h.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kdn.codec.errors import EncodingError

ANGLE_MAX = 2.0**31

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

_hex = float.fromhex
_TWO_OVER_PI = _hex("0x1.45f306dc9c883p-1")
_NEAREST = _hex("0x1.8p52")
# Pi / 2 in three parts; the first two leave room for n.
_PARTS = (_hex("0x1.921fb544p0"), _hex("0x1.0b4611a6p-34"), _hex("0x1.3198a2e037073p-69"))
_SINE = tuple(
    map(
        _hex,
        (
            "-0x1.5555555555549p-3",
            "0x1.111111110f8a6p-7",
            "-0x1.a01a019c161d5p-13",
            "0x1.71de357b1fe7dp-19",
            "-0x1.ae5e68a2b9cebp-26",
            "0x1.5d93a5acfd57cp-33",
        ),
    )
)
_COSINE = tuple(
    map(
        _hex,
        (
            "0x1.555555555554cp-5",
            "-0x1.6c16c16c15177p-10",
            "0x1.a01a019cb159p-16",
            "-0x1.27e4f809c52adp-22",
            "0x1.1ee9ebdb4b1c4p-29",
            "-0x1.8fae9be8838d4p-37",
        ),
    )
)


def rotation_tables(
    frequencies: tuple[float, ...], first_token: int, tokens: int
) -> tuple[Floats, Floats]:
    """Cosines and sines `[token, pair]` of the angles position x frequency.

    Raises EncodingError where an angle is too large to be reduced.
    """
    positions = np.arange(first_token, first_token + tokens, dtype=np.float64)
    angles = positions[:, None] * np.array(frequencies, np.float64)
    largest = float(np.abs(angles).max())
    if not largest < ANGLE_MAX:
        raise EncodingError("frequency", largest, f"angles below {ANGLE_MAX}")
    turns = (angles * _TWO_OVER_PI + _NEAREST) - _NEAREST
    rest = angles
    for part in _PARTS:
        rest = rest - turns * part
    square = rest * rest
    sines = rest + (rest * square) * _polynomial(square, _SINE)
    cosines = (1.0 - 0.5 * square) + (square * square) * _polynomial(square, _COSINE)
    quarter = turns.astype(np.int64) & 3
    odd = (quarter & 1).astype(bool)
    cosine = np.where(odd, sines, cosines)
    sine = np.where(odd, cosines, sines)
    cosine = np.where((quarter == 1) | (quarter == 2), -cosine, cosine)
    sine = np.where(quarter >= 2, -sine, sine)
    return cosine.astype(np.float32), sine.astype(np.float32)


def _polynomial(square: Doubles, coefficients: Sequence[float]) -> Doubles:
    total = np.full_like(square, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = coefficient + square * total
    return total
