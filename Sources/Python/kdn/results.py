"""What calls return: matches, gets, puts, and the client's own counters."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import xxhash

from kdn.errors import CorruptPayload, FieldError, KDNError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kdn.buffers import Buffer
    from kdn.codec.rooms import RoomsFinder
    from kdn.keys import Key, Part


class MissCause(enum.IntEnum):
    """Why there is no hit. Up to 255 the server said it, from 256 the client found it."""

    NONE = 0
    NEVER_STORED = 1
    EVICTED = 2
    EXPIRED = 3
    WRONG_LAYOUT = 4
    OVER_DEADLINE = 5
    CORRUPT = 6
    NOT_READY = 7
    PURGED = 8
    OVER_CREDIT = 9
    RECOMPUTE = 10
    INEXACT = 11
    UNDECODABLE = 12
    UNREACHABLE = 256
    REFUSED = 257
    BUFFER_TOO_SMALL = 258
    LEASE_EXPIRED = 259


@dataclass(slots=True)
class Get:
    """One object to fetch into `buffer` (writable, contiguous); None has the client allocate.

    `ranges` selects (offset, length) byte ranges, `part` layers and heads; both None: all of it.
    A `taker`, for all of it and without a buffer, is handed what comes encoded once it is decoded
    and checked: in the thread that decoded it, bytes that are there for as long as the call. It is
    not called again for an object that is a hit. What it raises makes the object a miss. Who gives
    the object up waits for it: it is to be short, and to wait for nobody. What comes raw is not
    for it, but in the result's `data`. Beside it `planes` may have memory for all planes of an
    object, by its header: see codec.rooms, whose PlaneRooms.found has it of memory for each. Then
    they are decoded there, and the taker is called without bytes. After a miss that memory holds
    anything.
    Without a buffer, `size` is how long the object may be, 0 if that is not known: longer ones are
    a miss BUFFER_TOO_SMALL.
    """

    key: Key
    buffer: object | None = None
    ranges: list[tuple[int, int]] | None = None
    part: Part | None = None
    taker: Callable[[memoryview], None] | None = None
    planes: RoomsFinder | None = None
    size: int = 0


@dataclass(slots=True)
class GetResult:
    """Outcome of one Get. `nbytes` were received, of an object of `object_bytes`.

    `data` is the buffer that the client allocated, if it was to. After a miss the contents of the
    caller's buffer are undefined: a corrupt payload may have been received into it. `codec` is the
    class in which an object came, 0 for raw; its bytes here are decoded, `nbytes` of them, and
    `object_checksum` is theirs. `wire_bytes` were received for it.
    """

    hit: bool
    cause: MissCause = MissCause.NONE
    nbytes: int = 0
    object_bytes: int = 0
    object_checksum: int = 0
    data: bytearray | None = None
    codec: int = 0
    wire_bytes: int = 0


@dataclass(slots=True)
class Put:
    """One object to store: a buffer, or a list of buffers that follow each other.

    `parent` is the hash of the chunk before (None for a first chunk), `first_token` the position
    of the chunk in its chain, `recompute_us` what it cost to compute (0 = unknown).
    """

    key: Key
    buffers: Buffer | list[Buffer]
    parent: bytes | None = None
    first_token: int = 0
    token_count: int = 0
    ttl_ms: int = 0
    recompute_us: int = 0
    durability: str = "ram"


@dataclass(slots=True)
class PutResult:
    """Outcome of one Put: `published`, `present` (the same bytes were there) or `failed`."""

    state: str
    error: KDNError | None = None
    object_checksum: int = 0

    @property
    def stored(self) -> bool:
        """Whether the object is there with these bytes."""
        return self.state != "failed"


class Prefetch(NamedTuple):
    """How many objects were in RAM already, and how many promotions were started."""

    present: int
    started: int


class Purged(NamedTuple):
    """What a purge removed."""

    objects: int
    bytes: int


class Tiers(NamedTuple):
    """How many matched chunks have this tier as their slowest."""

    gpu: int = 0
    ram: int = 0
    disk: int = 0
    origin: int = 0


@dataclass(slots=True)
class MatchReply:
    """A MATCH as the server answered it, before a lease is wrapped around its id."""

    chunks: int
    cause: MissCause
    tiers: Tiers
    bytes: int
    estimate_us: int
    lease_id: int
    lease_ms: int


LeaseType = TypeVar("LeaseType")


@dataclass(slots=True)
class Match(Generic[LeaseType]):
    """How much of a chain is there: `chunks` from its start, and why the next one is not.

    `bytes` to fetch, `estimate_us` for fetching them by the server's measurement (0 = unknown),
    and the lease that keeps them from eviction, if one was asked for and granted.
    """

    chunks: int
    cause: MissCause = MissCause.NONE
    bytes: int = 0
    tiers: Tiers = Tiers()
    estimate_us: int = 0
    lease: LeaseType | None = None


@dataclass
class Counters:
    """What this client has seen since it was made; read-only for callers."""

    hits: int = 0
    misses: Counter[MissCause] = field(default_factory=Counter)
    reconnects: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class ObjectVerifier:
    """Checks an object that is fetched in pieces against the checksum taken when it was stored.

    Feed the pieces in the order of the object's bytes, each with the result of its Get. The check
    then spans from the writer to the reader, whatever was in between.
    """

    def __init__(self, object_checksum: int | None = None, object_bytes: int | None = None) -> None:
        self._state = xxhash.xxh3_64()
        self._checksum = object_checksum
        self._bytes = object_bytes
        self.received_bytes = 0

    def feed(self, piece: Buffer, result: GetResult | None = None) -> None:
        """Adds a piece; `result` binds the object's checksum, and must not contradict it.

        Raises CorruptPayload if `result` names another object than the pieces before.
        """
        if result is not None:
            if self._checksum not in (None, result.object_checksum):
                raise CorruptPayload("pieces come from objects with different checksums")
            if self._bytes not in (None, result.object_bytes):
                raise CorruptPayload("pieces come from objects of different lengths")
            self._checksum, self._bytes = result.object_checksum, result.object_bytes
        from kdn.buffers import readable_view

        view = readable_view(piece)
        self._state.update(view)
        self.received_bytes += len(view)

    @property
    def complete(self) -> bool:
        """Whether as many bytes were fed as the object has."""
        return self._bytes is not None and self.received_bytes == self._bytes

    def matches(self) -> bool:
        """Whether the pieces are the whole object, byte for byte as stored."""
        if self._checksum is None or self._bytes is None:
            raise FieldError("object_checksum", None, "known before matches()")
        return self.complete and int(self._state.intdigest()) == self._checksum

    def check(self) -> None:
        """Raises CorruptPayload unless the pieces are the whole object as stored."""
        if not self.matches():
            raise CorruptPayload(
                f"{self.received_bytes} of {self._bytes} bytes do not match {self._checksum:#x}"
            )
