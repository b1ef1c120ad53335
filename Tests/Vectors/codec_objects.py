"""Writes codecs.json: encoded objects, the profiles they name, and what they decode to.

    python codec_objects.py KDN

KDN is the `kdn` program, whose encoder made the objects once; the profiles are written here from
Codecs.md alone. Encoders may change; what these objects decode to may not. So objects that the file
has stay as they are: take out of it what is to be made again.
"""

import hashlib
import json
import math
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

from disk import xxh3
from layouts import attention, encode_layout, latent, layout, opaque, rope

HERE = pathlib.Path(__file__).resolve().parent


def padded(data):
    return data + bytes(-len(data) % 8)


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


def plane_record(index, plane, channels):
    numbers = floats([0.25 + (c % 4) * 0.125 for c in range(channels)])
    numbers += floats([(c % 5) * 0.5 - 1 for c in range(channels)])
    numbers += floats([0.5] * channels)
    return padded(struct.pack("<HBBI", index, plane, 0, channels) + numbers)


def basis_record(first, count, plane, channels, rank):
    head = struct.pack("<HHB3xIIfI", first, count, plane, channels, rank, 1.0, 0)
    numbers = floats([0.25 + (c % 4) * 0.0625 for c in range(channels)])
    numbers += floats([(c % 5) * 0.5 - 1 for c in range(channels)])
    numbers += floats([4 / (1 + n // 16) for n in range(rank)])
    matrix = b""
    for n in range(rank):
        scale = math.sqrt((1 if n == 0 else 2) / channels)
        row = [math.cos(math.pi / channels * (c + 0.5) * n) * scale for c in range(channels)]
        matrix += struct.pack(f"<{channels}h", *(int(32767 * value) for value in row))
    return padded(padded(head + numbers) + matrix)


def profile(kind, value, part, layers, heads, dim):
    """A profile of an attention layout: kind 1 weights, 2 bases of two layers, 3 of all."""
    encoding = encode_layout(value)
    channels = heads * dim
    planes = [plane_record(i, plane, channels) for i in range(layers) for plane in (0, 1)]
    span = {1: 0, 2: 2, 3: layers}[kind]
    firsts = range(0, layers, span) if span else []
    bases = [basis_record(first, min(span, layers - first), plane,
                          channels * min(span, layers - first),
                          channels * min(span, layers - first))
             for first in firsts for plane in (0, 1)]
    body = padded(encoding) + b"".join(planes) + b"".join(bases)
    head = b"KDNF" + struct.pack("<HBBQ", 1, kind, 0, 64 + len(body) + 8)
    head += hashlib.sha256(encoding).digest()[:16] + struct.pack("<4H", *part)
    head += struct.pack("<QIIII", 1000, len(encoding), len(planes), len(bases), 0)
    data = head + body
    return data + struct.pack("<Q", xxh3(data))


def element(value, dtype):
    if dtype == "f32":
        return struct.pack("<f", value)
    if dtype == "bf16":
        return struct.pack("<f", value)[2:]
    if dtype == "f16":
        return struct.pack("<e", value)
    # Of one byte only few values, so that a block this small is worth its table.
    value = round(value * 4) / 4
    half = struct.pack("<e", value)
    if dtype == "f8e5m2":
        return half[1:]
    if dtype == "i8":
        return struct.pack("<b", max(-127, min(127, int(value * 4))))
    bits = struct.unpack("<H", half)[0]
    exponent = min((bits >> 10 & 31) - 8, 14)
    magnitude = exponent << 3 | bits >> 7 & 7 if exponent > 0 else 0
    return bytes([bits >> 8 & 0x80 | magnitude])


def plane(dice, heads, dim, tokens, dtype):
    common = [dice.gauss(0, 1) for _ in range(tokens)]
    data = b""
    for head in range(heads):
        for token in range(tokens):
            for d in range(dim):
                spread = 0.25 + (d * 7 + head) % 8 * 0.125
                value = d % 5 * 0.5 - 1 + spread * (0.5 * common[token] + dice.gauss(0, 0.7))
                data += element(value, dtype)
    return data


def sample(value, tokens, seed):
    """Bytes of a whole object; keys are as if they had no positions."""
    dice = random.Random(seed)
    layers = sorted((number, group) for group in value["groups"] for number in group["layers"])
    data = b""
    for _, group in layers:
        if group["kind"] == "opaque":
            data += bytes(i // 7 & 255 for i in range(tokens * group["bytesPerToken"]))
        elif group["kind"] == "latent":
            data += plane(dice, 1, group["rank"] + group["ropeDim"], tokens, value["dtype"])
        else:
            for _ in range(2):
                data += plane(dice, group["kvHeads"], group["headDim"], tokens, value["dtype"])
    return data


SMALL = attention(range(3), 2, 8, rope(100.0, 8))
PART = (0, 3, 0, 2)
MIXED = layout(
    "f16", attention([0, 2], 1, 12, rope(1e4, 8, pairing="interleaved"), window=64),
    latent([1], 20, 8, rope(1e4, 8, pairing="interleaved")), opaque([3], 33))

CASES = [
    *[(f"exact {dtype}", "exact", layout(dtype, SMALL), tokens, 0)
      for dtype, tokens in (("bf16", 40), ("f16", 200), ("f32", 40), ("f8e4m3", 200),
                            ("f8e5m2", 200), ("i8", 200))],
    *[(f"high {dtype}", "high", layout(dtype, SMALL), 40, 5)
      for dtype in ("bf16", "f16", "f32", "f8e4m3", "f8e5m2")],
    ("high, the first tokens raw", "high", layout("bf16", SMALL), 40, 0),
    ("high, one token", "high", layout("bf16", SMALL), 1, 9),
    ("high, far positions", "high", layout("f32", SMALL), 33, 100_000),
    ("high, keys before rotation", "high",
     layout("bf16", attention(range(2), 2, 8, rope(100.0, 8, keys="before"))), 40, 5),
    ("exact, mixed groups", "exact", MIXED, 30, 7),
    ("high, mixed groups", "high", MIXED, 30, 7),
    ("balanced", "balanced", layout("bf16", SMALL), 40, 5),
    ("balanced f32", "balanced", layout("f32", SMALL), 40, 0),
    ("small", "small", layout("bf16", SMALL), 40, 5),
    ("small, the first token raw", "small", layout("f16", SMALL), 40, 0),
    ("archive", "archive", layout("bf16", SMALL), 40, 5),
    ("zstd", "zstd", None, 0, 0),
    ("lz4", "lz4", None, 0, 0),
    ("small, coarse rows", "small", layout("bf16", SMALL), 40, 5),
    ("small f32, coarse rows, the first token raw", "small", layout("f32", SMALL), 41, 0),
    ("archive, coarse rows", "archive", layout("bf16", SMALL), 40, 5),
]
PROFILE_KINDS = {"balanced": 1, "small": 2, "archive": 3}


def encoded(kdn, folder, case, seed):
    """(object row, profile bytes or None)."""
    name, codec, value, tokens, first = case
    raw = bytes(i % 26 + 97 for i in range(400)) if value is None else sample(value, tokens, seed)
    paths = {key: str(folder / key) for key in ("raw", "encoded", "decoded", "layout", "profile")}
    pathlib.Path(paths["raw"]).write_bytes(raw)
    arguments = ["--class", codec]
    decoding = []
    known = None
    if value is not None:
        pathlib.Path(paths["layout"]).write_bytes(encode_layout(value))
        arguments += ["--layout", paths["layout"], "--tokens", str(tokens)]
        arguments += ["--first-token", str(first)]
    if codec in PROFILE_KINDS:
        known = profile(PROFILE_KINDS[codec], value, PART, 3, 2, 8)
        pathlib.Path(paths["profile"]).write_bytes(known)
        decoding = ["--profile", paths["profile"]]
    for command in (["encode", *arguments, *decoding, paths["raw"], paths["encoded"]],
                    ["decode", *decoding, paths["encoded"], paths["decoded"]]):
        subprocess.run([kdn, "codec", *command], check=True, stdout=subprocess.DEVNULL)
    row = {"name": name, "class": codec,
           "profile": hashlib.sha256(known).hexdigest() if known else None,
           "rawChecksum": xxh3(raw), "hex": pathlib.Path(paths["encoded"]).read_bytes().hex(),
           "decoded": pathlib.Path(paths["decoded"]).read_bytes().hex()}
    if codec in ("exact", "zstd", "lz4") and row["decoded"] != raw.hex():
        raise SystemExit(f"{name}: not what was stored")
    return row, known


def main(kdn):
    rows, profiles = [], {}
    before = json.loads((HERE / "codecs.json").read_text())
    known_rows = {row["name"]: row for row in before["objects"]}
    known_profiles = {row["hash"]: row["hex"] for row in before["profiles"]}
    with tempfile.TemporaryDirectory() as folder:
        for seed, case in enumerate(CASES):
            row, known = known_rows.get(case[0]), None
            if row is None:
                row, known = encoded(kdn, pathlib.Path(folder), case, seed)
            rows.append(row)
            if row["profile"]:
                profiles[row["profile"]] = known.hex() if known else known_profiles[row["profile"]]
    sections = {"profiles": [{"hash": key, "hex": value} for key, value in profiles.items()],
                "objects": rows}
    parts = []
    for section, lines in sections.items():
        text = ",\n".join("    " + json.dumps(line) for line in lines)
        parts.append(f'  "{section}": [\n{text}\n  ]')
    (HERE / "codecs.json").write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
