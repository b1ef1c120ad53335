"""The back end that decodes with the kernels in C, several blocks in one call."""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Sequence
from ctypes import byref, c_uint8, c_uint64, c_void_p, pointer
from typing import Any

import numpy as np
import numpy.typing as npt

from kdn.codec import plain
from kdn.codec.blocks import CLASSES, Stream
from kdn.codec.container import EXACT, TRANSFORM, UNIFORM
from kdn.codec.errors import EncodingError
from kdn.codec.exact import read_exact
from kdn.codec.jobs import Bytes, Job
from kdn.codec.kernel_library import (
    BasisFacts,
    BlockFacts,
    PlaneFacts,
    StreamFacts,
    TransformFacts,
)
from kdn.codec.lossy import LossyBlock
from kdn.codec.profile import Basis
from kdn.codec.reference import read
from kdn.layouts import DTYPE_BYTES, DTYPES

SLOTS = 2048
AUTO, SCALAR, AVX2, AVX512 = range(4)

_FAULTS = {
    -1: ("block", "not what the kernels take", "counts inside their limits"),
    -2: ("block.wordCount", "too few", "as many as are needed"),
    -3: ("block.wordCount", "too many words or escapes", "as many as are needed"),
    -4: ("block.states", "wrong", "at the end all 2^16"),
    -5: ("block.escapeCount", "too few", "as many as are coded"),
    -6: ("table.sum", "wrong", SLOTS),
    -7: ("block.coefficient", "too large", "127 where its row is coarse"),
    -8: ("block", "too large", "what there is room for"),
    -9: ("block.coefficient", "too large", "small enough for sums below 2^31"),
}


class Kernels:
    """Decodes with the C library; `path` forces the instructions that it uses."""

    name = "kernels"

    def __init__(self, library: ctypes.CDLL, path: int = AUTO) -> None:
        self.library = library
        self.path = path
        self._static = np.empty((CLASSES + 1) * SLOTS, np.uint32)
        self._raise(library.kdn_static_tables(_address(self._static), None, None))
        self._local = threading.local()
        self._bases: weakref.WeakKeyDictionary[Basis, BasisFacts] = weakref.WeakKeyDictionary()

    def decode(self, jobs: Sequence[Job], rooms: Sequence[Sequence[Bytes]]) -> None:
        """As HostBackEnd says."""
        # The library is told addresses only: what it is told of lives until it is done.
        blocks: list[tuple[BlockFacts, LossyBlock]] = []
        for job, room in zip(jobs, rooms):
            if job.entry.kind == EXACT:
                self._exact(job, room[0])
            elif job.entry.kind not in (UNIFORM, TRANSFORM):
                plain.decode(job, room)
            else:
                block = read(job)
                _keep_raw(job, block, room)
                blocks.append((self._block_facts(job, block, room), block))
        if blocks:
            self._decode_lossy([facts for facts, _ in blocks])

    def _decode_lossy(self, blocks: Sequence[BlockFacts]) -> None:
        """All of them in one call, during which other threads go on."""
        facts = (BlockFacts * len(blocks))(*blocks)
        scratch = self._room_for(self.library.kdn_blocks_scratch_bytes(facts, len(blocks)))
        self._raise(self.library.kdn_decode_blocks(self.path, facts, len(blocks), *scratch))

    def _block_facts(self, job: Job, block: LossyBlock, rooms: Sequence[Bytes]) -> BlockFacts:
        stream, count = block.stream, len(block.means)
        weights = basis = None
        if job.entry.kind == TRANSFORM:
            if job.basis is None:
                raise EncodingError("block.kind", job.entry.kind, "one that needs no basis")
            basis = pointer(self._basis_facts(job.basis))
        elif block.weighted and job.weights is not None:
            weights = _address(job.weights)
        places = [_from_token(job, number, room) for number, room in enumerate(rooms)]
        return BlockFacts(
            StreamFacts(
                _address(self._static), CLASSES + 1, _address(stream.classes), count,
                *_stream(stream),
            ),
            basis,
            weights,
            TransformFacts(
                _address(block.marked), _address(block.means), count, block.shift, block.step
            ),
            _planes_facts(job, rooms),
            len(places),
            (c_void_p * len(places))(*(address for address, _ in places)),
            (c_uint64 * len(places))(*(size for _, size in places)),
        )  # fmt: skip

    def _basis_facts(self, basis: Basis) -> BasisFacts:
        """What the library is told of a basis, found out once."""
        known = self._bases.get(basis)
        if known is None:
            rank, columns = basis.matrix.shape
            sums, scratch = np.empty(rank, np.uint32), np.empty(columns, np.uint32)
            matrix = _address(basis.matrix)
            self.library.kdn_column_sums(matrix, rank, columns, _address(sums), _address(scratch))
            known = BasisFacts(
                matrix, columns, _address(basis.scales), _address(basis.means), _address(sums)
            )
            # The address is all that the structure has of it.
            known.sums = sums
            self._bases[basis] = known
        return known

    def _exact(self, job: Job, room: Bytes) -> None:
        shape, tokens = job.shapes[0], job.header.token_count
        block = read_exact(job.dtype, tokens, shape.channels, job.data)
        tables = np.empty((len(block.frequencies) + 1) * SLOTS, np.uint32)
        self.library.kdn_padding_tables(_address(tables), None)
        for number, row in enumerate(block.frequencies, 1):
            place = _address(tables[number * SLOTS :])
            self._raise(self.library.kdn_decode_table(_address(row), place))
        plane = PlaneFacts(
            DTYPES.index(job.dtype) + 1, shape.heads, shape.head_dim, 0, 0, 0, tokens,
            _head_tokens(job, room),
        )  # fmt: skip
        pointers, constants = (c_void_p * 3)(), (c_uint8 * 3)()
        for number, rest in enumerate(block.rest):
            if rest.size == 1:
                constants[number] = int(rest[0])
            else:
                pointers[number] = _address(rest)
        self._raise(
            self.library.kdn_exact_decode(
                self.path, _address(tables), len(block.frequencies) + 1, byref(plane),
                _address(block.stream.classes), _address(block.bases), byref(pointers),
                byref(constants), *_stream(block.stream),
                *self._room_for(self.library.kdn_scratch_bytes(byref(plane))),
                _address(room), _span(room),
            )
        )  # fmt: skip

    def _room_for(self, size: int) -> tuple[int, int]:
        """Scratch memory of this thread; some more than is asked for, to be aligned in."""
        scratch: Bytes | None = getattr(self._local, "scratch", None)
        if scratch is None or len(scratch) < size + 512:
            scratch = self._local.scratch = np.empty(size + 512, np.uint8)
        return _address(scratch), len(scratch)

    def _raise(self, result: int) -> None:
        if result != 0:
            raise EncodingError(*_FAULTS.get(result, ("block", result, 0)))


