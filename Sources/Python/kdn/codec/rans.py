"""rANS in numpy: many streams of 32 lanes, taken one step at a time, all streams together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kdn.codec.blocks import LANES, STATE_LEAST, Stream
from kdn.codec.errors import EncodingError

ESCAPE = -128

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tables:
    """Slots of some tables, one after the other: what a state's low bits decode to.

    Table 0 does nothing: it is that of lanes without a number.
    """

    bits: int
    symbols: npt.NDArray[np.int8]
    frequencies: npt.NDArray[np.int32]
    biases: npt.NDArray[np.int32]

    @staticmethod
    def of(bits: int, rows: Sequence[Sequence[tuple[int, int]]]) -> Tables:
        """From (symbol, frequency) pairs of tables 1, 2, …, in the order of their slots."""
        size = 1 << bits
        symbols = np.zeros((len(rows) + 1, size), np.int8)
        frequencies = np.full((len(rows) + 1, size), size, np.int32)
        biases = np.tile(np.arange(size, dtype=np.int32), (len(rows) + 1, 1))
        for number, row in enumerate(rows, 1):
            place = 0
            for symbol, frequency in row:
                end = place + frequency
                symbols[number, place:end] = symbol
                frequencies[number, place:end] = frequency
                biases[number, place:end] = np.arange(frequency)
                place = end
            if place != size:
                raise EncodingError("table.sum", place, size)
        return Tables(bits, symbols.ravel(), frequencies.ravel(), biases.ravel())


def joined_tables(parts: Sequence[Tables]) -> tuple[Tables, list[int]]:
    """Tables of several blocks in one, and by how much each block's classes move.

    The table that does nothing stands once, at the beginning.
    """
    size = 1 << parts[0].bits
    moved: list[int] = []
    count = 0
    for part in parts:
        moved.append(count)
        count += len(part.symbols) // size - 1
    rows = [parts[0].symbols[:size], *(part.symbols[size:] for part in parts)]
    frequencies = [parts[0].frequencies[:size], *(part.frequencies[size:] for part in parts)]
    biases = [parts[0].biases[:size], *(part.biases[size:] for part in parts)]
    joined = Tables(
        parts[0].bits, np.concatenate(rows), np.concatenate(frequencies), np.concatenate(biases)
    )
    return joined, moved


def decode_streams(
    streams: Sequence[Stream], tables: Tables, moved: Sequence[int] | None = None
) -> list[npt.NDArray[np.int32]]:
    """The numbers of each stream, `[token, coded number]`; `moved` is that of joined tables.

    Raises EncodingError where a stream does not end as it must.
    """
    found: list[npt.NDArray[np.int32] | None] = [None] * len(streams)
    for tokens in {stream.tokens for stream in streams}:
        chosen = [n for n, stream in enumerate(streams) if stream.tokens == tokens]
        shifts = [0 if moved is None else moved[n] for n in chosen]
        symbols = _decode_equal([streams[n] for n in chosen], tables, tokens, shifts)
        for n, rows in zip(chosen, symbols):
            found[n] = with_escapes(rows, streams[n])
    return [rows for rows in found if rows is not None]


def lane_tables(streams: Sequence[Stream], shifts: Sequence[int]) -> npt.NDArray[np.int64]:
    """The table of each lane, `[lane block, stream, lane]`; 0 where there is no number.

    A stream's classes are moved by its shift.
    """
    blocks = max((stream.lane_blocks for stream in streams), default=0)
    rows = np.zeros((len(streams), blocks * LANES), np.int64)
    for row, stream, shift in zip(rows, streams, shifts):
        classes = stream.classes[stream.coded]
        row[: len(classes)] = classes.astype(np.int64) + shift
    return rows.reshape(len(streams), blocks, LANES).swapaxes(0, 1)


def joined_words(streams: Sequence[Stream]) -> tuple[Any, Integers]:
    """All streams' words in one array, with room to read too far, and where each begins."""
    room = np.zeros(LANES, np.uint16)
    parts = [part for stream in streams for part in (stream.words, room)]
    lengths = np.array([len(stream.words) + LANES for stream in streams], np.int64)
    return np.concatenate(parts), np.cumsum(lengths) - lengths


def check_ends(streams: Sequence[Stream], states: Any, used: Any) -> None:
    """Raises EncodingError unless all words were used and all states are as at the beginning."""
    for stream, ends, words in zip(streams, states, used):
        if int(words) != len(stream.words):
            raise EncodingError("block.wordCount", len(stream.words), int(words))
        if not bool((ends == STATE_LEAST).all()):
            raise EncodingError("block.states", "at the end", "all 2^16")


def _decode_equal(
    streams: Sequence[Stream], tables: Tables, tokens: int, shifts: Sequence[int]
) -> list[npt.NDArray[np.int8]]:
    lanes = lane_tables(streams, shifts)
    words, starts = joined_words(streams)
    limits = (starts + np.array([len(s.words) for s in streams]))[:, None]
    places = starts[:, None].copy()
    states = np.stack([stream.states for stream in streams]).astype(np.int64)
    symbols = np.empty((len(lanes), tokens, len(streams), LANES), np.int8)
    mask = (1 << tables.bits) - 1
    for block, lane_table in enumerate(lanes << tables.bits):
        for token in range(tokens):
            slots = lane_table + (states & mask)
            symbols[block, token] = tables.symbols[slots]
            states = tables.frequencies[slots] * (states >> tables.bits) + tables.biases[slots]
            needs = states < STATE_LEAST
            ranks = np.cumsum(needs, axis=1)
            source = np.minimum(places + ranks - 1, limits)
            states = np.where(needs, states << 16 | words[source], states)
            places += ranks[:, -1:]
    check_ends(streams, states, places[:, 0] - starts)
    return [symbols[:, :, number] for number in range(len(streams))]


def with_escapes(symbols: npt.NDArray[np.int8], stream: Stream) -> npt.NDArray[np.int32]:
    """Symbols `[lane block, token, lane]` as numbers `[token, number]`, escapes filled in."""
    numbers = symbols.astype(np.int32)
    escaped = symbols == ESCAPE
    count = int(np.count_nonzero(escaped))
    if count != len(stream.escapes):
        raise EncodingError("block.escapeCount", len(stream.escapes), count)
    numbers[escaped] = stream.escapes
    rows = numbers.swapaxes(0, 1).reshape(stream.tokens, len(numbers) * LANES)
    return rows[:, : len(stream.coded)]
