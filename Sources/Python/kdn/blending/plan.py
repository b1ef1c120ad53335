"""The plan of a blend: where each token of each document goes, and which are to be recomputed.

Integers only, no KV: the server makes the same plan of the same pieces. A piece is one document in
a blend, a row the index of a kept token in the assembled KV, a position the token's place for RoPE.
Dropped tokens leave holes: the positions behind them stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kdn.errors import FieldError

PIECES_MAX = 64
PERMILLE_MAX = 1000
POSITION_LIMIT = 1 << 31
TOKENS_MAX = 0xFFFFFFFF
RANGES_MAX = 1024

Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """One document in a blend.

    `slot` positions are reserved for it, 0: as many as it has tokens. `drops` are spans (start,
    end) of its tokens that edits leave out, in any order, which may overlap. `scores` says how
    much each token gains by being recomputed, None if nobody knows.
    """

    token_count: int
    slot: int = 0
    drops: tuple[Span, ...] = ()
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Placement:
    """Where a piece went. Spans are of its own tokens: disjoint, ascending, never touching."""

    token_count: int
    first_position: int
    first_row: int
    dropped: tuple[Span, ...]
    recompute: tuple[Span, ...]

    @property
    def kept(self) -> tuple[Span, ...]:
        """The spans that are not dropped."""
        bounds = [0, *(bound for span in self.dropped for bound in span), self.token_count]
        pairs = zip(bounds[::2], bounds[1::2], strict=True)
        return tuple((start, end) for start, end in pairs if start < end)

    @property
    def row_count(self) -> int:
        """How many tokens are kept."""
        return self.token_count - _length(self.dropped)

    @property
    def positions(self) -> list[int]:
        """The position of each row of the piece."""
        return [self.first_position + token for span in self.kept for token in range(*span)]

    @property
    def recompute_rows(self) -> list[int]:
        """Rows of the whole blend that are to be recomputed, ascending."""
        wanted = {token for span in self.recompute for token in range(*span)}
        kept = [token for span in self.kept for token in range(*span)]
        return [self.first_row + row for row, token in enumerate(kept) if token in wanted]


@dataclass(frozen=True)
class BlendPlan:
    """Where all pieces went; `end_position` is where what follows the blend begins."""

    placements: tuple[Placement, ...]
    row_count: int
    end_position: int

    @property
    def recompute_tokens(self) -> int:
        """How many rows are to be recomputed."""
        return sum(_length(placement.recompute) for placement in self.placements)

    @property
    def positions(self) -> list[int]:
        """The position of each row: strictly increasing."""
        return [position for placement in self.placements for position in placement.positions]

    @property
    def recompute_rows(self) -> list[int]:
        """The rows to be recomputed, ascending."""
        return [row for placement in self.placements for row in placement.recompute_rows]


def plan(
    pieces: Sequence[Piece],
    *,
    first_position: int = 0,
    drop_first: bool = True,
    recompute_permille: int = 0,
    position_limit: int = POSITION_LIMIT,
) -> BlendPlan:
    """Places the pieces one behind the other from `first_position` on.

    `drop_first`: leave out the first token of every piece but the first, an attention sink too
    many. The budget of tokens to recompute is `recompute_permille` of all rows, rounded up. The
    first piece needs none: it was computed with nothing before it, as it stands here. If every
    other piece has scores, the highest are chosen (of equal ones those at lower positions), else
    the first of each piece. `position_limit` is what the positions must stay below: with dynamic
    and longrope scaling the original context.

    Raises FieldError naming `count`, `recomputePermille`, `position`, `tokenCount`, `slot`,
    `spans`, `scores`, `document` (nothing is kept of one), `dropped` or `recompute` (more ranges
    than an answer carries).
    """
    if not 1 <= len(pieces) <= PIECES_MAX:
        raise FieldError("count", len(pieces), f"1 to {PIECES_MAX} pieces")
    if not 0 <= recompute_permille <= PERMILLE_MAX:
        raise FieldError("recomputePermille", recompute_permille, f"0 to {PERMILLE_MAX}")
    limit = min(position_limit, POSITION_LIMIT)
    if not 0 <= first_position < limit:
        raise FieldError("position", first_position, f"below {limit}")
    position, row = first_position, 0
    placements = []
    for index, piece in enumerate(pieces):
        dropped = _dropped(piece, drop_first and index > 0)
        placements.append(Placement(piece.token_count, position, row, dropped, ()))
        row += placements[-1].row_count
        position += piece.slot or piece.token_count
        if position > limit:
            raise FieldError("position", position - 1, f"below {limit}")
    chosen = _chosen(pieces, placements, -(-recompute_permille * row // PERMILLE_MAX))
    placed = tuple(
        Placement(old.token_count, old.first_position, old.first_row, old.dropped, spans)
        for old, spans in zip(placements, chosen, strict=True)
    )
    return BlendPlan(placed, row, position)


def joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The union of spans: ascending, disjoint, touching ones joined."""
    result: list[Span] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return tuple(result)


