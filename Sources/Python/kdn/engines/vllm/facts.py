"""Plain facts about a vLLM engine's KV cache, read once off vLLM's own objects.

The scheduler and every worker read them alike; nothing else in this package looks into vLLM's
configuration to decide what is stored. vLLM itself is imported only for what it alone can say.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch

from kdn.engines._rope import UnsupportedModel

# How keys lie in a block: [head][token][dim], [head][dim][token], or in a way that is not known.
PLAIN, TRANSPOSED, UNKNOWN = "plain", "transposed", "unknown"
# Fields of a layer's spec that, where they are set, make KV depend on more than what is before it.
FIELDS_REFUSED = (
    "attention_chunk_size",
    "extra_retained_tokens",
    "is_draft",
    "non_causal",
    "non_causal_multi_token_decode",
)
# Ways to guess tokens that keep no KV of their own.
SPECULATION_WITHOUT_KV = ("ngram", "ngram_gpu", "suffix")


@dataclass(frozen=True)
class CacheLayer:
    """What one layer keeps on this rank: `kv_heads` heads of K and V in blocks of its group.

    `window` is the model's sliding window, `kept_window` the engine's: 0 where it keeps blocks
    for every token. `plain`: unquantised K and V of one head size, nothing else in a block.
    `block_bytes` are a block's bytes without padding. A `latent` layer has one copy per rank.
    """

    name: str
    number: int
    group: int
    latent: bool
    kv_heads: int
    head_dim: int
    window: int
    kept_window: int
    dtype: torch.dtype
    plain: bool
    block_bytes: int


@dataclass(frozen=True)
class EngineFacts:
    """What scheduler and workers must agree on, and where this rank stands.

    `block_tokens` is by KV cache group, `stages` the layers `[first, end)` of each pipeline rank,
    `kv_heads` the model's count. `page_format` names all that a block's bytes depend on.
    """

    layers: tuple[CacheLayer, ...]
    block_tokens: tuple[int, ...]
    block_count: int
    kv_heads: int
    tp_size: int
    tp_rank: int
    stages: tuple[tuple[int, int], ...]
    stage: int
    key_packing: str
    isa: str
    page_format: str
    config: Any


def read_facts(
    vllm_config: Any, kv_cache_config: Any, tp_rank: int = 0, pp_rank: int = 0
) -> EngineFacts:
    """The facts of one rank; the scheduler's are those of rank 0.

    Raises UnsupportedModel, saying why, for an engine whose KV is not a function of the tokens
    before it alone, or does not lie in blocks of tokens.
    """
    parallel = vllm_config.parallel_config
    _check_engine(vllm_config)
    layers: list[CacheLayer] = []
    config = vllm_config.model_config.hf_text_config
    for index, group in enumerate(kv_cache_config.kv_cache_groups):
        _check_group(index, group)
        layers += _group_layers(index, group, config)
    if not layers:
        raise UnsupportedModel("the model keeps no KV")
    layers.sort(key=lambda layer: layer.number)
    numbers = [layer.number for layer in layers]
    if len(set(numbers)) != len(numbers):
        raise UnsupportedModel("several caches belong to one layer")
    blocks = tuple(group.kv_cache_spec.block_size for group in kv_cache_config.kv_cache_groups)
    stages = _stages(config, parallel.pipeline_parallel_size, numbers)
    isa = _isa(vllm_config, layers[0], blocks[layers[0].group])
    return EngineFacts(
        layers=tuple(layers),
        block_tokens=blocks,
        block_count=kv_cache_config.num_blocks,
        kv_heads=vllm_config.model_config.get_total_num_kv_heads(),
        tp_size=parallel.tensor_parallel_size,
        tp_rank=tp_rank,
        stages=stages,
        stage=pp_rank,
        key_packing=_key_packing(isa, layers, blocks),
        isa=isa,
        page_format=_page_format(vllm_config, kv_cache_config, isa, layers),
        config=config,
    )


def _check_engine(vllm_config: Any) -> None:
    parallel = vllm_config.parallel_config
    for name in ("decode_context_parallel_size", "prefill_context_parallel_size"):
        if getattr(parallel, name, 1) > 1:
            raise UnsupportedModel(f"{name} > 1: a rank's blocks hold only some of the tokens")
    speculation = vllm_config.speculative_config
    method = getattr(speculation, "method", None)
    if speculation is not None and method not in SPECULATION_WITHOUT_KV:
        raise UnsupportedModel(f"speculation by {method!r}: KV of a draft depends on later tokens")
    if getattr(vllm_config.model_config, "is_encoder_decoder", False):
        raise UnsupportedModel("encoder-decoder model: its KV depends on more than the tokens")


def _check_group(index: int, group: Any) -> None:
    for flag, wanted in (
        ("enable_kv_transfer", True),
        ("host_resident", False),
        ("is_eagle_group", False),
    ):
        if getattr(group, flag, wanted) is not wanted:
            raise UnsupportedModel(f"KV cache group {index} has {flag} {not wanted}")


def _group_layers(index: int, group: Any, config: Any) -> list[CacheLayer]:
    specs = getattr(group.kv_cache_spec, "kv_cache_specs", None)
    if specs is None:
        specs = dict.fromkeys(group.layer_names, group.kv_cache_spec)
    return [_layer(index, name, specs[name], config) for name in group.layer_names]


def _layer(group: int, name: str, spec: Any, config: Any) -> CacheLayer:
    kind = type(spec).__name__
    if kind not in ("FullAttentionSpec", "SlidingWindowSpec", "MLAAttentionSpec"):
        raise UnsupportedModel(f"layer {name} keeps a {kind}, which is not plain attention")
    for field in FIELDS_REFUSED:
        if getattr(spec, field, None):
            raise UnsupportedModel(f"layer {name} has {field}: its KV is not a prefix's alone")
    if spec.tokens_per_state != 1:
        raise UnsupportedModel(f"layer {name} keeps {spec.tokens_per_state} tokens per state")
    quantisation = getattr(spec.kv_quant_mode, "name", str(spec.kv_quant_mode))
    if quantisation not in ("NONE", "FP8_PER_TENSOR"):
        raise UnsupportedModel(f"layer {name} keeps KV as {quantisation}, scales of its own")
    number = _layer_number(name)
    sliding = kind == "SlidingWindowSpec"
    return CacheLayer(
        name=name,
        number=number,
        group=group,
        latent=kind == "MLAAttentionSpec",
        kv_heads=spec.num_kv_heads,
        head_dim=spec.head_size,
        window=_window(spec, number, config),
        kept_window=spec.sliding_window if sliding else 0,
        dtype=spec.dtype,
        plain=(
            kind != "MLAAttentionSpec"
            and quantisation == "NONE"
            and spec.head_size == spec.head_size_v
            and spec.num_head_slots is None
            and spec.state_content_bytes is None
        ),
        block_bytes=spec.num_heads * spec.num_states * spec.state_content_size_bytes,
    )


def _layer_number(name: str) -> int:
    numbers = [int(piece) for piece in name.split(".") if piece.isdecimal()]
    if len(numbers) != 1:
        raise UnsupportedModel(f"cache {name!r} does not name one layer")
    return numbers[0]


def _window(spec: Any, layer: int, config: Any) -> int:
    """The layer's own window; a group that keeps all tokens states one window for all layers."""
    window = getattr(spec, "sliding_window", None) or 0
    kinds = getattr(config, "layer_types", None)
    if window and type(spec).__name__ == "FullAttentionSpec" and kinds and layer < len(kinds):
        return window if kinds[layer] == "sliding_attention" else 0
    return window


