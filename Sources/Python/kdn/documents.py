"""DOCUMENT: texts known by name."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kdn.errors import FieldError, ProtocolError
from kdn.wire import BodyReader, encode_text

NAME_BYTES_MAX = 256
METADATA_BYTES_MAX = 4096
LIST_MAX = 1000
_PUBLISH, _RESOLVE, _LIST, _RETIRE = 1, 2, 3, 4

_VERB = struct.Struct("<B3x")
_REPLY = struct.Struct("<B7s")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_FACTS = struct.Struct("<II16s")
_RESOLVED = struct.Struct("<QI")
_LISTED = struct.Struct("<QII16s")


@dataclass(frozen=True, slots=True)
class Document:
    """A text: its layout, tokens and the hashes of its chunks, from its own root."""

    name: str
    layout_id: bytes
    token_count: int
    chunk_tokens: int
    hashes: tuple[bytes, ...]
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a name stands for; `present_chunks` leading chunks can be had now."""

    document: Document
    epoch: int
    present_chunks: int


@dataclass(frozen=True, slots=True)
class DocumentListing:
    """A name and what it stands for, without the chunks."""

    name: str
    epoch: int
    layout_id: bytes
    token_count: int
    chunk_count: int


def encode_publish(document: Document) -> bytes:
    """Makes the name stand for this text."""
    chunks = -(-document.token_count // max(document.chunk_tokens, 1))
    if len(document.hashes) != chunks or chunks < 1:
        raise FieldError("count", len(document.hashes), f"{chunks} chunks of the tokens")
    if any(len(value) != 32 for value in document.hashes) or len(document.layout_id) != 16:
        raise FieldError("hash", "another length", "32 bytes, 16 for a layout")
    if len(document.metadata.encode()) > METADATA_BYTES_MAX:
        raise FieldError("metadata", len(document.metadata.encode()), METADATA_BYTES_MAX)
    return (
        _VERB.pack(_PUBLISH)
        + _FACTS.pack(document.token_count, document.chunk_tokens, document.layout_id)
        + encode_name(document.name)
        + encode_text(document.metadata)
        + _U32.pack(len(document.hashes))
        + b"".join(document.hashes)
    )


def encode_resolve(name: str) -> bytes:
    """Asks what a name stands for."""
    return _VERB.pack(_RESOLVE) + encode_name(name)


def encode_list(after: str, limit: int) -> bytes:
    """Asks for the names behind `after`."""
    if not 1 <= limit <= LIST_MAX:
        raise FieldError("limit", limit, f"1 to {LIST_MAX}")
    return _VERB.pack(_LIST) + _U32.pack(limit) + encode_text(after)


def encode_retire(name: str) -> bytes:
    """Forgets a name."""
    return _VERB.pack(_RETIRE) + encode_name(name)


def decode_published(body: bytes) -> int:
    """The epoch of what was published."""
    return _epoch(body, _PUBLISH)


def decode_retired(body: bytes) -> int:
    """The epoch of what was retired."""
    return _epoch(body, _RETIRE)


def decode_resolved(body: bytes) -> Resolved:
    """A document with its epoch."""
    reader = _reader(body, _RESOLVE)
    epoch, present = reader.take("epoch", _RESOLVED)
    tokens, chunk_tokens, layout_id = reader.take("tokenCount", _FACTS)
    name, metadata = reader.text("name"), reader.text("metadata")
    (count,) = reader.take("count", _U32)
    raw = reader.bytes("hashes", count * 32)
    reader.finish()
    if present > count:
        raise ProtocolError("presentChunks", present, count)
    hashes = tuple(raw[start : start + 32] for start in range(0, len(raw), 32))
    document = Document(name, layout_id, tokens, chunk_tokens, hashes, metadata)
    return Resolved(document, epoch, present)


def decode_listed(body: bytes) -> list[DocumentListing]:
    """Names in the order of their bytes."""
    reader = _reader(body, _LIST)
    (count,) = reader.take("count", _U32)
    if count > LIST_MAX:
        raise ProtocolError("count", count, LIST_MAX)
    listings = []
    for _ in range(count):
        epoch, tokens, chunks, layout_id = reader.take("epoch", _LISTED)
        listings.append(DocumentListing(reader.text("name"), epoch, layout_id, tokens, chunks))
    reader.finish()
    return listings


def encode_name(name: str) -> bytes:
    """A document's name; raises FieldError for one that no document can have."""
    length = len(name.encode())
    if not 1 <= length <= NAME_BYTES_MAX:
        raise FieldError("name", length, f"1 to {NAME_BYTES_MAX} bytes")
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in name):
        raise FieldError("name", "a control character", "none")
    return encode_text(name)


def _reader(body: bytes, wanted: int) -> BodyReader:
    reader = BodyReader(body)
    verb, reserved = reader.take("verb", _REPLY)
    if verb != wanted:
        raise ProtocolError("verb", verb, wanted)
    if any(reserved):
        raise ProtocolError("reserved", reserved, "zero")
    return reader


def _epoch(body: bytes, verb: int) -> int:
    reader = _reader(body, verb)
    (epoch,) = reader.take("epoch", _U64)
    reader.finish()
    return int(epoch)
