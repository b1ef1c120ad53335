"""Tiny decoder models with random weights, built in the test: no download."""

from __future__ import annotations

import os
from typing import Any

# Read when torch is loaded: threads that wait must not spin, which costs a busy machine most.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: E402
import transformers  # noqa: E402

SHAPE = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = 96
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 1024,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0 + i / 10 for i in range(8)],
    "long_factor": [2.0 + i / 10 for i in range(8)],
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, linear": (
        "Llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
    ),
    "llama, dynamic": (
        "Llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}},
    ),
    "llama, llama3": ("Llama", {"rope_parameters": LLAMA3}),
    "llama, yarn": ("Llama", {"rope_parameters": YARN}),
    "phi3, longrope": (
        "Phi3",
        {"rope_parameters": LONGROPE, "original_max_position_embeddings": 2048},
    ),
    "phi3, half of each head rotated": ("Phi3", {"partial_rotary_factor": 0.5}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral, all layers sliding": ("Mistral", {"sliding_window": WINDOW}),
    "gemma3": (
        "Gemma3",
        {
            "head_dim": 16,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
    ),
    "smollm3, last layer without rotation": ("SmolLM3", {"no_rope_layers": [1, 1, 1, 0]}),
    "cohere2, interleaved": ("Cohere2", {"sliding_window": WINDOW}),
}


def tiny_model(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """The named model of MODELS, in evaluation mode; another seed gives other weights."""
    family, options = MODELS[name]
    config_class = getattr(
        transformers, f"{family}TextConfig", getattr(transformers, f"{family}Config", None)
    )
    torch.manual_seed(seed)
    config = config_class(**{**SHAPE, **options})
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    return model.eval().to(dtype)


def prompt(tokens: int, seed: int = 0) -> list[int]:
    """Random token ids, the same for the same seed whatever the length."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, SHAPE["vocab_size"], (4096,), generator=generator)[:tokens].tolist()


def logits(model: Any, ids: list[int], cache: Any) -> torch.Tensor:
    """The logits `[n, vocabulary]` of `ids` run on top of a cache, which grows by them."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), past_key_values=cache).logits[0]


def ordinary_cache(model: Any, ids: list[int]) -> Any:
    """The cache that the model itself makes of `ids`."""
    cache = transformers.DynamicCache(config=model.config)
    with torch.inference_mode():
        model(input_ids=torch.tensor([ids]), past_key_values=cache)
    return cache
