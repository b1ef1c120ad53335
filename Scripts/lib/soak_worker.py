"""One client process of Scripts/soak: mixed load on a few connections until it is killed.

usage: soak_worker.py HOST:PORT POOL SEED THREADS

Prints one JSON object per line: counts since the last line, or {"wrong": …} and then ends with 1.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import pathlib
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

from kdn import (
    AttentionGroup,
    Client,
    ConnectionLost,
    DeadlineExceeded,
    Get,
    Key,
    Layout,
    MissCause,
    Part,
    Put,
    PutResult,
    ServerError,
    Status,
    chain_root,
    chunk_hashes,
)

OBJECTS = 1536
OBJECT_BYTES_MAX = 8 << 20
CHAINS = 96
CHUNKS = 12
CHUNK_TOKENS = 32
LAYOUT = Layout("bf16", (AttentionGroup(tuple(range(4)), 4, 64),))
WHOLE = LAYOUT.whole()
REPORT_SECONDS = 0.5
WAIT_SECONDS = 0.2
# Refusals that a full or busy server may give at any time.
EXPECTED = {Status.BUSY, Status.OVER_CREDIT}


class Wrong(Exception):
    """The daemon did what it must never do."""


class Pattern:
    """The bytes that belong to each name: a stretch of the pool, at a place that the name picks."""

    def __init__(self, path: pathlib.Path) -> None:
        with path.open("rb") as file:
            self._pool = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def of(self, name: bytes, count: int) -> memoryview:
        """`count` bytes that no other name has at the same place."""
        place = int.from_bytes(hashlib.sha256(name).digest()[:8], "little")
        start = place % (len(self._pool) - count)
        return self._pool[start : start + count]


def object_name(number: int) -> bytes:
    return b"object %d" % number


def object_size(number: int) -> int:
    """From 1 byte to OBJECT_BYTES_MAX, evenly over the powers of two."""
    chance = random.Random(number).random()
    return max(1, int(OBJECT_BYTES_MAX**chance))


class Load:
    """What one connection does, at random but from a seed."""

    def __init__(self, address: str, pattern: Pattern, seed: int) -> None:
        self.client = Client(address, streams=1, timeout=30.0)
        self.client.register_layout(LAYOUT)
        self.pattern = pattern
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()
        mix: list[tuple[int, Callable[[], None]]] = [
            (30, self.get_objects),
            (10, self.get_ranges),
            (20, self.put_object),
            (20, self.retrieve_chain),
            (10, self.store_chain),
            (3, self.wait_for_object),
            (3, self.pin_and_unpin),
            (3, self.exists_and_touch),
            (2, self.purge_object),
        ]
        self.weights = [weight for weight, _ in mix]
        self.actions = [action for _, action in mix]

    def step(self) -> None:
        """One action; raises Wrong, and nothing else that the daemon may answer."""
        action = self.random.choices(self.actions, self.weights)[0]
        self.add("actions")
        try:
            action()
        except ServerError as error:
            self.expect(error)

    def expect(self, error: Exception | None) -> None:
        """Counts a refusal that may be; raises Wrong for any other."""
        if not isinstance(error, ServerError):
            raise Wrong(f"unexpected refusal: {error!r}")
        # What was present at BEGIN, so that its bytes were dropped, may be gone at COMMIT.
        is_gone = (error.status, error.field) == (Status.NOT_FOUND, "object")
        if error.status not in EXPECTED and not is_gone:
            raise Wrong(f"unexpected refusal: {error!r}")
        self.add("refused")

    def add(self, name: str, amount: int = 1) -> None:
        with self.lock:
            self.counts[name] += amount

    def take_counts(self) -> dict[str, int]:
        """The counts since the last call."""
        with self.lock:
            counts, self.counts = self.counts, Counter()
        return dict(counts)

    def check(self, name: bytes, data: object, expected: memoryview) -> None:
        """Compares every byte."""
        if bytearray(data) != expected:  # type: ignore[call-overload]
            raise Wrong(f"wrong bytes for {name!r}: {len(expected)} expected")
        self.add("hits")
        self.add("bytes_compared", len(expected))

    def stored(self, results: list[PutResult]) -> None:
        for result in results:
            if result.stored:
                self.add(result.state)
            else:
                self.expect(result.error)

    # Opaque objects

    def get_objects(self) -> None:
        numbers = [self.random.randrange(OBJECTS) for _ in range(self.random.choice((1, 1, 4)))]
        keys = [Key.opaque(object_name(number)) for number in numbers]
        results = self.client.get_into([Get(key) for key in keys])
        for number, result in zip(numbers, results, strict=True):
            if not result.hit:
                self.add("misses")
                continue
            expected = self.pattern.of(object_name(number), object_size(number))
            self.check(object_name(number), result.data, expected)

    def get_ranges(self) -> None:
        number = self.random.randrange(OBJECTS)
        size = object_size(number)
        cuts = sorted(self.random.randrange(size + 1) for _ in range(4))
        ranges = [(a, b - a) for a, b in ((cuts[2], cuts[3]), (cuts[0], cuts[1])) if b > a]
        if not ranges:
            return
        key = Key.opaque(object_name(number))
        result = self.client.get_into([Get(key, ranges=ranges)])[0]
        if not result.hit:
            return self.add("misses")
        whole = self.pattern.of(object_name(number), size)
        expected = b"".join(whole[offset : offset + length] for offset, length in ranges)
        self.check(object_name(number), result.data, memoryview(expected))

    def put(self, number: int, ttl_ms: int = 0) -> PutResult:
        name = object_name(number)
        data = self.pattern.of(name, object_size(number))
        return self.client.put_from([Put(Key.opaque(name), data, ttl_ms=ttl_ms)])[0]

    def put_object(self) -> None:
        ttl_ms = self.random.choice((0, 0, 0, 500))
        self.stored([self.put(self.random.randrange(OBJECTS), ttl_ms)])

    def wait_for_object(self) -> None:
        number = self.random.randrange(OBJECTS)
        key = Key.opaque(object_name(number))
        try:
            result = self.client.get_into([Get(key)], wait=True, timeout=WAIT_SECONDS)[0]
        except DeadlineExceeded:
            # The answer and the deadline come at the same time.
            return self.add("misses")
        if result.hit:
            expected = self.pattern.of(object_name(number), object_size(number))
            return self.check(object_name(number), result.data, expected)
        if result.cause is not MissCause.OVER_DEADLINE:
            raise Wrong(f"a wait ended with {result.cause!r}")
        self.add("misses")

    def pin_and_unpin(self) -> None:
        keys = [Key.opaque(object_name(self.random.randrange(OBJECTS))) for _ in range(2)]
        self.client.pin(keys, ttl_ms=self.random.randrange(1, 2000))
        if self.random.random() < 0.5:
            self.client.unpin(keys)

    def exists_and_touch(self) -> None:
        keys = [Key.opaque(object_name(self.random.randrange(OBJECTS))) for _ in range(64)]
        if len(self.client.exists(keys)) != len(keys):
            raise Wrong("EXISTS did not answer for each key")
        self.client.touch(keys[:8])

    def purge_object(self) -> None:
        self.client.purge(keys=[Key.opaque(object_name(self.random.randrange(OBJECTS)))])

    # Chains of layout objects

    def chain(self) -> tuple[int, list[bytes]]:
        number = self.random.randrange(CHAINS)
        root = chain_root("soak", b"%d" % number)
        return number, chunk_hashes(root, range(CHUNKS * CHUNK_TOKENS), CHUNK_TOKENS)

    def chunk(self, digest: bytes) -> memoryview:
        return self.pattern.of(digest, LAYOUT.bytes_per_token() * CHUNK_TOKENS)

    def store_chain(self) -> None:
        _, hashes = self.chain()
        puts = [
            Put(
                Key.layout(digest, LAYOUT.id, WHOLE),
                self.chunk(digest),
                hashes[index - 1] if index else None,
                index * CHUNK_TOKENS,
                CHUNK_TOKENS,
                recompute_us=3000,
            )
            for index, digest in enumerate(hashes[: self.random.randrange(1, CHUNKS + 1)])
        ]
        self.stored(self.client.put_from(puts))

    def retrieve_chain(self) -> None:
        """MATCH with a lease, then GET: what is leased must be there."""
        _, hashes = self.chain()
        found = self.client.match(LAYOUT.id, hashes, [WHOLE], lease_ms=20_000)
        if not found.chunks:
            return self.add("misses")
        layer = Part(self.random.randrange(4), 1, 0, 4) if self.random.random() < 0.3 else None
        keys = [Key.layout(digest, LAYOUT.id, WHOLE) for digest in hashes[: found.chunks]]
        results = self.client.get_into([Get(key, part=layer) for key in keys])
        for digest, result in zip(hashes[: found.chunks], results, strict=True):
            if not result.hit:
                raise Wrong(f"a leased chunk was missed: {result.cause!r}")
            expected = self.chunk(digest)
            if layer is not None:
                size = len(expected) // 4
                expected = expected[layer.first_layer * size : (layer.first_layer + 1) * size]
            self.check(digest, result.data, expected)
        # Some leases are left to the connection's end, which may be a kill.
        if found.lease is not None and self.random.random() < 0.9:
            found.lease.release()


def run(load: Load, failures: list[str]) -> None:
    while not failures:
        try:
            load.step()
        except Wrong as wrong:
            failures.append(str(wrong))
        except ConnectionLost as error:
            # The daemon itself never goes away while the soak runs.
            failures.append(f"the daemon closed a connection: {error}")
        except Exception as error:  # noqa: BLE001: any other fault must be told, too.
            failures.append(repr(error))


def main() -> int:
    address, pool, seed, threads = sys.argv[1:]
    pattern = Pattern(pathlib.Path(pool))
    loads = [Load(address, pattern, int(seed) * 1000 + number) for number in range(int(threads))]
    failures: list[str] = []
    for load in loads:
        threading.Thread(target=run, args=(load, failures), daemon=True).start()
    while not failures:
        time.sleep(REPORT_SECONDS)
        total: Counter[str] = Counter()
        for load in loads:
            total.update(load.take_counts())
        print(json.dumps(total), flush=True)
    print(json.dumps({"wrong": failures[0]}), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
