"""COMPOSE: documents put together for one prompt, by the server."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from kdn.documents import encode_name
from kdn.errors import FieldError, ProtocolError
from kdn.keys import Key, Part
from kdn.wire import BodyReader

PIECES_MAX = 64
FORBIDDEN_MAX = 64
POSITION_MAX = (1 << 31) - 1
RANGES_MAX = 1024
ALL_RANGES_MAX = 1 << 16
# The variant of a blend's objects.
VARIANT = 1
_DROP_FIRST, _EDITS, _SETTLED = 1, 2, 4
SETTLING_BYTES = 32

_REQUEST = struct.Struct("<16sIIHHHH")
_PIECE = struct.Struct("<QI")
_RESPONSE = struct.Struct("<32sIIQIHH")
_PLACE = struct.Struct("<QIIIHH")
_SPAN = struct.Struct("<II")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class BlendPiece:
    """A document in a blend: epoch 0 is any publication, slot 0 its own length in positions."""

    name: str
    epoch: int = 0
    slot: int = 0


@dataclass(frozen=True, slots=True)
class PiecePlace:
    """Where a document of a blend stands; spans are in its own tokens, `(start, end)`.

    `first_position` is that of its token 0, kept or not; `first_row` the row of its first kept one.
    """

    epoch: int
    token_count: int
    first_position: int
    first_row: int
    dropped: tuple[Span, ...]
    recompute: tuple[Span, ...]

    @property
    def kept_count(self) -> int:
        """Tokens that were not left out."""
        return self.token_count - _total(self.dropped)


@dataclass(frozen=True, slots=True)
class Composed:
    """What COMPOSE answers: the plan, and the name under which the layers can be had.

    `end_position` is the first position behind the last slot; `byte_count` is that of all layers.
    """

    hash: bytes
    layout_id: bytes
    row_count: int
    end_position: int
    byte_count: int
    recompute_tokens: int
    pieces: tuple[PiecePlace, ...]

    def key(self, layer: int, kv_heads: int) -> Key:
        """The key of one layer's object: `[K, V][kvHead][row][dim]`. GET it with `wait`."""
        return Key.layout(self.hash, self.layout_id, Part(layer, 1, 0, kv_heads), VARIANT)


def encode_compose(
    layout_id: bytes,
    pieces: Sequence[BlendPiece],
    *,
    drop_first: bool = True,
    edits: bool = True,
    first_position: int = 0,
    recompute_permille: int = 0,
    forbidden: Sequence[str] = (),
    settling: bytes | None = None,
) -> bytes:
    """Asks for a blend of these documents in this order.

    `settling` names the settling of which documents but the first have chunks.
    """
    if settling is not None and len(settling) != SETTLING_BYTES:
        raise FieldError("settling", len(settling), f"{SETTLING_BYTES} bytes")
    if len(layout_id) != 16:
        raise FieldError("layoutID", len(layout_id), "16 bytes")
    for field, value, least, most in (
        ("firstPosition", first_position, 0, POSITION_MAX),
        ("recomputePermille", recompute_permille, 0, 1000),
        ("count", len(pieces), 1, PIECES_MAX),
        ("forbidden", len(forbidden), 0, FORBIDDEN_MAX),
    ):
        check_range(field, value, least, most)
    flags = _DROP_FIRST * drop_first | _EDITS * edits | _SETTLED * (settling is not None)
    body = _REQUEST.pack(
        layout_id, flags, first_position, recompute_permille, len(pieces), len(forbidden), 0
    )
    body += settling or b""
    for piece in pieces:
        check_range("epoch", piece.epoch, 0, (1 << 64) - 1)
        check_range("slot", piece.slot, 0, POSITION_MAX)
        body += _PIECE.pack(piece.epoch, piece.slot) + encode_name(piece.name)
    return body + b"".join(encode_name(name) for name in forbidden)


