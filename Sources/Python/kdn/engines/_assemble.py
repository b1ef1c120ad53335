"""Assembles a blend's KV here, from documents' chunks: the twin of the server's COMPOSE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from kdn.blending.errors import DocumentUnavailable
from kdn.blending.rotation import turn
from kdn.blending.settling import settled_hash
from kdn.results import Get

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdn.blending.plan import BlendPlan, Placement
    from kdn.engines._documents import KnownDocument
    from kdn.engines._edits import Scales
    from kdn.engines._planes import Plane

STEP_BYTES = 64 << 20

Layers = dict[int, tuple[torch.Tensor, torch.Tensor]]


def assemble(
    client: Any,
    plane: Plane,
    documents: Sequence[KnownDocument],
    plan: BlendPlan,
    scales: Scales | None,
    timeout: float | None,
    settling: bytes | None = None,
) -> Layers:
    """K and V of each layer, `[1, kvHeads, rows, headDim]`, keys turned to their positions.

    Both are scaled as edits say. Documents but the first are read as they were settled, if
    `settling` names how. Raises DocumentUnavailable naming the document of which a chunk
    is missing or corrupt.
    """
    layers = {
        facts.number: tuple(
            torch.empty(
                (1, facts.kv_heads, plan.row_count, facts.head_dim),
                dtype=facts.dtype, device=facts.device,
            )
            for _ in range(2)
        )
        for facts in plane.layers
    }
    for number, (document, placement) in enumerate(zip(documents, plan.placements, strict=True)):
        hashes = document.hashes
        if settling is not None and number > 0:
            hashes = tuple(settled_hash(chunk, settling) for chunk in hashes)
        spans = document.chunk_spans()
        size = document.resolved.document.chunk_tokens
        count = max(1, STEP_BYTES // plane.chunk_bytes(size))
        for first in range(0, len(spans), count):
            _place(
                client, plane, document, hashes, placement, spans, first, count, layers, scales,
                timeout,
            )
    return layers


def _place(
    client: Any,
    plane: Plane,
    document: KnownDocument,
    hashes: Sequence[bytes],
    placement: Placement,
    spans: Sequence[tuple[int, int]],
    first: int,
    count: int,
    layers: Any,
    scales: Scales | None,
    timeout: float | None,
) -> None:
    """Fetches some chunks and puts their kept tokens to their rows."""
    chosen = range(first, min(first + count, len(spans)))
    tokens = [spans[chunk][1] - spans[chunk][0] for chunk in chosen]
    buffers = [torch.empty((1, plane.chunk_bytes(n)), dtype=torch.uint8) for n in tokens]
    gets = [
        Get(key=plane.key(hashes[chunk]), buffer=memoryview(buffer[0].numpy()))
        for chunk, buffer in zip(chosen, buffers, strict=True)
    ]
    results = client.get_into(gets, timeout=timeout)
    for chunk, n, buffer, result in zip(chosen, tokens, buffers, results, strict=True):
        if not result.hit or result.nbytes != buffer.numel():
            raise DocumentUnavailable(
                document.name, f"chunk {chunk} of {len(spans)}", result.cause
            )
        start = spans[chunk][0]
        kept, row = _kept(placement, start, start + n)
        if not len(kept):
            continue
        target = slice(row, row + len(kept))
        for facts, view in plane.views(buffer, plane.layers, n):
            part = view[0] if len(kept) == n else view[0][:, :, kept - start]
            key_scale = None if scales is None else scales.keys[target]
            value_scale = None if scales is None else scales.values[target]
            # Scaled first and rounded, as the server does, which may keep chunks so.
            layers[facts.number][0][0, :, target] = turn(
                turn(part[0], None, 0, key_scale), facts.rope, placement.first_position
            )
            layers[facts.number][1][0, :, target] = turn(part[1], None, 0, value_scale)


def _kept(placement: Placement, start: int, end: int) -> tuple[torch.Tensor, int]:
    """The kept tokens in `start ..< end` of a piece, and the row of the first."""
    before, kept = 0, []
    for first, last in placement.kept:
        before += max(0, min(last, start) - first)
        kept += range(max(first, start), min(last, end))
    return torch.tensor(kept, dtype=torch.long), placement.first_row + before
