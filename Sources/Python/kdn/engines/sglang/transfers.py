"""Moves objects between memory and KDN: checked as a whole, and trouble is a miss."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields

from kdn.client import Client
from kdn.errors import CorruptPayload, ServerError, Status
from kdn.keys import Key
from kdn.results import Get, GetResult, ObjectVerifier, Put, PutResult


@dataclass
class TransferCounters:
    """What went through, in objects and bytes, since the backend was made."""

    looked_up: int = 0
    found: int = 0
    loaded: int = 0
    loaded_bytes: int = 0
    missed: int = 0
    corrupt: int = 0
    saved: int = 0
    saved_bytes: int = 0
    present: int = 0
    refused: int = 0
    errors: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def add(self, **amounts: int) -> None:
        """Adds to counters by name; SGLang looks up, loads and saves on threads of their own."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def snapshot(self) -> dict[str, int]:
        """The numbers by name."""
        with self._lock:
            return {field.name: getattr(self, field.name) for field in fields(self)}


class Transfers:
    """Lookups, loads and saves of whole objects, each given as pieces of memory in order.

    Nothing here raises for trouble of the link or the server: it is False for the objects that it
    concerns. Raises FieldError for wrong arguments.
    """

    def __init__(
        self, client: Client, timeout: float, lookup_timeout: float, ttl_seconds: float = 0.0
    ) -> None:
        self.counters = TransferCounters()
        self._client = client
        self._timeout = timeout
        self._lookup_timeout = lookup_timeout
        self._ttl_ms = int(ttl_seconds * 1000)

    def exist(self, keys: Sequence[Key]) -> list[bool]:
        """Which objects are present."""
        if not keys:
            return []
        found = self._client.exists(keys, timeout=self._lookup_timeout)
        self.counters.add(looked_up=len(keys), found=sum(found))
        return found

    def load(self, keys: Sequence[Key], places: Sequence[list[memoryview]]) -> list[bool]:
        """Receives objects into their places; True for each that came whole and unchanged.

        The contents of a place are undefined where it is False.
        """
        gets: list[Get] = []
        for key, pieces in zip(keys, places, strict=True):
            gets.extend(_gets(key, pieces))
        results = iter(self._client.get_into(gets, timeout=self._timeout) if gets else [])
        return [self._checked(pieces, [next(results) for _ in pieces]) for pieces in places]

    def fetch(self, key: Key) -> bytearray | None:
        """An object in memory of its own, None if it is a miss."""
        result = self._client.get_into([Get(key)], timeout=self._timeout)[0]
        if result.data is None:
            self.counters.add(missed=1)
            return None
        return result.data if self._checked([memoryview(result.data)], [result]) else None

    def _checked(self, pieces: list[memoryview], results: list[GetResult]) -> bool:
        if not pieces or not all(result.hit for result in results):
            self.counters.add(missed=1)
            return False
        total = sum(map(len, pieces))
        verifier = ObjectVerifier()
        try:
            for piece, result in zip(pieces, results):
                verifier.feed(piece, result)
        except CorruptPayload:
            self.counters.add(corrupt=1)
            return False
        if results[0].object_bytes != total or not verifier.matches():
            self.counters.add(corrupt=1)
            return False
        self.counters.add(loaded=1, loaded_bytes=total)
        return True

    def save(self, keys: Sequence[Key], places: Sequence[list[memoryview]]) -> list[bool]:
        """Stores objects that are not there yet; True for each that is there afterwards."""
        if not keys:
            return []
        there = self._client.exists(keys, timeout=self._lookup_timeout)
        missing = [index for index, present in enumerate(there) if not present]
        self.counters.add(present=len(there) - len(missing))
        puts = [Put(keys[i], list(places[i]), ttl_ms=self._ttl_ms) for i in missing]
        results = self._client.put_from(puts, timeout=self._timeout) if puts else []
        for index, result in zip(missing, results):
            there[index] = self._settled(result, places[index])
        return there

    def _settled(self, result: PutResult, pieces: list[memoryview]) -> bool:
        if result.state == "published":
            self.counters.add(saved=1, saved_bytes=sum(map(len, pieces)))
            return True
        # Another engine was first: for the same tokens its bytes, off by rounding, do as well.
        if result.stored or _is_conflict(result):
            self.counters.add(present=1)
            return True
        self.counters.add(refused=1)
        return False


def _is_conflict(result: PutResult) -> bool:
    return isinstance(result.error, ServerError) and result.error.status is Status.CONFLICT


def _gets(key: Key, pieces: Sequence[memoryview]) -> list[Get]:
    """One Get for each piece: the whole object, or its range."""
    if len(pieces) == 1:
        return [Get(key, pieces[0])]
    gets, offset = [], 0
    for piece in pieces:
        gets.append(Get(key, piece, [(offset, len(piece))]))
        offset += len(piece)
    return gets
