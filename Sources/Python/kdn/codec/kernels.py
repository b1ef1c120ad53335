"""The kernels in C, through ctypes: found, declared, and called block by block."""

from __future__ import annotations

import ctypes
import os
import pathlib
import threading
from collections.abc import Sequence
from ctypes import POINTER, byref, c_float, c_int32, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

import numpy as np
import numpy.typing as npt

from kdn.codec import plain
from kdn.codec.blocks import CLASSES, Stream
from kdn.codec.container import EXACT, TRANSFORM, UNIFORM
from kdn.codec.errors import EncodingError
from kdn.codec.exact import read_exact
from kdn.codec.jobs import Bytes, Job
from kdn.codec.lossy import LossyBlock
from kdn.codec.reference import read, require_sums
from kdn.layouts import DTYPE_BYTES, DTYPES

VARIABLE = "KDN_KERNELS"
FILE_NAME = "libkdnkernels.so.1"
PACKAGED = pathlib.Path("/usr/lib/kdn") / FILE_NAME
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
}


class PlaneFacts(ctypes.Structure):
    """kdn_plane."""

    _fields_ = [
        ("type", c_int32),
        ("heads", c_uint32),
        ("dims", c_uint32),
        ("interleaved", c_uint32),
        ("rotary_first", c_uint32),
        ("rotary_dims", c_uint32),
        ("tokens", c_uint64),
        ("head_tokens", c_uint64),
        ("cosines", c_void_p),
        ("sines", c_void_p),
    ]


_STREAM = [c_void_p, c_uint64, c_void_p, c_uint64]
_ROOM = [c_void_p, c_uint64, c_void_p, c_uint64]
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "kdn_path_available": (c_int32, [c_int32]),
    "kdn_padding_tables": (None, [c_void_p, c_void_p]),
    "kdn_static_tables": (c_int32, [c_void_p, c_void_p, c_void_p]),
    "kdn_decode_table": (c_int32, [c_void_p, c_void_p]),
    "kdn_stride": (c_uint64, [c_void_p, c_uint64]),
    "kdn_plane_span": (c_uint64, [POINTER(PlaneFacts)]),
    "kdn_scratch_bytes": (c_uint64, [POINTER(PlaneFacts)]),
    "kdn_transform_scratch_bytes": (c_uint64, [POINTER(PlaneFacts), c_uint64]),
    "kdn_order_scratch_bytes": (c_uint64, [c_uint64]),
    "kdn_transform_order": (
        c_int32,
        [
            c_int32, c_void_p, c_uint64, c_uint64, c_void_p, c_uint64, POINTER(c_uint32),
            c_void_p, c_uint64,
        ],
    ),
    "kdn_rans_decode": (
        c_int32,
        [c_int32, c_void_p, c_uint32, c_void_p, c_uint64, c_uint64, *_STREAM, c_void_p, c_uint64],
    ),
    "kdn_uniform_decode": (
        c_int32,
        [
            c_int32, c_void_p, c_uint32, POINTER(PlaneFacts), c_void_p, c_void_p, c_void_p,
            c_float, *_STREAM, *_ROOM,
        ],
    ),
    "kdn_transform_offsets": (
        c_int32,
        [c_void_p, c_uint64, c_void_p, c_uint64, c_void_p, c_void_p, c_float, c_void_p],
    ),
    "kdn_column_bound": (
        c_uint64,
        [c_void_p, c_uint64, c_void_p, c_uint64, c_uint32, c_void_p],
    ),
    "kdn_transform_reconstruct": (
        c_int32,
        [
            c_int32, POINTER(PlaneFacts), c_void_p, c_uint64, c_void_p, c_uint64, c_uint64,
            c_uint32, c_void_p, c_void_p, c_float, c_void_p, c_uint64, *_ROOM,
        ],
    ),
    "kdn_exact_decode": (
        c_int32,
        [
            c_int32, c_void_p, c_uint32, POINTER(PlaneFacts), c_void_p, c_void_p,
            POINTER(c_void_p * 3), POINTER(c_uint8 * 3), *_STREAM, *_ROOM,
        ],
    ),
}  # fmt: skip
_loaded: dict[str | None, ctypes.CDLL | str] = {}


def load() -> ctypes.CDLL | str:
    """The library, or why there is none; looked for once per value of the environment variable.

    It is the file that KDN_KERNELS names, else the one beside this package, else that of the
    Debian package, else the system's.
    """
    named = os.environ.get(VARIABLE)
    if named not in _loaded:
        _loaded[named] = _open(named)
    return _loaded[named]


