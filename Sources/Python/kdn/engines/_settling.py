"""Settlings of a model: how one is learnt, and how documents' chunks are settled with it, or by
being computed behind a lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from kdn.blending.errors import DocumentUnavailable
from kdn.blending.lead import Lead
from kdn.blending.rotation import turn
from kdn.blending.settling import (
    BOUNDS, FIRST_TOKEN, LayerSettling, Settling, features, settled, settled_hash, turned,
)
from kdn.engines import _store
from kdn.engines._documents import put_all
from kdn.engines.transformers import prefill
from kdn.errors import FieldError
from kdn.results import Get, Put

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdn.documents import Document
    from kdn.engines._measure import LayerFacts
    from kdn.engines._planes import Plane

TEXTS_MIN = 5
# Every so many texts, one is kept back, to find how far the maps are to be believed.
HELD_EVERY = 5
PIECES = 3
# Of the mean of the diagonal: keeps maps small where texts say little.
RIDGE = 0.001
# Where the two foreign pieces of every other text come from, in texts further on.
FOREIGN = (7, 3)


class _Sums:
    """Of one layer: what least squares needs of all tokens seen, float64, by KV head."""

    def __init__(self, facts: LayerFacts) -> None:
        inputs, outputs = 2 * facts.head_dim + len(BOUNDS) + 1, 2 * facts.head_dim
        self.gram = torch.zeros((facts.kv_heads, inputs, inputs), dtype=torch.float64)
        self.cross = torch.zeros((facts.kv_heads, inputs, outputs), dtype=torch.float64)

    def add(self, inputs: torch.Tensor, change: torch.Tensor) -> None:
        inputs, change = inputs.double().cpu(), change.double().cpu()
        self.gram += inputs.transpose(1, 2) @ inputs
        self.cross += inputs.transpose(1, 2) @ change

    def solved(self) -> torch.Tensor:
        """Ridge regression: `[kvHeads, inputs, outputs]`."""
        scale = self.gram.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
        eye = torch.eye(self.gram.shape[1], dtype=torch.float64)
        return torch.linalg.solve(self.gram + RIDGE * scale * eye, self.cross)

    def belief(self, weights: torch.Tensor) -> torch.Tensor:
        """How far maps learnt of other texts hold here, 0 to 1, for each head's K and V."""
        dim = weights.shape[2] // 2
        agreed = (weights * self.cross).sum(1).view(-1, 2, dim).sum(2)
        told = (weights * (self.gram @ weights)).sum(1).view(-1, 2, dim).sum(2)
        share = torch.where(told > 0, agreed / told.clamp_min(1e-30), torch.zeros_like(told))
        return share.clamp(0, 1).repeat_interleave(dim, dim=1)[:, None]


def learn(model: Any, plane: Plane, texts: Sequence[Sequence[int]], piece: int) -> Settling:
    """Learns what text in front does: see `learn_settling`."""
    if len(texts) < TEXTS_MIN:
        raise FieldError("texts", len(texts), f"at least {TEXTS_MIN}")
    if piece <= FIRST_TOKEN:
        raise FieldError("pieceTokens", piece, f"above {FIRST_TOKEN}")
    for number, text in enumerate(texts):
        if len(text) < PIECES * piece:
            raise FieldError("tokenCount", len(text), f"{PIECES * piece} in text {number}")
    parts = [[list(text[n * piece : (n + 1) * piece]) for n in range(PIECES)] for text in texts]
    learnt = {facts.number: _Sums(facts) for facts in plane.layers}
    held = {facts.number: _Sums(facts) for facts in plane.layers}
    for number, own in enumerate(parts):
        pieces = own
        if number % 2:
            foreign = [parts[(number + far) % len(parts)] for far in FOREIGN]
            pieces = [foreign[0][0], foreign[1][1], own[2]]
        is_held = number % HELD_EVERY == HELD_EVERY - 1
        _add(model, plane, pieces, held if is_held else learnt)
    layers = []
    for facts in plane.layers:
        weights = learnt[facts.number].solved()
        weights *= held[facts.number].belief(weights)
        layers.append(LayerSettling(facts.number, weights.float().contiguous()))
    return Settling(tuple(layers))


