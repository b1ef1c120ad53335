"""Layouts, parts and selections, as Formats.md spells them."""

import struct

from hashing import part_json, sha256

DTYPES = {"bf16": (1, 2), "f16": (2, 2), "f32": (3, 4), "f8e4m3": (4, 1), "f8e5m2": (5, 1),
          "i8": (6, 1)}
SCALINGS = ("none", "linear", "dynamic", "yarn", "llama3", "longrope")
PAIRINGS = ("neox", "interleaved")
KEY_STATES = ("before", "after")


def rope(theta, dims, scaling="none", factors=(), pairing="neox", keys="after"):
    return {"theta": theta, "scaling": scaling, "pairing": pairing, "keys": keys,
            "rotaryDims": dims, "factors": list(factors)}


def attention(layers, heads, dim, facts=None, window=0):
    return {"kind": "attention", "layers": list(layers), "kvHeads": heads, "headDim": dim,
            "slidingWindow": window, "rope": facts}


def latent(layers, rank, rope_dim, facts=None, window=0):
    return {"kind": "latent", "layers": list(layers), "rank": rank, "ropeDim": rope_dim,
            "slidingWindow": window, "rope": facts}


def opaque(layers, size, window=0):
    return {"kind": "opaque", "layers": list(layers), "bytesPerToken": size,
            "slidingWindow": window, "rope": None}


def layout(dtype, *groups):
    return {"dtype": dtype, "groups": list(groups)}


def encode_group(group):
    kind = {"attention": 1, "latent": 2, "opaque": 3}[group["kind"]]
    facts = group["rope"]
    data = struct.pack("<BBH", kind, 1 if facts else 0, len(group["layers"]))
    for layer in group["layers"]:
        data += struct.pack("<H", layer)
    if kind == 1:
        data += struct.pack("<HH", group["kvHeads"], group["headDim"])
    elif kind == 2:
        data += struct.pack("<HH", group["rank"], group["ropeDim"])
    else:
        data += struct.pack("<I", group["bytesPerToken"])
    data += struct.pack("<I", group["slidingWindow"])
    if facts:
        data += struct.pack("<dBBBBHH", facts["theta"], SCALINGS.index(facts["scaling"]),
                            PAIRINGS.index(facts["pairing"]), KEY_STATES.index(facts["keys"]), 0,
                            facts["rotaryDims"], len(facts["factors"]))
        for factor in facts["factors"]:
            data += struct.pack("<d", factor)
    return data


def encode_layout(value):
    data = b"KDNL" + struct.pack("<BBH", 1, DTYPES[value["dtype"]][0], len(value["groups"]))
    return data + b"".join(encode_group(group) for group in value["groups"])


def planes(value, group, heads=None):
    """Bytes per token of each (K or V, head) plane of one layer of a group, in canonical order."""
    size = DTYPES[value["dtype"]][1]
    if group["kind"] == "attention":
        count = group["kvHeads"] if heads is None else heads
        return [group["headDim"] * size] * (2 * count)
    if group["kind"] == "latent":
        return [(group["rank"] + group["ropeDim"]) * size]
    return [group["bytesPerToken"]]


def whole_bytes_per_token(value):
    return sum(sum(planes(value, group)) * len(group["layers"]) for group in value["groups"])


def layers_of(value, part):
    owner = {layer: group for group in value["groups"] for layer in group["layers"]}
    return [(layer, owner[layer]) for layer in sorted(owner)
            if part[0] <= layer < part[0] + part[1]]


def part_bytes_per_token(value, part):
    return sum(sum(planes(value, group, part[3])) for _, group in layers_of(value, part))


