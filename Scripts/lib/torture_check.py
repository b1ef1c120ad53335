"""What a daemon must and must not answer after it came back: all keys of a Scripts/torture."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from kdn import Client, Get, GetResult, Key, MissCause, Part
from torture_book import CHUNKS, TRANSIENT, Book, Shelf
from torture_model import Chain, Record

BATCH = 16
READY_SECONDS = 60.0
CALL_SECONDS = 30.0
TRIES = 40
LATER_SECONDS = 0.5


def batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """BATCH records at a time."""
    for start in range(0, len(records), BATCH):
        yield records[start : start + BATCH]


class Check:
    """One namespace of a daemon that has just recovered, while nobody else uses it."""

    def __init__(self, address: str, namespace: str, token: str, book: Book, window: int) -> None:
        self.client = Client(
            address, namespace, token, timeout=CALL_SECONDS, connect_timeout=CALL_SECONDS
        )
        self.address = address
        self.book = book
        self.window = window

    def wait_recovered(self) -> None:
        """Returns once the daemon knows all that is on its disks.

        The development namespace is told of the disks; one tenant among others is not.
        """
        deadline = time.monotonic() + READY_SECONDS
        with Client(self.address, timeout=CALL_SECONDS, connect_timeout=CALL_SECONDS) as everybody:
            while not everybody.stats()["disk"]["ready"]:
                if time.monotonic() > deadline:
                    return self.book.fault("other", "the disk tier did not become ready")
                time.sleep(0.005)

    def run(self, shelves: list[Shelf]) -> None:
        """Asks for every key of `shelves`, and for those that no one may see."""
        for shelf in shelves:
            for records in batches(shelf.records):
                self.get(records)
            for chain in shelf.chains:
                self.match(chain)
            self.phantoms(shelf)

    def present(self, shelf: Shelf) -> list[Record]:
        """Records that are there, in RAM or on disk."""
        answers = self.client.exists([record.key for record in shelf.records])
        return [record for record, is_there in zip(shelf.records, answers, strict=True) if is_there]

    def get(self, records: Sequence[Record]) -> None:
        exist = self.client.exists([record.key for record in records])
        for record, is_there in zip(records, exist, strict=True):
            if is_there and not record.may_exist(record.floor, time.monotonic()):
                self.book.fault("phantom", f"{record.name!r} exists after the restart")
        asked = time.monotonic()
        results = self.patient([Get(record.key) for record in records])
        for record, is_there, result in zip(records, exist, results, strict=True):
            self.book.add("gets")
            if result.hit:
                self.judge(record, result.data or bytearray(), asked)
            else:
                self.missed(record, result.cause, is_there)

    def patient(self, items: list[Get]) -> list[GetResult]:
        """Asks again for what was missed for want of time or room."""
        results = self.client.get_into(items)
        for _ in range(TRIES):
            again = [
                index for index, result in enumerate(results)
                if not result.hit and result.cause in TRANSIENT
            ]
            if not again:
                return results
            time.sleep(0.01)
            self.book.add("asked_again", len(again))
            answers = self.client.get_into([items[index] for index in again])
            for index, result in zip(again, answers, strict=True):
                results[index] = result
        return results

    def judge(self, record: Record, data: bytearray, asked: float) -> None:
        of = self.book.pattern.of
        verdict, version = record.judge(
            lambda number: data == of(record.name, number, record.byte_count), record.floor, asked
        )
        if verdict != "ok":
            ended = {number: asked - end for number, end in record.over_at.items()}
            return self.book.fault(
                verdict,
                f"{record.name!r} answers with version {version} after the restart, allowed"
                f" {record.floor}…{record.ceiling}, {record.byte_count} bytes,"
                f" ttl {record.ttl_ms}, seconds since its end {ended}",
            )
        self.book.add("checked")
        if record.must_be_there(time.monotonic(), self.book.stored_bytes, self.window):
            self.book.add("kept")
        record.saw(version)

    def missed(self, record: Record, cause: MissCause, was_there: bool) -> None:
        self.book.missed(cause)
        now, stored = time.monotonic(), self.book.stored_bytes
        if record.must_be_there(now, stored, self.window):
            time.sleep(LATER_SECONDS)
            later = self.client.exists([record.key])[0]
            self.book.fault(
                "lost",
                f"{record.name!r} v{record.durable}, {record.byte_count} bytes, ttl"
                f" {record.ttl_ms}, {(stored - record.stored_at) >> 10} KiB stored and"
                f" {now - record.durable_since:.3f} s since: {cause!r} after the restart,"
                f" EXISTS said {was_there}, and {later} later",
            )
        elif cause is MissCause.CORRUPT:
            self.book.fault("other", f"{record.name!r}: recovery took what is damaged")
        record.durable = 0
        if record.purge_in_doubt:
            record.take_next()

    def match(self, chain: Chain) -> None:
        """The beginning of a chain that must be there is found, leased, and read by layers, all
        without anyone having registered the layout again."""
        whole = chain.layout.whole()
        now, stored = time.monotonic(), self.book.stored_bytes
        must = 0
        while must < CHUNKS and chain.records[must].must_be_there(now, stored, self.window):
            must += 1
        found = self.client.match(chain.layout.id, chain.hashes, [whole], lease_ms=10_000)
        if found.chunks < must:
            self.book.fault(
                "lost", f"MATCH found {found.chunks} chunks of {must}: {found.cause!r}"
            )
        if not found.chunks:
            return
        records = chain.records[: found.chunks]
        layer, offset, length = chain.layout.layer_ranges(whole, records[0].token_count)[-1]
        part = Part(layer, 1, 0, whole.kv_head_count)
        results = self.patient([Get(record.key, part=part) for record in records])
        for record, result in zip(records, results, strict=True):
            if not result.hit:
                self.book.fault("lost", f"layer {layer} of a leased chunk: {result.cause!r}")
                continue
            pieces = {
                self.book.pattern.of(record.name, version, record.byte_count)[
                    offset : offset + length
                ]
                for version in range(record.floor, record.ceiling + 1)
            }
            if bytes(result.data or b"") not in pieces:
                self.book.fault("wrong", f"layer {layer} of {record.name.hex()}")
            self.book.add("checked")
        if found.lease is not None:
            found.lease.release()

    def phantoms(self, shelf: Shelf) -> None:
        names = [f"{shelf.owner}/aborted/{number}" for number in range(20)]
        names += [f"{shelf.owner}/never/{number}" for number in range(20)]
        keys = [Key.opaque(name.encode()) for name in names]
        seen = [name for name, there in zip(names, self.client.exists(keys), strict=True) if there]
        results = self.client.get_into([Get(key) for key in keys])
        seen += [name for name, result in zip(names, results, strict=True) if result.hit]
        if seen:
            self.book.fault("phantom", f"never stored, and there: {seen}")