def _add(model: Any, plane: Plane, pieces: list[list[int]], sums: dict[int, _Sums]) -> None:
    whole = prefill(model, [token for piece in pieces for token in piece])
    start = len(pieces[0])
    for piece in pieces[1:]:
        alone = prefill(model, piece)
        for facts in plane.layers:
            there, here = whole.layers[facts.number], alone.layers[facts.number]
            span = slice(start, start + len(piece))
            places = range(start, start + len(piece))
            keys = turned(here.keys[0].float(), facts.rope, range(len(piece)), -1)
            behind = turned(there.keys[0, :, span].float(), facts.rope, places, -1)
            values, after = here.values[0].float(), there.values[0, :, span].float()
            change = torch.cat([behind - keys, after - values], dim=-1)
            inputs = features(keys, values, 0)
            sums[facts.number].add(inputs[:, FIRST_TOKEN:], change[:, FIRST_TOKEN:])
        start += len(piece)


def is_there(
    client: Any, plane: Plane, document: Document, settling: Settling | Lead,
    timeout: float | None,
) -> bool:
    """Whether all chunks of a document are stored as this settling or lead makes them."""
    name = settling.name
    keys = [plane.key(settled_hash(chunk, name)) for chunk in document.hashes]
    return all(client.exists(keys, timeout=timeout))


def store(
    client: Any, plane: Plane, document: Document, settling: Settling, timeout: float | None
) -> int:
    """Settles the stored chunks of a document and stores what comes of it; returns bytes sent.

    Each hangs under the chunk that it was made of, and is purged with it. Raises
    DocumentUnavailable for a chunk that is gone, FieldError naming `settling` for one of another
    model, and the client's errors.
    """
    maps = {
        facts.number: settling.layer(facts.number, facts.kv_heads, facts.head_dim)
        for facts in plane.layers
    }
    name, size, sent = settling.name, document.chunk_tokens, 0
    batch = max(1, _store.STAGING_BYTES // plane.chunk_bytes(size))
    chunks = len(document.hashes)
    for start in range(0, chunks, batch):
        puts = []
        for chunk in range(start, min(start + batch, chunks)):
            first = chunk * size
            tokens = min(size, document.token_count - first)
            buffer = torch.empty((1, plane.chunk_bytes(tokens)), dtype=torch.uint8)
            source = document.hashes[chunk]
            get = Get(key=plane.key(source), buffer=memoryview(buffer[0].numpy()))
            result = client.get_into([get], timeout=timeout)[0]
            if not result.hit or result.nbytes != buffer.numel():
                raise DocumentUnavailable(
                    document.name, f"chunk {chunk} of {chunks}", result.cause
                )
            for facts, view in plane.views(buffer, plane.layers, tokens):
                keys, values = settled(
                    maps[facts.number], facts.rope, view[0, 0], view[0, 1], first
                )
                view[0, 0], view[0, 1] = keys, values
            puts.append(_put(plane, source, name, buffer, first, tokens))
        sent += put_all(client, puts, timeout)
    return sent


def store_behind(
    model: Any, client: Any, plane: Plane, document: Document, ids: Sequence[int], lead: Lead,
    timeout: float | None,
) -> int:
    """Computes a document behind a lead and stores its own KV, its first token at position 0.

    Each chunk hangs under the one that was computed alone. Returns bytes sent; raises the client's
    errors.
    """
    cache = prefill(model, [*lead.ids, *ids])
    before, size, sent = len(lead.ids), document.chunk_tokens, 0
    batch = max(1, _store.STAGING_BYTES // plane.chunk_bytes(size))
    for start in range(0, len(document.hashes), batch):
        puts = []
        for chunk, source in list(enumerate(document.hashes))[start : start + batch]:
            first = chunk * size
            tokens = min(size, document.token_count - first)
            buffer = torch.empty((1, plane.chunk_bytes(tokens)), dtype=torch.uint8)
            span = slice(before + first, before + first + tokens)
            for facts, view in plane.views(buffer, plane.layers, tokens):
                layer = cache.layers[facts.number]
                view[0, 0] = turn(layer.keys[0, :, span], facts.rope, -before)
                view[0, 1] = layer.values[0, :, span]
            puts.append(_put(plane, source, lead.name, buffer, first, tokens))
        sent += put_all(client, puts, timeout)
    return sent


def _put(
    plane: Plane, source: bytes, name: bytes, buffer: torch.Tensor, first: int, tokens: int
) -> Put:
    return Put(
        key=plane.key(settled_hash(source, name)),
        buffers=[memoryview(buffer[0].numpy())],
        parent=source,
        first_token=first,
        token_count=tokens,
    )
