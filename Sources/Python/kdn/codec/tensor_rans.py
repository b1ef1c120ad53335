"""rANS as tensor operations: 32 lanes of all streams at once, on whatever device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from kdn.codec.blocks import LANES, STATE_LEAST, Stream
from kdn.codec.errors import EncodingError
from kdn.codec.rans import ESCAPE, Tables, check_ends, joined_words, lane_tables


class TensorTables:
    """Slots of tables on a device."""

    def __init__(self, tables: Tables, device: torch.device) -> None:
        self.bits = tables.bits
        self.symbols = torch.from_numpy(tables.symbols).to(device)
        self.frequencies = torch.from_numpy(tables.frequencies.astype(np.int64)).to(device)
        self.biases = torch.from_numpy(tables.biases.astype(np.int64)).to(device)
        self.device = device


def decode_streams(
    streams: Sequence[Stream], tables: TensorTables, moved: Sequence[int] | None = None
) -> list[torch.Tensor]:
    """The numbers of each stream, int32 `[token, coded number]`, on the tables' device.

    Raises EncodingError where a stream does not end as it must.
    """
    found: dict[int, torch.Tensor] = {}
    for tokens in {stream.tokens for stream in streams}:
        chosen = [n for n, stream in enumerate(streams) if stream.tokens == tokens]
        rows = [streams[n] for n in chosen]
        shifts = [0 if moved is None else moved[n] for n in chosen]
        for n, numbers in zip(chosen, _decode_equal(rows, tables, tokens, shifts)):
            found[n] = numbers
    return [found[n] for n in range(len(streams))]


def _decode_equal(
    streams: Sequence[Stream], tables: TensorTables, tokens: int, shifts: Sequence[int]
) -> list[torch.Tensor]:
    device = tables.device
    lanes = lane_tables(streams, shifts)
    bases = torch.from_numpy(lanes << tables.bits).to(device)
    joined, starts = joined_words(streams)
    words = torch.from_numpy(joined.astype(np.int64)).to(device)
    first = torch.from_numpy(starts).to(device)[:, None]
    lengths = np.array([len(stream.words) for stream in streams], np.int64)
    limits = first + torch.from_numpy(lengths).to(device)[:, None]
    # One before the next word, so that the n-th lane that needs one adds n.
    places = first - 1
    states = torch.from_numpy(np.stack([s.states for s in streams]).astype(np.int64)).to(device)
    symbols = torch.empty(
        (len(bases), tokens, len(streams), LANES), dtype=torch.int8, device=device
    )
    mask = (1 << tables.bits) - 1
    for block, base in enumerate(bases):
        for token in range(tokens):
            slots = base + (states & mask)
            symbols[block, token] = tables.symbols[slots]
            states = tables.frequencies[slots] * (states >> tables.bits) + tables.biases[slots]
            needs = states < STATE_LEAST
            ranks = needs.cumsum(1)
            source = torch.minimum(places + ranks, limits).clamp_(min=0)
            states = torch.where(needs, states << 16 | words[source], states)
            places = places + ranks[:, -1:]
    used = (places - first + 1)[:, 0]
    check_ends(streams, states.cpu().numpy(), used.cpu().numpy())
    rows = symbols.permute(2, 1, 0, 3).reshape(len(streams), tokens, len(bases) * LANES)
    in_order = symbols.unbind(2)
    return [_with_escapes(*one) for one in zip(rows, in_order, streams)]


def _with_escapes(row: torch.Tensor, in_order: torch.Tensor, stream: Stream) -> torch.Tensor:
    """Numbers `[token, number]`; `in_order` has the same symbols in the order of the stream."""
    coded = len(stream.coded)
    count = int((in_order == ESCAPE).sum())
    if count != len(stream.escapes):
        raise EncodingError("block.escapeCount", len(stream.escapes), count)
    if count == 0:
        return row[:, :coded].to(torch.int32)
    numbers = in_order.to(torch.int32)
    escapes = torch.from_numpy(stream.escapes.astype(np.int32)).to(row.device)
    numbers[in_order == ESCAPE] = escapes
    return numbers.permute(1, 0, 2).reshape(row.shape)[:, :coded]
