"""Parts of objects that went through a loss: fetched whole, since only then their class is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdn import bodies
from kdn.get_job import GetEntry, destination
from kdn.results import Get, GetResult, MissCause

if TYPE_CHECKING:
    from kdn.codec.container import Header
    from kdn.keys import Part


@dataclass
class Widened:
    """A whole object, and the items that want some of it."""

    whole: GetEntry
    narrow: list[GetEntry] = field(default_factory=list)
    header: Header | None = None

    def fill(self) -> None:
        """Gives each item its bytes of the object, which is decoded by now, or its cause."""
        found = self.whole.result
        for entry in self.narrow:
            result = entry.result
            result.cause = found.cause
            if not found.hit or found.data is None:
                continue
            spans = self._spans(entry)
            if spans is None:
                result.cause = MissCause.INEXACT
                continue
            count = sum(length for _, length in spans)
            view = destination(entry, count)
            if view is None:
                continue
            filled = 0
            for offset, length in spans:
                view[filled : filled + length] = memoryview(found.data)[offset : offset + length]
                filled += length
            result.hit, result.cause, result.nbytes = True, MissCause.NONE, count
            result.object_bytes, result.object_checksum = found.object_bytes, found.object_checksum
            result.codec, result.wire_bytes = found.codec, found.wire_bytes

    def _spans(self, entry: GetEntry) -> list[tuple[int, int]] | None:
        """(offset, length) of what the item selects; None if that cannot be told."""
        size = self.whole.result.nbytes
        if entry.item.ranges is not None:
            spans = entry.item.ranges
        elif entry.item.part is not None and self.header is not None:
            spans = spans_of(self.header, entry.item.part)
        else:
            return None
        inside = all(offset + length <= size for offset, length in spans)
        return list(spans) if spans and inside else None


def widen(entries: Sequence[GetEntry]) -> list[Widened]:
    """The objects that these items want some of, each once, in their order."""
    found: dict[bytes, Widened] = {}
    for entry in entries:
        key = entry.item.key
        if key.data not in found:
            item = Get(key)
            result = GetResult(False, MissCause.NEVER_STORED)
            found[key.data] = Widened(GetEntry(item, bodies.encode_get_item(item), None, result))
        found[key.data].narrow.append(entry)
    return list(found.values())


def spans_of(header: Header, part: Part) -> list[tuple[int, int]]:
    """Where the layers and heads of `part` lie in a decoded object; [] if it has not all of them.

    They come in canonical order, `[layer][K, V][kvHead][token][dim]`.
    """
    if header.part is None:
        return []
    head = part.first_kv_head - header.part.first_kv_head
    layers = range(part.first_layer, part.first_layer + part.layer_count)
    spans: list[tuple[int, int]] = []
    held = 0
    for row in header.planes:
        if row[0].layer not in layers:
            continue
        held += 1
        for shape in row:
            if head < 0 or head + part.kv_head_count > shape.heads:
                return []
            size = shape.byte_count // shape.heads
            spans.append((shape.offset + head * size, part.kv_head_count * size))
    return spans if held else []
