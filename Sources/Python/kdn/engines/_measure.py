"""Measures what a model really caches: shapes, windows, and how its keys turn with position.

A config does not say which layers rotate their keys, nor how dimensions are paired, and a wrong
fact would make wrong KV when documents are blended. So the facts are taken from two short forward
passes: the same tokens at two places must give keys that differ by exactly the stated rotation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from kdn.engines import _rope
from kdn.engines._rope import UnsupportedModel
from kdn.rope import RoPE

DTYPES = {torch.bfloat16: "bf16", torch.float16: "f16", torch.float32: "f32"}
PROBE_TOKENS = 8
COMPARED_TOKENS = 6
DISTANCE = 61
# Relative error of keys that are the same but for rounding. A wrong pairing or theta is off by
# about 1; half-precision models of dozens of layers by a few percent.
TOLERANCE = {torch.float32: 0.01, torch.float16: 0.1, torch.bfloat16: 0.2}


@dataclass(frozen=True)
class LayerFacts:
    """What one layer caches: K and V of `[kv_heads, tokens, head_dim]` each.

    `window` is the sliding window in tokens, 0 for full attention; such a layer keeps the last
    `window - 1` tokens.
    """

    number: int
    kv_heads: int
    head_dim: int
    window: int
    rope: RoPE | None
    dtype: torch.dtype
    device: torch.device


def measure(model: Any) -> tuple[LayerFacts, ...]:
    """The facts of each layer of `model`, checked against the model itself.

    Raises UnsupportedModel, saying why, for a model whose cache is not plain attention.
    """
    config = text_config(model)
    near = _probe(model, config, PROBE_TOKENS, first_position=0)
    # The second pass has fewer tokens: were a token's KV to depend on later ones, it would differ.
    far = _probe(model, config, COMPARED_TOKENS, first_position=DISTANCE)
    return tuple(
        _layer_facts(config, number, layer, moved)
        for number, (layer, moved) in enumerate(zip(near, far, strict=True))
    )


def text_config(model: Any) -> Any:
    """The config of a model that reads token ids only; raises UnsupportedModel for others."""
    config = model.config
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModel("encoder-decoder model: its KV depends on more than the tokens")
    if config.get_text_config(decoder=True) is not config:
        raise UnsupportedModel("multimodal model: token ids alone do not determine its KV")
    if getattr(config, "kv_lora_rank", None):
        raise UnsupportedModel("config.kv_lora_rank is set: latent (MLA) KV is not supported yet")
    if getattr(config, "use_bidirectional_attention", False):
        raise UnsupportedModel("config.use_bidirectional_attention: KV depends on later tokens")
    if model.training:
        raise UnsupportedModel("the model is in training mode: call model.eval() first")
    return config


def new_cache(config: Any) -> DynamicCache:
    """An empty cache for the model; raises UnsupportedModel if a layer is not plain attention."""
    try:
        cache = DynamicCache(config=config)
    except (KeyError, AttributeError, TypeError) as error:
        raise UnsupportedModel(f"transformers has no dynamic cache for it: {error!r}") from error
    for number, layer in enumerate(cache.layers):
        if type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer):
            raise UnsupportedModel(
                f"layer {number} caches a {type(layer).__name__}, which is not plain attention"
            )
        if getattr(layer, "sliding_window", 2) < 2:
            raise UnsupportedModel(f"layer {number} has a sliding window below 2 tokens")
    if not cache.layers:
        raise UnsupportedModel("the model has no attention layers")
    return cache


def record_past(cache: DynamicCache) -> None:
    """Makes sliding layers keep all tokens, so that each chunk of theirs can be stored."""
    layers: list[Any] = list(cache.layers)
    for layer in layers:
        if hasattr(layer, "activate_past_recording"):
            layer.activate_past_recording()


def forward(model: Any, ids: torch.Tensor, cache: DynamicCache, **options: Any) -> None:
    """Runs `ids` `[1, n]` through the decoder without its output head; fills `cache`."""
    with torch.no_grad():
        model.base_model(input_ids=ids, past_key_values=cache, use_cache=True, **options)


def _probe(model: Any, config: Any, tokens: int, first_position: int) -> list[Any]:
    """The cache layers after `tokens` tokens that begin at `first_position`."""
    cache = new_cache(config)
    record_past(cache)
    ids = (torch.arange(tokens, device=model.device) * 37 + 11) % config.vocab_size
    positions = torch.arange(tokens, device=model.device) + first_position
    try:
        forward(model, ids[None], cache, position_ids=positions[None])
    except (TypeError, IndexError, ValueError) as error:
        raise UnsupportedModel(f"the model cannot be measured: {error!r}") from error
    layers: list[Any] = list(cache.layers)
    for number, layer in enumerate(layers):
        if layer.keys is None or layer.keys.dim() != 4 or layer.keys.shape[2] != tokens:
            raise UnsupportedModel(f"layer {number} does not cache one key per token")
        if layer.keys.shape != layer.values.shape:
            raise UnsupportedModel(
                f"layer {number} caches keys {tuple(layer.keys.shape)} but values "
                f"{tuple(layer.values.shape)}: layouts have one head size for both"
            )
        if layer.keys.dtype not in DTYPES or layer.values.dtype != layer.keys.dtype:
            raise UnsupportedModel(f"layer {number} caches {layer.keys.dtype}")
    return layers


def _layer_facts(config: Any, number: int, near: Any, far: Any) -> LayerFacts:
    head_dim = near.keys.shape[3]
    tolerance = TOLERANCE[near.keys.dtype]
    # Written so that a difference that is not a number is refused too.
    if not _difference(near.values[:, :, :COMPARED_TOKENS], far.values) <= tolerance:
        raise UnsupportedModel(
            f"values of layer {number} depend on absolute position or on later tokens"
        )
    return LayerFacts(
        number=number,
        kv_heads=near.keys.shape[1],
        head_dim=head_dim,
        window=getattr(near, "sliding_window", 0),
        rope=_rotation(config, number, near.keys[:, :, :COMPARED_TOKENS], far.keys, tolerance),
        dtype=near.keys.dtype,
        device=near.keys.device,
    )


def _rotation(
    config: Any, number: int, near: torch.Tensor, far: torch.Tensor, tolerance: float
) -> RoPE | None:
    """The facts under which `far` is `near` moved on by DISTANCE; None if they do not rotate."""
    head_dim = near.shape[3]
    candidates = [
        None,
        _rope.facts_of(config, number, head_dim, "neox"),
        _rope.facts_of(config, number, head_dim, "interleaved"),
    ]
    errors = {}
    for candidate in dict.fromkeys(candidates):
        moved = near if candidate is None else _rope.rotate(near.cpu(), candidate, DISTANCE)
        errors[candidate] = _difference(moved, far)
    best = min(errors, key=lambda candidate: errors[candidate])
    if not errors[best] <= tolerance:
        raise UnsupportedModel(
            f"keys of layer {number} do not turn with position as config.rope_parameters says "
            f"(relative error {errors[best]:.3f}, limit {tolerance})"
        )
    return best


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Norm of a - b relative to the norm of b."""
    a, b = a.to("cpu", torch.float64), b.to("cpu", torch.float64)
    return float((a - b).norm() / b.norm().clamp_min(1e-30))
