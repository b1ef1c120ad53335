"""EDIT: changes of a document's KV, kept beside it and applied where it is blended."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from kdn.compose import Span, check_range, encode_spans, require_range, take_spans
from kdn.documents import encode_name
from kdn.errors import FieldError, ProtocolError
from kdn.wire import BodyReader

SPANS_MAX = 256
KEPT_SPANS_MAX = 1024
SCORES_MAX = 1 << 17
# Keys near zero, or turned round, break attention to all other tokens.
KEY_STRENGTHS = (0.25, 4.0)
VALUE_STRENGTHS = (-4.0, 4.0)
# Right for the words that answer a question; 1.25 to 1.4 do for whole sentences.
EMPHASIS_STRENGTH = 1.75
SUPPRESSION_STRENGTH = 0.5
EDITS_MAX = 64
SCALE_KEYS, SCALE_VALUES, DROP, KEEP, REQUANTISE = 1, 2, 3, 4, 5
# Classes that a document can be delivered as, the smallest last.
CLASSES = {"high": 2, "balanced": 3, "small": 4, "archive": 5}
_ADD, _LIST, _REVERT, _MATERIALISE = 1, 2, 3, 4
MATERIALISED_MAX = 1 << 30

_VERB = struct.Struct("<B3x")
_REPLY = struct.Struct("<B7s")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_OPERATION = struct.Struct("<BBHfI")
_MATERIALISED = struct.Struct("<III")


@dataclass(frozen=True, slots=True)
class Edit:
    """One change: what is done (`kind`), how strongly, to which spans `(start, end)` of tokens.

    `keep` has scores instead of spans, one for each token, and the thousandths that stay;
    `requantise` has a class alone.
    """

    kind: int
    spans: tuple[Span, ...] = ()
    strength: float = 0.0
    permille: int = 0
    scores: tuple[float, ...] = ()
    codec: int = 0

    @classmethod
    def scale_keys(cls, strength: float, spans: Sequence[Span]) -> Edit:
        """Multiplies keys: above 1 steers attention to these tokens, below 1 away from them."""
        return cls(SCALE_KEYS, tuple(spans), strength)

    @classmethod
    def emphasise(cls, spans: Sequence[Span], strength: float = EMPHASIS_STRENGTH) -> Edit:
        """Has these tokens win over others that answer the same question."""
        return cls.scale_keys(strength, spans)

    @classmethod
    def suppress(cls, spans: Sequence[Span], strength: float = SUPPRESSION_STRENGTH) -> Edit:
        """Has these tokens lose against others, without leaving them out."""
        return cls.scale_keys(strength, spans)

    @classmethod
    def scale_values(cls, strength: float, spans: Sequence[Span]) -> Edit:
        """Multiplies values."""
        return cls(SCALE_VALUES, tuple(spans), strength)

    @classmethod
    def drop(cls, spans: Sequence[Span]) -> Edit:
        """Leaves tokens out; positions are not renumbered."""
        return cls(DROP, tuple(spans))

    @classmethod
    def keep(cls, permille: int, scores: Sequence[float]) -> Edit:
        """Keeps the tokens with the highest scores; the server lists it as a `drop`."""
        return cls(KEEP, permille=permille, scores=tuple(scores))

    @classmethod
    def requantise(cls, name: str) -> Edit:
        """Delivers the document as if it were kept in this class of `CLASSES`.

        It comes after all strengths; of several the smallest class counts. Raises FieldError for
        a name that is none of them.
        """
        if name not in CLASSES:
            raise FieldError("class", name, f"one of {', '.join(CLASSES)}")
        return cls(REQUANTISE, codec=CLASSES[name])


@dataclass(frozen=True, slots=True)
class ListedEdit:
    """An edit of a document, and the number by which it is reverted."""

    id: int
    edit: Edit


class MaterialState(IntEnum):
    """What happens to what edits change of a document."""

    NOTHING = 0
    ON_DELIVERY = 1
    RUNNING = 2
    WHOLE = 3


@dataclass(frozen=True, slots=True)
class Materialised:
    """How many objects of chunks edits change, and how many are kept as they are delivered."""

    state: MaterialState
    total: int
    kept: int


def encode_add(name: str, edit: Edit, epoch: int = 0) -> bytes:
    """Adds an edit to a document, if its epoch is this one, or any for 0."""
    check_range("epoch", epoch, 0, (1 << 64) - 1)
    return _VERB.pack(_ADD) + _U64.pack(epoch) + encode_name(name) + encode_edit(edit)


def encode_list(name: str) -> bytes:
    """Asks for a document's edits."""
    return _VERB.pack(_LIST) + encode_name(name)


def encode_revert(name: str, edit_id: int = 0) -> bytes:
    """Takes back one edit, or all for 0."""
    check_range("id", edit_id, 0, (1 << 64) - 1)
    return _VERB.pack(_REVERT) + _U64.pack(edit_id) + encode_name(name)


def encode_materialise(name: str, order: bool) -> bytes:
    """Asks how much of what edits change is kept as it is delivered; an order has it made."""
    return _VERB.pack(_MATERIALISE) + _U32.pack(order) + encode_name(name)