def decode_composed(body: bytes, layout_id: bytes) -> Composed:
    """A blend's plan; raises ProtocolError also if its numbers do not agree with each other."""
    reader = BodyReader(body)
    digest, rows, end, size, recompute, count, reserved = reader.take("blend", _RESPONSE)
    if reserved:
        raise ProtocolError("reserved", reserved, "zero")
    for field, value, least, most in (
        ("rowCount", rows, 1, POSITION_MAX),
        ("endPosition", end, 1, POSITION_MAX + 1),
        ("byteCount", size, 1, (1 << 63) - 1),
        ("recomputeTokens", recompute, 0, rows),
        ("count", count, 1, PIECES_MAX),
    ):
        require_range(field, value, least, most)
    pieces = tuple(_take_place(reader) for _ in range(count))
    reader.finish()
    row = position = 0
    for piece in pieces:
        if piece.first_row != row:
            raise ProtocolError("firstRow", piece.first_row, row)
        if piece.first_position < position:
            raise ProtocolError("firstPosition", piece.first_position, f"at least {position}")
        row += piece.kept_count
        position = piece.first_position + piece.token_count
    ranges = sum(len(piece.dropped) + len(piece.recompute) for piece in pieces)
    recomputed = sum(_total(piece.recompute) for piece in pieces)
    if ranges > ALL_RANGES_MAX:
        raise ProtocolError("ranges", ranges, f"at most {ALL_RANGES_MAX}")
    if row != rows:
        raise ProtocolError("rowCount", rows, row)
    if position > end:
        raise ProtocolError("endPosition", end, f"at least {position}")
    if recomputed != recompute:
        raise ProtocolError("recomputeTokens", recompute, recomputed)
    return Composed(digest, layout_id, rows, end, size, recompute, pieces)


def _take_place(reader: BodyReader) -> PiecePlace:
    epoch, tokens, position, row, dropped_count, recompute_count = reader.take("piece", _PLACE)
    for field, value, least, most in (
        ("tokenCount", tokens, 1, POSITION_MAX),
        ("firstPosition", position, 0, POSITION_MAX),
        ("firstRow", row, 0, POSITION_MAX),
        ("dropped", dropped_count, 0, RANGES_MAX),
        ("recompute", recompute_count, 0, RANGES_MAX),
    ):
        require_range(field, value, least, most)
    dropped = take_spans(reader, "dropped", dropped_count, tokens)
    recompute = take_spans(reader, "recompute", recompute_count, tokens)
    if _total(dropped) >= tokens:
        raise ProtocolError("dropped", _total(dropped), f"less than {tokens}")
    if any(a < d and c < b for a, b in dropped for c, d in recompute):
        raise ProtocolError("recompute", recompute, "tokens that are kept")
    return PiecePlace(epoch, tokens, position, row, dropped, recompute)


def take_spans(
    reader: BodyReader, field: str, count: int, token_count: int = POSITION_MAX
) -> tuple[Span, ...]:
    """Runs of tokens: ascending, disjoint, none empty, inside the tokens."""
    raw = reader.bytes(field, count * _SPAN.size)
    spans = tuple(_SPAN.iter_unpack(raw))
    end = 0
    for start, stop in spans:
        if not end <= start < stop:
            raise ProtocolError(field, (start, stop), "ascending, disjoint, not empty")
        end = stop
    if end > token_count:
        raise ProtocolError(field, end, f"at most {token_count}")
    return spans


def encode_spans(spans: Sequence[Span]) -> bytes:
    """Runs of tokens, checked as `take_spans` does, without their count."""
    end = 0
    for start, stop in spans:
        if not end <= start < stop <= POSITION_MAX:
            raise FieldError("span", (start, stop), "ascending, disjoint, not empty, below 2^31")
        end = stop
    return b"".join(_SPAN.pack(*span) for span in spans)


def check_range(field: str, value: int, least: int, most: int) -> None:
    """Raises FieldError unless a caller's value is within its limits."""
    if not least <= value <= most:
        raise FieldError(field, value, f"{least} to {most}")


def require_range(field: str, value: int, least: int, most: int) -> None:
    """Raises ProtocolError unless a server's value is within its limits."""
    if not least <= value <= most:
        raise ProtocolError(field, value, f"{least} to {most}")


def _total(spans: Sequence[Span]) -> int:
    return sum(stop - start for start, stop in spans)
