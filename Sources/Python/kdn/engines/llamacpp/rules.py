"""What to fetch, what to store, what to trust: decisions without I/O or clocks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kdn.engines.llamacpp.records import PrefixEntry
from kdn.engines.llamacpp.settings import StateSettings

_TIMINGS = re.compile(rb'"timings"\s*:\s*(\{[^{}]*\})')


@dataclass(frozen=True)
class Timings:
    """What the server counted for one request: prompt tokens taken from the slot, prompt tokens
    computed, tokens generated; microseconds spent on the prompt."""

    cached: int
    computed: int
    generated: int
    prompt_us: int

    @property
    def prompt(self) -> int:
        """All tokens of the prompt."""
        return self.cached + self.computed


def timings_of(tail: bytes) -> Timings | None:
    """The last `timings` in the end of an answer (JSON or server-sent events), if any."""
    found = _TIMINGS.findall(tail)
    if not found:
        return None
    try:
        facts = json.loads(found[-1])
        return Timings(
            int(facts["cache_n"]),
            int(facts["prompt_n"]),
            int(facts["predicted_n"]),
            int(float(facts["prompt_ms"]) * 1000),
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences share from their starts."""
    count = min(len(a), len(b))
    if a[:count] == b[:count]:
        return count
    return next((i for i in range(count) if a[i] != b[i]), count)


def worth_restoring(
    entry: PrefixEntry, shared: int, in_slot: int, context: int, settings: StateSettings
) -> bool:
    """Whether to fetch a state that shares `shared` tokens with a prompt.

    `in_slot` tokens of the prompt are in the slot anyway; `context` is what the slot can hold.
    """
    return (
        shared - in_slot >= settings.min_tokens
        and shared <= entry.tokens <= min(context, shared * settings.waste)
        and entry.nbytes <= settings.state_bytes_max
    )


def worth_saving(prompt: int, covered: int, settings: StateSettings) -> bool:
    """Whether to store a state whose prompt has `covered` tokens in stored states already.

    The share that must be new keeps the sum of all states of a growing conversation within a
    constant factor of its last one.
    """
    new = prompt - covered
    return (
        prompt >= settings.chunk_tokens
        and new >= settings.min_tokens
        and new >= prompt * settings.growth
    )


def replaces(new: PrefixEntry, old: PrefixEntry, settings: StateSettings) -> bool:
    """Whether a chunk's entry should name the new state: it is much shorter, so cheaper to use."""
    return new.tokens * settings.waste <= old.tokens


def computed_as_told(prompt: int, timings: Timings | None, possible: int) -> bool:
    """Whether the slot's KV is that of the prompt's tokens, as far as the server's counts tell.

    `possible` is how many of the prompt's tokens the slot can have held. More than that were
    reused: KV was moved from elsewhere (--cache-reuse), which is near to the KV of these tokens
    and not the same.
    """
    return timings is not None and timings.prompt == prompt and timings.cached <= possible


def holds_all(state: Sequence[int], prompt: Sequence[int], timings: Timings) -> bool:
    """Whether a saved state is the prompt and all that was generated, but for the last token.

    A shifted context, or another request in between, left other tokens or fewer.
    """
    total = timings.prompt + timings.generated
    return len(state) in (total, total - 1) and common_prefix(state, prompt) == len(prompt)