def _open(named: str | None) -> ctypes.CDLL | str:
    package = pathlib.Path(__file__).parent.parent
    places = (package / FILE_NAME, PACKAGED)
    path = named or next((str(place) for place in places if place.exists()), FILE_NAME)
    try:
        library = ctypes.CDLL(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        return f"the kernels cannot be loaded: {error}"
    return library


class Kernels:
    """Decodes with the C library; `path` forces the instructions that it uses."""

    name = "kernels"

    def __init__(self, library: ctypes.CDLL, path: int = AUTO) -> None:
        self.library = library
        self.path = path
        self._static = np.empty((CLASSES + 1) * SLOTS, np.uint32)
        self._raise(library.kdn_static_tables(_address(self._static), None, None))
        self._local = threading.local()

    def decode(self, jobs: Sequence[Job], rooms: Sequence[Sequence[Bytes]]) -> None:
        """As HostBackEnd says."""
        for job, room in zip(jobs, rooms):
            if job.entry.kind == EXACT:
                self._exact(job, room[0])
            elif job.entry.kind not in (UNIFORM, TRANSFORM):
                plain.decode(job, room)
            else:
                block = read(job)
                _keep_raw(job, block, room)
                if job.entry.kind == UNIFORM:
                    self._uniform(job, block, room[0])
                else:
                    self._transform(job, block, room)

    def _uniform(self, job: Job, block: LossyBlock, room: Bytes) -> None:
        plane = _plane_facts(job, 0)
        weights = job.weights if block.weighted else None
        self._raise(
            self.library.kdn_uniform_decode(
                self.path,
                _address(self._static),
                CLASSES + 1,
                byref(plane),
                _address(block.stream.classes),
                _address(block.means),
                None if weights is None else _address(weights),
                block.step,
                *_stream(block.stream),
                *self._room_for(self.library.kdn_scratch_bytes(byref(plane))),
                *_from_token(job, 0, room),
            )
        )

    def _transform(self, job: Job, block: LossyBlock, rooms: Sequence[Bytes]) -> None:
        basis = job.basis
        if basis is None:
            raise EncodingError("block.kind", job.entry.kind, "one that needs no basis")
        marked, count = block.marked, len(block.means)
        stride = self.library.kdn_stride(_address(marked), count)
        numbers = np.empty(stride * block.stream.tokens, np.int16)
        self._decode_numbers(block.stream, numbers)
        largest = c_uint32()
        scratch = self.library.kdn_order_scratch_bytes(count)
        self._raise(
            self.library.kdn_transform_order(
                self.path, _address(marked), count, block.stream.tokens, _address(numbers),
                numbers.size, byref(largest), *self._room_for(scratch),
            )
        )  # fmt: skip
        offsets = np.empty(basis.matrix.shape[1], np.float32)
        matrix = (_address(basis.matrix), basis.matrix.shape[1])
        # The offsets' memory has the sums first, which are as long.
        bound = self.library.kdn_column_bound(
            _address(marked), count, *matrix, block.shift, _address(offsets)
        )
        require_sums(largest.value, bound)
        self._raise(
            self.library.kdn_transform_offsets(
                _address(block.means), count, *matrix, _address(basis.scales),
                _address(basis.means), block.step, _address(offsets),
            )
        )  # fmt: skip
        column = 0
        for number, room in enumerate(rooms):
            plane = _plane_facts(job, number)
            scratch = self.library.kdn_transform_scratch_bytes(byref(plane), count)
            self._raise(
                self.library.kdn_transform_reconstruct(
                    self.path, byref(plane), _address(marked), count, *matrix, column,
                    block.shift, _address(basis.scales[column:]), _address(offsets[column:]),
                    block.step, _address(numbers), numbers.size, *self._room_for(scratch),
                    *_from_token(job, number, room),
                )
            )  # fmt: skip
            column += job.shapes[number].channels

    def _exact(self, job: Job, room: Bytes) -> None:
        shape, tokens = job.shapes[0], job.header.token_count
        block = read_exact(job.dtype, tokens, shape.channels, job.data)
        tables = np.empty((len(block.frequencies) + 1) * SLOTS, np.uint32)
        self.library.kdn_padding_tables(_address(tables), None)
        for number, row in enumerate(block.frequencies, 1):
            place = _address(tables[number * SLOTS :])
            self._raise(self.library.kdn_decode_table(_address(row), place))
        plane = PlaneFacts(
            DTYPES.index(job.dtype) + 1, shape.heads, shape.head_dim, 0, 0, 0, tokens, tokens
        )
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
                _address(room), room.size,
            )
        )  # fmt: skip

    def _decode_numbers(self, stream: Stream, numbers: npt.NDArray[np.int16]) -> None:
        self._raise(
            self.library.kdn_rans_decode(
                self.path, _address(self._static), CLASSES + 1, _address(stream.classes),
                len(stream.classes), stream.tokens, *_stream(stream), _address(numbers),
                numbers.size,
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


def _plane_facts(job: Job, number: int) -> PlaneFacts:
    """The tokens of a plane that are coded."""
    shape, turn, raw = job.shapes[number], job.turns[number], job.entry.raw_tokens
    tokens = job.header.token_count
    facts = PlaneFacts(
        DTYPES.index(job.dtype) + 1, shape.heads, shape.head_dim, 0, 0, 0, tokens - raw, tokens
    )
    if turn is not None:
        facts.interleaved = int(turn.interleaved)
        facts.rotary_first = turn.rotated_from
        facts.rotary_dims = 2 * turn.cosines.shape[1]
        facts.cosines = _address(turn.cosines[raw:])
        facts.sines = _address(turn.sines[raw:])
    return facts


def _from_token(job: Job, number: int, room: Bytes) -> tuple[int, int]:
    """Where the first coded token's elements go, and how many bytes there are from there."""
    shape = job.shapes[number]
    skipped = job.entry.raw_tokens * shape.head_dim * DTYPE_BYTES[job.dtype]
    return _address(room) + skipped, room.size - skipped


def _keep_raw(job: Job, block: LossyBlock, rooms: Sequence[Bytes]) -> None:
    """Puts the tokens that are not coded in their places."""
    place = 0
    for shape, room in zip(job.shapes, rooms):
        row = shape.head_dim * DTYPE_BYTES[job.dtype]
        size = job.entry.raw_tokens * row * shape.heads
        kept = block.raw[place : place + size].reshape(shape.heads, job.entry.raw_tokens * row)
        room.reshape(shape.heads, -1)[:, : kept.shape[1]] = kept
        place += size

