"""Caches of `kdn bench replay`, written a second time and simply, without any cleverness."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

Requests = list[list[int]]


class Score(NamedTuple):
    hit: int
    stored: int
    written: int


def _front(request: list[int], held) -> int:
    for count, block in enumerate(request):
        if block not in held:
            return count
    return len(request)


def lru(requests: Requests, capacity: int) -> Score:
    held: OrderedDict[int, None] = OrderedDict()
    hit = stored = 0
    for request in requests:
        hit += _front(request, held)
        for block in request:
            if block not in held:
                stored += 1
                if len(held) == capacity:
                    held.popitem(last=False)
            held[block] = None
            held.move_to_end(block)
    return Score(hit, stored, stored)


def belady(requests: Requests, capacity: int) -> Score:
    """Looks for the next use of each block by reading on, which takes quadratic time."""
    uses = [block for request in requests for block in request]
    held: set[int] = set()
    hit = stored = now = 0

    def next_use(block: int) -> float:
        for place in range(now + 1, len(uses)):
            if uses[place] == block:
                return place
        return float("inf")

    for request in requests:
        hit += _front(request, held)
        for block in request:
            if block not in held:
                held.add(block)
                stored += 1
                if len(held) > capacity:
                    latest = max(held, key=lambda one: (next_use(one), one == block))
                    held.remove(latest)
                    stored -= latest == block
            now += 1
    return Score(hit, stored, stored)


def segments(
    requests: Requests, count: int, records: int, *, reinserts: bool, saved: int = 4
) -> Score:
    """A log of `count` segments of `records` blocks: two free, one open, oldest reclaimed."""
    parents = {
        block: before
        for request in requests
        for before, block in zip([None, *request], request)
    }
    depths = {block: place for request in requests for place, block in enumerate(request)}
    log: list[list[int]] = [[]]  # the last is the open one
    uses: dict[int, int] = {}
    hit = stored = written = 0
    allowance = 0

    def write(block: int) -> None:
        nonlocal written
        written += 1
        uses[block] = 0
        log[-1].append(block)
        if len(log[-1]) == records:
            log.append([])

    def reclaim() -> None:
        nonlocal allowance
        oldest = log.pop(0)
        # In half records, so that the half of an odd number is exact.
        allowance = min(allowance, 2 * records * saved) + records
        room = min(allowance // 2, records)
        children = [parents[block] for block in uses]

        def worth(block: int) -> int | None:
            """The fewest uses from the front of its chain in this segment; None if it is cut."""
            parent = parents[block]
            if uses[block] == 0 and children.count(block) < 2:
                return None
            if parent is None or (parent in uses and parent not in oldest):
                return uses[block]
            above = worth(parent) if parent in oldest else None
            return None if above is None else min(above, uses[block])

        wanted = [block for block in oldest if worth(block) is not None]
        wanted.sort(key=lambda block: (-worth(block), depths[block]))
        kept = set(wanted[:room] if reinserts else [])
        allowance -= 2 * len(kept)
        for block in oldest:
            if block not in kept:
                del uses[block]
        for block in oldest:
            if block in kept:
                write(block)

    for request in requests:
        hit += _front(request, uses)
        for block in request:
            if block in uses:
                uses[block] += 1
                continue
            stored += 1
            write(block)
            while len(log) > count - 2:
                reclaim()
    return Score(hit, stored, written)
