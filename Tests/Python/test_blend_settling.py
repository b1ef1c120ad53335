"""Settlings: learnt of a model, kept as bytes, and what blends read of documents settled so."""

from __future__ import annotations

import struct

import pytest
import torch
from blend_samples import (
    CHUNK,
    SEVERAL_PLANES,
    SLIDING,
    client,  # noqa: F401 (fixture)
    difference,
    full_prefill,
    learn_all,
    loud_model,
    one_thread,  # noqa: F401 (fixture)
    texts,
)
from tiny_models import MODELS, prompt

from kdn.blending.errors import DocumentUnavailable
from kdn.blending.settling import (
    BOUNDS, LayerSettling, Settling, features, settled, settled_hash, turned,
)
from kdn.compose import BlendPiece, encode_compose
from kdn.engines import _documents
from kdn.engines import transformers_blend as blending
from kdn.errors import FieldError
from kdn.rope import RoPE

INPUTS = len(BOUNDS) + 1


def random_settling(model, size=0.1, seed=1) -> Settling:
    source = torch.Generator().manual_seed(seed)
    return Settling(
        tuple(
            LayerSettling(
                facts.number,
                size * torch.randn(
                    (facts.kv_heads, 2 * facts.head_dim + INPUTS, 2 * facts.head_dim),
                    generator=source,
                ),
            )
            for facts in _documents.the_plane(model).layers
        )
    )


def samples(count: int) -> list[list[int]]:
    return [prompt(96, 50 + number) for number in range(count)]


# What a settling does


@pytest.mark.parametrize("pairing", ["neox", "interleaved"])
def test_keys_turned_by_their_places_and_back_are_the_same(pairing):
    rope = RoPE(theta=1e4, pairing=pairing, rotary_dims=12)
    keys = torch.randn(2, 50, 16, generator=torch.Generator().manual_seed(3))
    there = turned(keys, rope, range(100, 150), 1)
    assert float((there - keys).abs().max()) > 0.5
    assert torch.equal(there[..., 12:], keys[..., 12:])
    torch.testing.assert_close(turned(there, rope, range(100, 150), -1), keys)


