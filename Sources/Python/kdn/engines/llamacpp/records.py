"""What is kept in KDN for slot states: pieces, a manifest for each state, entries by prefix.

All are opaque objects. A prefix entry is named by the hash of a chunk (see `kdn.chunk_hashes`) and
names a state that starts with all tokens up to that chunk's end. A manifest is named by the hash
of all tokens of its state and lists the pieces with their lengths and checksums.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import xxhash

from kdn.errors import FieldError
from kdn.keys import Key, chunk_hashes

PIECES_MAX = 1 << 16
NONCE_BYTES = 16

_ENTRY_MAGIC = b"KDNLLMP1"
_MANIFEST_MAGIC = b"KDNLLMS1"
_ENTRY = struct.Struct("<8s32sIQ")
_MANIFEST = struct.Struct("<8s16sIQI")
_PIECE = struct.Struct("<QQ")
_CHECK = struct.Struct("<Q")


def state_hash(root: bytes, tokens: Sequence[int], chunk_tokens: int) -> bytes:
    """The 32 bytes that name a state: the chain over all of its tokens, the rest included."""
    return chunk_hashes(root, tokens, chunk_tokens, tail=True)[-1]


def prefix_key(chunk_hash: bytes) -> Key:
    """Where the entry of a chunk is kept."""
    return Key.opaque(b"kdn/llamacpp/1/prefix/" + chunk_hash)


def manifest_key(state: bytes) -> Key:
    """Where the manifest of a state is kept."""
    return Key.opaque(b"kdn/llamacpp/1/state/" + state)


def piece_key(state: bytes, nonce: bytes, index: int) -> Key:
    """Where a piece is kept; `nonce` keeps two writers of the same state apart."""
    return Key.opaque(b"kdn/llamacpp/1/piece/" + state + nonce + struct.pack("<I", index))


def _seal(body: bytes) -> bytes:
    return body + _CHECK.pack(xxhash.xxh3_64_intdigest(body))


def _open(data: bytes, least: int) -> bytes:
    if len(data) < least + _CHECK.size:
        raise FieldError("length", len(data), f"at least {least + _CHECK.size} bytes")
    body, check = data[: -_CHECK.size], data[-_CHECK.size :]
    if _CHECK.pack(xxhash.xxh3_64_intdigest(body)) != check:
        raise FieldError("checksum", check.hex(), "that of the record")
    return body


@dataclass(frozen=True)
class PrefixEntry:
    """A state that starts with the tokens up to some chunk's end."""

    state: bytes
    tokens: int
    nbytes: int

    def encode(self) -> bytes:
        """The object's bytes."""
        return _seal(_ENTRY.pack(_ENTRY_MAGIC, self.state, self.tokens, self.nbytes))

    @staticmethod
    def decode(data: bytes) -> PrefixEntry:
        """The entry of an object's bytes; raises FieldError if they are none."""
        body = _open(data, _ENTRY.size)
        if len(body) != _ENTRY.size:
            raise FieldError("length", len(body), _ENTRY.size)
        magic, state, tokens, nbytes = _ENTRY.unpack(body)
        if magic != _ENTRY_MAGIC:
            raise FieldError("magic", magic, _ENTRY_MAGIC)
        return PrefixEntry(state, tokens, nbytes)


@dataclass(frozen=True)
class Manifest:
    """How a state was cut: per piece its length in bytes and its XXH3-64."""

    nonce: bytes
    tokens: int
    pieces: tuple[tuple[int, int], ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole state."""
        return sum(size for size, _ in self.pieces)

    def encode(self) -> bytes:
        """The object's bytes."""
        head = _MANIFEST.pack(
            _MANIFEST_MAGIC, self.nonce, self.tokens, self.nbytes, len(self.pieces)
        )
        return _seal(head + b"".join(_PIECE.pack(*piece) for piece in self.pieces))

    @staticmethod
    def decode(data: bytes) -> Manifest:
        """The manifest of an object's bytes; raises FieldError if they are none."""
        body = _open(data, _MANIFEST.size)
        magic, nonce, tokens, nbytes, count = _MANIFEST.unpack_from(body)
        if magic != _MANIFEST_MAGIC:
            raise FieldError("magic", magic, _MANIFEST_MAGIC)
        if not 1 <= count <= PIECES_MAX:
            raise FieldError("pieceCount", count, f"1 to {PIECES_MAX}")
        if len(body) != _MANIFEST.size + count * _PIECE.size:
            raise FieldError("length", len(body), f"that of {count} pieces")
        pieces = tuple(_PIECE.iter_unpack(body[_MANIFEST.size :]))
        found = Manifest(nonce, tokens, pieces)
        if found.nbytes != nbytes or min(size for size, _ in pieces) < 1:
            raise FieldError("bytes", nbytes, f"the sum of the pieces, {found.nbytes}")
        return found
