"""The kernels in C as ctypes sees them: the library, its functions, and what they are told."""

from __future__ import annotations

import ctypes
import os
import pathlib
import struct
from ctypes import POINTER, c_int32, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any

VARIABLE = "KDN_KERNELS"
FILE_NAME = "libkdnkernels.so.1"
PACKAGED = pathlib.Path("/usr/lib/kdn") / FILE_NAME


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


class BasisFacts(ctypes.Structure):
    """kdn_basis."""

    _fields_ = [
        ("matrix", c_void_p),
        ("columns", c_uint64),
        ("scales", c_void_p),
        ("means", c_void_p),
        ("column_sums", c_void_p),
    ]


# kdn_block, field by field: of kdn_stream tables, their number, classes, count, bytes, how many,
# escapes, how many, numbers, how many; basis, weights; of kdn_transform classes, means, count,
# shift, step; planes, how many, outs, their bytes; raw tokens, checksum. Packed in one go, as one
# is made for every block of every object.
BLOCK = struct.Struct("@ PIPQPQPQPQ PP PPQIf PQPP QP")


_STREAM = [c_void_p, c_uint64, c_void_p, c_uint64]
_ROOM = [c_void_p, c_uint64, c_void_p, c_uint64]
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "kdn_path_available": (c_int32, [c_int32]),
    "kdn_padding_tables": (None, [c_void_p, c_void_p]),
    "kdn_static_tables": (c_int32, [c_void_p, c_void_p, c_void_p]),
    "kdn_decode_table": (c_int32, [c_void_p, c_void_p]),
    "kdn_scratch_bytes": (c_uint64, [POINTER(PlaneFacts)]),
    "kdn_column_sums": (None, [c_void_p, c_uint64, c_uint64, c_void_p, c_void_p]),
    "kdn_decode_lossy": (
        c_int32, [c_int32, c_void_p, c_uint64, c_void_p, c_uint64]
    ),
    "kdn_lossy_scratch_bytes": (c_uint64, [c_void_p, c_uint64]),
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
