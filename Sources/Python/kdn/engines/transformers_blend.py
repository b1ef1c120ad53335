"""Blend documents' KV for any decoder model of Hugging Face transformers.

    learn_document(model, text, "manual", tokenizer=tokenizer, client=client)
    blended = blend(model, ["manual", "letter"], client=client, recompute=0.15)
    output = model(question, position_ids=blended.positions_for(n), past_key_values=blended.cache)

Each document's KV was computed with nothing before it. A blend moves it to its place, leaves out
what would be one attention sink too many, and computes some tokens anew against all that stands
before them. What cannot be had or moved is an error; nothing is half done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Union

import torch

from kdn.blending.errors import DocumentUnavailable
from kdn.blending.lead import Lead
from kdn.blending.plan import BlendPlan, Piece, plan
from kdn.blending.rotation import movable, position_limit
from kdn.blending.settling import Settling
from kdn.compose import BlendPiece
from kdn.engines import (
    _assemble, _documents, _edits, _ranking, _recompute, _selection, _settling,
)
from kdn.engines._blend import Blend
from kdn.engines._delivery import Arriving, Delivered
from kdn.engines._identity import model_name as identify
from kdn.engines._rope import UnsupportedModel
from kdn.engines._texts import texts_of
from kdn.engines.transformers import CHUNK_TOKENS, prefill, token_ids
from kdn.errors import FieldError, KDNError, ProtocolError, ServerError, Status
from kdn.results import MissCause, Put

if TYPE_CHECKING:
    from kdn.edits import ListedEdit
    from kdn.engines._documents import KnownDocument
    from kdn.engines._planes import Plane

__all__ = [
    "Blend",
    "BlendPiece",
    "Lead",
    "LearnedDocument",
    "Settling",
    "blend",
    "compose",
    "forget_document",
    "learn_document",
    "learn_settling",
    "rank_document",
    "recompute",
]

TIMEOUT_SECONDS = 30.0
SETTLING_PIECE_TOKENS = 512
SELECTIONS = ("first", "deviation")
SOURCES = ("server", "here")


@dataclass(frozen=True)
class LearnedDocument:
    """What `learn_document` did: the name stands for `token_count` tokens as of `epoch`."""

    name: str
    epoch: int
    token_count: int
    bytes_sent: int
    prefill_seconds: float
    seconds: float


PieceLike = Union[str, tuple, BlendPiece]


def learn_document(
    model: Any,
    text_or_ids: str | Sequence[int] | torch.Tensor,
    name: str,
    client: Any,
    *,
    tokenizer: Any = None,
    salt: bytes = b"",
    chunk_tokens: int = CHUNK_TOKENS,
    model_name: str | None = None,
    metadata: str = "",
    settling: Settling | Lead | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> LearnedDocument:
    """Computes a document's KV with nothing before it, stores it and publishes its name.

    Nothing is computed if all of it is there. All tokens are stored, the last chunk may be
    shorter. With a fast tokenizer the tokens' texts are stored, too: then edits find phrases. With
    `settling` the chunks are stored as that makes them, too, for blends that ask for it: a `Lead`
    has the document computed once more, behind it. The name is published last: on any error it
    stands for what it stood for.

    Raises UnsupportedModel for a model whose documents cannot be blended, FieldError for a bad
    name, too many tokens or a `settling` of another model, and the client's errors.
    """
    started = time.monotonic()
    ids = token_ids(text_or_ids, tokenizer)
    plane = _blendable(model)
    root = _documents.root_of(model_name or identify(model), salt)
    document = _documents.make_document(plane, root, ids, name, chunk_tokens, metadata)
    lead = settling if isinstance(settling, Lead) else None
    if lead is not None:
        _check_lead(plane, lead, len(ids))
    _check_span(plane, 0, len(ids))
    client.register_layout(plane.layout)
    sent, prefill_seconds = 0, 0.0
    if not _documents.is_there(client, plane, document, timeout):
        prefill_started = time.monotonic()
        cache = prefill(model, ids)
        prefill_seconds = time.monotonic() - prefill_started
        cost = int(prefill_seconds * 1e6 * min(chunk_tokens, len(ids)) / len(ids))
        sent = _documents.store_document(client, plane, cache, document, ids, cost, timeout)
    if settling is not None and not _settling.is_there(client, plane, document, settling, timeout):
        if lead is not None:
            sent += _settling.store_behind(model, client, plane, document, ids, lead, timeout)
        else:
            sent += _settling.store(client, plane, document, settling, timeout)
    if tokenizer is not None:
        text = text_or_ids if isinstance(text_or_ids, str) else None
        _documents.store_texts(client, document, texts_of(tokenizer, text, ids), timeout)
    epoch = client.publish_document(document, timeout=timeout)
    seconds = time.monotonic() - started
    return LearnedDocument(name, epoch, len(ids), sent, prefill_seconds, seconds)


def learn_settling(
    model: Any, texts: Sequence[Sequence[int]], *, piece_tokens: int = SETTLING_PIECE_TOKENS
) -> Settling:
    """Learns, once for a model, what text in front does on average to KV computed alone.

    `texts` are token ids, each of three pieces at least; 30 of them are a good number, of the
    kinds that documents will have. Every fifth text only decides how far the maps are believed.
    Raises FieldError naming `texts`, `tokenCount` or `pieceTokens`, and UnsupportedModel.
    """
    return _settling.learn(model, _blendable(model), texts, piece_tokens)


def rank_document(
    model: Any,
    name: str,
    client: Any,
    *,
    behind: Sequence[int] | None = None,
    scores: Sequence[float] | None = None,
    salt: bytes = b"",
    model_name: str | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> list[float]:
    """Stores how much each token of a document gains by being computed anew; returns it.

    Measured once with the text `behind` (token ids) in front of the document, or `scores` that
    somebody else has. They are for `compose(ranked=True)`, and go when the document is forgotten.
    Raises FieldError naming `scores` or `behind`, DocumentUnavailable, and the client's errors.
    """
    if (behind is None) == (scores is None):
        raise FieldError("behind", "both or none", "either a text or scores")
    plane = _blendable(model)
    root = _documents.root_of(model_name or identify(model), salt)
    client.register_layout(plane.layout)
    document = _documents.know(client, plane, root, name, 0, timeout)
    if behind is not None:
        if not behind:
            raise FieldError("behind", 0, "at least one token")
        scores = _ranking.measured(model, plane, document.ids, behind)
    found = list(scores or [])
    data = _ranking.encoded(found, len(document.ids))
    key = _ranking.scores_key(document.resolved.document)
    client.purge(keys=[key], timeout=timeout)
    _documents.put_all(client, [Put(key=key, buffers=[data])], timeout)
    return found


def forget_document(name: str, client: Any, *, timeout: float = TIMEOUT_SECONDS) -> int:
    """Retires a name and purges the chunks that no other document has; returns how many.

    Raises ServerError NOT_FOUND for a name that stands for nothing.
    """
    return _documents.forget(client, name, timeout)


def compose(
    model: Any,
    pieces: Sequence[PieceLike],
    client: Any,
    *,
    recompute: float = 0.0,
    without: Sequence[str] = (),
    first_position: int = 0,
    drop_first: bool | None = None,
    edits: bool = True,
    source: str = "server",
    settling: Settling | Lead | bytes | None = None,
    ranked: bool = False,
    salt: bytes = b"",
    model_name: str | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Blend:
    """Documents' KV, moved to its place; `recompute` is only planned (0 to 1).

    `pieces` are names, (name, epoch) or BlendPiece. `without` names documents that must not be
    used, a trailing `*` stands for any rest. `edits`: as they were edited. `source` is who puts
    the KV together: "server", whose layers come one after another, or "here", of chunks, which a
    server without COMPOSE and sliding windows fall back to. `settling` (or its name; or a lead)
    reads documents but the first as they were settled when they were learnt with it. `drop_first`
    leaves out the first token of each document but the first; by itself not behind a lead, where
    that is no attention sink. `ranked` plans to compute anew what `rank_document` stored the
    highest scores of.

    Raises FieldError naming `forbidden`, `count`, `slot`, `position`, `epoch`, `layout`, `model`,
    `document`, `recomputePermille`, `edits` (made meanwhile) or `source`; ServerError NOT_FOUND
    for an unknown name, FORBIDDEN for one that the namespace's rules deny; DocumentUnavailable for
    a chunk that is gone; UnsupportedModel for a model whose KV cannot be blended.
    """
    started = time.monotonic()
    if source not in SOURCES:
        raise FieldError("source", source, f"one of {', '.join(SOURCES)}")
    if drop_first is None:
        drop_first = not isinstance(settling, Lead)
    wanted = [_piece(one) for one in pieces]
    for one in wanted:
        _check_allowed(one.name, without)
    plane = _blendable(model)
    root = _documents.root_of(model_name or identify(model), salt)
    client.register_layout(plane.layout)
    known: dict[BlendPiece, KnownDocument] = {}
    changes: dict[str, list[ListedEdit]] = {}
    for one in wanted:
        if one not in known:
            known[one] = _documents.know(client, plane, root, one.name, one.epoch, timeout)
            changes[one.name] = _edits.listed(client, one.name, timeout) if edits else []
    documents = [known[one] for one in wanted]
    settled_by = settling.name if isinstance(settling, (Settling, Lead)) else settling
    asked = _Asked(
        documents, [one.slot for one in wanted], first_position, drop_first, edits, settled_by
    )
    scores: list[tuple[float, ...] | None] = [None] * len(documents)
    if ranked:
        scores[1:] = [_ranking.stored(client, document, timeout) for document in documents[1:]]
    made = plan(
        [
            Piece(len(document.ids), one.slot, _edits.drops(changes[one.name]), own)
            for one, document, own in zip(wanted, documents, scores, strict=True)
        ],
        first_position=first_position,
        drop_first=drop_first,
        recompute_permille=_permille(recompute),
        position_limit=position_limit([facts.rope for facts in plane.layers if facts.rope]),
    )
    _check_span(plane, first_position, made.end_position)
    scales = _edits.scales(made, [changes[one.name] for one in wanted])
    delivery: Delivered | None = None
    # Sliding layers are the engine's affair: the server blends full attention alone.
    if source == "server" and not plane.window:
        # The server plans for the first tokens of each document: it knows no scores.
        budget = 0 if ranked else _permille(recompute)
        delivery = _composed(client, plane, asked, made, budget, without, timeout)
    if delivery is None:
        _edits.check_assembled([changes[one.name] for one in wanted])
        layers = _assemble.assemble(client, plane, documents, made, scales, timeout, settled_by)
        delivery = Delivered(layers)
    if edits:
        for name, before in changes.items():
            _edits.check_unchanged(client, name, before, timeout)
    return Blend(
        plan=made,
        ids=_row_ids(documents, made),
        positions=made.positions,
        epochs=tuple(document.resolved.epoch for document in documents),
        config=model.config,
        delivery=delivery,
        scales=scales,
        bytes=plane.chunk_bytes(made.row_count),
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True)
class _Asked:
    """What COMPOSE is asked for beside the budget."""

    documents: Sequence[KnownDocument]
    slots: Sequence[int]
    first_position: int
    drop_first: bool
    edits: bool
    settling: bytes | None


def _composed(
    client: Any,
    plane: Plane,
    asked: _Asked,
    made: BlendPlan,
    permille: int,
    without: Sequence[str],
    timeout: float,
) -> Arriving | None:
    """The server's layers, None if it makes no blends.

    Raises ProtocolError if its plan is not the one made here.
    """
    pieces = [
        BlendPiece(document.name, document.resolved.epoch, slot)
        for document, slot in zip(asked.documents, asked.slots, strict=True)
    ]
    try:
        composed = client.compose(
            plane.layout_id,
            pieces,
            drop_first=asked.drop_first,
            edits=asked.edits,
            first_position=asked.first_position,
            recompute_permille=permille,
            forbidden=[name for name in without if not name.endswith("*")],
            settling=asked.settling,
            timeout=timeout,
        )
    except ServerError as error:
        if error.status in _edits.UNKNOWN:
            return None
        raise _told(error, asked.documents) from error
    theirs = [(one.first_position, one.first_row, one.dropped) for one in composed.pieces]
    ours = [(one.first_position, one.first_row, one.dropped) for one in made.placements]
    if permille:
        theirs += [one.recompute for one in composed.pieces]
        ours += [one.recompute for one in made.placements]
    if theirs != ours or composed.row_count != made.row_count:
        raise ProtocolError("plan", theirs, ours)
    name = ", ".join(document.name for document in asked.documents)
    return Arriving(client, plane, composed, name, timeout)


def _told(error: ServerError, documents: Sequence[KnownDocument]) -> KDNError:
    """The error by its document's name, where COMPOSE says that chunks of it are gone."""
    is_gone = error.status is Status.NOT_FOUND and error.field == "chunks"
    if not is_gone or error.value >= len(documents):
        return error
    cause = MissCause(error.limit) if error.limit in set(MissCause) else MissCause.NEVER_STORED
    return DocumentUnavailable(documents[error.value].name, "its chunks", cause)


