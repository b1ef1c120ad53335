"""Which slot serves which request, and what each slot is believed to hold."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from kdn.engines.llamacpp.rules import common_prefix


@dataclass
class Slot:
    """What is known of a slot: the tokens it holds, and that up to `extra` more may follow.

    Only speed depends on this being true: the server compares tokens itself.
    """

    number: int
    tokens: Sequence[int] = field(default_factory=lambda: array("i"))
    extra: int = 0
    busy: bool = False
    used: int = 0

    def shared(self, prompt: Sequence[int]) -> int:
        """How many tokens of a prompt it holds for sure."""
        return common_prefix(self.tokens, prompt)

    def possible(self, prompt: Sequence[int]) -> int:
        """How many tokens of a prompt it can hold at most."""
        shared = self.shared(prompt)
        return shared + self.extra if shared == len(self.tokens) else shared


def best_slot(slots: Sequence[Slot], prompt: Sequence[int], min_tokens: int) -> Slot | None:
    """The free slot that holds most of a prompt; if none holds enough, the one longest unused."""
    free = [slot for slot in slots if not slot.busy]
    if not free:
        return None
    shares = {slot.number: slot.shared(prompt) for slot in free}
    return max(
        free,
        key=lambda s: (shares[s.number] if shares[s.number] >= min_tokens else 0, -s.used),
    )


class SlotPool:
    """The slots of one server, lent to one request each. Thread-safe."""

    def __init__(self, count: int) -> None:
        self._slots = [Slot(number) for number in range(count)]
        self._changed = threading.Condition()
        self._uses = 0

    def borrow(self, prompt: Sequence[int], min_tokens: int, timeout: float) -> Slot | None:
        """A slot for a prompt; None if none became free in time."""
        with self._changed:
            self._changed.wait_for(lambda: any(not s.busy for s in self._slots), timeout)
            slot = best_slot(self._slots, prompt, min_tokens)
            if slot is not None:
                self._uses += 1
                slot.busy, slot.used = True, self._uses
            return slot

    def give_back(self, slot: Slot) -> None:
        """Lets others have a slot."""
        with self._changed:
            slot.busy = False
            self._changed.notify()
