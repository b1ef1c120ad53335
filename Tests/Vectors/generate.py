"""Writes hashes.json, layouts.json, frames.json, disk.json, blend_plans.json and texts.json beside
itself.

An independent reading of Formats.md and Protocol.md: it shares no code with the clients or the
server, so that each of them is checked against the documents and not against another. Run it with
`python generate.py`; it needs the `xxhash` package. The output is deterministic.
"""

import json
import pathlib

import blending
import delivery
import faults
import frames
import links
from blends import blend_sections
from disk import disk_sections
from hashing import chain_row, key_bytes, key_row, layout_key, opaque_key, pseudo_tokens, sha256
from hashing import part_json
from invalid_layouts import invalid_layouts
from layouts import (
    LAYOUTS, encode_layout, part_bytes_per_token, selection_ranges, whole_bytes_per_token,
)
from rows import FAULTS, FRAMES
from texts import text_sections

HERE = pathlib.Path(__file__).resolve().parent


def write(name, value):
    """One vector per line, so that a change shows as one line of a diff."""
    parts = []
    for section, rows in value.items():
        lines = ",\n".join("    " + json.dumps(row, ensure_ascii=True) for row in rows)
        parts.append(f'  "{section}": [\n{lines}\n  ]')
    (HERE / name).write_text("{\n" + ",\n".join(parts) + "\n}\n")


def hashes_file():
    chains = [
        chain_row("one chunk of 16", "m", b"", list(range(16)), 16),
        chain_row("no tokens", "llama", b"", [], 256),
        chain_row("tail only", "llama", b"", [1, 2, 3], 256),
        chain_row(
            "three chunks of 256",
            "meta-llama/Llama-3.1-8B-Instruct@0e9e39f249a16976918f6564b8830bc894c89659",
            b"",
            pseudo_tokens(768, 1, 128256),
            256,
        ),
        chain_row(
            "salted, with a tail of 100",
            "HuggingFaceTB/SmolLM2-135M@93efa2f",
            b"tenant-7",
            pseudo_tokens(612, 2, 49152),
            256,
        ),
        chain_row("the same tokens, other salt", "HuggingFaceTB/SmolLM2-135M@93efa2f",
                  b"tenant-8", pseudo_tokens(612, 2, 49152), 256),
        chain_row("model in UTF-8, binary salt", "模型/β@1", bytes(range(256)),
                  pseudo_tokens(40, 3, 2**32), 16),
        chain_row("largest model and salt", "x" * 512, b"\xff" * 512,
                  pseudo_tokens(64, 4, 2**31), 64),
        chain_row("extreme tokens", "m", b"", [0, 1, 2**31 - 1, 2**31, 2**32 - 1] * 4, 20),
        chain_row("salt looks like the model", "ab", b"c", list(range(32)), 16),
        chain_row("model looks like the salt", "a", b"bc", list(range(32)), 16),
    ]
    invalid = [
        {"name": "empty model", "fields": {"model": "", "salt": ""}, "field": "model"},
        {"name": "model of 513 bytes", "fields": {"model": "x" * 513, "salt": ""},
         "field": "model"},
        {"name": "model of 257 two-byte characters", "fields": {"model": "é" * 257, "salt": ""},
         "field": "model"},
        {"name": "salt of 513 bytes", "fields": {"model": "m", "salt": "00" * 513},
         "field": "salt"},
        {"name": "chunk of 15 tokens", "fields": {"model": "m", "salt": "", "chunkTokens": 15},
         "field": "chunkTokens"},
        {"name": "chunk of 4097 tokens",
         "fields": {"model": "m", "salt": "", "chunkTokens": 4097}, "field": "chunkTokens"},
    ]
    digest, layout_id = sha256(b"chunk"), sha256(b"layout")[:16]
    keys = [
        key_row("whole model", digest, layout_id, (0, 32, 0, 8), 0),
        key_row("pipeline stage and tensor rank", digest, layout_id, (16, 16, 4, 4), 0),
        key_row("variant", digest, layout_id, (0, 1, 0, 1), 2**32 - 1),
        key_row("largest part numbers", digest, layout_id, (4095, 65535, 1023, 1024), 7),
    ]
    for name in (b"k", b"", b"user:42/page/7", bytes(range(256)), b"x" * 5000):
        keys.append({
            "name": f"opaque key of {len(name)} bytes",
            "fields": {"kind": "opaque", "clientKey": name.hex()},
            "hex": opaque_key(name).hex(),
        })

    def bad_key(name, field, *values):
        return {"name": name, "hex": key_bytes(*values).hex(), "field": field}

    zero16 = bytes(16)
    invalid_keys = [
        bad_key("kind 0", "kind", 0, 0, digest, layout_id, 0, 1, 0, 1),
        bad_key("kind 3", "kind", 3, 0, digest, layout_id, 0, 1, 0, 1),
        bad_key("layout key without layers", "layerCount", 1, 0, digest, layout_id, 0, 0, 0, 1),
        bad_key("layout key without heads", "kvHeadCount", 1, 0, digest, layout_id, 0, 1, 0, 0),
        bad_key("opaque key with a variant", "variant", 2, 1, digest, zero16, 0, 0, 0, 0),
        bad_key("opaque key with a layout", "layoutID", 2, 0, digest, layout_id, 0, 0, 0, 0),
        bad_key("opaque key with firstLayer", "firstLayer", 2, 0, digest, zero16, 1, 0, 0, 0),
        bad_key("opaque key with layerCount", "layerCount", 2, 0, digest, zero16, 0, 1, 0, 0),
        bad_key("opaque key with firstKVHead", "firstKVHead", 2, 0, digest, zero16, 0, 0, 1, 0),
        bad_key("opaque key with kvHeadCount", "kvHeadCount", 2, 0, digest, zero16, 0, 0, 0, 1),
    ]
    for offset in (1, 2, 3):
        data = bytearray(layout_key(digest, layout_id, (0, 1, 0, 1)))
        data[offset] = 1
        invalid_keys.append(
            {"name": f"reserved byte {offset}", "hex": data.hex(), "field": "reserved"})
    write("hashes.json", {"chains": chains, "invalidChains": invalid, "keys": keys,
                          "invalidKeys": invalid_keys})


