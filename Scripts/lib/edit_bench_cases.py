"""Cases of the edit benchmark: texts of 750 tokens with four passkeys, one of them marked."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CONTEXT_TOKENS = 750
CONTINUED_TOKENS = 64
FACTS = 4
# Beyond this distance from where another fact stands no fact is put.
APART_TOKENS = 60
NAMES = (
    "Karen", "Peter", "Maria", "Oliver", "Susan", "Frank", "Helen", "Victor",
    "Diana", "Martin", "Laura", "George", "Alice", "Robert", "Nancy", "Simon",
)  # fmt: skip

Encode = Callable[[str], tuple[int, ...]]
Span = tuple[int, int]


@dataclass(frozen=True)
class Fact:
    """A sentence in a context; spans are `[start, end)` in the context's tokens."""

    name: str
    number: str
    sentence: Span
    digits: Span


@dataclass(frozen=True)
class Case:
    """A context, its facts, which of them is marked, and how the text without facts goes on."""

    ids: tuple[int, ...]
    facts: tuple[Fact, ...]
    marked: int
    continued: tuple[int, ...]


def named(name: str) -> str:
    """A question after one fact."""
    return f"\n\nQuestion: What is the passkey of {name}?\nAnswer: The passkey of {name} is"


AMBIGUOUS = "\n\nQuestion: What is the passkey?\nAnswer: The passkey is"


def cases(filler: Sequence[int], encode: Encode, count: int, seed: int = 8) -> list[Case]:
    """`count` cases, the same for the same arguments; each fact's place is marked equally often.

    `filler` is the text's tokens; raises ValueError if it is too short for so many cases.
    """
    step = CONTEXT_TOKENS + CONTINUED_TOKENS
    if len(filler) < count * step:
        raise ValueError(f"{count} cases take {count * step} tokens, the text has {len(filler)}")
    found = []
    for number in range(count):
        source = random.Random(f"{seed}/{number}")
        found.append(_case(filler[number * step :], encode, source, number % FACTS))
    return found


def _case(filler: Sequence[int], encode: Encode, source: random.Random, marked: int) -> Case:
    names = source.sample(NAMES, FACTS)
    numbers = [str(n) for n in source.sample(range(10_000, 100_000), FACTS)]
    pieces = [
        (encode(f"\nThe passkey of {name} is"), encode(f" {number}"), encode(".\n"))
        for name, number in zip(names, numbers)
    ]
    room = CONTEXT_TOKENS - sum(len(part) for piece in pieces for part in piece)
    places = _places(source, room)
    ids: list[int] = []
    facts = []
    used = 0
    for name, number, place, (head, digits, tail) in zip(names, numbers, places, pieces):
        ids += filler[used:place]
        used = place
        start = len(ids)
        ids += [*head, *digits, *tail]
        middle = start + len(head)
        # The line break in front is no part of the sentence.
        facts.append(
            Fact(name, number, (start + 1, len(ids) - 1), (middle, middle + len(digits)))
        )
    ids += filler[used:room]
    continued = filler[room : room + CONTINUED_TOKENS]
    return Case(tuple(ids), tuple(facts), marked, tuple(continued))


def _places(source: random.Random, room: int) -> list[int]:
    """Where facts are put into the filler: one in each quarter, none at its edges."""
    quarter = room // FACTS
    half = APART_TOKENS // 2
    return [source.randrange(n * quarter + half, (n + 1) * quarter - half) for n in range(FACTS)]
