"""What the transformers engine says of a model: layouts, rotary facts, refusals, names."""

from __future__ import annotations

import pytest
import tiny_models
import torch
import transformers

from kdn.engines import _rope
from kdn.engines._identity import model_name
from kdn.engines._planes import describe
from kdn.engines.transformers import UnsupportedModel

# Per model: window of each plane, and (layers, head_dim, scaling, pairing, rotary_dims, theta).
EXPECTED = {
    "llama": {0: [((0, 1, 2, 3), 16, "none", "neox", 16, 1e4)]},
    "llama, linear": {0: [((0, 1, 2, 3), 16, "linear", "neox", 16, 1e4)]},
    "llama, dynamic": {0: [((0, 1, 2, 3), 16, "dynamic", "neox", 16, 1e4)]},
    "llama, llama3": {0: [((0, 1, 2, 3), 16, "llama3", "neox", 16, 5e5)]},
    "llama, yarn": {0: [((0, 1, 2, 3), 16, "yarn", "neox", 16, 1e4)]},
    "phi3, longrope": {0: [((0, 1, 2, 3), 16, "longrope", "neox", 16, 1e4)]},
    "phi3, half of each head rotated": {0: [((0, 1, 2, 3), 16, "none", "neox", 8, 1e4)]},
    "qwen2": {0: [((0, 1, 2, 3), 16, "none", "neox", 16, 1e4)]},
    "qwen3": {0: [((0, 1, 2, 3), 32, "none", "neox", 32, 1e4)]},
    "mistral": {0: [((0, 1, 2, 3), 16, "none", "neox", 16, 1e4)]},
    "mistral, all layers sliding": {96: [((0, 1, 2, 3), 16, "none", "neox", 16, 1e4)]},
    "gemma3": {
        96: [((0, 2), 16, "none", "neox", 16, 1e4)],
        0: [((1, 3), 16, "none", "neox", 16, 1e6)],
    },
    "smollm3, last layer without rotation": {
        0: [((0, 1, 2), 16, "none", "neox", 16, 2e6), ((3,), 16, None, None, None, None)]
    },
    "cohere2, interleaved": {
        96: [((0, 1, 2), 16, "none", "interleaved", 16, 1e4)],
        0: [((3,), 16, None, None, None, None)],
    },
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", tiny_models.MODELS)
def test_a_layout_states_what_the_model_caches(name, dtype):
    found = {}
    for plane in describe(tiny_models.tiny_model(name, dtype)).planes:
        assert plane.layout.dtype == {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype]
        assert plane.kv_heads == 2
        found[plane.window] = [
            (
                group.layers,
                group.head_dim,
                *(
                    getattr(group.rope, fact, None)
                    for fact in ("scaling", "pairing", "rotary_dims", "theta")
                ),
            )
            for group in plane.layout.groups
        ]
    assert found == EXPECTED[name]


@pytest.mark.parametrize("name", tiny_models.MODELS)
def test_stated_frequencies_are_those_the_model_computes_with(name):
    model = tiny_models.tiny_model(name)
    embedding = model.model.rotary_emb
    compared = 0
    for plane in describe(model).planes:
        for layer in plane.layers:
            if layer.rope is None:
                continue
            kind = (getattr(model.config, "layer_types", None) or [""] * 4)[layer.number]
            own = getattr(embedding, f"{kind}_inv_freq", getattr(embedding, "inv_freq", None))
            stated = _rope.frequencies(layer.rope).to(torch.float32)
            torch.testing.assert_close(stated, own, rtol=1e-5, atol=1e-9)
            compared += 1
    assert compared >= 3


def test_yarn_and_longrope_factors_are_complete():
    (yarn,) = describe(tiny_models.tiny_model("llama, yarn")).planes
    assert yarn.layers[0].rope.factors[:4] == (4.0, 1024.0, 32.0, 1.0)
    assert yarn.layers[0].rope.factors[4] == pytest.approx(1.1386294)
    model = tiny_models.tiny_model("phi3, longrope")
    (longrope,) = describe(model).planes
    factors = longrope.layers[0].rope.factors
    assert factors[:2] == (2.0, 2048.0)
    assert factors[2] == pytest.approx(model.model.rotary_emb.attention_scaling)
    assert factors[3:] == (
        *tiny_models.LONGROPE["short_factor"],
        *tiny_models.LONGROPE["long_factor"],
    )


@pytest.mark.parametrize(("name", "limit"), [("llama, dynamic", 4096), ("phi3, longrope", 2048)])
def test_scalings_that_depend_on_the_length_of_the_prompt_limit_it(name, limit):
    description = describe(tiny_models.tiny_model(name))
    assert description.allows(limit - 1)
    assert not description.allows(limit)


REFUSED = {
    "DeepseekV3": ({"n_routed_experts": 4}, "latent"),
    "Mamba": ({}, "LinearAttentionLayer"),
    "Qwen3Next": ({"num_experts": 4}, "LinearAttentionLayer"),
    "GPT2": ({"n_embd": 64, "n_layer": 2, "n_head": 4}, "absolute position"),
    "GptOss": ({"num_local_experts": 4, "num_experts_per_tok": 2}, "truncate"),
}


@pytest.mark.parametrize("family", REFUSED)
def test_a_model_that_a_layout_cannot_describe_is_refused_with_the_reason(family):
    options, reason = REFUSED[family]
    shape = {} if family == "GPT2" else tiny_models.SHAPE
    config = getattr(transformers, f"{family}Config")(**{**shape, "vocab_size": 128, **options})
    suffix = "LMHeadModel" if family == "GPT2" else "ForCausalLM"
    model = getattr(transformers, f"{family}{suffix}")(config).eval()
    with pytest.raises(UnsupportedModel, match=reason):
        describe(model)


def test_an_encoder_decoder_model_is_refused():
    config = transformers.T5Config(vocab_size=128, d_model=32, d_kv=8, d_ff=32, num_layers=1)
    with pytest.raises(UnsupportedModel, match="encoder-decoder"):
        describe(transformers.T5ForConditionalGeneration(config).eval())


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(UnsupportedModel, match="training"):
        describe(tiny_models.tiny_model("llama").train())


def test_a_config_that_misstates_the_rotation_is_refused():
    model = tiny_models.tiny_model("llama")
    model.config.rope_parameters = {"rope_type": "default", "rope_theta": 500.0}
    with pytest.raises(UnsupportedModel, match="do not turn with position"):
        describe(model)


def test_weights_that_are_not_numbers_are_refused():
    model = tiny_models.tiny_model("llama")
    with torch.no_grad():
        model.model.layers[0].self_attn.v_proj.weight.fill_(float("nan"))
    with pytest.raises(UnsupportedModel):
        describe(model)


def test_the_name_is_that_of_the_weights_wherever_they_were_loaded_from(tmp_path):
    model = tiny_models.tiny_model("llama")
    model.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert model_name(again) == model_name(model) == model_name(tiny_models.tiny_model("llama"))


def test_other_weights_have_another_name():
    names = {model_name(tiny_models.tiny_model("llama", seed=seed)) for seed in range(4)}
    names.add(model_name(tiny_models.tiny_model("llama", torch.bfloat16)))
    assert len(names) == 5


def test_a_change_of_one_number_in_one_weight_changes_the_name():
    model = tiny_models.tiny_model("llama")
    before = model_name(model)
    with torch.no_grad():
        model.model.layers[3].mlp.up_proj.weight[5, 7] += 0.25
    assert model_name(model) != before


def test_a_change_of_a_weight_that_only_its_module_knows_of_changes_the_name():
    class Packed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.packed = [torch.zeros(4)]

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            destination[f"{prefix}packed"] = self.packed[0]

    model = tiny_models.tiny_model("llama")
    model.model.packed = Packed()
    before = model_name(model)
    assert model_name(model) == before
    model.model.packed.packed[0][1] = 1
    assert model_name(model) != before


def test_layers_that_change_places_change_the_name():
    model = tiny_models.tiny_model("llama")
    before = model_name(model)
    layers = model.model.layers
    layers[0].mlp, layers[1].mlp = layers[1].mlp, layers[0].mlp
    assert model_name(model) != before


def test_a_fact_of_the_config_that_changes_the_computation_changes_the_name():
    model = tiny_models.tiny_model("llama")
    before = model_name(model)
    other = tiny_models.tiny_model("llama")
    other.config.rms_norm_eps = 1e-3
    assert model_name(other) != before


def test_a_model_that_was_cast_is_measured_again():
    model = tiny_models.tiny_model("llama")
    (before,) = describe(model).planes
    (after,) = describe(model.to(torch.bfloat16)).planes
    assert (before.layout.dtype, after.layout.dtype) == ("f32", "bf16")
    assert describe(model).planes[0] is after
