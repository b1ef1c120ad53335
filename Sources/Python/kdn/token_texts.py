"""The text that each token of a document stands for: finds the tokens of a phrase.

Whoever learns a document stores it beside the KV, since neither the server nor its other clients
have a tokenizer. What is found is what `kdn edit add --text` finds.
"""

from __future__ import annotations

import array
import struct
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from kdn.compose import Span
from kdn.documents import Document
from kdn.errors import FieldError
from kdn.keys import Key

TOKENS_MAX = 1 << 20
TEXT_BYTES_MAX = 16 << 20
PHRASE_BYTES_MAX = 4096
_NAME = b"kdn/1/document-texts/"
_MAGIC = b"KDNX"
_VERSION = 1
_HEADER = struct.Struct("<4sHHII")
_U32 = next(code for code in "IL" if array.array(code).itemsize == 4)


@dataclass(frozen=True, slots=True)
class FoundText:
    """Where a phrase stands: spans `(start, end)` of tokens of the document of this epoch."""

    epoch: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class TokenTexts:
    """The offset behind each token's last byte, and the text.

    A token may stand for no bytes, and may end within a character. Raises FieldError naming
    `tokenCount`, `textBytes` or `end`.
    """

    ends: Sequence[int]
    text: bytes

    def __post_init__(self) -> None:
        _check(len(self.ends), len(self.text))
        previous = 0
        for end in self.ends:
            if end < previous:
                raise FieldError("end", end, f"not before {previous}")
            previous = end
        if previous != len(self.text):
            raise FieldError("end", previous, f"the text's length, {len(self.text)}, at last")

    @classmethod
    def decode(cls, data: bytes) -> TokenTexts:
        """Reads an object; raises FieldError naming what is wrong with it."""
        if len(data) < _HEADER.size:
            raise FieldError("length", len(data), f"at least {_HEADER.size}")
        magic, version, reserved, tokens, text_bytes = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise FieldError("magic", magic, _MAGIC)
        if version != _VERSION:
            raise FieldError("version", version, _VERSION)
        if reserved:
            raise FieldError("reserved", reserved, 0)
        _check(tokens, text_bytes)
        start = _HEADER.size + 4 * tokens
        if len(data) != start + text_bytes:
            raise FieldError("length", len(data), start + text_bytes)
        ends = array.array(_U32)
        ends.frombytes(data[_HEADER.size : start])
        if sys.byteorder == "big":
            ends.byteswap()
        return cls(tuple(ends), data[start:])

    def encode(self) -> bytes:
        """The object's bytes."""
        ends = array.array(_U32, self.ends)
        if sys.byteorder == "big":
            ends.byteswap()
        header = _HEADER.pack(_MAGIC, _VERSION, 0, len(self.ends), len(self.text))
        return header + ends.tobytes() + self.text

    def spans(
        self, phrase: str, *, occurrence: int | None = None, everywhere: bool = False
    ) -> tuple[Span, ...]:
        """The tokens that stand for any byte of a phrase: of the only occurrence, of the one of
        this number, from 1, or of all.

        Occurrences do not overlap. Raises FieldError naming `text` for a phrase that is empty, too
        long, not there or there more than once (its value is how often), and `occurrence`.
        """
        wanted = phrase.encode()
        if not 1 <= len(wanted) <= PHRASE_BYTES_MAX:
            raise FieldError("text", len(wanted), f"1 to {PHRASE_BYTES_MAX} bytes")
        if everywhere and occurrence is not None:
            raise FieldError("occurrence", occurrence, "none where all are meant")
        count = self.text.count(wanted)
        if not count:
            raise FieldError("text", 0, "a phrase that occurs in the document")
        if occurrence is not None and not 1 <= occurrence <= count:
            raise FieldError("occurrence", occurrence, f"1 to {count}")
        if count > 1 and occurrence is None and not everywhere:
            raise FieldError("text", count, "one occurrence, unless told which, or all")
        first_one = (occurrence or 1) - 1
        found: list[Span] = []
        for start in islice(self._starts(wanted), first_one, None if everywhere else first_one + 1):
            first, end = self._tokens(start, start + len(wanted))
            # Two occurrences may share a token, or follow one another.
            if found and found[-1][1] >= first:
                found[-1] = (found[-1][0], max(found[-1][1], end))
            else:
                found.append((first, end))
        return tuple(found)

    def _starts(self, wanted: bytes) -> Iterator[int]:
        start = self.text.find(wanted)
        while start >= 0:
            yield start
            start = self.text.find(wanted, start + len(wanted))

    def _tokens(self, start: int, end: int) -> Span:
        return bisect_right(self.ends, start), bisect_left(self.ends, end) + 1


def texts_key(document: Document) -> Key:
    """The opaque object with the texts of a document's tokens."""
    return Key.opaque(_NAME + document.hashes[-1])


def find(
    data: bytes | None,
    document: Document,
    epoch: int,
    phrase: str,
    occurrence: int | None,
    everywhere: bool,
) -> FoundText:
    """Finds a phrase in what is stored of a document, None if nothing is.

    Raises FieldError naming `texts` where that is nothing or of other tokens, and as `spans`.
    """
    if data is None:
        raise FieldError("texts", None, "kept beside the document: without them, give token ranges")
    texts = TokenTexts.decode(data)
    if len(texts.ends) != document.token_count:
        raise FieldError("texts", len(texts.ends), f"of {document.token_count} tokens")
    return FoundText(epoch, texts.spans(phrase, occurrence=occurrence, everywhere=everywhere))


def _check(tokens: int, text_bytes: int) -> None:
    if not 1 <= tokens <= TOKENS_MAX:
        raise FieldError("tokenCount", tokens, f"1 to {TOKENS_MAX}")
    if text_bytes > TEXT_BYTES_MAX:
        raise FieldError("textBytes", text_bytes, TEXT_BYTES_MAX)
