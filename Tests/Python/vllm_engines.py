"""vLLM's objects as far as kdn.engines.vllm looks at them, and engines made up of plain facts."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
import torch
from hypothesis import settings

from kdn.engines.vllm.facts import PLAIN, TRANSPOSED, CacheLayer, EngineFacts

# A property holds however long a busy machine takes to see it.
settings.register_profile("kdn", deadline=None, max_examples=50)
settings.load_profile("kdn")

ITEM = {torch.float32: 4, torch.bfloat16: 2, torch.float16: 2, torch.uint8: 1}


def llama_config(layers: int = 4, heads: int = 4, **changes: Any) -> SimpleNamespace:
    """A config of a type whose rotation is known for certain."""
    facts = {
        "model_type": "llama",
        "num_hidden_layers": layers,
        "num_key_value_heads": heads,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        **changes,
    }
    return SimpleNamespace(**facts, to_dict=lambda: facts)


def engine(
    heads: int = 4,
    tp: int = 1,
    rank: int = 0,
    layers: int = 4,
    dim: int = 8,
    block: int = 16,
    blocks: int = 64,
    dtype: torch.dtype = torch.float32,
    packing: str = PLAIN,
    stages: tuple[tuple[int, int], ...] | None = None,
    stage: int = 0,
    windows: tuple[int, ...] | None = None,
    groups: tuple[int, ...] | None = None,
    plain: bool = True,
    latent: bool = False,
    config: Any = None,
) -> EngineFacts:
    """One rank of an engine: layers alike but for their windows and KV cache groups."""
    held = max(1, heads // tp)
    stages = stages or ((0, layers),)
    windows = windows or (0,) * layers
    groups = groups or (0,) * layers
    width = dim if latent else 2 * dim
    return EngineFacts(
        layers=tuple(
            CacheLayer(
                name=f"model.layers.{number}.self_attn.attn",
                number=number,
                group=groups[number],
                latent=latent,
                kv_heads=1 if latent else held,
                head_dim=dim,
                window=windows[number],
                kept_window=windows[number],
                dtype=dtype,
                plain=plain and not latent,
                block_bytes=(1 if latent else held) * block * width * ITEM[dtype],
            )
            for number in range(*stages[stage])
        ),
        block_tokens=(block,) * (max(groups) + 1),
        block_count=blocks,
        kv_heads=heads,
        tp_size=tp,
        tp_rank=rank,
        stages=stages,
        stage=stage,
        key_packing=packing if plain and not latent else "unknown",
        isa="vec" if packing == TRANSPOSED else "",
        page_format="vllm-pages-test",
        config=config or llama_config(layers, heads),
    )


# The orders in which devices keep a block: vLLM's logical axes are [block, head, token, K and V].
ORDERS = {"HND": (0, 1, 2, 3), "NHD": (0, 2, 1, 3), "heads outermost": (1, 0, 2, 3)}


def empty_caches(
    facts: EngineFacts, order: str = "HND", pieces: int = 1, padding: int = 0
) -> dict[str, torch.Tensor]:
    """A cache per layer, filled with noise, whose axes lie in memory as `order` says.

    `padding` bytes of noise follow each block; `pieces` kernel blocks make up a block.
    """
    return {
        layer.name: _empty_cache(layer, facts, ORDERS[order], pieces, padding)
        for layer in facts.layers
    }


def _empty_cache(
    layer: CacheLayer, facts: EngineFacts, order: tuple[int, ...], pieces: int, padding: int
) -> torch.Tensor:
    tokens = facts.block_tokens[layer.group] // pieces
    width = layer.block_bytes // (layer.kv_heads * tokens * pieces * ITEM[layer.dtype])
    shape = (facts.block_count * pieces, layer.kv_heads, tokens, width)
    physical = [shape[axis] for axis in order]
    generator = numpy.random.default_rng(layer.number)
    spare = padding // ITEM[layer.dtype]
    if spare:
        assert order[0] == 0
        rows = (shape[0], layer.kv_heads * tokens * width + spare)
        raw = torch.from_numpy(_noise(generator, rows, layer.dtype)).view(layer.dtype)
        raw = raw[:, :-spare].unflatten(1, tuple(physical[1:]))
    else:
        raw = torch.from_numpy(_noise(generator, tuple(physical), layer.dtype)).view(layer.dtype)
    return raw.permute(*(order.index(axis) for axis in range(4)))


def _noise(generator: Any, shape: tuple[int, ...], dtype: torch.dtype) -> numpy.ndarray:
    """Random bits, so that values that are not numbers are among them."""
    size = int(numpy.prod(shape)) * ITEM[dtype]
    bits = {1: numpy.uint8, 2: numpy.int16, 4: numpy.int32}[ITEM[dtype]]
    return numpy.frombuffer(generator.bytes(size), numpy.uint8).copy().view(bits).reshape(shape)


@dataclass
class Spec:
    """A KV cache spec; make it with `spec`, which gives its class vLLM's name."""

    block_size: int = 16
    num_kv_heads: int = 4
    head_size: int = 8
    head_size_v: int = 8
    dtype: torch.dtype = torch.float32
    kv_quant_mode: Any = field(default_factory=lambda: SimpleNamespace(name="NONE"))
    sliding_window: int | None = None
    num_head_slots: int | None = None
    state_content_bytes: int | None = None
    tokens_per_state: int = 1
    attention_chunk_size: int | None = None
    non_causal: bool = False
    extra_retained_tokens: int = 0
    is_draft: bool = False

    @property
    def num_heads(self) -> int:
        return self.num_head_slots or self.num_kv_heads

    @property
    def num_states(self) -> int:
        return self.block_size

    @property
    def state_content_size_bytes(self) -> int:
        own = (self.head_size + self.head_size_v) * ITEM[self.dtype]
        return self.state_content_bytes or own


