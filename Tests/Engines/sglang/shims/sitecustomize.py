"""Lets the whole of SGLang start without a GPU; found first by every process of the engine.

Nothing here has to do with storage: it stands in for packages and kernels that exist for GPUs
only. The copies between host and device pools are plain index copies.
"""

from __future__ import annotations

import builtins
import importlib.abc
import importlib.machinery
import pathlib
import sys
import types
from typing import Any

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

from sglang_imports import StandInFinder  # noqa: E402


class _AfterTransformers(StandInFinder):
    """Stands in for torchvision once transformers has seen that there is none."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if "transformers.image_utils" not in sys.modules:
            return None
        return super().find_spec(name, path, target)


class _TorchHook(importlib.abc.MetaPathFinder):
    """Calls `prepare` when torch has been imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        loader = spec.loader
        run = loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            prepare(module)

        loader.exec_module = exec_module
        return spec


def transfer_kv_direct(
    src_layers: Any, dst_layers: Any, src_indices: Any, dst_indices: Any, page_size: int
) -> None:
    """Copies tokens of each layer between pools."""
    for source, target in zip(src_layers, dst_layers, strict=True):
        target[dst_indices] = source[src_indices].to(target.dtype)


def rotary_embedding(
    positions: Any, query: Any, key: Any, head_size: int, cos_sin_cache: Any, is_neox: bool
) -> None:
    """Turns queries and keys in place, as the kernel of the same name does."""
    import torch

    cos, sin = cos_sin_cache[positions.flatten()].chunk(2, dim=-1)
    for states in (query, key):
        heads = states.view(positions.numel(), -1, head_size)
        turned = heads[..., : 2 * cos.shape[-1]]
        first, second = (
            turned.chunk(2, dim=-1) if is_neox else (turned[..., 0::2], turned[..., 1::2])
        )
        a, b = cos.unsqueeze(1).to(states.dtype), sin.unsqueeze(1).to(states.dtype)
        pair = (first * a - second * b, second * a + first * b)
        joined = torch.cat(pair, -1) if is_neox else torch.stack(pair, -1).flatten(-2)
        turned.copy_(joined)


class _HostRegistration:
    """Of CUDA's runtime what host pools call: to pin memory, which there is no need for."""

    @staticmethod
    def cudaHostRegister(address: int, size: int, flags: int) -> int:  # noqa: N802
        return 0

    @staticmethod
    def cudaHostUnregister(address: int) -> int:  # noqa: N802
        return 0


def prepare(torch: Any) -> None:
    """Takes out of torch what only a GPU can do."""
    torch.cuda.cudart = _HostRegistration
    for name in ("vllm", "vllm._custom_ops"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules["vllm._custom_ops"].rotary_embedding = rotary_embedding  # type: ignore
    for name in ("zeros", "empty", "ones", "tensor", "full"):
        plain = getattr(torch, name)

        def unpinned(*args: Any, _plain: Any = plain, **options: Any) -> Any:
            options.pop("pin_memory", None)
            return _plain(*args, **options)

        setattr(torch, name, unpinned)
    builtins.transfer_kv_direct = transfer_kv_direct  # type: ignore[attr-defined]


sys.meta_path.append(StandInFinder(("triton", "IPython")))
sys.meta_path.append(_AfterTransformers(("torchvision",)))
sys.meta_path.insert(0, _TorchHook())