def recompute(
    model: Any,
    blended: Blend,
    *,
    selection: str = "first",
    budget: float | None = None,
    deviation_layer: int | None = None,
) -> Blend:
    """The blend with some rows computed anew, each against all rows at or before its position.

    "first" takes the plan's rows. "deviation" runs the later documents through the first layers,
    up to the keys of `deviation_layer` (default: a tenth of the model's depth, at least 1), and
    takes the rows whose keys then differ most from what was delivered, beside the first 4 of each
    document; as many rows as the plan has, or `budget` (0 to 1) of all rows. The KV of those
    layers is kept for all rows. The given blend is not changed, and must hold nothing behind the
    documents yet. Raises FieldError naming `selection`, `cache`, `budget` or `deviationLayer`, and
    UnsupportedModel.
    """
    started = time.monotonic()
    if selection not in SELECTIONS:
        raise FieldError("selection", selection, f"one of {', '.join(SELECTIONS)}")
    for name, value in (("budget", budget), ("deviationLayer", deviation_layer)):
        if selection == "first" and value is not None:
            raise FieldError(name, value, "given only with selection 'deviation'")
    depth = _selection.deviation_layer_of(model) if deviation_layer is None else deviation_layer
    if not 0 <= depth < len(blended.delivery):
        raise FieldError("deviationLayer", depth, f"below {len(blended.delivery)}")
    if blended.grown:
        raise FieldError("cache", blended.row_count + blended.grown, f"{blended.row_count} rows")
    count = blended.plan.recompute_tokens
    if budget is not None:
        count = -(-_permille(budget, "budget") * blended.row_count // 1000)
    later = _selection.later_rows(blended.plan)
    count = min(count, len(later))
    if not count:
        return replace(blended, recomputed=[])
    rows = blended.plan.recompute_rows
    probed: _assemble.Layers = {}
    if selection == "deviation" and count < len(later):
        rows, probed = _selection.deviating(model, blended, count, depth)
    elif selection == "deviation":
        rows = later

    def delivered(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        return probed[number] if number in probed else blended.delivery.layer(number)

    new = _recompute.run_rows(
        model, blended.ids, blended.positions, rows, delivered, scales=blended.scales
    )
    seconds = blended.seconds + time.monotonic() - started
    return replace(
        blended, delivery=Delivered(new), made=None, recomputed=rows, seconds=seconds
    )


# `blend` has an argument of the function's name.
_recomputed = recompute


def blend(
    model: Any,
    pieces: Sequence[PieceLike],
    client: Any,
    *,
    recompute: float = 0.10,
    selection: str = "deviation",
    deviation_layer: int | None = None,
    **options: Any,
) -> Blend:
    """`compose`, then `recompute`: see there for `options` and errors."""
    composed = compose(model, pieces, client, recompute=recompute, **options)
    return _recomputed(model, composed, selection=selection, deviation_layer=deviation_layer)


def _piece(value: PieceLike) -> BlendPiece:
    if isinstance(value, BlendPiece):
        return value
    if isinstance(value, str):
        return BlendPiece(value)
    return BlendPiece(*value)


def _check_allowed(name: str, without: Sequence[str]) -> None:
    for rule in without:
        if name == rule or (rule.endswith("*") and name.startswith(rule[:-1])):
            raise FieldError("forbidden", name, f"none that {rule!r} names")


def _permille(share: float, field_name: str = "recomputePermille") -> int:
    if not 0 <= share <= 1:
        raise FieldError(field_name, share, "0 to 1")
    return round(share * 1000)


def _blendable(model: Any) -> Plane:
    """The model's plane; raises UnsupportedModel where its keys cannot be moved."""
    plane = _documents.the_plane(model)
    ropes = [facts.rope for facts in plane.layers if facts.rope is not None]
    if not ropes:
        raise UnsupportedModel("no layer has rotary facts: its keys cannot be moved")
    for rope in ropes:
        try:
            movable(rope)
        except FieldError as error:
            raise UnsupportedModel(str(error)) from error
    _recompute.check_attention(model)
    return plane


def _check_span(plane: Plane, start: int, end: int) -> None:
    """Raises UnsupportedModel where sliding layers would not see all of `start ..< end`."""
    if plane.window and end - start >= plane.window:
        raise UnsupportedModel(
            f"sliding windows of {plane.window} tokens do not hold {end - start} positions and "
            "a question: rows that left a window cannot be blended"
        )


def _check_lead(plane: Plane, lead: Lead, tokens: int) -> None:
    """Raises FieldError where a text that is longer by its lead would turn its keys otherwise, and
    UnsupportedModel as `_check_span` does."""
    limit = position_limit([facts.rope for facts in plane.layers if facts.rope])
    if len(lead.ids) + tokens > limit:
        raise FieldError("lead", len(lead.ids), f"{limit} tokens with the document's {tokens}")
    _check_span(plane, 0, len(lead.ids) + tokens)


def _row_ids(documents: Sequence[KnownDocument], made: BlendPlan) -> list[int]:
    return [
        document.ids[token]
        for document, placement in zip(documents, made.placements, strict=True)
        for start, end in placement.kept
        for token in range(start, end)
    ]