def _dropped(piece: Piece, drop_first: bool) -> tuple[Span, ...]:
    """What is left out of a piece; raises FieldError where the piece cannot be placed."""
    count = piece.token_count
    if not 1 <= count <= TOKENS_MAX:
        raise FieldError("tokenCount", count, f"1 to {TOKENS_MAX}")
    if piece.slot < 0 or 0 < piece.slot < count:
        raise FieldError("slot", piece.slot, f"0, or at least the {count} tokens of its document")
    for start, end in piece.drops:
        if not 0 <= start < end <= count:
            raise FieldError("spans", (start, end), f"not empty, within {count} tokens")
    if piece.scores is not None:
        if len(piece.scores) != count:
            raise FieldError("scores", len(piece.scores), f"one for each of {count} tokens")
        if not all(math.isfinite(score) for score in piece.scores):
            raise FieldError("scores", "not a number, or infinite", "finite")
    dropped = joined([*piece.drops, *([(0, 1)] if drop_first else [])])
    if _length(dropped) == count:
        raise FieldError("document", 0, "a document of which a token is kept")
    if len(dropped) > RANGES_MAX:
        raise FieldError("dropped", len(dropped), f"at most {RANGES_MAX} ranges")
    return dropped


def _chosen(
    pieces: Sequence[Piece], placements: Sequence[Placement], budget: int
) -> list[tuple[Span, ...]]:
    """For each piece the spans to recompute."""
    later = placements[1:]
    if all(piece.scores is not None for piece in pieces[1:]):
        tokens = _highest(pieces[1:], later, budget)
    else:
        shares = _shares([placement.row_count for placement in later], budget)
        tokens = [_first(placement, n) for placement, n in zip(later, shares, strict=True)]
    chosen = [joined(spans) for spans in tokens]
    for spans in chosen:
        if len(spans) > RANGES_MAX:
            raise FieldError("recompute", len(spans), f"at most {RANGES_MAX} ranges")
    return [(), *chosen]


def _shares(rooms: Sequence[int], budget: int) -> list[int]:
    """Shares a budget evenly, what is left over to earlier ones; who is full passes on the rest.

    In rounds: the rest is divided among those with room, the remainder goes one each to the first
    of them, and nobody takes more than there is room for.
    """
    shares = [0] * len(rooms)
    rest = min(budget, sum(rooms))
    while rest:
        waiting = [index for index, room in enumerate(rooms) if shares[index] < room]
        each, more = divmod(rest, len(waiting))
        for order, index in enumerate(waiting):
            taken = min(rooms[index] - shares[index], each + (order < more))
            shares[index] += taken
            rest -= taken
    return shares


def _first(placement: Placement, count: int) -> list[Span]:
    """The first `count` kept tokens."""
    spans = []
    for start, end in placement.kept:
        taken = min(count, end - start)
        if taken:
            spans.append((start, start + taken))
        count -= taken
    return spans


def _highest(
    pieces: Sequence[Piece], placements: Sequence[Placement], budget: int
) -> list[list[Span]]:
    """The kept tokens with the highest scores."""
    ranked = sorted(
        (-(piece.scores or ())[token], index, token)
        for index, (piece, placement) in enumerate(zip(pieces, placements, strict=True))
        for span in placement.kept
        for token in range(*span)
    )
    tokens: list[list[Span]] = [[] for _ in pieces]
    for _, index, token in ranked[:budget]:
        tokens[index].append((token, token + 1))
    return tokens


def _length(spans: Sequence[Span]) -> int:
    return sum(end - start for start, end in spans)
