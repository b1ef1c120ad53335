"""Element types in numpy: float32 rounded to the nearest value of a type, ties to even."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_NAN = {"bf16": 0x7FC0, "f16": 0x7E00, "f32": 0x7FC00000, "f8e4m3": 0x7F, "f8e5m2": 0x7F}
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32}


def rounded(values: Floats, dtype: str) -> npt.NDArray[Any]:
    """The bits of each value in the layout's element type, as unsigned integers."""
    bits = _ROUNDINGS[dtype](np.ascontiguousarray(values))
    return np.where(np.isnan(values), np.array(_NAN[dtype], bits.dtype), bits)


def _bf16(values: Floats) -> npt.NDArray[Any]:
    bits = values.view(np.uint32)
    carried = bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))
    return (carried >> np.uint32(16)).astype(np.uint16)


def _f16(values: Floats) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).view(np.uint16)


def _f32(values: Floats) -> npt.NDArray[Any]:
    return values.view(np.uint32)


def _eight_bits(
    values: Floats, bias: int, mantissa_bits: int, most: int, beyond: Callable[[Any], Any]
) -> npt.NDArray[np.uint8]:
    """A type of eight bits; source: torch's c10/util/Float8_*.h, whose casts these are."""
    cut = 23 - mantissa_bits
    bits = values.view(np.uint32)
    size = bits & np.uint32(0x7FFFFFFF)
    # Adding this, the float unit rounds what is too small for a normal number.
    magic = np.uint32((127 - bias + cut + 1) << 23)
    small = (size.view(np.float32) + magic.view(np.float32)).view(np.uint32) - magic
    odd = size >> np.uint32(cut) & np.uint32(1)
    shift = np.uint32((bias - 127) << 23 & 0xFFFFFFFF) + np.uint32((1 << (cut - 1)) - 1)
    normal = (size + shift + odd) >> np.uint32(cut)
    result = np.where(size < np.uint32((128 - bias) << 23), small, normal)
    result = np.where(size >= np.uint32(most), beyond(size), result)
    signed = result | bits >> np.uint32(24) & np.uint32(0x80)
    return np.asarray(signed, np.uint8)


def _f8e4m3(values: Floats) -> npt.NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        held = np.clip(values, np.float32(-448), np.float32(448))
        return _eight_bits(held, 7, 3, 1087 << 20, lambda size: np.uint32(0x7F))


def _f8e5m2(values: Floats) -> npt.NDArray[Any]:
    def beyond(size: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        return np.where(size > np.uint32(255 << 23), np.uint32(0x7F), np.uint32(0x7C))

    with np.errstate(over="ignore", invalid="ignore"):
        return _eight_bits(values, 15, 2, 143 << 23, beyond)


_ROUNDINGS: dict[str, Callable[[Floats], npt.NDArray[Any]]] = {
    "bf16": _bf16,
    "f16": _f16,
    "f32": _f32,
    "f8e4m3": _f8e4m3,
    "f8e5m2": _f8e5m2,
}
