"""A name for a model's exact weights, so that two sets of weights never share a key."""

from __future__ import annotations

import hashlib
import json
import weakref
from typing import Any

import torch
import xxhash

from kdn.buffers import readable_view
from kdn.engines._rope import UnsupportedModel

# Facts of the config that do not change what the model computes.
COSMETIC = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")

_names: weakref.WeakKeyDictionary[Any, tuple[tuple[Any, ...], str]] = weakref.WeakKeyDictionary()


def model_name(model: Any) -> str:
    """`<model type>-<SHA-256>` over the config and every byte of every weight.

    The weights are read once per model object, and again after any of them was changed in place
    or replaced. Raises UnsupportedModel where the weights cannot be read or can be switched
    behind the model's back (adapters): name such a model yourself with `model_name=`.
    """
    if getattr(model, "_hf_peft_config_loaded", False) or hasattr(model, "peft_config"):
        raise UnsupportedModel("the model has adapters, which can be switched: pass model_name=")
    state = _state(model)
    known = _names.get(model)
    if known is not None and known[0] == state:
        return known[1]
    weights = model.state_dict(keep_vars=True)
    name = f"{model.config.model_type}-{_digest(model.config, weights)}"
    # A module may have weights that only it knows of: what the walk does not see cannot be noticed
    # when it changes, and is read each time.
    if {t.data_ptr() for t in weights.values()} <= {address for _, address, _ in state}:
        _names[model] = (state, name)
    return name


def _state(model: torch.nn.Module) -> tuple[tuple[str, int, int], ...]:
    """Which tensors the model has, where, and how often each was changed.

    A walk of its own: asking the model for all of its state takes some times as long, before
    every retrieve.
    """
    found: list[tuple[str, int, int]] = []
    modules = [model]
    while modules:
        module = modules.pop()
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    found.append((name, tensor.data_ptr(), _version(tensor)))
        modules.extend(child for child in module._modules.values() if child is not None)
    return tuple(found)


def _version(tensor: torch.Tensor) -> int:
    """Torch's count of in-place changes; tensors made in inference mode have none."""
    return -1 if tensor.is_inference() else tensor._version


def _digest(config: Any, weights: dict[str, torch.Tensor]) -> str:
    facts = {k: v for k, v in config.to_dict().items() if k not in COSMETIC}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name in sorted(weights):
        tensor = weights[name]
        if tensor.device.type == "meta":
            raise UnsupportedModel(f"weight {name} is offloaded and unreadable: pass model_name=")
        line = f"\n{name} {tuple(tensor.shape)} {tensor.dtype} "
        digest.update(line.encode() + _content(tensor))
    return digest.hexdigest()


def _content(tensor: torch.Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return xxhash.xxh3_128_digest(readable_view(plain))
