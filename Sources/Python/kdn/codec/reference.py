"""The reference back end: everything in numpy, step by step as the format says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kdn.codec import plain, shape_tables
from kdn.codec.container import EXACT, TRANSFORM, UNIFORM
from kdn.codec.elements import UNSIGNED, rounded
from kdn.codec.errors import EncodingError
from kdn.codec.exact import REST_PLANES, elements, fields, read_exact
from kdn.codec.jobs import Bytes, Floats, Job, Rooms, Turn
from kdn.codec.lossy import COARSE_MAX, LossyBlock, read_lossy
from kdn.codec.profile import Basis
from kdn.codec.rans import decode_streams, joined_tables
from kdn.layouts import DTYPE_BYTES

Numbers = npt.NDArray[np.int32]


class Reference:
    """Slow, and right by inspection; what the other back ends are compared with."""

    name = "numpy"

    def decode(self, jobs: Sequence[Job], rooms: Rooms) -> list[int | None]:
        """As HostBackEnd says."""
        lossy: list[tuple[Job, Sequence[Bytes], LossyBlock]] = []
        exact: list[tuple[Job, Sequence[Bytes]]] = []
        for job in jobs:
            places = rooms.of(job.shapes)
            if job.entry.kind == EXACT:
                exact.append((job, places))
            elif job.entry.kind in (UNIFORM, TRANSFORM):
                lossy.append((job, places, read(job)))
            else:
                plain.decode(job, places)
        _decode_exact(exact)
        streams = [block.stream for _, _, block in lossy]
        numbers = decode_streams(streams, shape_tables.tables())
        for (job, room, block), rows in zip(lossy, numbers):
            values = reconstructed(job, block, rows)
            for place, plane in zip(room, planes(job, block, values)):
                place[:] = plane.reshape(len(place), -1).view(np.uint8)
        return [None] * len(jobs)


def _decode_exact(jobs: Sequence[tuple[Job, Sequence[Bytes]]]) -> None:
    if not jobs:
        return
    blocks = [
        read_exact(job.dtype, job.header.token_count, job.channels, job.data) for job, _ in jobs
    ]
    tables, moved = joined_tables([block.tables() for block in blocks])
    rows = decode_streams([block.stream for block in blocks], tables, moved)
    for (job, room), block, numbers in zip(jobs, blocks, rows):
        coded = fields(block, numbers)
        found = elements(block, coded, job.shapes[0], REST_PLANES[job.dtype])
        room[0][:] = found.view(np.uint8).reshape(room[0].shape)


def read(job: Job) -> LossyBlock:
    """The block's fields, as read_lossy says."""
    return read_lossy(job.header, job.entry, job.channels, job.data, job.rank)


def reconstructed(job: Job, block: LossyBlock, numbers: Numbers) -> Floats:
    """Values before rotation, `[token, channel]`, of the tokens that are coded."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if job.entry.kind == TRANSFORM:
            return _transformed(job, block, numbers)
        return _uniform(job, block, numbers)


def _uniform(job: Job, block: LossyBlock, numbers: Numbers) -> Floats:
    weights = job.weights
    if weights is None or not block.weighted:
        weights = np.ones(job.channels, np.float32)
    steps = np.float32(block.step) * weights
    levels = np.zeros((len(numbers), job.channels), np.int32)
    levels[:, block.stream.coded] = numbers * np.int32(16)
    levels += block.means.astype(np.int32)
    return levels.astype(np.float32) * (steps / np.float32(16))


def _transformed(job: Job, block: LossyBlock, numbers: Numbers) -> Floats:
    basis = job.basis
    if basis is None:
        raise EncodingError("block.kind", job.entry.kind, "one that needs no basis")
    check_sums(block, basis, int(np.abs(numbers).max()) if numbers.size else 0)
    coarse = block.coarse
    if coarse.any() and numbers.size:
        check_coarse(int(np.abs(numbers[:, coarse]).max()))
    count = len(block.means)
    matrix = basis.matrix_f64[:count]
    rows = matrix[block.stream.coded]
    steps_of_row = 1 << block.shift
    whole = np.floor((rows[coarse] + steps_of_row // 2) / steps_of_row)
    rows[coarse] = whole.clip(-128, 127) * steps_of_row
    # Sums of whole numbers below 2^53 are exact in float64, in whatever order.
    sums = numbers.astype(np.float64) @ rows
    steps = basis.scales * np.float32(block.step)
    shares = block.means.astype(np.float64) @ matrix
    offsets = basis.means + (shares * (steps / np.float32(16)).astype(np.float64)).astype(
        np.float32
    )
    return sums.astype(np.float32) * steps + offsets


def check_sums(block: LossyBlock, basis: Basis, largest: int) -> None:
    """Raises EncodingError where a sum of the transform may leave 32 bits."""
    # Rounding makes a coarse value larger by half a step of it at most.
    rounding = int(np.count_nonzero(block.coarse)) * ((1 << block.shift) // 2)
    if largest * (int(basis.column_sums[len(block.means) - 1]) + rounding) < 1 << 31:
        return
    used = np.abs(basis.matrix[block.stream.coded].astype(np.int64)).sum(axis=0)
    if largest * (int(used.max()) + rounding) >= 1 << 31:
        raise EncodingError("block.coefficient", largest, "small enough for sums below 2^31")


def check_coarse(largest: int) -> None:
    """Raises EncodingError where a coefficient of a coarse row is larger than they may be."""
    if largest > COARSE_MAX:
        raise EncodingError("block.coefficient", largest, f"{COARSE_MAX} where its row is coarse")


def planes(job: Job, block: LossyBlock, values: Floats) -> list[npt.NDArray[np.generic]]:
    """Each plane's elements `[head, token, dim]`, the raw tokens first."""
    found: list[npt.NDArray[np.generic]] = []
    kind = UNSIGNED[DTYPE_BYTES[job.dtype]]
    raw = block.raw.view(kind)
    channel = place = 0
    for shape in job.shapes:
        part = values[:, channel : channel + shape.channels]
        part = part.reshape(len(part), shape.heads, shape.head_dim)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            if job.turn is not None:
                part = rotated(part, job.turn, job.entry.raw_tokens)
            coded = rounded(part, job.dtype).swapaxes(0, 1)
        size = job.entry.raw_tokens * shape.channels
        kept = raw[place : place + size].reshape(shape.heads, -1, shape.head_dim)
        found.append(np.concatenate([kept, coded], axis=1))
        channel += shape.channels
        place += size
    return found


def rotated(values: Floats, turn: Turn, first: int) -> Floats:
    """Values `[token, head, dim]` of the tokens from `first` on, rotated by their positions."""
    cosines = turn.cosines[first:, None, :]
    sines = turn.sines[first:, None, :]
    result = values.copy()
    pairs = cosines.shape[-1]
    start = turn.rotated_from
    if turn.interleaved:
        one = result[..., start : start + 2 * pairs : 2]
        two = result[..., start + 1 : start + 2 * pairs : 2]
    else:
        one = result[..., start : start + pairs]
        two = result[..., start + pairs : start + 2 * pairs]
    turned = one * cosines - two * sines, two * cosines + one * sines
    one[...], two[...] = turned
    return result