def _address(values: npt.NDArray[Any]) -> int:
    # Quicker than .ctypes.data, which makes an object each time.
    return int(values.__array_interface__["data"][0])


def _stream(stream: Stream) -> tuple[int, int, int, int]:
    escapes = stream.escapes
    return _address(stream.data), stream.data.size, _address(escapes), escapes.size


def _span(room: Bytes) -> int:
    """From its first byte to behind its last."""
    return int((len(room) - 1) * room.strides[0] + room.shape[1])


def _head_tokens(job: Job, room: Bytes) -> int:
    """How many tokens a plane's heads are apart."""
    tokens = job.header.token_count
    return int(tokens * room.strides[0] // room.shape[1]) if len(room) > 1 else tokens


def _plane_facts(job: Job, number: int, head_tokens: int) -> PlaneFacts:
    """The tokens of a plane that are coded."""
    shape, turn, raw = job.shapes[number], job.turns[number], job.entry.raw_tokens
    tokens = job.header.token_count
    facts = PlaneFacts(
        DTYPES.index(job.dtype) + 1, shape.heads, shape.head_dim, 0, 0, 0, tokens - raw, head_tokens
    )
    if turn is not None:
        facts.interleaved = int(turn.interleaved)
        facts.rotary_first = turn.rotated_from
        facts.rotary_dims = 2 * turn.cosines.shape[1]
        facts.cosines = _address(turn.cosines[raw:])
        facts.sines = _address(turn.sines[raw:])
    return facts


def _planes_facts(job: Job, rooms: Sequence[Bytes]) -> ctypes.Array[PlaneFacts]:
    """Those of all planes of a block, which mostly differ in where they go only."""
    found = (PlaneFacts * len(job.shapes))()
    before = None
    for number, (shape, turn, room) in enumerate(zip(job.shapes, job.turns, rooms)):
        alike = (shape.head_dim, turn, room.shape, room.strides)
        if alike == before:
            found[number] = found[number - 1]
        else:
            found[number] = _plane_facts(job, number, _head_tokens(job, room))
        before = alike
    return found


def _from_token(job: Job, number: int, room: Bytes) -> tuple[int, int]:
    """Where the first coded token's elements go, and how many bytes there are from there."""
    shape, raw = job.shapes[number], job.entry.raw_tokens
    skipped = raw * shape.head_dim * DTYPE_BYTES[job.dtype] if raw else 0
    return _address(room) + skipped, _span(room) - skipped


def _keep_raw(job: Job, block: LossyBlock, rooms: Sequence[Bytes]) -> None:
    """Puts the tokens that are not coded in their places."""
    if not job.entry.raw_tokens:
        return
    place = 0
    for shape, room in zip(job.shapes, rooms):
        row = shape.head_dim * DTYPE_BYTES[job.dtype]
        size = job.entry.raw_tokens * row * shape.heads
        kept = block.raw[place : place + size].reshape(shape.heads, job.entry.raw_tokens * row)
        room[:, : kept.shape[1]] = kept
        place += size

