"""Rotary facts that a config states for certain: which model types turn keys as it says.

A config says neither which layers rotate their keys nor how dimensions are paired. For the model
types listed here both are known: every layer rotates, halves are paired (neox), as much of a head
as the config says. The tests hold this table against what kdn.engines.transformers measures.
"""

from __future__ import annotations

from typing import Any

from kdn.engines._rope import UnsupportedModel, facts_of, parameters_of
from kdn.rope import RoPE

KNOWN_TYPES = frozenset(
    {
        "gemma",
        "gemma2",
        "gemma3_text",
        "granite",
        "llama",
        "mistral",
        "mixtral",
        "phi3",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
    }
)
# Scalings that vLLM and transformers compute alike, and the keys that state them in full. Dynamic
# and longrope scaling are left out: vLLM's depends on the longest prompt that it is started for.
KNOWN_KEYS = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "llama3": frozenset(
        {
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
        }
    ),
    "yarn": frozenset(
        {
            "factor",
            "original_max_position_embeddings",
            "beta_fast",
            "beta_slow",
            "attention_factor",
            "mscale",
            "mscale_all_dim",
        }
    ),
}
COMMON_KEYS = frozenset({"rope_type", "type", "rope_theta", "partial_rotary_factor"})


def certain_rope(config: Any, layer: int, head_dim: int) -> RoPE:
    """The rotary facts of a layer's keys, where the config leaves no doubt.

    Raises UnsupportedModel, saying what is not certain, for all other configs.
    """
    kind = getattr(config, "model_type", None)
    if kind not in KNOWN_TYPES:
        raise UnsupportedModel(f"model type {kind!r}: it is not known how its keys are rotated")
    if getattr(config, "dual_chunk_attention_config", None):
        raise UnsupportedModel("config.dual_chunk_attention_config rotates keys in its own way")
    parameters = parameters_of(config, layer)
    if parameters is None:
        raise UnsupportedModel("config.rope_parameters is missing")
    scaling = parameters.get("rope_type", "default")
    if scaling not in KNOWN_KEYS:
        raise UnsupportedModel(f"rope_type {scaling!r} is not one that all engines compute alike")
    stated = {name for name, value in parameters.items() if value is not None}
    unknown = stated - COMMON_KEYS - KNOWN_KEYS[scaling]
    if unknown:
        raise UnsupportedModel(f"config.rope_parameters has unknown facts: {sorted(unknown)}")
    facts = facts_of(config, layer, head_dim, "neox")
    if facts is None:
        raise UnsupportedModel("config.rope_parameters is missing")
    return facts
