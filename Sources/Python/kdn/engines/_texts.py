"""The texts of a document's tokens, from the tokenizer that made them: see kdn.token_texts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from kdn.errors import FieldError
from kdn.token_texts import TokenTexts

if TYPE_CHECKING:
    from kdn.compose import Span


def texts_of(tokenizer: Any, text: str | None, ids: Sequence[int]) -> TokenTexts | None:
    """What each token of `ids` stands for; the text is that of the tokens if it is None.

    None where it cannot be told: the tokenizer gives no offsets, makes other tokens of the text,
    or the text is too long.
    """
    wanted = list(ids)
    for special in (True, False) if text is None else (True,):
        given = text
        try:
            if given is None:
                given = tokenizer.decode(wanted, skip_special_tokens=special)
            made = tokenizer(given, add_special_tokens=special, return_offsets_mapping=True)
            offsets = made["offset_mapping"]
        except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError):
            return None
        if list(made["input_ids"]) == wanted and len(offsets) == len(wanted):
            return _texts(given, offsets)
    return None


def _texts(text: str, offsets: Sequence[Span]) -> TokenTexts | None:
    """From characters to bytes; what belongs to no token belongs to the one behind it.

    Tokens that share the bytes of a character have each a part of them, so that none is missed
    where the character is looked for.
    """
    # A lone surrogate is a character without UTF-8: nothing can be said of such a text.
    try:
        lengths = [len(char.encode()) for char in text]
    except UnicodeEncodeError:
        return None
    byte_at = [0, *accumulate(lengths)]
    ends: list[int] = []
    done, first = 0, 0
    stops = [stop if stop > start else 0 for start, stop in offsets]
    while first < len(stops):
        stop, last = stops[first], first + 1
        while stop and last < len(stops) and stops[last] == stop:
            last += 1
        end = max(done, byte_at[stop])
        # The first of several may begin before the character that they share.
        shared = max(done, byte_at[min(offsets[last - 1][0], stop)])
        parts, share = last - first, end - shared
        ends += [shared + share * part // parts for part in range(1, parts + 1)]
        done, first = end, last
    if not ends:
        return None
    try:
        # What is behind the last token, such as white space, belongs to none.
        return TokenTexts(tuple(ends), text.encode()[:done])
    except FieldError:
        return None