def layouts_file():
    rows = []
    for name, value in LAYOUTS.items():
        data = encode_layout(value)
        rows.append({"name": name, "fields": value, "hex": data.hex(),
                     "id": sha256(data)[:16].hex(), "bytesPerToken": whole_bytes_per_token(value)})

    def part_row(name, part):
        return {"layout": name, "part": part_json(part),
                "bytesPerToken": part_bytes_per_token(LAYOUTS[name], part)}

    def bad_part(name, part, field):
        return {"layout": name, "part": part_json(part), "field": field}

    def selection_row(name, part, chosen, tokens):
        value = LAYOUTS[name]
        return {"layout": name, "part": part_json(part), "selection": part_json(chosen),
                "tokenCount": tokens, "objectBytes": tokens * part_bytes_per_token(value, part),
                "ranges": selection_ranges(value, part, chosen, tokens)}

    llama, gemma, mla = "llama 3.1 8B, GQA bf16", "sliding window, two groups", "MLA latent"
    mixed, unlike, gaps = ("attention, latent and opaque", "groups of unlike heads",
                           "gaps in the layer numbers")
    parts = [
        part_row(llama, (0, 32, 0, 8)), part_row(llama, (0, 32, 4, 4)),
        part_row(llama, (31, 1, 7, 1)), part_row(llama, (16, 1000, 0, 8)),
        part_row(gemma, (0, 26, 0, 4)), part_row(gemma, (5, 1, 2, 1)),
        part_row(mla, (0, 61, 0, 1)), part_row(mla, (30, 31, 0, 1)),
        part_row(mixed, (0, 6, 0, 2)), part_row(mixed, (0, 6, 1, 1)),
        part_row(mixed, (1, 3, 0, 1)), part_row(unlike, (0, 4, 0, 4)),
        part_row(unlike, (0, 1, 4, 4)), part_row(gaps, (0, 4096, 0, 2)),
        part_row(gaps, (4, 5, 1, 1)), part_row("largest attention", (0, 1024, 0, 1024)),
    ]
    invalid_parts = [
        bad_part(llama, (0, 0, 0, 8), "layerCount"), bad_part(llama, (0, 32, 0, 0), "kvHeadCount"),
        bad_part(llama, (32, 1, 0, 8), "firstLayer"), bad_part(llama, (0, 32, 8, 1),
                                                               "firstKVHead"),
        bad_part(llama, (0, 32, 4, 5), "kvHeadCount"), bad_part(unlike, (0, 4, 0, 8),
                                                                "kvHeadCount"),
        bad_part(gaps, (0, 3, 0, 1), "firstLayer"), bad_part(gaps, (12, 100, 0, 1), "firstLayer"),
        bad_part(mla, (0, 61, 1, 1), "firstKVHead"), bad_part(mla, (0, 61, 0, 2), "kvHeadCount"),
        bad_part(mixed, (1, 3, 0, 2), "kvHeadCount"),
    ]
    selections = [
        selection_row(llama, (0, 32, 0, 8), (0, 32, 0, 8), 256),
        selection_row(llama, (0, 32, 0, 8), (3, 1, 0, 8), 256),
        selection_row(llama, (0, 32, 0, 8), (3, 2, 4, 4), 256),
        selection_row(llama, (16, 16, 4, 4), (20, 1, 6, 2), 17),
        selection_row(mla, (0, 61, 0, 1), (60, 1, 0, 1), 256),
        selection_row(mixed, (0, 6, 0, 2), (0, 6, 1, 1), 3),
        selection_row(mixed, (0, 6, 0, 2), (1, 3, 0, 1), 3),
        selection_row(gaps, (0, 4096, 0, 2), (4, 10, 0, 1), 5),
        selection_row(gemma, (0, 26, 0, 4), (5, 2, 1, 2), 64),
    ]
    write("layouts.json", {"layouts": rows, "invalidLayouts": invalid_layouts(), "parts": parts,
                           "invalidParts": invalid_parts, "selections": selections})


def frames_file():
    for section in (
        frames.hello_frames, frames.layout_frames, frames.match_frames, frames.key_frames,
        frames.get_frames, frames.put_frames, frames.document_frames,
        frames.other_frames, links.link_frames, delivery.delivery_frames,
        blending.blending_frames,
        faults.framing_faults, faults.header_faults, faults.body_faults, links.link_faults,
        delivery.delivery_faults, blending.blending_faults,
    ):
        section()
    write("frames.json", {"frames": FRAMES, "faults": FAULTS,
                          "answerFaults": links.answer_faults()
                          + delivery.delivery_answer_faults()
                          + blending.blending_answer_faults()})


if __name__ == "__main__":
    hashes_file()
    layouts_file()
    frames_file()
    write("disk.json", disk_sections())
    write("blend_plans.json", blend_sections())
    write("texts.json", text_sections())
