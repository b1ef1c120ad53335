"""Rotary angles by which a piece's keys turn when it is moved to its place in a blend.

All tokens of a piece move by the same distance, so one cosine and sine per rotated pair is all
there is. Angles are made in float64 and the keys turned in float32: see Blending.md on accuracy.
"""

from __future__ import annotations

import math
from typing import Any

from kdn.errors import FieldError
from kdn.rope import RoPE


def movable(rope: RoPE) -> None:
    """Raises FieldError naming `keys` unless stored keys are known to turn with position."""
    if rope.keys != "after":
        raise FieldError("keys", rope.keys, "after: keys stored with their rotation applied")


def position_limit(ropes: list[RoPE]) -> int:
    """What positions must stay below: 2^31, or the least original context where that matters.

    Dynamic and longrope scaling change every frequency once a prompt is longer than that.
    """
    limits = [int(rope.factors[1]) for rope in ropes if rope.scaling in ("dynamic", "longrope")]
    return min([1 << 31, *limits])


def table(rope: RoPE, distance: int) -> tuple[list[float], list[float]]:
    """Cosines and sines of the turn by `distance` positions, one per rotated pair, in float64."""
    angles = [frequency * distance for frequency in frequencies(rope)]
    return [math.cos(angle) for angle in angles], [math.sin(angle) for angle in angles]


def frequencies(rope: RoPE) -> list[float]:
    """Radians per position of each rotated pair, in float64, within the original context."""
    pairs = range(rope.rotary_dims // 2)
    base = [rope.theta ** (-2.0 * pair / rope.rotary_dims) for pair in pairs]
    if rope.scaling == "linear":
        return [frequency / rope.factors[0] for frequency in base]
    if rope.scaling == "llama3":
        return [_llama3(frequency, *rope.factors) for frequency in base]
    if rope.scaling == "yarn":
        return _yarn(base, rope)
    if rope.scaling == "longrope":
        return [frequency / rope.factors[3 + pair] for pair, frequency in enumerate(base)]
    return base


def turn(keys: Any, rope: RoPE | None, distance: int, scale: Any = None) -> Any:
    """Keys `[…, tokens, dim]`, a torch tensor, moved on by `distance` positions, then scaled.

    float32 arithmetic: two products and their sum, times `scale` (float32, `[tokens]`), rounded
    once to the keys' own type. Without facts (keys that do not turn, values) or a distance, and
    without a scale, they are given back bit for bit. Raises FieldError for keys that cannot be
    moved.
    """
    import torch

    if rope is not None:
        movable(rope)
    turns = rope is not None and distance != 0
    if not turns and scale is None:
        return keys
    result = keys.to(torch.float32).clone()
    if rope is not None and turns:
        cosines, sines = (
            torch.tensor(values, dtype=torch.float64, device=keys.device).to(torch.float32)
            for values in table(rope, distance)
        )
        part = result[..., : rope.rotary_dims]
        if rope.pairing == "neox":
            first, second = part.chunk(2, dim=-1)
        else:
            first, second = part[..., 0::2], part[..., 1::2]
        turned = first * cosines - second * sines, first * sines + second * cosines
        first.copy_(turned[0])
        second.copy_(turned[1])
    if scale is not None:
        result *= scale.to(keys.device)[:, None]
    return result.to(keys.dtype)


def _llama3(
    frequency: float, factor: float, low: float, high: float, original: float
) -> float:
    wavelength = 2 * math.pi / frequency
    smooth = min(max((original / wavelength - low) / (high - low), 0.0), 1.0)
    return (1 - smooth) * frequency / factor + smooth * frequency


def _yarn(base: list[float], rope: RoPE) -> list[float]:
    factor, original, fast, slow = rope.factors[:4]
    dims = rope.rotary_dims

    def dimension(rotations: float) -> float:
        return dims * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(rope.theta))

    low = max(math.floor(dimension(fast)), 0)
    high = min(math.ceil(dimension(slow)), dims - 1)
    width = (high - low) or 0.001  # the guard of transformers against a division by zero
    ramps = [min(max((pair - low) / width, 0.0), 1.0) for pair in range(dims // 2)]
    return [
        frequency / factor * ramp + frequency * (1 - ramp)
        for frequency, ramp in zip(base, ramps, strict=True)
    ]
