"""One rank's payload out of parts that were written at another tensor or pipeline parallel size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy

from kdn.errors import FieldError
from kdn.keys import Part
from kdn.results import Get

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdn.engines.vllm.rank_plane import RankPlane


@dataclass
class Cover:
    """The fetches that make up a payload, some of them beside it.

    Once all of `gets` have hit, `finish` brings what came beside the payload to its place.
    """

    gets: list[Get]
    _moves: list[tuple[numpy.ndarray, numpy.ndarray]] = field(default_factory=list)

    def finish(self) -> None:
        """Copies heads that could not be received in place; nothing to do for the own parts."""
        for target, source in self._moves:
            numpy.copyto(target, source.reshape(target.shape))


def cover(
    plane: RankPlane,
    grid: Sequence[Part],
    chunk_hash: bytes,
    out: numpy.ndarray,
    layers: range | None = None,
) -> Cover:
    """The fetches of this rank's payload of a chunk, or of some neighbouring `layers` of it.

    `grid` are the parts that the chunk was stored in, `out` the payload's bytes (uint8). Whole
    heads of a layer are received where they belong; where several parts share a layer's heads
    they are received beside it. Raises FieldError if the parts do not make up this rank's part
    exactly once, or if `out` has another size.
    """
    chosen = range(len(plane.layers)) if layers is None else layers
    start, length = plane.layer_range(chosen[0], len(chosen))
    if out.dtype != numpy.uint8 or out.shape != (length,) or not out.flags.c_contiguous:
        raise FieldError("out", (out.dtype.name, *out.shape), f"{length} of uint8, contiguous")
    sizes = _layer_sizes(plane, chosen, start)
    covered = dict.fromkeys(sizes, 0)
    found = Cover([])
    for part in grid:
        mine = _overlap(plane, part, sizes)
        if mine is None:
            continue
        held, head, heads = mine
        for number in held:
            mask = ((1 << heads) - 1) << head
            if covered[number] & mask:
                raise FieldError("grid", part, "parts that share no head of a layer")
            covered[number] |= mask
        wanted = _selection(part, held, head, heads)
        _fetch(plane, part, wanted, chunk_hash, out, [sizes[n] for n in held], found)
    own = ((1 << plane.part.kv_head_count) - 1) << plane.part.first_kv_head
    missing = [number for number, heads in covered.items() if heads != own]
    if missing:
        raise FieldError("grid", missing[:4], "parts that hold all heads of these layers")
    return found


def _layer_sizes(plane: RankPlane, chosen: range, start: int) -> dict[int, tuple[int, int]]:
    """(offset in `out`, length) of each chosen layer, by its number in the layout."""
    rows = plane.layout.layer_ranges(plane.part, plane.chunk_tokens)
    return {rows[i][0]: (rows[i][1] - start, rows[i][2]) for i in chosen}


def _overlap(
    plane: RankPlane, part: Part, sizes: dict[int, tuple[int, int]]
) -> tuple[list[int], int, int] | None:
    """Which of the wanted layers a stored part holds, its first head that is wanted, and how many.

    Heads are absolute; None if nothing of it is wanted.
    """
    own = plane.part
    first = max(own.first_kv_head, part.first_kv_head)
    end = min(own.first_kv_head + own.kv_head_count, part.first_kv_head + part.kv_head_count)
    span = range(part.first_layer, part.first_layer + part.layer_count)
    held = [number for number in sizes if number in span]
    return (held, first, end - first) if held and end > first else None


def _selection(part: Part, held: list[int], head: int, heads: int) -> Part:
    return Part(held[0], held[-1] - held[0] + 1, head, heads)


def _fetch(
    plane: RankPlane,
    part: Part,
    wanted: Part,
    chunk_hash: bytes,
    out: numpy.ndarray,
    sizes: list[tuple[int, int]],
    found: Cover,
) -> None:
    """Adds the fetch of `wanted` out of the object of `part`."""
    whole = _same_layers(plane, part, wanted) and (
        (wanted.first_kv_head, wanted.kv_head_count) == (part.first_kv_head, part.kv_head_count)
    )
    key = plane.key(chunk_hash, part)
    selection = None if whole else wanted
    offset, end = sizes[0][0], sizes[-1][0] + sizes[-1][1]
    if wanted.kv_head_count == plane.part.kv_head_count:
        found.gets.append(Get(key, out[offset:end], part=selection))
        return
    aside = numpy.empty(plane.layout.bytes_per_token(wanted) * plane.chunk_tokens, numpy.uint8)
    found.gets.append(Get(key, aside, part=selection))
    first = wanted.first_kv_head - plane.part.first_kv_head
    used = 0
    for offset, length in sizes:
        heads = out[offset : offset + length].reshape(2, plane.part.kv_head_count, -1)
        target = heads[:, first : first + wanted.kv_head_count]
        found._moves.append((target, aside[used : used + target.size]))
        used += target.size


def _same_layers(plane: RankPlane, part: Part, wanted: Part) -> bool:
    def numbers(of: Part) -> list[int]:
        return [number for number, _ in plane.layout.layers_of(of)]

    return numbers(part) == numbers(wanted)
