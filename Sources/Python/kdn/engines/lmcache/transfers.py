"""Lookups, loads and stores over KDN's protocol. Trouble of the link is a miss, never an error."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kdn.client import Client, Lease
from kdn.engines.lmcache.memory import Arena, Loan
from kdn.engines.lmcache.naming import Named
from kdn.engines.lmcache.settings import KDNL2AdapterConfig
from kdn.errors import FieldError, KDNError, ServerError, Status
from kdn.results import Get, Put, PutResult

# An object may go between EXISTS and MATCH; so many gaps in a chain are stepped over.
GAPS_MAX = 4


@dataclass
class Found:
    """What a lookup found, and the leases that keep it, each with the positions it is for."""

    bits: list[bool]
    leases: list[tuple[Lease, list[int]]] = field(default_factory=list)


class Transfers:
    """The three kinds of work, each over connections of its own, so that none waits for another."""

    def __init__(self, settings: KDNL2AdapterConfig, arena: Arena) -> None:
        """Raises FieldError for wrong settings, OSError for a token file that cannot be read."""
        self._settings = settings
        self._arena = arena
        self._token = settings.read_token()
        self.control = self._client(1, settings.lookup_timeout)
        self.loads = self._client(settings.streams, settings.timeout)
        self.stores = self._client(settings.streams, settings.timeout)

    def _client(self, streams: int, timeout: float) -> Client:
        settings = self._settings
        return Client(
            settings.address,
            namespace=settings.namespace,
            token=self._token,
            streams=streams,
            timeout=timeout,
            connect_timeout=min(3.0, timeout),
            on_error="miss",
            ca=settings.ca,
            certificate=settings.certificate,
            key=settings.key,
            link=settings.link,
        )

    # Lookups

    def look_up(self, objects: Sequence[Named | None], deadline: float) -> Found:
        """Which objects are there; those with a layout are leased. None is never there."""
        found = Found([False] * len(objects))
        places = [place for place, named in enumerate(objects) if named is not None]
        keys = [named.key for named in objects if named is not None]
        if not keys or time.monotonic() >= deadline:
            return found
        there = self.control.exists(keys, timeout=_left(deadline))
        by_layout: dict[bytes, list[tuple[int, Named]]] = {}
        opaque: list[tuple[int, Named]] = []
        for place, is_there in zip(places, there, strict=True):
            named = objects[place]
            if not is_there or named is None:
                continue
            found.bits[place] = True
            rows = opaque if named.layout is None else by_layout.setdefault(named.layout.id, [])
            rows.append((place, named))
        if opaque:
            # Opaque objects have no leases; being used keeps them at the far end of eviction.
            self.control.touch([named.key for _, named in opaque], timeout=_left(deadline))
        for rows in by_layout.values():
            self._lease(rows, found, deadline)
        return found

    def _lease(self, rows: list[tuple[int, Named]], found: Found, deadline: float) -> None:
        """Leases objects of one layout; what is gone since, or beyond too many gaps, is a miss."""
        layout = rows[0][1].layout
        assert layout is not None
        self.control.register_layout(layout, timeout=_left(deadline))
        start = 0
        for _ in range(GAPS_MAX):
            if start >= len(rows):
                return
            match = self.control.match(
                layout.id,
                [named.hash for _, named in rows[start:]],
                [layout.whole()],
                lease_ms=self._settings.lease_ms,
                timeout=_left(deadline),
            )
            end = start + match.chunks
            if match.lease is not None:
                found.leases.append((match.lease, [place for place, _ in rows[start:end]]))
            if end < len(rows):
                found.bits[rows[end][0]] = False
            start = end + 1
        for place, _ in rows[start:]:
            found.bits[place] = False

    def release(self, leases: Sequence[Lease]) -> None:
        """Gives leases back; what cannot be given back ends by its time."""
        for lease in leases:
            lease.release(timeout=self._settings.lookup_timeout)

    # Loads

    def load(
        self, objects: Sequence[Named | None], memories: Sequence[Any], deadline: float
    ) -> list[bool]:
        """Receives objects into LMCache's memory; False where it is not the whole object."""
        bits = [False] * len(objects)
        rows: list[tuple[int, Loan, Get]] = []
        for place, (named, memory) in enumerate(zip(objects, memories, strict=True)):
            loan = None if named is None else self._loan(memory, writable=True)
            if named is not None and loan is not None:
                rows.append((place, loan, Get(named.key, loan.view)))
        if not rows or time.monotonic() >= deadline:
            return bits
        results = self.loads.get_into([get for _, _, get in rows], timeout=_left(deadline))
        for (place, loan, _), result in zip(rows, results, strict=True):
            if result.hit and result.nbytes == result.object_bytes == loan.nbytes:
                loan.settle()
                bits[place] = True
        return bits

    # Stores

    def store(
        self, objects: Sequence[Named | None], memories: Sequence[Any], deadline: float
    ) -> list[bool]:
        """Stores objects from LMCache's memory; True where an object of this name is there now."""
        bits = [False] * len(objects)
        rows: list[tuple[int, Loan, Put]] = []
        for place, (named, memory) in enumerate(zip(objects, memories, strict=True)):
            loan = None if named is None else self._loan(memory, writable=False)
            if named is None or loan is None:
                continue
            if named.layout is not None:
                self.stores.register_layout(named.layout, timeout=_left(deadline))
            put = Put(named.key, loan.view, token_count=named.token_count)
            rows.append((place, loan, put))
        if not rows or time.monotonic() >= deadline:
            return bits
        results = self.stores.put_from([put for _, _, put in rows], timeout=_left(deadline))
        for (place, _, _), result in zip(rows, results, strict=True):
            bits[place] = result.stored or _is_conflict(result)
        return bits

    def _loan(self, memory: Any, writable: bool) -> Loan | None:
        try:
            return Loan(memory, self._arena, writable)
        except FieldError as error:
            self.control.counters.errors[f"memory:{error.field}"] += 1
            return None

    # Administration

    def purge(self, objects: Sequence[Named]) -> bool:
        """Removes objects; whether the server did."""
        try:
            self.control.purge([named.key for named in objects], timeout=self._settings.timeout)
        except KDNError:
            return False
        return True

    def exists(self, objects: Sequence[Named]) -> list[bool]:
        """Which objects are there."""
        return self.control.exists([named.key for named in objects])

    def stats(self) -> dict[str, Any] | None:
        """The server's numbers for the namespace, or None without an answer."""
        try:
            return self.control.stats()
        except KDNError:
            return None

    def close(self) -> None:
        """Closes the connections."""
        for client in (self.control, self.loads, self.stores):
            client.close()


def _left(deadline: float) -> float:
    return max(0.001, deadline - time.monotonic())


def _is_conflict(result: PutResult) -> bool:
    """Whether other bytes are there under the name: the same chunk, computed a second time."""
    return isinstance(result.error, ServerError) and result.error.status is Status.CONFLICT
