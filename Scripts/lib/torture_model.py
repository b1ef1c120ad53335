"""What a daemon that is killed again and again may answer, key by key. No I/O and no clocks.

Bytes are a pure function of a key's name and version. A key's version grows only when the one
before can never come back: its purge was acknowledged, or its TTL is over. So any answer can be
judged by two numbers: no version below `floor` may be seen any more, none above `ceiling` was ever
sent. What was sent and not answered moves neither `floor` nor `durable`: it may have happened.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from kdn import Key, Layout

POOL_BYTES = 16 << 20
# Between this process's clock and the daemon's: roundings to milliseconds, and thread switches.
CLOCK_SLACK_SECONDS = 0.25
# A record in the log has a header of its own and is whole blocks.
RECORD_BLOCK = 4096


class Pattern:
    """The bytes of every object: stretches of one pool."""

    def __init__(self, seed: int) -> None:
        self._pool = random.Random(seed).randbytes(POOL_BYTES)

    def of(self, name: bytes, version: int, count: int) -> bytes:
        """`count` bytes from a place that name and version pick."""
        digest = hashlib.sha256(b"%s/%d" % (name, version)).digest()
        start = int.from_bytes(digest[:8], "little") % (POOL_BYTES - count)
        return self._pool[start : start + count]


@dataclass(eq=False)
class Record:
    """One key: what was done to it and what its answers may be. One worker writes it."""

    name: bytes
    key: Key
    byte_count: int
    ttl_ms: int = 0
    parent: bytes | None = None
    first_token: int = 0
    token_count: int = 0
    floor: int = 1
    ceiling: int = 0
    # The version that must be there, from its acknowledgement until the end of its TTL.
    durable: int = 0
    durable_since: float = 0.0
    durable_until: float = float("inf")
    # How much everybody had stored when it was published last: what is old may be reclaimed.
    stored_at: int = 0
    # When each version with a TTL is over at the latest.
    over_at: dict[int, float] = field(default_factory=dict)
    purge_in_doubt: bool = False
    _ends_before: float | None = None

    @property
    def record_bytes(self) -> int:
        """Bytes it takes in the log, at most."""
        return -(-self.byte_count // RECORD_BLOCK) * RECORD_BLOCK + RECORD_BLOCK

    # What the owner does

    def begin_put(self, now: float) -> int:
        """The version to send: the one that may be there, or the next if none may."""
        if self.ceiling in self.over_at and now > self.over_at[self.ceiling] + CLOCK_SLACK_SECONDS:
            self.floor = max(self.floor, self.ceiling + 1)
        if self.ceiling < self.floor:
            self.durable = 0
            self.ceiling = self.floor
        self._ends_before = self.over_at.pop(self.ceiling, None)
        return self.ceiling

    def end_put(self, version: int, state: str, now: float) -> None:
        """It was acknowledged as `published`, or as `present`, which begins no new TTL."""
        self.floor = version
        self.purge_in_doubt = False
        if state == "published":
            self.durable = 0
        if self.ttl_ms:
            known = self._ends_before if state == "present" else None
            self.over_at[version] = known or now + self.ttl_ms / 1000

    def may_be_stored(self, version: int, now: float) -> None:
        """A PUT ended without an answer, or was refused: its TTL began by now at the latest."""
        if self.ttl_ms:
            self.over_at[version] = now + self.ttl_ms / 1000

    def promise(self, version: int, began: float, stored: int) -> None:
        """The version was acknowledged as durable; `stored` bytes had been sent when it was put."""
        self.durable = version
        self.durable_since = began
        self.stored_at = stored
        self.durable_until = began + self.ttl_ms / 1000 if self.ttl_ms else float("inf")

    def begin_purge(self) -> None:
        """From now on it need not be there."""
        self.durable = 0
        self.purge_in_doubt = True

    def end_purge(self) -> None:
        """The purge was acknowledged: nothing sent so far may be seen again."""
        self.floor = self.ceiling + 1
        self.purge_in_doubt = False

    def take_next(self) -> None:
        """It was missed after a purge in doubt: the next PUT brings other bytes."""
        self.purge_in_doubt = False
        self.durable = 0
        self.ceiling += 1

    # What an answer may be

    def must_be_there(self, now: float, stored: int, window: int) -> bool:
        """Whether a miss would be a loss."""
        return (
            self.durable > 0
            and now < self.durable_until - CLOCK_SLACK_SECONDS
            and stored - self.stored_at <= window
        )

    def may_exist(self, floor: int, now: float) -> bool:
        """Whether any version may be seen by who asked at `now` and knew `floor` then."""
        return any(self._may_be(version, now) for version in range(floor, self.ceiling + 1))

    def _may_be(self, version: int, now: float) -> bool:
        return now <= self.over_at.get(version, float("inf")) + CLOCK_SLACK_SECONDS

    def judge(
        self, same: Callable[[int], bool], floor: int, asked_at: float
    ) -> tuple[str, int]:
        """What a hit is: (`ok`, `phantom` or `wrong`) and its version; `same` compares bytes."""
        for version in range(self.ceiling, floor - 1, -1):
            if self._may_be(version, asked_at) and same(version):
                return "ok", version
        for version in range(self.ceiling, 0, -1):
            if same(version):
                return "phantom", version
        return "wrong", 0

    def saw(self, version: int) -> None:
        """A version was seen by its owner: none before it may be seen again."""
        self.floor = max(self.floor, version)
        if self.durable not in (0, version):
            self.durable = 0


@dataclass
class Chain:
    """Chunks that build on each other; purged together from one on."""

    layout: Layout
    hashes: list[bytes]
    records: list[Record]


def lengths(rng: random.Random, most: int) -> int:
    """A length from 1 to `most`, even over the powers of two, often just beside whole pages."""
    length = max(1, int(most ** rng.random()))
    if length > RECORD_BLOCK and rng.random() < 0.5:
        pages = max(1, length // RECORD_BLOCK)
        length = pages * RECORD_BLOCK + rng.choice((-513, -512, -1, 0, 1, 511, 512, 3584))
    return min(max(length, 1), most)