def selection_ranges(value, part, chosen, tokens):
    """Byte ranges of `chosen` inside an object that holds `part`, neighbours joined."""
    ranges, offset = [], 0
    for layer, group in layers_of(value, part):
        sizes = planes(value, group, part[3])
        wanted_layer = chosen[0] <= layer < chosen[0] + chosen[1]
        for index, size in enumerate(sizes):
            length = size * tokens
            head = part[2] + index % part[3] if group["kind"] == "attention" else None
            wanted = wanted_layer and (head is None or chosen[2] <= head < chosen[2] + chosen[3])
            if wanted and ranges and sum(ranges[-1]) == offset:
                ranges[-1][1] += length
            elif wanted:
                ranges.append([offset, length])
            offset += length
    return ranges


LLAMA3 = rope(500000.0, 128, "llama3", [8.0, 1.0, 4.0, 8192.0])
LAYOUTS = {
    "llama 3.1 8B, GQA bf16": layout("bf16", attention(range(32), 8, 128, LLAMA3)),
    "one layer, no rope": layout("f16", attention([0], 1, 64)),
    "multi-query f32": layout("f32", attention(range(12), 1, 256, rope(10000.0, 256))),
    "fp8 e4m3": layout("f8e4m3", attention(range(4), 2, 128, rope(1e6, 128))),
    "fp8 e5m2": layout("f8e5m2", attention(range(4), 2, 128, rope(1e6, 128))),
    "int8, keys before rotation": layout(
        "i8", attention(range(2), 4, 96, rope(10000.0, 96, keys="before"))),
    "partial rotary, interleaved": layout(
        "f16", attention(range(28), 16, 256, rope(10000.0, 64, pairing="interleaved"))),
    "linear scaling": layout("bf16", attention(range(3), 8, 128,
                                               rope(10000.0, 128, "linear", [4.0]))),
    "dynamic scaling": layout("bf16", attention(range(3), 8, 128,
                                                rope(10000.0, 128, "dynamic", [2.0, 4096.0]))),
    "yarn scaling": layout("bf16", attention(
        range(3), 8, 128, rope(1000000.0, 128, "yarn", [4.0, 32768.0, 32.0, 1.0, 1.1386294361]))),
    "llama3 scaling": layout("bf16", attention(
        range(16), 8, 64, rope(500000.0, 64, "llama3", [32.0, 1.0, 4.0, 8192.0]))),
    "longrope scaling": layout("bf16", attention(range(3), 8, 16, rope(
        10000.0, 12, "longrope",
        [32.0, 4096.0, 1.1902380714] + [1.0, 1.02, 1.05, 1.08, 1.1, 1.15]
        + [1.08, 1.6, 3.75, 12.5, 31.03, 64.52]))),
    "sliding window, two groups": layout(
        "bf16",
        attention([i for i in range(26) if i % 6 != 5], 4, 256, rope(10000.0, 256), window=1024),
        attention([i for i in range(26) if i % 6 == 5], 4, 256,
                  rope(1000000.0, 256, "linear", [8.0])),
    ),
    "groups of unlike heads": layout(
        "bf16", attention([0, 2], 8, 128, rope(1e4, 128)),
        attention([1, 3], 4, 64, rope(1e4, 64), window=512)),
    "MLA latent": layout("bf16", latent(range(61), 512, 64, rope(
        10000.0, 64, "yarn", [40.0, 4096.0, 32.0, 1.0, 1.0], pairing="interleaved"))),
    "latent without rope part": layout("f16", latent([0, 1], 16384, 0)),
    "opaque per token bytes": layout("i8", opaque(range(8), 656)),
    "attention, latent and opaque": layout(
        "f16", attention([0, 4], 2, 8, rope(1e4, 8)), latent([1, 5], 16, 4), opaque([2, 3], 10)),
    "gaps in the layer numbers": layout("bf16", attention([3, 7, 11, 4095], 2, 128, LLAMA3)),
    "layer of the largest opaque size": layout("bf16", opaque([4095], 16777216, 4294967295)),
    "largest attention": layout("f32", attention(range(1024), 1024, 4096)),
    "64 groups": layout("bf16", *[attention([i], 1, 2 + 2 * i) for i in range(64)]),
    "theta needs every bit": layout("bf16", attention([0], 1, 2, rope(0.1, 2))),
}