def _stages(config: Any, size: int, numbers: list[int]) -> tuple[tuple[int, int], ...]:
    if size == 1:
        return ((numbers[0], numbers[-1] + 1),)
    from vllm.distributed.utils import get_pp_indices

    count = config.num_hidden_layers
    return tuple(get_pp_indices(count, stage, size) for stage in range(size))


def _isa(vllm_config: Any, layer: CacheLayer, block_tokens: int) -> str:
    """Which of its kernels vLLM takes on this CPU, and so how it packs blocks; "" elsewhere."""
    if vllm_config.device_config.device_type != "cpu":
        return ""
    from vllm.v1.attention.backends.cpu_attn import _get_attn_isa

    cache_dtype = vllm_config.cache_config.cache_dtype
    dtype = vllm_config.model_config.dtype
    return str(_get_attn_isa(dtype, block_tokens, layer.head_dim, cache_dtype))


def _key_packing(isa: str, layers: list[CacheLayer], blocks: tuple[int, ...]) -> str:
    """How keys lie in this engine's blocks: by the format on devices, measured on the CPU."""
    if not all(layer.plain for layer in layers):
        return UNKNOWN
    if not isa:
        return PLAIN
    shapes = {(layer.dtype, layer.head_dim, blocks[layer.group]) for layer in layers}
    found = {_measured_packing(isa, *shape) for shape in shapes}
    return found.pop() if len(found) == 1 else UNKNOWN


