"""Counts, faults and promises of one Scripts/torture, kept by the process that outlives all."""

from __future__ import annotations

import random
import threading
from collections import Counter

from kdn import (
    AttentionGroup,
    Key,
    LatentGroup,
    Layout,
    MissCause,
    OpaqueGroup,
    chain_root,
    chunk_hashes,
)
from torture_model import Chain, Pattern, Record, lengths

OBJECT_BYTES_MAX = 2 << 20
CHUNKS = 8
# A miss that says nothing about the object: too much is going on, or it is not known yet.
TRANSIENT = {MissCause.OVER_DEADLINE, MissCause.NOT_READY, MissCause.OVER_CREDIT}
FAULTS = ("lost", "wrong", "phantom", "other")


class Book:
    """What was acknowledged and found, by all threads."""

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.counts: Counter[str] = Counter()
        self.misses: Counter[str] = Counter()
        self.faults: list[str] = []
        self.loop = 0
        self.stored_bytes = 0
        self._lock = threading.Lock()

    def add(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self.counts[name] += amount

    def sends(self, record: Record) -> None:
        """Counts what a PUT may add to the log, whatever comes of it."""
        with self._lock:
            self.stored_bytes += record.record_bytes

    def fault(self, kind: str, text: str) -> None:
        """Notes that the daemon did what it must never do."""
        assert kind in FAULTS
        with self._lock:
            self.counts[kind] += 1
            self.faults.append(f"{kind}: loop {self.loop}: {text}")

    def missed(self, cause: MissCause) -> None:
        with self._lock:
            self.misses[cause.name.lower()] += 1


class Shelf:
    """The keys that one worker writes, and nobody else."""

    def __init__(self, owner: str, rng: random.Random, objects: int, chains: int) -> None:
        self.owner = owner
        self.layout = _layout(rng)
        self.objects = [
            Record(
                name := f"{owner}/{number}".encode(),
                Key.opaque(name),
                lengths(rng, OBJECT_BYTES_MAX),
                ttl_ms=rng.choice((300, 1000, 3000)) if rng.random() < 0.12 else 0,
            )
            for number in range(objects)
        ]
        self.chains = [self._chain(number, rng) for number in range(chains)]
        self.records = self.objects + [each for chain in self.chains for each in chain.records]
        self.owned = set(self.records)

    def _chain(self, number: int, rng: random.Random) -> Chain:
        tokens = rng.choice((16, 17, 33, 61))
        root = chain_root("torture", f"{self.owner}/{number}".encode())
        hashes = chunk_hashes(root, range(CHUNKS * tokens), tokens)
        whole = self.layout.whole()
        records = [
            Record(
                digest,
                Key.layout(digest, self.layout.id, whole),
                self.layout.bytes_per_token(whole) * tokens,
                parent=hashes[index - 1] if index else None,
                first_token=index * tokens,
                token_count=tokens,
            )
            for index, digest in enumerate(hashes)
        ]
        return Chain(self.layout, hashes, records)


def _layout(rng: random.Random) -> Layout:
    """A layout that no other worker has."""
    layers = tuple(range(rng.randrange(2, 7)))
    own = rng.randrange(1, 1 << 30)
    shape = rng.randrange(3)
    if shape == 0:
        return Layout("bf16", (AttentionGroup(layers, 4, 64, sliding_window=own),))
    if shape == 1:
        return Layout("f8e4m3", (LatentGroup(layers, 512, 64, sliding_window=own),))
    return Layout("i8", (OpaqueGroup(layers, 1501, sliding_window=own),))