def test_a_map_adds_what_it_says_to_unrotated_keys_and_to_values():
    rope = RoPE(theta=1e4, rotary_dims=8)
    source = torch.Generator().manual_seed(4)
    keys, values = (torch.randn(1, 20, 8, generator=source) for _ in range(2))
    weights = torch.randn((1, 16 + INPUTS, 16), generator=source) / 8
    first = 40
    moved, after = settled(LayerSettling(0, weights), rope, keys, values, first)
    for token in (0, 7, 8, 19):
        place = range(first + token, first + token + 1)
        raw = turned(keys[:, token : token + 1], rope, place, -1)[0, 0]
        where = torch.zeros(INPUTS)
        where[2 if first + token < 48 else 3] = 1
        change = torch.cat([raw, values[0, token], where]) @ weights[0]
        wanted = turned((raw + change[:8])[None, None], rope, place, 1)[0, 0]
        torch.testing.assert_close(moved[0, token], wanted)
        torch.testing.assert_close(after[0, token], values[0, token] + change[8:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_first_token_of_a_text_stays_bit_for_bit(dtype):
    source = torch.Generator().manual_seed(5)
    keys, values = (torch.randn(2, 6, 8, generator=source).to(dtype) for _ in range(2))
    layer = LayerSettling(0, torch.randn((2, 16 + INPUTS, 16), generator=source))
    moved, after = settled(layer, RoPE(theta=1e4, rotary_dims=8), keys, values, 0)
    assert (moved.dtype, after.dtype) == (dtype, dtype)
    assert torch.equal(moved[:, 0], keys[:, 0]) and torch.equal(after[:, 0], values[:, 0])
    assert not torch.equal(moved[:, 1], keys[:, 1])
    moved, _ = settled(layer, RoPE(theta=1e4, rotary_dims=8), keys, values, 64)
    assert not torch.equal(moved[:, 0], keys[:, 0])


def test_a_token_is_in_the_range_of_its_distance():
    where = features(torch.zeros(1, 300, 2), torch.zeros(1, 300, 2), 0)[0, :, 4:]
    assert where.sum(1).eq(1).all()
    starts = [int(where[:, one].argmax()) for one in range(INPUTS)]
    assert starts == [0, *BOUNDS]


# How it is learnt


def test_what_was_learnt_tells_a_part_of_what_text_in_front_does():
    model = loud_model("llama")
    settling = blending.learn_settling(model, samples(20), piece_tokens=32)
    plane = _documents.the_plane(model)
    before = after = 0.0
    for seed in (7, 8, 9):
        ids = prompt(64, seed)
        whole, alone = full_prefill(model, ids), full_prefill(model, ids[32:])
        for facts in plane.layers:
            there, here = whole.layers[facts.number], alone.layers[facts.number]
            keys, values = here.keys[0], here.values[0]
            layer = settling.layer(facts.number, facts.kv_heads, facts.head_dim)
            _, better = settled(layer, facts.rope, keys, values, 0)
            wanted = there.values[0, :, 33:]
            before += float((values[:, 1:] - wanted).square().sum())
            after += float((better[:, 1:] - wanted).square().sum())
    assert 0 < after < before


@pytest.mark.parametrize(
    ("texts", "piece", "field"),
    [(samples(4), 32, "texts"), (samples(5), 33, "tokenCount"), (samples(5), 1, "pieceTokens")],
)
def test_too_few_or_too_short_texts_are_refused(texts, piece, field):
    with pytest.raises(FieldError) as caught:
        blending.learn_settling(loud_model("llama"), texts, piece_tokens=piece)
    assert caught.value.field == field


# As bytes


def test_bytes_give_the_same_settling_again_and_another_has_another_name():
    model = loud_model("llama")
    settling = random_settling(model)
    again = Settling.decoded(settling.encoded())
    assert again.encoded() == settling.encoded() and again.name == settling.name
    assert random_settling(model, seed=2).name != settling.name


def test_cut_or_changed_bytes_are_refused_with_their_field():
    settling = Settling((LayerSettling(3, torch.zeros(1, 4 + INPUTS, 4)),))
    data = settling.encoded()
    for end in range(len(data)):
        with pytest.raises(FieldError) as caught:
            Settling.decoded(data[:end])
        assert caught.value.field == "length"
    header = 12 + 4 * len(BOUNDS)
    for offset, packed, field in (
        (0, b"X", "magic"), (4, b"\2", "version"), (6, b"\1", "bounds"), (12, b"\5", "bounds"),
        (8, b"\0", "layerCount"), (8, b"\2", "length"), (11, b"\1", "layerCount"),
        (header + 3, b"\1", "layer"), (header + 4, b"\0", "kvHeads"),
        (header + 7, b"\xff", "headDim"),
        (header + 8, struct.pack("<f", float("nan")), "weights"),
    ):
        changed = data[:offset] + packed + data[offset + len(packed) :]
        with pytest.raises(FieldError) as caught:
            Settling.decoded(changed)
        assert caught.value.field == field, (offset, packed)
    with pytest.raises(FieldError, match="length"):
        Settling.decoded(data + b"\0")
    twice = Settling(settling.layers * 2)
    with pytest.raises(FieldError, match="layer"):
        Settling.decoded(twice.encoded())


# In blends


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", [one for one in MODELS if one not in (*SEVERAL_PLANES, SLIDING)])
def test_later_documents_are_settled_and_the_first_is_not(client, name, dtype):
    model = loud_model(name, dtype)
    settling = random_settling(model)
    learn_all(model, client, settling=settling)
    pieces = ["a", BlendPiece("b", slot=130), "a"]
    found = blending.compose(model, pieces, client, settling=settling, first_position=5)
    here = blending.compose(
        model, pieces, client, settling=settling.name, first_position=5, source="here"
    )
    plain = blending.compose(model, pieces, client, first_position=5)
    assert found.plan == here.plan == plain.plan
    ids = texts()
    alone = [full_prefill(model, ids[one]) for one in ("a", "b", "a")]
    for facts in _documents.the_plane(model).layers:
        mine, own = found.cache.layers[facts.number], here.cache.layers[facts.number]
        assert torch.equal(mine.keys, own.keys) and torch.equal(mine.values, own.values)
        layer = settling.layer(facts.number, facts.kv_heads, facts.head_dim)
        for place, cache in zip(found.plan.placements, alone, strict=True):
            rows = slice(place.first_row, place.first_row + place.row_count)
            cached = cache.layers[facts.number]
            keys, values = cached.keys[0], cached.values[0]
            if place.first_row:
                _, values = settled(layer, facts.rope, keys, values, 0)
            skipped = 1 if place.first_row else 0
            tolerance = 1e-4 if dtype is torch.float32 else 0.1
            torch.testing.assert_close(
                mine.values[0, :, rows].float(), values[:, skipped:].float(),
                rtol=tolerance, atol=tolerance,
            )
        first = plain.cache.layers[facts.number].keys[0, :, :150]
        assert torch.equal(mine.keys[0, :, :150], first)


def test_a_document_that_was_not_settled_so_is_no_blend(client):
    model = loud_model("llama")
    settling = random_settling(model)
    learn_all(model, client)
    for source in blending.SOURCES:
        with pytest.raises(DocumentUnavailable) as caught:
            blending.compose(model, ["a", "b"], client, settling=settling, source=source)
        assert caught.value.document == "b"
    # Learning it again computes nothing but the settled chunks.
    learned = blending.learn_document(
        model, texts()["b"], "b", client, chunk_tokens=CHUNK, settling=settling
    )
    assert learned.prefill_seconds == 0 and learned.bytes_sent > 0
    assert blending.compose(model, ["a", "b"], client, settling=settling).row_count == 249
    again = blending.learn_document(
        model, texts()["b"], "b", client, chunk_tokens=CHUNK, settling=settling
    )
    assert again.bytes_sent == 0


@pytest.mark.parametrize("make", [random_settling, lambda _: blending.Lead([1, 2, 3])])
def test_what_was_settled_or_led_is_forgotten_with_its_document(client, make):
    model = loud_model("llama")
    settling = make(model)
    learn_all(model, client, settling=settling)
    plane = _documents.the_plane(model)
    hashes = client.resolve_document("b").document.hashes
    keys = [plane.key(settled_hash(chunk, settling.name)) for chunk in hashes]
    assert all(client.exists(keys))
    blending.forget_document("b", client)
    assert not any(client.exists(keys))


def test_a_settling_of_another_model_is_refused_before_the_name_changes(client):
    model, other = loud_model("llama"), loud_model("llama")
    settling = random_settling(other)
    wrong = Settling(settling.layers[:-1])
    with pytest.raises(FieldError, match="settling"):
        blending.learn_document(model, texts()["a"], "a", client, settling=wrong)
    assert client.list_documents() == []
    with pytest.raises(FieldError, match="settling"):
        encode_compose(bytes(16), [BlendPiece("a")], settling=b"short")
