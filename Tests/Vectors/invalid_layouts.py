"""Encodings of layouts that a decoder must refuse, with the field at fault."""

import struct

from layouts import LAYOUTS, attention, encode_layout, latent, layout, opaque, rope


def invalid_layouts():
    base = encode_layout(LAYOUTS["llama 3.1 8B, GQA bf16"])
    small = encode_layout(layout("bf16", attention([1, 2], 2, 8, rope(1e4, 8))))
    # Offsets inside `small`: 8 group, 12 layers, 16 heads, 18 dim, 20 window, 24 rope.
    rows = []

    def row(name, data, field):
        rows.append({"name": name, "hex": bytes(data).hex(), "field": field})

    def patched(name, offset, raw, field, source=small):
        data = bytearray(source)
        data[offset : offset + len(raw)] = raw
        row(name, data, field)

    row("empty", b"", "length")
    row("header cut short", small[:7], "length")
    row("last factor cut short", base[:-1], "length")
    row("group cut short", small[:14], "length")
    row("bytes after the end", small + b"\0", "length")
    patched("wrong magic", 0, b"KDNP", "magic")
    patched("version 2", 4, b"\2", "version")
    patched("dtype 0", 5, b"\0", "dtype")
    patched("dtype 7", 5, b"\7", "dtype")
    patched("no groups", 6, b"\0\0", "groupCount")
    patched("65 groups", 6, struct.pack("<H", 65), "groupCount")
    patched("kind 0", 8, b"\0", "kind")
    patched("kind 4", 8, b"\4", "kind")
    patched("hasRoPE 2", 9, b"\2", "hasRoPE")
    patched("no layers", 10, b"\0\0", "layerCount")
    patched("1025 layers", 10, struct.pack("<H", 1025), "layerCount")
    patched("layers descend", 12, struct.pack("<HH", 2, 1), "layers")
    patched("layer twice in a group", 12, struct.pack("<HH", 2, 2), "layers")
    patched("layer 4096", 14, struct.pack("<H", 4096), "layers")
    patched("no heads", 16, b"\0\0", "kvHeads")
    patched("1025 heads", 16, struct.pack("<H", 1025), "kvHeads")
    patched("head dimension 0", 18, b"\0\0", "headDim")
    patched("head dimension 4097", 18, struct.pack("<H", 4097), "headDim")
    for name, theta in (("0", 0.0), ("negative", -1.0), ("infinite", float("inf")),
                        ("not a number", float("nan"))):
        patched(f"theta {name}", 24, struct.pack("<d", theta), "theta")
    patched("scaling 6", 32, b"\6", "scaling")
    patched("pairing 2", 33, b"\2", "pairing")
    patched("keys 2", 34, b"\2", "keys")
    patched("reserved byte", 35, b"\1", "reserved")
    patched("rotaryDims 0", 36, struct.pack("<H", 0), "rotaryDims")
    patched("rotaryDims odd", 36, struct.pack("<H", 7), "rotaryDims")
    patched("rotaryDims above headDim", 36, struct.pack("<H", 10), "rotaryDims")
    row("factor without scaling", encode_layout(
        layout("bf16", attention([0], 1, 8, rope(1e4, 8, "none", [1.0])))), "factorCount")
    row("linear without factor", encode_layout(
        layout("bf16", attention([0], 1, 8, rope(1e4, 8, "linear", [])))), "factorCount")
    row("yarn with four factors", encode_layout(
        layout("bf16", attention([0], 1, 8, rope(1e4, 8, "yarn", [1.0] * 4)))), "factorCount")
    row("longrope with too few factors", encode_layout(
        layout("bf16", attention([0], 1, 8, rope(1e4, 8, "longrope", [1.0] * 10)))),
        "factorCount")
    row("4097 factors", encode_layout(
        layout("bf16", attention([0], 1, 8, rope(1e4, 8, "longrope", [1.0] * 4097)))),
        "factorCount")
    row("factor not a number", encode_layout(
        layout("bf16", attention([0], 1, 8, rope(1e4, 8, "linear", [float("nan")])))), "factors")
    row("factor infinite", encode_layout(
        layout("bf16", attention([0], 1, 8, rope(1e4, 8, "dynamic", [1.0, float("inf")])))),
        "factors")
    row("rank 0", encode_layout(layout("bf16", latent([0], 0, 8))), "rank")
    row("rank 16385", encode_layout(layout("bf16", latent([0], 16385, 8))), "rank")
    row("ropeDim 4097", encode_layout(layout("bf16", latent([0], 8, 4097))), "ropeDim")
    row("latent rope without ropeDim", encode_layout(
        layout("bf16", latent([0], 8, 0, rope(1e4, 2)))), "rotaryDims")
    row("opaque of 0 bytes", encode_layout(layout("bf16", opaque([0], 0))), "bytesPerToken")
    row("opaque above 16 MiB", encode_layout(layout("bf16", opaque([0], 16777217))),
        "bytesPerToken")
    with_rope = opaque([0], 16)
    with_rope["rope"] = rope(1e4, 8)
    row("opaque with rope", encode_layout(layout("bf16", with_rope)), "hasRoPE")
    row("layer in two groups", encode_layout(
        layout("bf16", attention([0, 2], 1, 8), attention([1, 2], 1, 8))), "layers")
    row("groups out of order", encode_layout(
        layout("bf16", attention([2], 1, 8), attention([1], 1, 8))), "groups")
    return rows
