"""What a transformers config says about rotary positions, as the facts that a layout carries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from kdn.errors import FieldError, KDNError
from kdn.rope import RoPE

if TYPE_CHECKING:
    from collections.abc import Mapping

SCALINGS = {
    "default": "none",
    "linear": "linear",
    "dynamic": "dynamic",
    "yarn": "yarn",
    "llama3": "llama3",
    "longrope": "longrope",
}


class UnsupportedModel(KDNError, ValueError):
    """The model's KV cache is not one that KDN can describe, or not safe to reuse."""


def parameters_of(config: Any, layer: int) -> Mapping[str, Any] | None:
    """The rotary parameters of one layer, or None where the config has none.

    Models with several kinds of layers nest them: `{"sliding_attention": {…}, …}`.
    """
    parameters: dict[str, Any] | None = getattr(config, "rope_parameters", None)
    if not parameters:
        return None
    if "rope_theta" in parameters or "rope_type" in parameters:
        return parameters
    kinds = getattr(config, "layer_types", None)
    if kinds is None or layer >= len(kinds):
        raise UnsupportedModel(
            f"config.rope_parameters is nested by {sorted(parameters)} but config.layer_types "
            f"does not say what layer {layer} is"
        )
    return parameters.get(kinds[layer])


def facts_of(config: Any, layer: int, head_dim: int, pairing: str) -> RoPE | None:
    """The RoPE facts of one layer as a layout states them, or None where the config has none.

    Raises UnsupportedModel for a scaling that a layout has no words for.
    """
    parameters = parameters_of(config, layer)
    if parameters is None:
        return None
    kind = parameters.get("rope_type", "default")
    if kind not in SCALINGS:
        raise UnsupportedModel(f"rope_type {kind!r}: a layout can state only {sorted(SCALINGS)}")
    if parameters.get("truncate") is False:
        raise UnsupportedModel("rope_parameters.truncate = false: a layout cannot state it")
    partial = parameters.get("partial_rotary_factor")
    if partial is None:
        partial = getattr(config, "partial_rotary_factor", None) or 1.0
    try:
        return RoPE(
            theta=float(parameters["rope_theta"]),
            scaling=SCALINGS[kind],
            pairing=pairing,
            keys="after",
            rotary_dims=int(head_dim * partial),
            factors=_factors(config, parameters, kind),
        )
    except FieldError as error:
        raise UnsupportedModel(f"rotary facts of layer {layer}: {error}") from error


def _factors(config: Any, parameters: Mapping[str, Any], kind: str) -> tuple[float, ...]:
    """The scaling factors, in the order of the layout format."""
    if kind == "default":
        return ()
    original = _original_context(config, parameters)
    factor = parameters.get("factor") or config.max_position_embeddings / original
    if kind == "linear":
        return (factor,)
    if kind == "dynamic":
        return (factor, original)
    if kind == "llama3":
        return (factor, parameters["low_freq_factor"], parameters["high_freq_factor"], original)
    if kind == "yarn":
        fast = parameters.get("beta_fast") or 32.0
        slow = parameters.get("beta_slow") or 1.0
        return (factor, original, fast, slow, _yarn_attention_factor(parameters, factor))
    attention = parameters.get("attention_factor")
    if attention is None:
        attention = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return (
        factor,
        original,
        attention,
        *parameters["short_factor"],
        *parameters["long_factor"],
    )


def _original_context(config: Any, parameters: Mapping[str, Any]) -> float:
    if parameters.get("rope_type") == "dynamic":
        return float(config.max_position_embeddings)
    original = parameters.get("original_max_position_embeddings")
    return float(original or config.max_position_embeddings)


def _yarn_attention_factor(parameters: Mapping[str, Any], factor: float) -> float:
    stated = parameters.get("attention_factor")
    if stated is not None:
        return float(stated)

    def scale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    mscale, all_dim = parameters.get("mscale"), parameters.get("mscale_all_dim")
    if mscale and all_dim:
        return scale(mscale) / scale(all_dim)
    return scale(1.0)


def prefix_limit(rope: RoPE | None) -> int | None:
    """The prompt length, in tokens, from which a prefix's KV depends on what follows it.

    Dynamic and longrope scaling change the frequencies of all positions once the prompt is longer
    than the original context, so KV of such prompts is not a function of the prefix alone.
    """
    if rope is None or rope.scaling not in ("dynamic", "longrope"):
        return None
    return int(rope.factors[1])


def frequencies(rope: RoPE) -> torch.Tensor:
    """Radians per position of each rotated pair, `[rotaryDims / 2]`, within the original context.

    Source: the papers' formulas as transformers' modeling_rope_utils has them.
    """
    dims = rope.rotary_dims
    exponents = torch.arange(0, dims, 2, dtype=torch.float64) / dims
    base = rope.theta**-exponents
    if rope.scaling == "linear":
        return base / rope.factors[0]
    if rope.scaling == "llama3":
        return _llama3(base, *rope.factors)
    if rope.scaling == "yarn":
        return _yarn(base, rope.theta, dims, *rope.factors[:4])
    if rope.scaling == "longrope":
        short = torch.tensor(rope.factors[3 : 3 + dims // 2], dtype=torch.float64)
        return base / short
    return base


def _llama3(
    base: torch.Tensor, factor: float, low: float, high: float, original: float
) -> torch.Tensor:
    wavelength = 2 * math.pi / base
    smooth = ((original / wavelength - low) / (high - low)).clamp(0, 1)
    return (1 - smooth) * base / factor + smooth * base


def _yarn(
    base: torch.Tensor,
    theta: float,
    dims: int,
    factor: float,
    original: float,
    fast: float,
    slow: float,
) -> torch.Tensor:
    def dimension(rotations: float) -> float:
        return dims * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension(fast)), 0)
    high = min(math.ceil(dimension(slow)), dims - 1)
    width = (high - low) or 0.001  # transformers' own guard against a division by zero
    ramp = ((torch.arange(dims // 2, dtype=torch.float64) - low) / width).clamp(0, 1)
    return base / factor * ramp + base * (1 - ramp)


def rotate(keys: torch.Tensor, rope: RoPE, distance: int) -> torch.Tensor:
    """Keys `[…, dim]` moved on by `distance` positions, in float64."""
    angles = frequencies(rope) * distance
    cos, sin = angles.cos(), angles.sin()
    rotated = keys.to(torch.float64).clone()
    part = rotated[..., : rope.rotary_dims]
    if rope.pairing == "neox":
        first, second = part.chunk(2, dim=-1)
    else:
        first, second = part[..., 0::2], part[..., 1::2]
    turned = first * cos - second * sin, first * sin + second * cos
    first.copy_(turned[0])
    second.copy_(turned[1])
    return rotated
