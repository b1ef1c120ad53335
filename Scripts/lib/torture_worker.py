"""One connection of Scripts/torture: writes its own keys, reads everybody's, until the kill."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from kdn import (
    Client,
    ConnectionLost,
    DeadlineExceeded,
    Key,
    Put,
    PutResult,
    ServerError,
    Status,
)
from raw_connection import RawConnection
from torture_book import CHUNKS, Book, Shelf
from torture_model import Record
from torture_reader import Reader

CALL_SECONDS = 20.0
# What a full, failing or ending daemon may say at any time.
EXPECTED = {Status.BUSY, Status.OVER_CREDIT, Status.DRAINING, Status.DEADLINE}


class Worker(Reader):
    """A client with a thread of its own."""

    def __init__(
        self, address: str, token: str, shelf: Shelf, others: list[Shelf], book: Book, seed: str,
        window: int, purges_namespace: bool,
    ) -> None:
        namespace = "solo" if purges_namespace else "shared"
        client = Client(
            address, namespace, token, streams=1, timeout=CALL_SECONDS, connect_timeout=CALL_SECONDS
        )
        super().__init__(client, shelf, [shelf] if purges_namespace else others, book, seed, window)
        self.raw = (address, namespace, token)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        mix: list[tuple[float, Callable[[], None]]] = [
            (24, self.put_objects),
            (12, self.put_chain),
            (22, self.get_some),
            (6, self.get_ranges),
            (10, self.match_and_get),
            (5, self.exists),
            (4, self.prefetch),
            (4, self.pin_touch),
            (4, self.purge_keys),
            (2, self.purge_prefix),
            (3, self.abort_put),
            (2, self.ask_for_phantoms),
            (0.3, self.purge_layout),
            (1.5 if purges_namespace else 0, self.purge_namespace),
        ]
        self.weights = [weight for weight, _ in mix]
        self.actions = [action for _, action in mix]

    def run(self) -> None:
        """Until it is told to stop, or the daemon is gone."""
        try:
            self.client.register_layout(self.shelf.layout)
            while not self.stopping.is_set() and not self.book.faults:
                self.step()
        except ConnectionLost:
            return
        except Exception as error:  # noqa: BLE001: any other fault must be told, too.
            self.book.fault("other", f"{self.shelf.owner}: {error!r}")
        finally:
            self.client.close()

    def step(self) -> None:
        """One action; what a busy daemon may refuse is no fault."""
        self.book.add("actions")
        try:
            self.random.choices(self.actions, self.weights)[0]()
        except ServerError as error:
            self.expect(error)
        except DeadlineExceeded as error:
            self.book.fault("other", f"no answer in {CALL_SECONDS} s: {error}; {self.numbers()}")

    def numbers(self) -> str:
        """What the daemon says of itself on another connection."""
        try:
            with Client(*self.raw, timeout=5.0) as client:
                stats = client.stats()
        except Exception as error:  # noqa: BLE001: whatever it is, it is what there is to tell.
            return f"no STATS either: {error!r}"
        return f"STATS {stats.get('disk')} {stats.get('pool')} {stats.get('connections')}"

    def expect(self, error: Exception | None) -> None:
        if not isinstance(error, ServerError) or error.status not in EXPECTED:
            raise error if error is not None else RuntimeError("failed without an error")
        self.book.add("refused")

    # Stores

    def put_objects(self) -> None:
        count = self.random.choice((1, 1, 1, 2, 4))
        records = self.random.sample(self.shelf.objects, count)
        self.put(records, self.random.choice(("disk", "ram")))

    def put_chain(self) -> None:
        chain = self.random.choice(self.shelf.chains)
        first = self.random.randrange(CHUNKS) if self.random.random() < 0.3 else 0
        self.put(chain.records[first:], self.random.choice(("disk", "ram")))

    def put(self, records: list[Record], durability: str) -> None:
        began = time.monotonic()
        versions = [record.begin_put(began) for record in records]
        for record in records:
            self.book.sends(record)
        stored = self.book.stored_bytes
        puts = [
            Put(
                record.key,
                self.book.pattern.of(record.name, version, record.byte_count),
                record.parent,
                record.first_token,
                record.token_count,
                ttl_ms=record.ttl_ms,
                recompute_us=3000 if record.token_count else 0,
                durability=durability,
            )
            for record, version in zip(records, versions, strict=True)
        ]
        try:
            results = self.client.put_from(puts)
        except Exception:
            for record, version in zip(records, versions, strict=True):
                record.may_be_stored(version, time.monotonic())
            raise
        for record, version, result in zip(records, versions, results, strict=True):
            self.settle(record, version, result, durability, began, stored)

    def settle(
        self, record: Record, version: int, result: PutResult, durability: str, began: float,
        stored: int,
    ) -> None:
        now = time.monotonic()
        if not result.stored:
            record.may_be_stored(version, now)
            return self.refused(record, version, result.error)
        must = record.must_be_there(now, self.book.stored_bytes, self.window)
        if must and result.state == "published":
            since = (self.book.stored_bytes - record.stored_at) >> 10
            self.book.fault(
                "lost",
                f"{record.name!r} v{version}, {record.byte_count} bytes, ttl {record.ttl_ms}, was"
                f" stored anew; {since} KiB stored since, {now - record.durable_since:.3f} s",
            )
        record.end_put(version, result.state, now)
        # How long what was present will last nobody has said.
        if durability == "disk" and (result.state == "published" or not record.ttl_ms):
            # What was present stays where it was written: its turn to be reclaimed is as near.
            if result.state == "published":
                record.promise(version, began, stored)
            elif record.durable == 0:
                record.promise(version, began, record.stored_at)
        elif result.state == "published":
            record.stored_at = stored
        self.book.add(f"acked_{durability}")

    def refused(self, record: Record, version: int, error: Exception | None) -> None:
        """A conflict may only be with a version that was not purged for sure."""
        if not isinstance(error, ServerError):
            return self.expect(error)
        if (error.status, error.field) in (
            (Status.BUSY, "object"), (Status.NOT_FOUND, "object"),
        ):
            return self.book.add("refused")
        if error.status is Status.CONFLICT:
            if record.floor >= version:
                self.book.fault("phantom", f"{record.name!r} v{version}: {error}")
            return self.purge([record])
        self.expect(error)

    def abort_put(self) -> None:
        """Sends an object, or a part of it, and gives it up: it must never be seen."""
        rng = self.random
        key = Key.opaque(f"{self.shelf.owner}/aborted/{rng.randrange(20)}".encode())
        size = rng.randrange(1, 1 << 18)
        address, namespace, token = self.raw
        try:
            with RawConnection(address) as connection:
                connection.hello(namespace, token)
                connection.begin(2, key, size)
                connection.data(3, 2, 0, bytes(size if rng.random() < 0.5 else size // 2))
                if rng.random() < 0.5:
                    connection.ping(4)
        except (OSError, EOFError, AssertionError) as error:
            raise ConnectionLost("in the middle of a PUT") from error
        self.book.add("aborted")

    # Purges

    def purge_keys(self) -> None:
        self.purge(self.random.sample(self.shelf.records, self.random.choice((1, 1, 3))))

    def purge(self, records: list[Record]) -> None:
        for record in records:
            record.begin_purge()
        self.client.purge(keys=[record.key for record in records])
        self.purged(records)

    def purged(self, records: list[Record]) -> None:
        self.book.add("purges_acked")
        for record in records:
            record.end_purge()

    def purge_prefix(self) -> None:
        """Reaches what builds on it through chunks that are there: only those must be gone."""
        chain = self.random.choice(self.shelf.chains)
        first = self.random.randrange(CHUNKS)
        now, stored = time.monotonic(), self.book.stored_bytes
        reached = [chain.records[first]]
        for record in chain.records[first + 1 :]:
            if not reached[-1].must_be_there(now, stored, self.window):
                break
            reached.append(record)
        for record in chain.records[first:]:
            record.begin_purge()
        self.client.purge(prefixes=[chain.hashes[first]])
        self.purged(reached)

    def purge_layout(self) -> None:
        records = [record for chain in self.shelf.chains for record in chain.records]
        for record in records:
            record.begin_purge()
        self.client.purge(layouts=[self.shelf.layout.id])
        self.purged(records)

    def purge_namespace(self) -> None:
        for record in self.shelf.records:
            record.begin_purge()
        self.client.purge(namespace=True)
        self.purged(self.shelf.records)
