"""CODEC_PROFILE: what codecs learned of a model, named by the SHA-256 of its bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kdn.errors import FieldError, ProtocolError
from kdn.keys import Part
from kdn.wire import BodyReader

KIND_WEIGHTS, KIND_GROUPED_BASIS, KIND_WHOLE_BASIS = 1, 2, 3
LIST_MAX = 1024
_GET, _USE, _LIST = 1, 2, 3

_VERB = struct.Struct("<B3x")
_REPLY = struct.Struct("<B7s")
_COUNT = struct.Struct("<II")
_FACTS = struct.Struct("<32s16s4HQQB7s")


@dataclass(frozen=True, slots=True)
class ProfileFacts:
    """What a profile's header tells: its layout, the part that it holds for, its kind."""

    hash: bytes
    layout_id: bytes
    part: Part
    byte_count: int
    token_count: int
    kind: int


def encode_profile_get(digest: bytes) -> bytes:
    """Asks for a profile's bytes; the answer is that of a GET of one whole item."""
    return _named(_GET, digest)


def encode_profile_use(digest: bytes) -> bytes:
    """Asks the daemon to encode with a stored profile from now on."""
    return _named(_USE, digest)


def encode_profile_list(layout_id: bytes = bytes(16)) -> bytes:
    """Asks for the profiles in use of a layout; of all layouts without one."""
    if len(layout_id) != 16:
        raise FieldError("layoutID", len(layout_id), "16 bytes")
    return _VERB.pack(_LIST) + layout_id


def _named(verb: int, digest: bytes) -> bytes:
    if len(digest) != 32:
        raise FieldError("hash", len(digest), "32 bytes")
    return _VERB.pack(verb) + digest


def decode_profile_used(body: bytes) -> ProfileFacts:
    """The profile that is in use now."""
    reader = BodyReader(body)
    _take_verb(reader, _USE)
    facts = _take_facts(reader)
    reader.finish()
    return facts


def decode_profile_list(body: bytes) -> list[ProfileFacts]:
    """The profiles in use."""
    reader = BodyReader(body)
    _take_verb(reader, _LIST)
    count, reserved = reader.take("count", _COUNT)
    if count > LIST_MAX:
        raise ProtocolError("count", count, f"at most {LIST_MAX}")
    if reserved:
        raise ProtocolError("reserved", reserved, "zero")
    rows = [_take_facts(reader) for _ in range(count)]
    reader.finish()
    return rows


def _take_verb(reader: BodyReader, verb: int) -> None:
    found, reserved = reader.take("verb", _REPLY)
    if found != verb:
        raise ProtocolError("verb", found, verb)
    if any(reserved):
        raise ProtocolError("reserved", reserved, "zeros")


def _take_facts(reader: BodyReader) -> ProfileFacts:
    digest, layout_id, *rest = reader.take("facts", _FACTS)
    size, tokens, kind, reserved = rest[4:]
    try:
        part = Part(*rest[:4])
    except FieldError as error:
        raise ProtocolError(error.field, error.value, "those of a part") from error
    if not 1 <= size < 1 << 63:
        raise ProtocolError("byteCount", size, "at least 1 and below 2^63")
    if not KIND_WEIGHTS <= kind <= KIND_WHOLE_BASIS:
        raise ProtocolError("kind", kind, "1 to 3")
    if any(reserved):
        raise ProtocolError("reserved", reserved, "zeros")
    return ProfileFacts(digest, layout_id, part, size, tokens, kind)
