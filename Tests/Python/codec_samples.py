"""Encoded objects for tests: an encoder as simple as can be, apart from all that decodes.

It follows the format's words and shares no arithmetic with kdn.codec, whose decoders it tests.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xxhash

from kdn.codec import shape_tables
from kdn.keys import Part
from kdn.layouts import DTYPE_BYTES, AttentionGroup, LatentGroup, Layout
from kdn.rope import RoPE

LANES = 32
SLOTS = 2048
ONE = 1 << 16
TORCH = {
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "f32": torch.float32,
    "f8e4m3": torch.float8_e4m3fn,
    "f8e5m2": torch.float8_e5m2,
}
REST = {"bf16": 1, "f16": 1, "f32": 3}


def checksum(data: bytes) -> int:
    return xxhash.xxh3_64_intdigest(data)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def encode_stream(
    numbers: np.ndarray, classes: np.ndarray, frequencies: np.ndarray
) -> tuple[bytes, bytes, int]:
    """(escapes, states and words, word count) of `numbers` `[token, all]`; row k - 1: class k."""
    chosen = np.flatnonzero(classes)
    lanes = np.full(-(-len(chosen) // LANES) * LANES, -1)
    lanes[: len(chosen)] = chosen
    steps = []
    escapes: list[int] = []
    for block in lanes.reshape(-1, LANES):
        for row in numbers:
            step = []
            for lane in block:
                if lane < 0:
                    step.append((SLOTS, 0))
                    continue
                table = frequencies[classes[lane] - 1]
                symbol = int(row[lane])
                if not -127 <= symbol <= 127 or table[symbol + 128] == 0:
                    escapes.append(symbol)
                    symbol = -128
                start = int(table[: symbol + 128].sum())
                step.append((int(table[symbol + 128]), start))
            steps.append(step)
    states = [ONE] * LANES
    words: list[int] = []
    for step in reversed(steps):
        for lane in reversed(range(LANES)):
            frequency, start = step[lane]
            state = states[lane]
            if state >= frequency << 21:
                words.append(state & 0xFFFF)
                state >>= 16
            states[lane] = state // frequency * SLOTS + state % frequency + start
    words.reverse()
    data = struct.pack(f"<{LANES}I", *states) + struct.pack(f"<{len(words)}H", *words)
    return padded(struct.pack(f"<{len(escapes)}h", *escapes)), data, len(words)


def best_classes(numbers: np.ndarray) -> np.ndarray:
    """The class of each column: 0 if all zero, else that of the fewest bits."""
    table = np.maximum(shape_tables.frequencies().astype(np.float64), 2.0**-20)
    costs = -np.log2(table / SLOTS)
    costs[:, 0] += 16
    symbols = np.where(np.abs(numbers) <= 127, numbers, -128) + 128
    classes = np.zeros(numbers.shape[1], np.uint8)
    for column in range(numbers.shape[1]):
        if numbers[:, column].any():
            classes[column] = 1 + int(costs[:, symbols[:, column]].sum(axis=1).argmin())
    return classes


@dataclass
class Block:
    """One index entry and its bytes; `decoded`: the bytes of its planes, layer by layer."""

    kind: int
    plane: int
    first_layer: int
    data: bytes
    decoded: bytes
    layer_count: int = 1
    raw_tokens: int = 0


@dataclass
class Sample:
    """What an object is; blocks are added in order, then `bytes` is the encoded object."""

    layout: Layout | None
    tokens: int = 0
    codec: int = 2
    first_token: int = 0
    part: Part | None = None
    profile: bytes = bytes(32)
    raw: bytes | None = None
    blocks: list[Block] = field(default_factory=list)

    @property
    def the_part(self) -> Part:
        assert self.layout is not None
        return self.part or self.layout.whole()

    @property
    def decoded(self) -> bytes:
        """The object that decoding gives, put together from the blocks' planes."""
        if self.layout is None:
            return self.blocks[0].decoded
        planes = planes_of(self.layout, self.the_part, self.tokens)
        room = bytearray(sum(length for *_, length in planes))
        for block in self.blocks:
            group = self.layout.groups.index(dict(self.layout.layers_of(self.the_part))[
                [layer for layer, _ in self.layout.layers_of(self.the_part)][block.first_layer]
            ])
            place = 0
            layers = [p for p in planes if p[0] >= block.first_layer and p[2] == block.plane]
            layers = [p for p in layers if p[1] == group][: block.layer_count]
            for _, _, _, offset, length in layers:
                room[offset : offset + length] = block.decoded[place : place + length]
                place += length
            assert place == len(block.decoded)
        return bytes(room)

    def frequencies(self) -> bytes:
        if self.layout is None:
            return b""
        found = []
        for group in self.layout.groups:
            rope = group.rope
            if rope is not None and rope.keys == "after":
                found += frequencies_of(rope)
        return struct.pack(f"<{len(found)}d", *found)

    def bytes(self) -> bytes:
        layout = b"" if self.layout is None else self.layout.encode()
        facts = padded(layout) + self.frequencies()
        header_bytes = 112 + len(facts) + 48 * len(self.blocks) + 8
        body, index = b"", b""
        for block in self.blocks:
            body = padded(body)
            index += struct.pack(
                "<BBHHHQQQQQ",
                block.kind,
                block.plane,
                block.first_layer,
                block.layer_count,
                block.raw_tokens,
                header_bytes + len(body),
                len(block.data),
                checksum(block.data),
                checksum(block.decoded),
                0,
            )
            body += block.data
        decoded = self.decoded
        fixed = struct.pack(
            "<4sHBBIIQQQ16s8sQII32s",
            b"KDNE",
            1,
            self.codec,
            0,
            header_bytes,
            len(self.blocks),
            len(decoded),
            checksum(self.raw if self.raw is not None else decoded),
            checksum(decoded),
            bytes(16) if self.layout is None else self.layout.id,
            bytes(8) if self.layout is None else self.the_part.encode(),
            self.first_token,
            self.tokens,
            len(layout),
            self.profile,
        )
        header = fixed + facts + index
        return header + struct.pack("<Q", checksum(header)) + body