def encode_edit(edit: Edit) -> bytes:
    """The canonical encoding of an edit; raises FieldError for one that no server takes."""
    if not SCALE_KEYS <= edit.kind <= REQUANTISE:
        raise FieldError("kind", edit.kind, "1 to 5")
    if edit.kind == REQUANTISE:
        if edit.codec not in CLASSES.values():
            raise FieldError("class", edit.codec, "2 to 5")
        return _OPERATION.pack(REQUANTISE, edit.codec, 0, 0.0, 0)
    if edit.kind == KEEP:
        check_range("permille", edit.permille, 1, 1000)
        check_range("scoreCount", len(edit.scores), 1, SCORES_MAX)
        scores = struct.pack(f"<{len(edit.scores)}f", *edit.scores)
        # Looked at as f32: what is too large for one becomes infinite.
        if not all(map(math.isfinite, struct.unpack(f"<{len(edit.scores)}f", scores))):
            raise FieldError("score", "not finite", "finite")
        return _OPERATION.pack(KEEP, 0, edit.permille, 0.0, len(edit.scores)) + scores
    strength = edit.strength if edit.kind != DROP else 0.0
    if edit.kind != DROP and not _is_allowed(edit.kind, strength):
        raise FieldError("strength", edit.strength, "0.25 to 4 for keys, -4 to 4 for values")
    check_range("spanCount", len(edit.spans), 1, SPANS_MAX)
    head = _OPERATION.pack(edit.kind, 0, 0, strength, len(edit.spans))
    return head + encode_spans(edit.spans)


def decode_added(body: bytes) -> int:
    """The number of an edit that was added."""
    reader = _reader(body, _ADD)
    (number,) = reader.take("id", _U64)
    reader.finish()
    if number == 0:
        raise ProtocolError("id", number, "not 0")
    return int(number)


def decode_listed(body: bytes) -> list[ListedEdit]:
    """A document's edits in the order in which they came."""
    reader = _reader(body, _LIST)
    (count,) = reader.take("count", _U32)
    require_range("count", count, 0, EDITS_MAX)
    rows: list[ListedEdit] = []
    for _ in range(count):
        (number,) = reader.take("id", _U64)
        if number <= (rows[-1].id if rows else 0):
            raise ProtocolError("id", number, "ascending")
        rows.append(ListedEdit(number, _take_edit(reader)))
    reader.finish()
    return rows


def decode_reverted(body: bytes) -> int:
    """How many edits were taken back."""
    reader = _reader(body, _REVERT)
    (count,) = reader.take("count", _U32)
    reader.finish()
    require_range("count", count, 0, EDITS_MAX)
    return int(count)


def decode_materialised(body: bytes) -> Materialised:
    """How much of what edits change is kept as it is delivered."""
    reader = _reader(body, _MATERIALISE)
    state, total, kept = reader.take("materialised", _MATERIALISED)
    reader.finish()
    require_range("state", state, MaterialState.NOTHING, MaterialState.WHOLE)
    require_range("total", total, 0, MATERIALISED_MAX)
    require_range("kept", kept, 0, total)
    return Materialised(MaterialState(state), total, kept)


def _is_allowed(kind: int, strength: float) -> bool:
    least, most = KEY_STRENGTHS if kind == SCALE_KEYS else VALUE_STRENGTHS
    return least <= strength <= most


def _take_edit(reader: BodyReader) -> Edit:
    kind, codec, permille, strength, count = reader.take("operation", _OPERATION)
    require_range("kind", kind, SCALE_KEYS, REQUANTISE)
    if kind != REQUANTISE and codec:
        raise ProtocolError("class", codec, "zero for this kind")
    if kind not in (SCALE_KEYS, SCALE_VALUES) and (strength != 0 or math.copysign(1, strength) < 0):
        raise ProtocolError("strength", strength, "zero for this kind")
    if kind in (SCALE_KEYS, SCALE_VALUES) and not _is_allowed(kind, strength):
        raise ProtocolError("strength", strength, "0.25 to 4 for keys, -4 to 4 for values")
    if kind == KEEP:
        require_range("permille", permille, 1, 1000)
        require_range("scoreCount", count, 1, SCORES_MAX)
        scores = struct.unpack(f"<{count}f", reader.bytes("scoreCount", 4 * count))
        if not all(map(math.isfinite, scores)):
            raise ProtocolError("score", "not finite", "finite")
        return Edit(KEEP, permille=permille, scores=scores)
    if permille:
        raise ProtocolError("permille", permille, "zero for this kind")
    if kind == REQUANTISE:
        require_range("class", codec, min(CLASSES.values()), max(CLASSES.values()))
        require_range("spanCount", count, 0, 0)
        return Edit(REQUANTISE, codec=codec)
    require_range("spanCount", count, 1, KEPT_SPANS_MAX)
    return Edit(kind, take_spans(reader, "span", count), strength)


def _reader(body: bytes, wanted: int) -> BodyReader:
    reader = BodyReader(body)
    verb, reserved = reader.take("verb", _REPLY)
    if verb != wanted:
        raise ProtocolError("verb", verb, wanted)
    if any(reserved):
        raise ProtocolError("reserved", reserved, "zero")
    return reader