def spec(kind: str = "FullAttentionSpec", **facts: Any) -> Spec:
    """A spec of the class that vLLM calls `kind`."""
    return type(kind, (Spec,), {})(**facts)


def cache_config(*groups: tuple[list[int], Spec], blocks: int = 64, **flags: Any) -> Any:
    """A KVCacheConfig of groups of (layer numbers, spec)."""
    return SimpleNamespace(
        num_blocks=blocks,
        kv_cache_layout="LBNHC",
        kv_cache_groups=[
            SimpleNamespace(
                layer_names=[f"model.layers.{number}.self_attn.attn" for number in layers],
                kv_cache_spec=kind,
                **flags,
            )
            for layers, kind in groups
        ],
    )


def engine_config(tp: int = 1, heads: int = 4, **changes: Any) -> Any:
    """A VllmConfig of a device whose blocks are plain; `changes` by section.field."""
    found = SimpleNamespace(
        model_config=SimpleNamespace(
            model="model",
            model_weights="",
            revision=None,
            code_revision=None,
            dtype=torch.float32,
            quantization=None,
            max_model_len=4096,
            hf_text_config=llama_config(heads=heads),
            hf_config=llama_config(heads=heads),
            is_encoder_decoder=False,
            get_total_num_kv_heads=lambda: heads,
        ),
        load_config=SimpleNamespace(load_format="auto"),
        parallel_config=SimpleNamespace(
            tensor_parallel_size=tp,
            pipeline_parallel_size=1,
            decode_context_parallel_size=1,
            prefill_context_parallel_size=1,
        ),
        cache_config=SimpleNamespace(cache_dtype="auto"),
        device_config=SimpleNamespace(device_type="cuda"),
        attention_config=SimpleNamespace(backend=None),
        speculative_config=None,
    )
    for path, value in changes.items():
        section, name = path.split("__")
        if section == "engine":
            setattr(found, name, value)
        else:
            setattr(getattr(found, section), name, value)
    return found


class CpuKernel:
    """Stands for vLLM's kernel that writes K and V into blocks; `keys` is how it packs keys.

    Values lie by token, or turned as keys are if `values_turned`.
    """

    def __init__(self) -> None:
        self.keys = "transposed"
        self.values_turned = False

    def cpu_attn_reshape_and_cache(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        key_cache: torch.Tensor,
        value_cache: torch.Tensor,
        slots: torch.Tensor,
        isa: str,
    ) -> None:
        if self.keys == "missing":
            raise AttributeError("no such kernel")
        heads, tokens, dim = key_cache.shape[1:]
        assert slots.tolist() == list(range(tokens))
        turned = keys.permute(1, 2, 0) if self.keys == "transposed" else keys.permute(1, 0, 2)
        key_cache[0] = turned.reshape(heads, tokens, dim)
        turned = values.permute(1, 2, 0) if self.values_turned else values.permute(1, 0, 2)
        value_cache[0] = turned.reshape(heads, tokens, dim)


def install_fake_vllm(monkeypatch: Any) -> CpuKernel:
    """Puts a vLLM into sys.modules that has the few things that kdn.engines.vllm imports."""
    kernel = CpuKernel()
    root = ModuleType("vllm")
    root.__version__ = "0.0.test"
    modules: dict[str, Any] = {
        "vllm": root,
        "vllm._custom_ops": kernel,
        "vllm.platforms": SimpleNamespace(
            current_platform=SimpleNamespace(get_device_name=lambda: "Device of Tests")
        ),
        "vllm.distributed.utils": SimpleNamespace(get_pp_indices=_even_stages),
        "vllm.v1.attention.backends.cpu_attn": SimpleNamespace(
            _get_attn_isa=lambda dtype, block, head_dim, cache_dtype: "vec"
        ),
    }
    for name in ("distributed", "v1", "v1.attention", "v1.attention.backends"):
        modules.setdefault(f"vllm.{name}", ModuleType(f"vllm.{name}"))
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    root._custom_ops = kernel
    return kernel


def _even_stages(count: int, stage: int, size: int) -> tuple[int, int]:
    return count * stage // size, count * (stage + 1) // size
