"""Turning stored keys to other positions, against the rotary modules of transformers."""

from __future__ import annotations

import importlib
import math

import pytest
import torch
from tiny_models import LLAMA3, LONGROPE, SHAPE, YARN

from kdn.blending import rotation
from kdn.engines import _rope
from kdn.errors import FieldError
from kdn.rope import RoPE

# Family, its module, options of its config, and how it pairs dimensions.
KINDS = {
    "default": ("Llama", "llama", {}, "neox"),
    "linear": (
        "Llama", "llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}, "neox",
    ),
    "dynamic": (
        "Llama", "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}, "neox",
    ),
    "yarn": ("Llama", "llama", {"rope_parameters": YARN}, "neox"),
    "llama3": ("Llama", "llama", {"rope_parameters": LLAMA3}, "neox"),
    "longrope": (
        "Phi3", "phi3",
        {"rope_parameters": LONGROPE, "original_max_position_embeddings": 4096}, "neox",
    ),
    "partial": ("Phi3", "phi3", {"partial_rotary_factor": 0.5}, "neox"),
    "interleaved": ("Cohere2", "cohere2", {}, "interleaved"),
}
HEAD_DIM = 16
DISTANCES = (1, 511, 512, 1536, 3000)
ULP = 2.0**-7  # of bf16, relative to a number with mantissa 1


def turned_by_transformers(kind: str, keys: torch.Tensor, first: int) -> torch.Tensor:
    """Keys `[1, heads, n, dim]` at positions `first ..< first + n`, in f32 by the model's code."""
    family, module_name, options, _ = KINDS[kind]
    name = f"transformers.models.{module_name}.modeling_{module_name}"
    module = importlib.import_module(name)
    rotary = getattr(module, f"{family}RotaryEmbedding")(config_of(kind))
    positions = torch.arange(first, first + keys.shape[2])[None]
    cos, sin = rotary(keys, positions)
    return module.apply_rotary_pos_emb(keys, keys, cos, sin)[1]


def config_of(kind: str):
    family, module_name, options, _ = KINDS[kind]
    name = f"transformers.models.{module_name}.configuration_{module_name}"
    config_class = getattr(importlib.import_module(name), f"{family}Config")
    return config_class(**{**SHAPE, **options})


def facts_of(kind: str) -> RoPE:
    facts = _rope.facts_of(config_of(kind), 0, HEAD_DIM, KINDS[kind][3])
    assert facts is not None
    return facts


def pair_sizes(keys: torch.Tensor, rope: RoPE) -> torch.Tensor:
    """The magnitude of the pair that each number belongs to; of what does not turn, its own."""
    sizes = keys.abs().clone()
    part = keys[..., : rope.rotary_dims]
    if rope.pairing == "neox":
        first, second = part.chunk(2, dim=-1)
        both = (first.square() + second.square()).sqrt()
        sizes[..., : rope.rotary_dims] = torch.cat([both, both], dim=-1)
    else:
        both = (part[..., 0::2].square() + part[..., 1::2].square()).sqrt()
        sizes[..., : rope.rotary_dims] = both.repeat_interleave(2, dim=-1)
    return sizes


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_keys_that_were_moved_are_those_that_transformers_makes_there(kind, distance):
    rope = facts_of(kind)
    torch.manual_seed(3)
    keys = torch.randn(1, 2, 96, HEAD_DIM) * torch.logspace(-2, 2, HEAD_DIM)
    stored = turned_by_transformers(kind, keys, 0).to(torch.bfloat16)
    moved = rotation.turn(stored, rope, distance)
    assert moved.dtype is torch.bfloat16
    wanted = turned_by_transformers(kind, keys, distance)
    sizes = pair_sizes(wanted, rope).double()
    ulps = (moved.double() - wanted.double()).abs() / (sizes.log2().floor().exp2() * ULP)
    assert float(ulps.max()) <= 2
    # Such keys would not pass if they had stayed where they were.
    stayed = (stored.double() - wanted.double()).abs() / (sizes.log2().floor().exp2() * ULP)
    assert float(stayed.max()) > 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_other_element_types_lose_no_more_than_their_rounding(kind, dtype):
    rope = facts_of(kind)
    torch.manual_seed(4)
    keys = torch.randn(1, 2, 40, HEAD_DIM)
    stored = turned_by_transformers(kind, keys, 0).to(dtype)
    wanted = turned_by_transformers(kind, keys, 700).double()
    error = (rotation.turn(stored, rope, 700).double() - wanted).abs()
    # The f32 angles of transformers' own tables are off by up to 700 * 2^-24.
    limit = 2 * torch.finfo(dtype).eps + 1500 * 2.0**-24
    assert float((error / pair_sizes(wanted, rope)).max()) < limit


@pytest.mark.parametrize("kind", KINDS)
def test_frequencies_are_those_that_the_layouts_facts_state(kind):
    rope = facts_of(kind)
    assert rotation.frequencies(rope) == pytest.approx(_rope.frequencies(rope).tolist(), rel=1e-14)


def test_no_distance_gives_the_same_bytes():
    keys = torch.tensor([[-0.0, 1e-40, float("inf"), 3.5]], dtype=torch.float32)
    found = rotation.turn(keys, RoPE(10000.0, 4), 0)
    assert torch.equal(found.view(torch.int32), keys.view(torch.int32))


def test_moving_twice_is_moving_by_the_sum():
    rope = RoPE(10000.0, 8)
    keys = torch.randn(2, 5, 8, dtype=torch.float64).to(torch.float32)
    twice = rotation.turn(rotation.turn(keys, rope, 300), rope, 41)
    assert torch.allclose(twice, rotation.turn(keys, rope, 341), atol=1e-6)
    back = rotation.turn(rotation.turn(keys, rope, 300), rope, -300)
    assert torch.allclose(back, keys, atol=1e-6)


def test_keys_stored_before_their_rotation_cannot_be_moved():
    with pytest.raises(FieldError) as caught:
        rotation.turn(torch.zeros(1, 4), RoPE(10000.0, 4, keys="before"), 5)
    assert caught.value.field == "keys"


def test_positions_stay_within_the_original_context_where_it_matters():
    dynamic, plain = RoPE(1e4, 4, "dynamic", (2.0, 4096.0)), RoPE(1e4, 4)
    assert rotation.position_limit([plain]) == 2**31
    assert rotation.position_limit([plain, dynamic]) == 4096


def test_angles_are_exact_at_large_distances():
    cosines, sines = rotation.table(RoPE(10000.0, 4), 2**31 - 1)
    assert cosines[0] == math.cos(2.0**31 - 1)
    assert sines[1] == pytest.approx(math.sin((2**31 - 1) * 0.01), abs=1e-7)
