"""libkdn, the client for C, through ctypes: found, checked and declared. See kdn.h."""

from __future__ import annotations

import ctypes
import os
import pathlib
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

VARIABLE = "KDN_LIBRARY"
FILE_NAME = "libkdn.so.1"
PACKAGED = pathlib.Path("/usr/lib/kdn") / FILE_NAME
ABI_VERSION = 1

OK = 0
INVALID, CANNOT_CONNECT, REFUSED, WENT_AWAY, LOST, DEADLINE = -1, -2, -3, -4, -5, -6
PROTOCOL, UNSENDABLE, NO_ROOM, FORKED, UNSUPPORTED = -7, -8, -9, -10, -11
CONNECT_RDMA_TRUSTED = 1
GET_WAIT, GET_UNVERIFIED = 1, 2
HIT, MISS, GET_NO_ROOM = 0, 1, 2
PUBLISHED, PRESENT, PUT_REFUSED = 0, 1, 2


class Options(ctypes.Structure):
    """kdn_options."""

    _fields_ = [
        ("size", c_size_t),
        ("address", c_char_p),
        ("namespace_name", c_char_p),
        ("token", c_char_p),
        ("agent", c_char_p),
        ("link", c_char_p),
        ("tls_authorities", c_char_p),
        ("tls_certificate", c_char_p),
        ("tls_key", c_char_p),
        ("tls_server_name", c_char_p),
        ("connect_timeout_ms", c_uint32),
        ("flags", c_uint32),
    ]


class Memory(ctypes.Structure):
    """kdn_buffer."""

    _fields_ = [("pointer", c_void_p), ("length", c_size_t), ("region", c_void_p)]


class GetOutcome(ctypes.Structure):
    """kdn_get_result."""

    _fields_ = [
        ("outcome", c_uint32),
        ("miss_cause", c_uint32),
        ("bytes", c_uint64),
        ("object_checksum", c_uint64),
        ("object_bytes", c_uint64),
    ]


class PutFacts(ctypes.Structure):
    """kdn_put."""

    _fields_ = [
        ("facts", c_void_p),
        ("pieces", POINTER(Memory)),
        ("piece_count", c_size_t),
        ("checksum", c_uint64),
        ("flags", c_uint32),
        ("reserved", c_uint32),
    ]


class PutOutcome(ctypes.Structure):
    """kdn_put_result."""

    _fields_ = [
        ("outcome", c_uint32),
        ("server_status", c_uint32),
        ("retry_after_ms", c_uint32),
        ("reserved", c_uint32),
        ("checksum", c_uint64),
    ]


_FUNCTIONS = {
    "kdn_abi_version": (c_uint32, []),
    "kdn_error_text": (c_char_p, []),
    "kdn_error_server_status": (c_uint32, []),
    "kdn_error_retry_after_ms": (c_uint32, []),
    "kdn_error_field": (c_char_p, []),
    "kdn_error_message": (c_char_p, []),
    "kdn_error_value": (c_uint64, []),
    "kdn_error_limit": (c_uint64, []),
    "kdn_connect": (c_int, [POINTER(Options), POINTER(c_void_p)]),
    "kdn_close": (None, [c_void_p]),
    "kdn_is_open": (c_int, [c_void_p]),
    "kdn_link": (c_char_p, [c_void_p]),
    "kdn_link_reason": (c_char_p, [c_void_p]),
    "kdn_request": (
        c_int,
        [
            c_void_p, c_uint8, c_char_p, c_size_t, c_uint32, c_void_p, c_size_t,
            POINTER(c_size_t),
        ],
    ),
    "kdn_get_into": (
        c_int,
        [
            c_void_p, c_char_p, c_size_t, c_size_t, POINTER(Memory), c_uint32, c_uint32,
            POINTER(GetOutcome),
        ],
    ),
    "kdn_put_from": (
        c_int, [c_void_p, POINTER(PutFacts), c_size_t, c_uint32, POINTER(PutOutcome)]
    ),
}
_loaded: dict[str | None, ctypes.CDLL | str] = {}


def load() -> ctypes.CDLL | str:
    """The library, or why there is none; looked for once per value of the environment variable.

    It is the file that KDN_LIBRARY names, else the one beside this package, else that of the Debian
    package, else the system's.
    """
    named = os.environ.get(VARIABLE)
    if named not in _loaded:
        _loaded[named] = _open(named)
    return _loaded[named]


def _open(named: str | None) -> ctypes.CDLL | str:
    places = (pathlib.Path(__file__).with_name(FILE_NAME), PACKAGED)
    path = named or next((str(place) for place in places if place.exists()), FILE_NAME)
    try:
        library = ctypes.CDLL(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        return f"libkdn cannot be loaded: {error}"
    version = library.kdn_abi_version()
    if version != ABI_VERSION:
        return f"libkdn has ABI version {version}, this client needs {ABI_VERSION}"
    return library
