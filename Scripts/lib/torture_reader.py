"""What a connection of Scripts/torture reads, and how it judges the answers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from kdn import Client, Get, GetResult, Key, MissCause, Part
from torture_book import TRANSIENT, Book, Shelf
from torture_model import Chain, Record


class Reader:
    """A client that knows what its answers may be."""

    def __init__(
        self, client: Client, shelf: Shelf, shelves: list[Shelf], book: Book, seed: str, window: int
    ) -> None:
        self.client = client
        self.shelf = shelf
        self.shelves = shelves
        self.book = book
        self.window = window
        self.random = random.Random(seed)

    def some_records(self, most: int) -> list[Record]:
        shelf = self.shelf if self.random.random() < 0.6 else self.random.choice(self.shelves)
        records = shelf.records
        return self.random.sample(records, min(len(records), self.random.randrange(1, most)))

    def get_some(self) -> None:
        self.get(self.some_records(9))

    def get(self, records: list[Record]) -> list[GetResult]:
        """Fetches objects whole and judges every answer."""
        floors = [record.floor for record in records]
        asked = time.monotonic()
        results = self.client.get_into([Get(record.key) for record in records])
        for record, floor, result in zip(records, floors, results, strict=True):
            self.book.add("gets")
            if not result.hit:
                self.missed(record, result.cause)
                continue
            data = bytes(result.data or b"")
            self.judge(record, floor, asked, lambda v: data == self.bytes_of(record, v))
        return results

    def bytes_of(self, record: Record, version: int) -> bytes:
        return self.book.pattern.of(record.name, version, record.byte_count)

    def judge(
        self, record: Record, floor: int, asked: float, same: Callable[[int], bool]
    ) -> None:
        verdict, version = record.judge(same, floor, asked)
        if verdict == "ok":
            self.book.add("checked")
            if record in self.shelf.owned:
                record.saw(version)
            return
        ended = {number: asked - end for number, end in record.over_at.items()}
        self.book.fault(
            verdict,
            f"{record.name!r} answers with version {version}, allowed {floor}…{record.ceiling},"
            f" {record.byte_count} bytes, ttl {record.ttl_ms}, seconds since its end {ended}",
        )

    def missed(self, record: Record, cause: MissCause) -> None:
        self.book.missed(cause)
        is_own = record in self.shelf.owned
        must = record.must_be_there(time.monotonic(), self.book.stored_bytes, self.window)
        # Others' keys may be purged between the answer and this look.
        if is_own and must and cause not in TRANSIENT:
            since = (self.book.stored_bytes - record.stored_at) >> 10
            self.book.fault(
                "lost",
                f"{record.name!r} v{record.durable}, {record.byte_count} bytes, ttl"
                f" {record.ttl_ms}: {cause!r} while it ran; {since} KiB stored since",
            )

    def get_ranges(self) -> None:
        record = self.random.choice(self.some_records(2))
        cuts = sorted(self.random.randrange(record.byte_count + 1) for _ in range(4))
        ranges = [(a, b - a) for a, b in ((cuts[2], cuts[3]), (cuts[0], cuts[1])) if b > a]
        if not ranges:
            return
        floor, asked = record.floor, time.monotonic()
        result = self.client.get_into([Get(record.key, ranges=ranges)])[0]
        if not result.hit:
            return self.missed(record, result.cause)

        got = bytes(result.data or b"")

        def same(version: int) -> bool:
            whole = self.bytes_of(record, version)
            return got == b"".join(whole[start : start + n] for start, n in ranges)

        if len(got) >= 16:
            self.judge(record, floor, asked, same)

    def match_and_get(self) -> None:
        """What is leased must be there, whoever needs its room."""
        chain = self.random.choice(self.shelf.chains)
        whole = chain.layout.whole()
        found = self.client.match(chain.layout.id, chain.hashes, [whole], lease_ms=30_000)
        if not found.chunks or found.lease is None:
            return
        records = chain.records[: found.chunks]
        if self.random.random() < 0.5:
            self.get_layer(chain, records)
        else:
            for record, result in zip(records, self.get(records), strict=True):
                self.leased(record, result)
        if self.random.random() < 0.9:
            found.lease.release()

    def get_layer(self, chain: Chain, records: list[Record]) -> None:
        whole = chain.layout.whole()
        rows = chain.layout.layer_ranges(whole, records[0].token_count)
        layer, offset, length = self.random.choice(rows)
        part = Part(layer, 1, 0, whole.kv_head_count)
        floors, asked = [record.floor for record in records], time.monotonic()
        results = self.client.get_into([Get(record.key, part=part) for record in records])
        for record, floor, result in zip(records, floors, results, strict=True):
            self.leased(record, result)
            if result.hit:
                data = bytes(result.data or b"")
                self.judge(
                    record, floor, asked,
                    lambda v: data == self.bytes_of(record, v)[offset : offset + length],
                )

    def leased(self, record: Record, result: GetResult) -> None:
        self.book.add("leased_gets")
        if not result.hit and result.cause not in TRANSIENT:
            self.book.fault("lost", f"leased {record.name.hex()} was missed: {result.cause!r}")

    def exists(self) -> None:
        records = self.some_records(64)
        floors, asked = [record.floor for record in records], time.monotonic()
        answers = self.client.exists([record.key for record in records])
        for record, floor, answer in zip(records, floors, answers, strict=True):
            if answer and not record.may_exist(floor, asked):
                self.book.fault("phantom", f"{record.name!r} exists, allowed from {floor}")

    def ask_for_phantoms(self) -> None:
        names = [f"{self.shelf.owner}/aborted/{number}" for number in range(20)]
        names += [f"{self.shelf.owner}/never/{self.random.randrange(100)}"]
        keys = [Key.opaque(name.encode()) for name in names]
        if any(self.client.exists(keys)):
            self.book.fault("phantom", f"{self.shelf.owner}: what was never stored exists")
        if any(result.hit for result in self.client.get_into([Get(key) for key in keys[-3:]])):
            self.book.fault("phantom", f"{self.shelf.owner}: what was never stored answers")

    def prefetch(self) -> None:
        records = self.some_records(12)
        self.client.prefetch([record.key for record in records])
        if self.random.random() < 0.5:
            self.get(records)

    def pin_touch(self) -> None:
        keys = [record.key for record in self.some_records(6)]
        self.client.pin(keys, ttl_ms=self.random.randrange(1, 2000))
        self.client.touch(keys)
        if self.random.random() < 0.5:
            self.client.unpin(keys)
