"""The head of a slot state as llama.cpp's server writes it: which tokens its KV is of.

    u32 magic 'ggsq', u32 version, u32 count, then `count` i32 words, then the engine's own bytes

The words are the slot's tokens (older servers), or -1, 1, n, n tokens, m, m places of media and
their descriptions. Only these first words are interpreted; all else is the engine's business.
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass

from kdn.errors import FieldError

MAGIC = 0x67677371
VERSIONS = range(1, 64)
WORDS_MAX = 1 << 24
PACKED_VERSION = 1

_HEAD = struct.Struct("<III")
_WORD_CODE = next(code for code in "il" if array(code).itemsize == 4)


@dataclass(frozen=True)
class StateHead:
    """What the head says: the tokens, in order, and how many bytes the head has."""

    version: int
    tokens: array[int]
    head_bytes: int


def head_bytes_needed(start: bytes | memoryview) -> int:
    """How long the head is, by its first 12 bytes. Raises FieldError if it is none."""
    if len(start) < _HEAD.size:
        raise FieldError("length", len(start), f"at least {_HEAD.size} bytes")
    magic, version, words = _HEAD.unpack_from(start)
    if magic != MAGIC:
        raise FieldError("magic", hex(magic), hex(MAGIC))
    if version not in VERSIONS:
        raise FieldError("version", version, f"{VERSIONS.start} to {VERSIONS.stop - 1}")
    if words > WORDS_MAX:
        raise FieldError("count", words, f"at most {WORDS_MAX}")
    return _HEAD.size + 4 * int(words)


def parse_head(data: bytes | memoryview) -> StateHead:
    """The head at the start of `data`.

    Raises FieldError for anything that is not known for sure, and for states with media: their
    placeholders do not say what was seen.
    """
    end = head_bytes_needed(data)
    if len(data) < end:
        raise FieldError("length", len(data), f"at least {end} bytes")
    words = array(_WORD_CODE)
    words.frombytes(bytes(data[_HEAD.size : end]))
    if sys.byteorder == "big":
        words.byteswap()
    tokens = _unpacked(words)
    if any(token < 0 for token in tokens):
        raise FieldError("token", min(tokens), "0 or more")
    return StateHead(_HEAD.unpack_from(data)[1], tokens, end)


def _unpacked(words: array[int]) -> array[int]:
    if not words or words[0] != -1:
        return words
    if len(words) < 4:
        raise FieldError("count", len(words), "at least 4 words")
    if words[1] != PACKED_VERSION:
        raise FieldError("packedVersion", words[1], PACKED_VERSION)
    count = words[2]
    if not 0 <= count <= len(words) - 4:
        raise FieldError("tokenCount", count, f"0 to {len(words) - 4}")
    media, rest = words[3 + count], len(words) - 4 - count
    if media != 0 or rest != 0:
        raise FieldError("mediaCount", media, "0, with nothing behind it")
    return words[3 : 3 + count]