def frequencies_of(rope: RoPE) -> list[float]:
    """Without scaling, as these tests' layouts are."""
    return [rope.theta ** (-2 * i / rope.rotary_dims) for i in range(rope.rotary_dims // 2)]


def planes_of(layout: Layout, part: Part, tokens: int) -> list[tuple[int, int, int, int, int]]:
    """(layer index, group, plane, offset, bytes) of every plane."""
    rows = []
    offset = 0
    size = DTYPE_BYTES[layout.dtype]
    for index, (_, group) in enumerate(layout.layers_of(part)):
        number = layout.groups.index(group)
        if isinstance(group, AttentionGroup):
            kinds = [(0, part.kv_head_count * group.head_dim * size)]
            kinds.append((1, kinds[0][1]))
        elif isinstance(group, LatentGroup):
            kinds = [(2, (group.rank + group.rope_dim) * size)]
        else:
            kinds = [(2, group.bytes_per_token)]
        for plane, per_token in kinds:
            rows.append((index, number, plane, offset, per_token * tokens))
            offset += per_token * tokens
    return rows


def elements(values: np.ndarray, dtype: str) -> bytes:
    """float32 `[token, head, dim]` as canonical bytes of the type."""
    tensor = torch.from_numpy(np.ascontiguousarray(values.swapaxes(0, 1)))
    if dtype == "f8e4m3":
        tensor = tensor.clamp(-448, 448)
    return tensor.to(TORCH[dtype]).contiguous().view(torch.uint8).numpy().tobytes()


def turned(
    values: np.ndarray, rope: RoPE | None, first: int, start: int = 0, sign: int = 1
) -> np.ndarray:
    """float32 `[token, head, dim]` rotated by position, products and sums rounded each."""
    if rope is None or rope.keys != "after":
        return values
    half = rope.rotary_dims // 2
    angles = np.arange(first, first + len(values))[:, None] * np.array(frequencies_of(rope))
    cosine = np.cos(angles).astype(np.float32)[:, None, :]
    sine = np.float32(sign) * np.sin(angles).astype(np.float32)[:, None, :]
    if rope.pairing == "interleaved":
        one, two = (slice(start + n, start + 2 * half, 2) for n in (0, 1))
    else:
        one, two = slice(start, start + half), slice(start + half, start + 2 * half)
    result = values.copy()
    a, b = values[..., one], values[..., two]
    result[..., one] = a * cosine - b * sine
    result[..., two] = b * cosine + a * sine
    return result


@dataclass
class PlaneFacts:
    """How a plane of one layer is cut and rotated."""

    dtype: str
    heads: int
    dims: int
    rope: RoPE | None = None
    rotated_from: int = 0
    first_token: int = 0

    def finish(self, values: np.ndarray, raw: bytes, raw_tokens: int) -> bytes:
        """Canonical bytes of values `[token, channel]` of the coded tokens, raw tokens before."""
        split = values.astype(np.float32).reshape(-1, self.heads, self.dims)
        first = self.first_token + raw_tokens
        coded = elements(turned(split, self.rope, first, self.rotated_from), self.dtype)
        size = DTYPE_BYTES[self.dtype] * self.dims
        kept = np.frombuffer(raw, np.uint8).reshape(self.heads, raw_tokens * size)
        rest = np.frombuffer(coded, np.uint8).reshape(self.heads, len(split) * size)
        return np.concatenate([kept, rest], axis=1).tobytes()


def uniform_block(
    plane: int,
    layer: int,
    facts: PlaneFacts,
    numbers: np.ndarray,
    means: np.ndarray,
    step: float,
    *,
    weights: np.ndarray | None = None,
    raw: bytes = b"",
    raw_tokens: int = 0,
) -> Block:
    """A block of kind 2 with `numbers` `[token, channel]` of the tokens after the raw ones."""
    classes = best_classes(numbers)
    escapes, stream, words = encode_stream(numbers, classes, shape_tables.frequencies())
    escape_count = count_escapes(numbers, classes)
    head = struct.pack("<fIII", step, words, escape_count, weights is not None)
    parts = [head, padded(classes.tobytes()), padded(means.astype("<i2").tobytes()), padded(raw)]
    width = np.float32(step) * (np.ones(1, np.float32) if weights is None else weights)
    values = (16 * numbers + means).astype(np.float32) * (width / np.float32(16))
    decoded = facts.finish(values, raw, raw_tokens)
    data = b"".join([*parts, escapes, stream])
    return Block(2, plane, layer, data, decoded, 1, raw_tokens)


def transform_block(
    plane: int,
    layer: int,
    facts: Sequence[PlaneFacts],
    numbers: np.ndarray,
    means: np.ndarray,
    step: float,
    basis: dict[str, np.ndarray],
    *,
    raw: Sequence[bytes] = (),
    raw_tokens: int = 0,
    shift: int = 0,
) -> Block:
    """A block of kind 3 with the first `numbers.shape[1]` directions of a basis.

    Two of three rows that may be coarse are, in steps of 2^shift.
    """
    count = numbers.shape[1]
    classes = best_classes(numbers)
    escapes, stream, words = encode_stream(numbers, classes, shape_tables.frequencies())
    head = struct.pack(
        "<fIII", step, words, count_escapes(numbers, classes), count | shift << 24
    )
    coarse = (classes > 0) & (np.abs(numbers).max(axis=0, initial=0) <= 127)
    coarse &= np.arange(count) % 3 > 0
    marked = classes | coarse.astype(np.uint8) << 7
    parts = [head, padded(marked.tobytes()), padded(means.astype("<i2").tobytes())]
    parts.append(padded(b"".join(raw)))
    matrix = basis["matrix"][:count].astype(object)
    rounded = matrix.copy()
    for row in np.flatnonzero(coarse):
        rounded[row] = [coarse_value(int(value), shift) for value in matrix[row]]
    sums = np.dot(numbers.astype(object), rounded).astype(np.float32)
    width = basis["scales"] * np.float32(step)
    shares = np.dot(means.astype(object), matrix).astype(np.float64)
    moved = (shares * (width.astype(np.float64) * 0.0625)).astype(np.float32)
    values = sums * width + (basis["means"] + moved)
    decoded, place = b"", 0
    for number, one in enumerate(facts):
        size = one.heads * one.dims
        kept = raw[number] if raw else b""
        decoded += one.finish(values[:, place : place + size], kept, raw_tokens)
        place += size
    data = b"".join([*parts, escapes, stream])
    return Block(3, plane, layer, data, decoded, len(facts), raw_tokens)


def coarse_value(value: int, shift: int) -> int:
    """A value of the basis as a coarse row has it."""
    return min(max((value + (1 << shift) // 2) >> shift, -128), 127) << shift


def count_escapes(numbers: np.ndarray, classes: np.ndarray) -> int:
    tables = shape_tables.frequencies()
    count = 0
    for column in np.flatnonzero(classes):
        for number in numbers[:, column].tolist():
            table = tables[classes[column] - 1]
            count += not -127 <= number <= 127 or table[number + 128] == 0
    return count


def exact_block(plane: int, layer: int, facts: PlaneFacts, stored: bytes, tables: int = 2) -> Block:
    """A block of kind 1 that holds the canonical bytes `stored`."""
    size = DTYPE_BYTES[facts.dtype]
    bits = np.frombuffer(stored, f"<u{size}").reshape(facts.heads, -1, facts.dims)
    fields, rest = split_elements(bits, facts.dtype)
    rows = fields.swapaxes(0, 1).reshape(bits.shape[1], -1)
    bases = np.median(rows, axis=0).astype(np.uint8)
    numbers = (rows.astype(np.int64) - bases + 128) % 256 - 128
    numbers[numbers == -128] = 128
    classes = (1 + np.arange(len(bases)) % tables).astype(np.uint8)
    classes[~numbers.any(axis=0)] = 0
    frequencies, described = own_tables(numbers, classes, tables)
    escapes, stream, words = encode_stream(numbers, classes, frequencies)
    escape_count = int(
        sum(
            frequencies[classes[c] - 1][n + 128] == 0 if n != 128 else 1
            for c in np.flatnonzero(classes)
            for n in numbers[:, c].tolist()
        )
    )
    mask, planes = 0, b""
    for number, one in enumerate(rest):
        if (one == one.flat[0]).all():
            mask |= 1 << number
            planes += one.tobytes()[:1]
        else:
            planes += one.tobytes()
    head = struct.pack("<IIBBBBI", words, escape_count, tables, len(rest), mask, 0, 0)
    parts = [head, padded(bases.tobytes()), padded(classes.tobytes()), padded(described)]
    data = b"".join([*parts, padded(planes), escapes, stream])
    return Block(1, plane, layer, data, stored)


def split_elements(bits: np.ndarray, dtype: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """The coded field and the rest planes of elements, `[head, token, dim]`."""
    if dtype not in REST:
        return bits.astype(np.uint8), []
    if dtype == "f32":
        rest = [bits >> 24 & 0x80 | bits >> 16 & 0x7F, bits >> 8 & 0xFF, bits & 0xFF]
        return (bits >> 23 & 0xFF).astype(np.uint8), [one.astype(np.uint8) for one in rest]
    rest = [bits >> 8 & 0x80 | bits & 0x7F]
    return (bits >> 7 & 0xFF).astype(np.uint8), [one.astype(np.uint8) for one in rest]


def own_tables(
    numbers: np.ndarray, classes: np.ndarray, count: int
) -> tuple[np.ndarray, bytes]:
    """Tables of a block from its own symbols, and how the block describes them."""
    frequencies = np.zeros((count, 256), np.int64)
    described = b""
    for table in range(count):
        symbols = numbers[:, classes == table + 1].ravel()
        symbols = symbols[np.abs(symbols) <= 20]
        counted = np.bincount(symbols + 128, minlength=256)
        row = np.where(counted > 0, np.maximum(counted * 1500 // max(1, counted.sum()), 1), 0)
        row[128] += 1
        row[0] = SLOTS - int(row.sum())
        assert row[0] >= 1
        frequencies[table] = row
        used = np.flatnonzero(row[1:]) + 1
        first, last = int(used[0]), int(used[-1])
        described += struct.pack("<bBHH", first - 128, 0, last + 1 - first, int(row[0]))
        described += row[first : last + 1].astype("<u2").tobytes()
    return frequencies, described


def raw_block(plane: int, layer: int, stored: bytes) -> Block:
    return Block(0, plane, layer, stored, stored)


def make_profile(
    layout: Layout,
    kind: int,
    weights: Sequence[tuple[int, int, np.ndarray]],
    bases: Sequence[dict[str, Any]] = (),
    part: Part | None = None,
) -> bytes:
    """KDNF of (layer index, plane, weights) and bases."""
    body = b""
    for layer, plane, values in weights:
        body += struct.pack("<HBBI", layer, plane, 0, len(values))
        body += values.astype("<f4").tobytes() + bytes(4 * len(values)) * 2
        body = padded(body)
    for basis in bases:
        rank, channels = basis["matrix"].shape
        body += struct.pack(
            "<HHBBHIIfI", basis["first"], basis["layers"], basis["plane"], 0, 0, channels, rank,
            0.01, 0,
        )  # fmt: skip
        body += basis["scales"].astype("<f4").tobytes() + basis["means"].astype("<f4").tobytes()
        body = padded(body + bytes(4 * rank))
        body = padded(body + basis["matrix"].astype("<i2").tobytes())
    encoded = layout.encode()
    length = 64 + len(padded(encoded)) + len(body) + 8
    head = struct.pack(
        "<4sHBBQ16s8sQIIII", b"KDNF", 1, kind, 0, length, layout.id,
        (part or layout.whole()).encode(), 4096, len(encoded), len(weights), len(bases), 0,
    )  # fmt: skip
    data = head + padded(encoded) + body
    return data + struct.pack("<Q", checksum(data))


def profile_hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def laplacian(
    rng: np.random.Generator, tokens: int, channels: int, most: int = 9000
) -> np.ndarray:
    """Whole numbers with spreads from nothing to wide, one column of zeros, and some outliers."""
    spreads = 2.0 ** rng.uniform(-3, 5, channels)
    numbers = np.rint(rng.laplace(size=(tokens, channels)) * spreads).astype(np.int64)
    if channels > 1:
        numbers[:, rng.integers(channels)] = 0
    outliers = rng.random(numbers.shape) < 0.004
    numbers[outliers] = rng.integers(-most, most, int(outliers.sum()))
    return numbers


def random_bits(rng: np.random.Generator, dtype: str, count: int) -> bytes:
    """Elements as a plane has them, with NaN, infinities, zeros and denormals here and there."""
    size = DTYPE_BYTES[dtype]
    if count == 0:
        return b""
    if dtype == "i8":
        return rng.integers(0, 256, count, np.uint8).tobytes()
    values = torch.from_numpy((rng.standard_normal(count) * 3).astype(np.float32))
    bits = values.to(TORCH[dtype]).view(torch.uint8).numpy().reshape(-1, size).copy()
    odd = rng.random(count) < 0.01
    bits[odd] = rng.integers(0, 256, (int(odd.sum()), size), np.uint8)
    return bits.tobytes()
