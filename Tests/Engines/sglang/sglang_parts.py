"""SGLang's own host pools and storage configuration, small and on the CPU."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sglang_imports import import_sglang

import_sglang()

import torch  # noqa: E402
from sglang.srt.environ import envs  # noqa: E402
from sglang.srt.mem_cache.device_pool_info import (  # noqa: E402
    KVBufferLayout,
    KVBuffers,
    MambaStateBufferInfo,
    MHABufferInfo,
    MLABufferInfo,
)
from sglang.srt.mem_cache.hicache_storage import HiCacheStorageConfig  # noqa: E402
from sglang.srt.mem_cache.pool_host.base import host_memory_budget_scope  # noqa: E402
from sglang.srt.mem_cache.pool_host.mamba import MambaPoolHost  # noqa: E402
from sglang.srt.mem_cache.pool_host.mha import MHATokenToKVPoolHost  # noqa: E402
from sglang.srt.mem_cache.pool_host.mla import MLATokenToKVPoolHost  # noqa: E402
from sglang.srt.mem_cache.storage import StorageBackendFactory  # noqa: E402

PAGE = 4
LAYERS, HEADS, DIM = 3, 4, 8
TOKENS = 64
CPU = torch.device("cpu")


def _addresses(tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.tensor([tensor.data_ptr() for tensor in tensors], dtype=torch.uint64)


def mha_pool(layout: str, *, heads: int = HEADS, dtype: torch.dtype = torch.bfloat16) -> Any:
    """A host pool of keys and values for 64 tokens and a spare page."""
    shape = (PAGE, heads, DIM)
    keys, values = (
        tuple(torch.zeros(shape, dtype=dtype) for _ in range(LAYERS)) for _ in range(2)
    )
    buffers = KVBuffers(
        k=keys, v=values, k_data_ptrs=_addresses(keys), v_data_ptrs=_addresses(values),
        layout=KVBufferLayout.NHD,
    )  # fmt: skip
    info = MHABufferInfo(
        buffers=buffers, page_size=PAGE, head_num=heads, head_dim=DIM, v_head_dim=DIM,
        dtype=dtype, device=CPU,
    )  # fmt: skip
    with host_memory_budget_scope(1 << 30):
        return MHATokenToKVPoolHost(
            info, 1.0, 0, PAGE, layout, pin_memory=False,
            device_capacity_tokens=TOKENS, start_layer=0, end_layer=LAYERS,
        )  # fmt: skip


def mla_pool(layout: str, dtype: torch.dtype = torch.bfloat16) -> Any:
    """A host pool of latent vectors for 64 tokens and a spare page."""
    width = 16 + 8
    rows = tuple(torch.zeros((PAGE, 1, width), dtype=dtype) for _ in range(LAYERS))
    info = MLABufferInfo(
        buffers=rows, data_ptrs=_addresses(rows), layer_indices=tuple(range(LAYERS)),
        device_layer_num=LAYERS, page_size=PAGE, kv_lora_rank=16, qk_rope_head_dim=8,
        kv_cache_dim=width, dtype=dtype, device=CPU,
    )  # fmt: skip
    with host_memory_budget_scope(1 << 30):
        return MLATokenToKVPoolHost(
            info, 1.0, 0, PAGE, layout, pin_memory=False, device_capacity_tokens=TOKENS,
            start_layer=0, end_layer=LAYERS, target_layer_num=LAYERS,
        )  # fmt: skip


def mamba_pool(*, side_states: bool = False) -> Any:
    """A host pool of recurrent states, one to a page; some models have states beside them."""
    info = MambaStateBufferInfo(
        temporal=torch.zeros((2, 8, 4, 6), dtype=torch.float32),
        conv=(torch.zeros((2, 8, 5, 3), dtype=torch.bfloat16),),
        extra_checkpoint_buffers=(torch.zeros((8, 7), dtype=torch.float32),) * side_states,
    )
    with host_memory_budget_scope(1 << 30):
        return MambaPoolHost(
            info, 2.0, 0, device_capacity=8, pin_memory=False, layout="page_first"
        )


def fill(pool: Any, seed: int) -> None:
    """Random bytes everywhere in the pool's memory."""
    source = torch.Generator().manual_seed(seed)
    buffers = pool.kv_buffer if isinstance(pool.kv_buffer, list) else [pool.kv_buffer]
    for buffer in buffers:
        raw = buffer.view(-1).view(torch.uint8)
        raw.copy_(torch.randint(0, 256, raw.shape, dtype=torch.uint8, generator=source))


def wipe(pool: Any) -> None:
    """Zeros everywhere in the pool's memory."""
    for buffer in pool.kv_buffer if isinstance(pool.kv_buffer, list) else [pool.kv_buffer]:
        buffer.view(-1).view(torch.uint8).zero_()


def page_bytes(pool: Any, page: int) -> bytes:
    """One page as the pool's own flat copy."""
    flat = pool.get_data_page(page * pool.page_size, flat=True).contiguous()
    return flat.view(torch.uint8).numpy().tobytes()


def indices(pool: Any, pages: list[int]) -> torch.Tensor:
    """Host indices of whole pages, as the controller gives them."""
    size = pool.page_size
    return torch.tensor([page * size + row for page in pages for row in range(size)])


def hashes(name: str, count: int) -> list[str]:
    """Page hashes as SGLang's: 64 hexadecimal digits."""
    return [hashlib.sha256(f"{name} {page}".encode()).hexdigest() for page in range(count)]


def config(address: str, **facts: Any) -> HiCacheStorageConfig:
    """The storage configuration of a lone rank, with `facts` changed; `extra` adds settings."""
    extra = {
        "backend_name": "kdn",
        "module_path": "kdn.engines.sglang",
        "class_name": "KDNHiCacheStorage",
        "interface_v1": 1,
        "kdn_address": address,
        **facts.pop("extra", {}),
    }
    ranks = {"tp_rank": 0, "tp_size": 1, "pp_rank": 0, "pp_size": 1}
    rest = {
        "attn_cp_rank": 0, "attn_cp_size": 1, "is_mla_model": False,
        "enable_storage_metrics": True, "is_page_first_layout": True, "model_name": "tests/model",
    }  # fmt: skip
    # As the command line brings it.
    return HiCacheStorageConfig(
        **{**ranks, **rest, **facts}, extra_config=json.loads(json.dumps(extra))
    )


def make(address: str, pool: Any = None, **facts: Any) -> Any:
    """A backend as SGLang's factory makes it, attached to a pool as its controller does."""
    backend = StorageBackendFactory.create_backend("dynamic", config(address, **facts), pool)
    if pool is not None:
        backend.register_mem_pool_host(pool)
        backend.on_host_pools_registered()
    return backend


@contextmanager
def injected_failures(probability: float) -> Iterator[None]:
    """SGLang's own fault injection around backends that are made meanwhile."""
    with envs.SGLANG_TEST_HICACHE_BACKEND_RANDOM_FAILURE.override(probability):
        yield