def _measured_packing(isa: str, dtype: torch.dtype, head_dim: int, tokens: int) -> str:
    """Writes random K and V of one block by vLLM's own kernel and looks where they are."""
    try:
        from vllm import _custom_ops

        generator = torch.Generator().manual_seed(1)
        keys = torch.randn(tokens, 2, head_dim, generator=generator).to(dtype)
        values = torch.randn(tokens, 2, head_dim, generator=generator).to(dtype)
        cache = torch.zeros(1, 2, 2 * tokens, head_dim, dtype=dtype)
        key_half, value_half = cache.chunk(2, dim=2)
        slots = torch.arange(tokens)
        _custom_ops.cpu_attn_reshape_and_cache(keys, values, key_half, value_half, slots, isa)
    except Exception:
        # Any trouble with an internal of vLLM means only that the packing stays unknown.
        return UNKNOWN
    if not torch.equal(value_half[0], values.transpose(0, 1)):
        return UNKNOWN
    turned = key_half[0].reshape(2, head_dim, tokens)
    return TRANSPOSED if torch.equal(turned, keys.permute(1, 2, 0)) else UNKNOWN


def _page_format(
    vllm_config: Any, kv_cache_config: Any, isa: str, layers: list[CacheLayer]
) -> str:
    """All that the bytes of a block depend on besides the model, in one line."""
    parallel, cache = vllm_config.parallel_config, vllm_config.cache_config
    config = vllm_config.model_config.hf_text_config
    attention = getattr(vllm_config, "attention_config", None)
    facts = {
        "vllm": _version(),
        "device": vllm_config.device_config.device_type,
        "machine": isa or _device_name(),
        "backend": str(getattr(attention, "backend", None)),
        "layout": str(getattr(kv_cache_config, "kv_cache_layout", None)),
        "dtype": str(vllm_config.model_config.dtype),
        "cache": str(cache.cache_dtype),
        "blocks": [group.kv_cache_spec.block_size for group in kv_cache_config.kv_cache_groups],
        "layers": [(layer.number, layer.group, layer.block_bytes) for layer in layers],
        "tp": parallel.tensor_parallel_size,
        "pp": parallel.pipeline_parallel_size,
        "rope": getattr(config, "rope_parameters", None),
        "length": vllm_config.model_config.max_model_len,
    }
    text = json.dumps(facts, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f"vllm-pages-{facts['vllm']}-{facts['machine'] or facts['device']}-{digest}"


def _version() -> str:
    from vllm import __version__

    return str(__version__)


def _device_name() -> str:
    from vllm.platforms import current_platform

    return str(current_platform.get_device_name()).replace(" ", "_")
