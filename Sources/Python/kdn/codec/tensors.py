"""The torch back end: planes as tensors, decoded where they are needed, on CPU or GPU.

Only elementwise operations that round once each, sums of whole numbers in float64 that stay below
2^53, and integers: so the bits are those of the other back ends on every device.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from kdn.codec import plain, shape_tables
from kdn.codec.container import EXACT, TRANSFORM, UNIFORM, PlaneShape
from kdn.codec.errors import EncodingError
from kdn.codec.exact import ExactBlock, read_exact
from kdn.codec.jobs import Job, Turn
from kdn.codec.lossy import LossyBlock
from kdn.codec.profile import Basis
from kdn.codec.rans import joined_tables
from kdn.codec.reference import check_coarse, check_sums, read
from kdn.codec.tensor_rans import TensorTables, decode_streams
from kdn.layouts import OpaqueGroup

DTYPES = {
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "f32": torch.float32,
    "f8e4m3": torch.float8_e4m3fn,
    "f8e5m2": torch.float8_e5m2,
    "i8": torch.int8,
}
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}
_NAN = {"bf16": 0x7FC0, "f16": 0x7E00, "f32": 0x7FC00000, "f8e4m3": 0x7F, "f8e5m2": 0x7F}


class Tensors:
    """Decodes to tensors on `device`."""

    name = "torch"

    def __init__(self, device: Any) -> None:
        self.device = torch.device(device)
        self._static: TensorTables | None = None
        self._bases: weakref.WeakKeyDictionary[Basis, torch.Tensor] = weakref.WeakKeyDictionary()
        self._turns: weakref.WeakKeyDictionary[Turn, tuple[torch.Tensor, torch.Tensor]]
        self._turns = weakref.WeakKeyDictionary()

    def tensors(self, jobs: Sequence[Job]) -> list[list[torch.Tensor]]:
        """As DeviceBackEnd says."""
        found: list[list[torch.Tensor]] = [[] for _ in jobs]
        kinds = [job.entry.kind for job in jobs]
        lossy = [n for n, kind in enumerate(kinds) if kind in (UNIFORM, TRANSFORM)]
        exact = [n for n, kind in enumerate(kinds) if kind == EXACT]
        for n, planes in zip(lossy, self._lossy([jobs[n] for n in lossy])):
            found[n] = planes
        for n, plane in zip(exact, self._exact([jobs[n] for n in exact])):
            found[n] = [plane]
        for n, job in enumerate(jobs):
            if kinds[n] not in (EXACT, UNIFORM, TRANSFORM):
                found[n] = [self._plain(job)]
        return found

    def _lossy(self, jobs: Sequence[Job]) -> list[list[torch.Tensor]]:
        if not jobs:
            return []
        if self._static is None:
            self._static = TensorTables(shape_tables.tables(), self.device)
        blocks = [read(job) for job in jobs]
        numbers = decode_streams([block.stream for block in blocks], self._static)
        return [
            self._planes(job, block, self._values(job, block, rows))
            for job, block, rows in zip(jobs, blocks, numbers)
        ]

    def _values(self, job: Job, block: LossyBlock, numbers: torch.Tensor) -> torch.Tensor:
        """float32 `[token, channel]` before rotation."""
        coded = self._up(block.stream.coded)
        if job.entry.kind == TRANSFORM:
            return self._transformed(job, block, numbers, coded)
        weights = job.weights if block.weighted else None
        if weights is None:
            weights = np.ones(job.channels, np.float32)
        steps = (np.float32(block.step) * weights) / np.float32(16)
        levels = torch.zeros(
            (len(numbers), job.channels), dtype=torch.int32, device=self.device
        )
        levels[:, coded] = numbers * 16
        levels += self._up(block.means.astype(np.int32))
        return levels.to(torch.float32) * self._up(steps)

    def _transformed(
        self, job: Job, block: LossyBlock, numbers: torch.Tensor, coded: torch.Tensor
    ) -> torch.Tensor:
        basis = job.basis
        if basis is None:
            raise EncodingError("block.kind", job.entry.kind, "one that needs no basis")
        check_sums(block, basis, int(numbers.abs().max()) if numbers.numel() else 0)
        matrix = self._bases.get(basis)
        if matrix is None:
            matrix = self._bases[basis] = self._up(basis.matrix).to(torch.float64)
        steps = basis.scales * np.float32(block.step)
        halves = self._up((steps / np.float32(16)).astype(np.float64))
        means = self._up(block.means).to(torch.float64)
        rows = matrix[coded]
        if block.coarse.any():
            coarse = self._up(block.coarse)
            if numbers.numel():
                check_coarse(int(numbers[:, coarse].abs().max()))
            unit = float(1 << block.shift)
            whole = torch.floor((rows + unit // 2) / unit).clamp(-128, 127) * unit
            rows = torch.where(coarse[:, None], whole, rows)
        sums = numbers.to(torch.float64) @ rows
        shares = means @ matrix[: len(means)]
        offsets = self._up(basis.means) + (shares * halves).to(torch.float32)
        products = sums.to(torch.float32) * self._up(steps)
        return products + offsets

    def _planes(self, job: Job, block: LossyBlock, values: torch.Tensor) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        raw, place, channel = block.raw, 0, 0
        item = DTYPES[job.dtype].itemsize
        for shape in job.shapes:
            part = values[:, channel : channel + shape.channels]
            part = part.reshape(len(part), shape.heads, shape.head_dim)
            if job.turn is not None:
                part = self._rotated(part, job.turn, job.entry.raw_tokens)
            size = job.entry.raw_tokens * shape.channels * item
            kept = self._shaped(self._up(raw[place : place + size]), job.dtype, shape)
            coded = _rounded(part.transpose(0, 1), job.dtype)
            joined = torch.cat([_bits(kept), _bits(coded)], dim=1)
            found.append(joined.view(DTYPES[job.dtype]))
            channel += shape.channels
            place += size
        return found

    def _rotated(self, values: torch.Tensor, turn: Turn, first: int) -> torch.Tensor:
        known = self._turns.get(turn)
        if known is None:
            known = self._turns[turn] = self._up(turn.cosines), self._up(turn.sines)
        cosines, sines = (table[first:, None, :] for table in known)
        pairs, start = cosines.shape[-1], turn.rotated_from
        result = values.clone()
        if turn.interleaved:
            one = result[..., start : start + 2 * pairs : 2]
            two = result[..., start + 1 : start + 2 * pairs : 2]
        else:
            one = result[..., start : start + pairs]
            two = result[..., start + pairs : start + 2 * pairs]
        # Each product is an operation of its own, so that none is fused into a sum.
        a_cosine, b_sine = one * cosines, two * sines
        b_cosine, a_sine = two * cosines, one * sines
        one.copy_(a_cosine - b_sine)
        two.copy_(b_cosine + a_sine)
        return result

    def _exact(self, jobs: Sequence[Job]) -> list[torch.Tensor]:
        if not jobs:
            return []
        blocks = [
            read_exact(job.dtype, job.header.token_count, job.channels, job.data) for job in jobs
        ]
        joined, moved = joined_tables([block.tables() for block in blocks])
        tables = TensorTables(joined, self.device)
        numbers = decode_streams([block.stream for block in blocks], tables, moved)
        return [
            self._elements(job, block, rows) for job, block, rows in zip(jobs, blocks, numbers)
        ]

    def _elements(self, job: Job, block: ExactBlock, numbers: torch.Tensor) -> torch.Tensor:
        shape = job.shapes[0]
        bases = self._up(block.bases.astype(np.int32))
        fields = bases.repeat(job.header.token_count, 1)
        fields[:, self._up(block.stream.coded)] += numbers
        fields &= 255
        rows = fields.reshape(-1, shape.heads, shape.head_dim).transpose(0, 1)
        rest = [
            self._up(plane).to(torch.int32).reshape((1, 1, 1) if plane.size == 1 else rows.shape)
            for plane in block.rest
        ]
        if not rest:
            return rows.to(torch.uint8).contiguous().view(DTYPES[job.dtype])
        top = rest[0]
        if len(rest) == 1:
            bits = (top & 0x80) << 8 | rows << 7 | top & 0x7F
            # Two's complement: what does not fit in 16 bits falls off.
            return bits.to(torch.int16).contiguous().view(DTYPES[job.dtype])
        low = (top & 0x7F) << 16 | rest[1] << 8 | rest[2]
        return ((top & 0x80) << 24 | rows << 23 | low).contiguous().view(torch.float32)

    def _plain(self, job: Job) -> torch.Tensor:
        shape = job.shapes[0]
        room = np.empty(shape.byte_count, np.uint8)
        plain.decode(job, [room])
        raw = self._up(room)
        if isinstance(shape.group, OpaqueGroup):
            return raw.view(1, -1, shape.head_dim)
        return self._shaped(raw, job.dtype, shape)

    def _shaped(self, raw: torch.Tensor, dtype: str, shape: PlaneShape) -> torch.Tensor:
        item = DTYPES[dtype].itemsize
        count = raw.numel() // (item * shape.channels)
        dims = (shape.heads, count, shape.head_dim)
        if count == 0:
            return torch.empty(dims, dtype=DTYPES[dtype], device=self.device)
        return raw.view(DTYPES[dtype]).view(dims)

    def _up(self, values: Any) -> torch.Tensor:
        """A copy on the device; an array of its own, for numpy's may be read-only bytes."""
        return torch.from_numpy(np.array(values)).to(self.device)


def _bits(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().view(_BITS[values.dtype.itemsize])


def _rounded(values: torch.Tensor, dtype: str) -> torch.Tensor:
    """float32 to the nearest value of the type, ties to even; every NaN the same."""
    held = values.clamp(-448, 448) if dtype == "f8e4m3" else values
    found = held.to(DTYPES[dtype]).contiguous()
    bits = _bits(found)
    bits.masked_fill_(values.isnan(), _NAN[dtype])
    return found
