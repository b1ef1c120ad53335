"""Keys of objects, parts of a chunk's KV, and the hashes that name chains of token chunks."""

from __future__ import annotations

import hashlib
import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from kdn.errors import FieldError

KEY_BYTES = 64
MODEL_BYTES_MAX = 512
SALT_BYTES_MAX = 512
CHUNK_TOKENS_MIN = 16
CHUNK_TOKENS_MAX = 4096

_KEY = struct.Struct("<B3sI32s16sHHHH")
_PART = struct.Struct("<HHHH")
_LENGTH = struct.Struct("<I")
_LAYOUT_KIND = 1
_OPAQUE_KIND = 2
_U32_CODE = next(code for code in "IL" if array(code).itemsize == 4)


def chain_root(model: str, salt: bytes = b"") -> bytes:
    """The root of a chain of chunk hashes for prompts that start at position 0."""
    return _root(b"kdn/1", model, salt)


def document_root(model: str, salt: bytes = b"") -> bytes:
    """The root of a document's chain: its KV was computed with nothing before it."""
    return _root(b"kdn/1/doc", model, salt)


def chunk_hashes(
    root: bytes, tokens: Sequence[int], chunk_tokens: int = 256, *, tail: bool = False
) -> list[bytes]:
    """One 32-byte hash per whole chunk of `tokens`, and with `tail` one of the rest, if any.

    `tokens` is any sequence of integers below 2^32; arrays that offer their bytes as u32 are
    hashed in place. `root` is a chain's root, or the hash of the chunk before the first token.
    Raises FieldError for a chunk size outside 16 to 4096, a token or a root out of range.
    """
    if not CHUNK_TOKENS_MIN <= chunk_tokens <= CHUNK_TOKENS_MAX:
        raise FieldError("chunkTokens", chunk_tokens, "16 to 4096")
    if len(root) != 32:
        raise FieldError("root", len(root), "32 bytes")
    data = _token_bytes(tokens)
    step = chunk_tokens * 4
    end = len(data) if tail else len(data) - len(data) % step
    hashes: list[bytes] = []
    parent = root
    for offset in range(0, end, step):
        digest = hashlib.sha256(parent)
        digest.update(data[offset : min(offset + step, end)])
        parent = digest.digest()
        hashes.append(parent)
    return hashes


def _root(prefix: bytes, model: str, salt: bytes) -> bytes:
    name = model.encode("utf-8")
    if not 1 <= len(name) <= MODEL_BYTES_MAX:
        raise FieldError("model", len(name), "1 to 512 bytes")
    if len(salt) > SALT_BYTES_MAX:
        raise FieldError("salt", len(salt), "at most 512 bytes")
    parts = (prefix, _LENGTH.pack(len(name)), name, _LENGTH.pack(len(salt)), salt)
    return hashlib.sha256(b"".join(parts)).digest()


def _token_bytes(tokens: Sequence[int]) -> memoryview:
    try:
        packed = array(_U32_CODE, tokens)
    except (OverflowError, TypeError) as error:
        raise FieldError("tokens", type(tokens).__name__, "integers from 0 to 2^32 - 1") from error
    if sys.byteorder == "big":
        packed.byteswap()
    return memoryview(packed).cast("B")


@dataclass(frozen=True, slots=True)
class Part:
    """A slice of a chunk's KV: a range of layers, and of KV heads of each.

    Layouts without heads (latent, opaque) use the default heads: first 0, count 1.
    """

    first_layer: int
    layer_count: int
    first_kv_head: int = 0
    kv_head_count: int = 1

    def __post_init__(self) -> None:
        for field, value, least in (
            ("firstLayer", self.first_layer, 0),
            ("layerCount", self.layer_count, 1),
            ("firstKVHead", self.first_kv_head, 0),
            ("kvHeadCount", self.kv_head_count, 1),
        ):
            if not least <= value <= 0xFFFF:
                raise FieldError(field, value, f"{least} to 65535")

    def encode(self) -> bytes:
        """The 8 bytes of the part in keys and requests."""
        return _PART.pack(
            self.first_layer, self.layer_count, self.first_kv_head, self.kv_head_count
        )


@dataclass(frozen=True, slots=True)
class Key:
    """The 64 bytes that name one object in a namespace."""

    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != KEY_BYTES:
            raise FieldError("key", len(self.data), "64 bytes")
        kind, reserved, variant, _, layout_id, first, layers, head, heads = _KEY.unpack(self.data)
        if reserved != bytes(3):
            raise FieldError("reserved", reserved.hex(), "zero")
        if kind == _LAYOUT_KIND:
            Part(first, layers, head, heads)
            return
        if kind != _OPAQUE_KIND:
            raise FieldError("kind", kind, "1 or 2")
        if layout_id != bytes(16):
            raise FieldError("layoutID", layout_id.hex(), "zero in an opaque key")
        for field, value in (
            ("variant", variant),
            ("firstLayer", first),
            ("layerCount", layers),
            ("firstKVHead", head),
            ("kvHeadCount", heads),
        ):
            if value != 0:
                raise FieldError(field, value, "zero in an opaque key")

    @staticmethod
    def layout(hash: bytes, layout_id: bytes, part: Part, variant: int = 0) -> Key:
        """The key of a chunk's KV in a layout; `hash` is the chunk's hash."""
        if len(hash) != 32:
            raise FieldError("hash", len(hash), "32 bytes")
        if len(layout_id) != 16:
            raise FieldError("layoutID", len(layout_id), "16 bytes")
        if not 0 <= variant <= 0xFFFFFFFF:
            raise FieldError("variant", variant, "0 to 2^32 - 1")
        return Key(
            _KEY.pack(
                _LAYOUT_KIND,
                bytes(3),
                variant,
                hash,
                layout_id,
                part.first_layer,
                part.layer_count,
                part.first_kv_head,
                part.kv_head_count,
            )
        )

    @staticmethod
    def opaque(name: bytes) -> Key:
        """The key of an object whose bytes the server does not interpret."""
        digest = hashlib.sha256(name).digest()
        return Key(_KEY.pack(_OPAQUE_KIND, bytes(3), 0, digest, bytes(16), 0, 0, 0, 0))

    @staticmethod
    def of_profile(profile: bytes) -> Key:
        """The key of a codec profile, by its SHA-256: an opaque object named by its bytes."""
        if len(profile) != 32:
            raise FieldError("profile", len(profile), "32 bytes")
        return Key(_KEY.pack(_OPAQUE_KIND, bytes(3), 0, profile, bytes(16), 0, 0, 0, 0))

    @property
    def is_opaque(self) -> bool:
        """Whether the object has no layout."""
        return self.data[0] == _OPAQUE_KIND

    @property
    def part(self) -> Part | None:
        """The part of a layout object, None for an opaque one."""
        return None if self.is_opaque else Part(*_PART.unpack_from(self.data, 56))

    def __bytes__(self) -> bytes:
        return self.data
