"""Layouts and parts against the vectors."""

import pytest
from conftest import load_vectors
from hypothesis import given
from hypothesis import strategies as st

from kdn import AttentionGroup, FieldError, LatentGroup, Layout, OpaqueGroup, Part, RoPE

VECTORS = load_vectors("layouts.json")
ENCODINGS = {row["name"]: bytes.fromhex(row["hex"]) for row in VECTORS["layouts"]}


def group_of(fields):
    rope = fields["rope"]
    facts = rope and RoPE(
        rope["theta"], rope["rotaryDims"], rope["scaling"], tuple(rope["factors"]),
        rope["pairing"], rope["keys"],
    )
    layers, window = tuple(fields["layers"]), fields["slidingWindow"]
    if fields["kind"] == "attention":
        return AttentionGroup(layers, fields["kvHeads"], fields["headDim"], window, facts)
    if fields["kind"] == "latent":
        return LatentGroup(layers, fields["rank"], fields["ropeDim"], window, facts)
    return OpaqueGroup(layers, fields["bytesPerToken"], window)


def part_of(fields):
    return Part(*(fields[n] for n in ("firstLayer", "layerCount", "firstKVHead", "kvHeadCount")))


@pytest.mark.parametrize("row", VECTORS["layouts"], ids=lambda row: row["name"])
def test_layout_has_the_vectors_encoding_id_and_size(row):
    layout = Layout(row["fields"]["dtype"], tuple(map(group_of, row["fields"]["groups"])))
    assert layout.encode().hex() == row["hex"]
    assert layout.id.hex() == row["id"]
    assert layout.bytes_per_token() == row["bytesPerToken"]
    assert Layout.decode(bytes.fromhex(row["hex"])) == layout


@pytest.mark.parametrize("row", VECTORS["invalidLayouts"], ids=lambda row: row["name"])
def test_invalid_layout_names_the_field_at_fault(row):
    with pytest.raises(FieldError) as caught:
        Layout.decode(bytes.fromhex(row["hex"]))
    assert caught.value.field == row["field"]


@pytest.mark.parametrize("row", VECTORS["parts"])
def test_part_has_the_vectors_size(row):
    layout = Layout.decode(ENCODINGS[row["layout"]])
    assert layout.bytes_per_token(part_of(row["part"])) == row["bytesPerToken"]


@pytest.mark.parametrize("row", VECTORS["invalidParts"])
def test_invalid_part_names_the_field_at_fault(row):
    layout = Layout.decode(ENCODINGS[row["layout"]])
    with pytest.raises(FieldError) as caught:
        layout.bytes_per_token(part_of(row["part"]))
    assert caught.value.field == row["field"]


@pytest.mark.parametrize("row", VECTORS["selections"])
def test_layer_ranges_are_those_of_the_vectors(row):
    layout, part = Layout.decode(ENCODINGS[row["layout"]]), part_of(row["part"])
    chosen = part_of(row["selection"])
    rows = layout.layer_ranges(part, row["tokenCount"])
    assert rows[-1][1] + rows[-1][2] == row["objectBytes"]
    span = range(chosen.first_layer, chosen.first_layer + chosen.layer_count)
    picked = [entry for entry in rows if entry[0] in span]
    start, end = picked[0][1], picked[-1][1] + picked[-1][2]
    ranges = row["ranges"]
    assert start <= ranges[0][0] and sum(ranges[-1]) <= end
    whole_heads = (chosen.first_kv_head, chosen.kv_head_count) == (
        part.first_kv_head, part.kv_head_count)
    if whole_heads:
        assert ranges == [[start, end - start]]


@pytest.mark.parametrize("name", ["llama 3.1 8B, GQA bf16", "attention, latent and opaque"])
def test_every_truncation_of_a_layout_is_refused(name):
    data = ENCODINGS[name]
    for length in range(len(data)):
        with pytest.raises(FieldError):
            Layout.decode(data[:length])


@pytest.mark.parametrize("name", ["MLA latent", "attention, latent and opaque"])
def test_a_flipped_bit_gives_another_layout_or_an_error(name):
    data = ENCODINGS[name]
    original = Layout.decode(data)
    for index in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[index // 8] ^= 1 << index % 8
        try:
            other = Layout.decode(bytes(flipped))
        except FieldError:
            continue
        assert other.id != original.id
        assert other.encode() == bytes(flipped)


def test_whole_part_holds_every_layer_and_head():
    layout = Layout.decode(ENCODINGS["gaps in the layer numbers"])
    assert layout.whole() == Part(3, 4093, 0, 2)
    assert layout.bytes_per_token(layout.whole()) == layout.bytes_per_token()


def test_groups_of_unlike_heads_have_no_whole_part():
    with pytest.raises(FieldError) as caught:
        Layout.decode(ENCODINGS["groups of unlike heads"]).whole()
    assert caught.value.field == "kvHeads"


@given(
    st.sampled_from(["bf16", "f16", "f32", "f8e4m3", "f8e5m2", "i8"]),
    st.sets(st.integers(0, 4095), min_size=1, max_size=40),
    st.integers(1, 1024),
    st.integers(1, 4096),
    st.integers(0, 2**32 - 1),
)
def test_layouts_survive_encoding(dtype, layers, heads, dim, window):
    layout = Layout(dtype, (AttentionGroup(tuple(sorted(layers)), heads, dim, window),))
    assert Layout.decode(layout.encode()) == layout


@given(st.binary(max_size=200))
def test_random_bytes_decode_to_what_they_say_or_not_at_all(data):
    encoded = b"KDNL\x01\x01\x01\x00" + data
    try:
        layout = Layout.decode(encoded)
    except FieldError:
        return
    assert layout.encode() == encoded
