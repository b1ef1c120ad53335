"""The back end that decodes with the kernels in C, several blocks in one call."""

from __future__ import annotations

import ctypes
import threading
import weakref
from array import array
from collections.abc import Sequence
from ctypes import byref, c_uint8, c_uint64, c_void_p
from typing import Any

import numpy as np
import numpy.typing as npt

from kdn.codec import plain
from kdn.codec.blocks import CLASSES, LANES, Stream
from kdn.codec.container import EXACT, TRANSFORM, UNIFORM
from kdn.codec.errors import EncodingError
from kdn.codec.exact import read_exact
from kdn.codec.jobs import Bytes, Job, Rooms
from kdn.codec.kernel_library import BLOCK, BasisFacts, PlaneFacts
from kdn.codec.kernel_planes import head_tokens, planes_of
from kdn.codec.lossy import LossyFields, lossy_fields
from kdn.codec.profile import Basis
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
        self._tables = _address(self._static)
        self._raise(library.kdn_static_tables(self._tables, None, None))
        # So short a call that others need not go on during it: to do so takes longer.
        held = ctypes.PyDLL(library._name, handle=library._handle)
        self._scratch_bytes = held.kdn_lossy_scratch_bytes
        self._scratch_bytes.restype = library.kdn_lossy_scratch_bytes.restype
        self._scratch_bytes.argtypes = library.kdn_lossy_scratch_bytes.argtypes
        self._local = threading.local()
        self._bases: weakref.WeakKeyDictionary[Basis, BasisFacts] = weakref.WeakKeyDictionary()

    def decode(self, jobs: Sequence[Job], rooms: Rooms) -> list[int | None]:
        """As HostBackEnd says."""
        found: list[int | None] = [None] * len(jobs)
        lossy: list[int] = []
        for number, job in enumerate(jobs):
            if job.entry.kind in (UNIFORM, TRANSFORM):
                lossy.append(number)
            elif job.entry.kind == EXACT:
                self._exact(job, rooms.of(job.shapes)[0])
            else:
                plain.decode(job, rooms.of(job.shapes))
        if lossy:
            checksums = self._decode_lossy([jobs[number] for number in lossy], rooms)
            for number, checksum in zip(lossy, checksums):
                found[number] = checksum
        return found

    def _decode_lossy(self, jobs: Sequence[Job], rooms: Rooms) -> Sequence[int]:
        """All of them in one call, during which other threads go on; gives planes' checksums."""
        count = len(jobs)
        blocks = ctypes.create_string_buffer(BLOCK.size * count)
        checksums = (c_uint64 * count)()
        first = ctypes.addressof(checksums)
        # The library is told addresses only: what it is told of lives until it is done.
        kept = [
            self._pack(blocks, number, job, rooms, first + 8 * number)
            for number, job in enumerate(jobs)
        ]
        scratch = self._room_for(self._scratch_bytes(blocks, count))
        self._raise(self.library.kdn_decode_lossy(self.path, blocks, count, *scratch))
        del kept
        return checksums

    def _pack(
        self, blocks: Any, number: int, job: Job, rooms: Rooms, checksum: int
    ) -> tuple[Any, ...]:
        """Puts a block among those that the library is told of; gives what is to live on."""
        fields = lossy_fields(job.header, job.entry, job.channels, job.data, job.rank)
        start, raw_tokens = job.address, job.entry.raw_tokens
        weights, basis = 0, None
        if job.entry.kind == TRANSFORM:
            if job.basis is None:
                raise EncodingError("block.kind", job.entry.kind, "one that needs no basis")
            basis = self._basis_facts(job.basis)
        elif fields.weighted and job.weights is not None:
            weights = _address(job.weights)
        if raw_tokens:
            _keep_raw(job, fields, rooms.of(job.shapes))
        places = rooms.places(job.shapes)
        planes = planes_of(job, places)
        outs = array("Q", [place.address + planes.skipped for place in places])
        classes = start + fields.classes
        BLOCK.pack_into(
            blocks, BLOCK.size * number,
            self._tables, CLASSES + 1, 0, 0,
            start + fields.states, 4 * LANES + 2 * fields.word_count,
            start + fields.escapes, fields.escape_count, 0, 0,
            0 if basis is None else ctypes.addressof(basis), weights,
            classes, start + fields.means, fields.count, fields.shift, fields.step,
            planes.address, len(places), outs.buffer_info()[0], planes.sizes,
            raw_tokens, checksum,
        )  # fmt: skip
        return basis, planes, outs

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
            head_tokens(shape, job.dtype, room.strides[0] if len(room) > 1 else room.size),
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


def _keep_raw(job: Job, fields: LossyFields, rooms: Sequence[Bytes]) -> None:
    """Puts the tokens that are not coded in their places."""
    place = fields.raw
    for shape, room in zip(job.shapes, rooms):
        row = job.entry.raw_tokens * shape.head_dim * DTYPE_BYTES[job.dtype]
        kept = np.frombuffer(job.data, np.uint8, shape.heads * row, place)
        room[:, :row] = kept.reshape(shape.heads, row)
        place += kept.size
