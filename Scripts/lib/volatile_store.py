"""Files on a disk that forgets: what was not synchronised may be gone after a loss of power.

What survives: data of a file up to its last successful fsync or fdatasync; of later writes each
512-byte sector survives or not, by the seed. A file's length likewise. Names (create, rename,
unlink) are durable after fsync of the directory; of later changes a random beginning survives, in
order, as in the journal of a file system. A synchronisation that failed loses its writes for good:
the next one succeeds and makes none of them durable.
"""

from __future__ import annotations

import os
import pathlib
import random
from dataclasses import dataclass, field

SECTOR = 512


@dataclass
class VolatileFile:
    """One file: its newest bytes are in `descriptor`, what a loss of power brings back in `old`."""

    node: int
    descriptor: int
    durable_bytes: int = 0
    # The durable contents of each sector that was written since.
    old: dict[int, bytes] = field(default_factory=dict)
    # Sectors whose synchronisation failed: only a new write can make them durable.
    orphans: set[int] = field(default_factory=set)
    writes: list[range] = field(default_factory=list)
    is_open: int = 0

    @property
    def byte_count(self) -> int:
        return os.fstat(self.descriptor).st_size

    def write(self, offset: int, data: memoryview) -> None:
        """Writes, and remembers what was there."""
        first, end = offset // SECTOR, -(-(offset + len(data)) // SECTOR)
        before = os.pread(self.descriptor, (end - first) * SECTOR, first * SECTOR)
        before = before.ljust((end - first) * SECTOR, b"\0")
        old = self.old
        for index, sector in enumerate(range(first, end)):
            if sector not in old:
                old[sector] = before[index * SECTOR : (index + 1) * SECTOR]
        if self.orphans:
            self.orphans.difference_update(range(first, end))
        self.writes.append(range(first, end))
        written = os.pwrite(self.descriptor, data, offset)
        assert written == len(data), (written, len(data))

    def synchronise(self) -> None:
        """Makes everything durable but what a failed synchronisation lost."""
        self.old = {sector: self.old[sector] for sector in self.orphans}
        self.writes.clear()
        self.durable_bytes = self.byte_count

    def fail_synchronise(self) -> None:
        """The device has lost what it held, and will not say so again."""
        self.orphans.update(self.old)
        self.writes.clear()

    def lose_power(self, rng: random.Random, kept: float, torn: float) -> tuple[int, int]:
        """Decides about all that is not durable; returns sectors lost and sectors at stake."""
        survivors = {sector for sector in sorted(self.orphans) if rng.random() < 0.5}
        for write in self.writes:
            survivors.difference_update(write)
            survivors.update(_survivors(write, rng, kept, torn))
        lost = [sector for sector in self.old if sector not in survivors]
        for sector in lost:
            os.pwrite(self.descriptor, self.old[sector], sector * SECTOR)
        counts = len(lost), len(self.old)
        byte_count = self.byte_count
        if self.writes or lost or byte_count != self.durable_bytes:
            if byte_count != self.durable_bytes and rng.random() >= kept:
                os.ftruncate(self.descriptor, self.durable_bytes)
        self.old.clear()
        self.orphans.clear()
        self.writes.clear()
        self.durable_bytes = self.byte_count
        return counts


def _survivors(write: range, rng: random.Random, kept: float, torn: float) -> range | list[int]:
    """Which sectors of one write reached the medium."""
    chance = rng.random()
    if chance < torn:
        cut = rng.randrange(len(write) + 1)
        way = rng.randrange(3)
        if way == 0:
            return write[:cut]
        if way == 1:
            return write[cut:]
        return [sector for sector in write if rng.random() < 0.5]
    return write if chance < torn + (1 - torn) * kept else range(0)


@dataclass
class NameChange:
    """What one name led to before and after; a rename changes two at once."""

    before: dict[str, int | None]
    after: dict[str, int | None]


class VolatileStore:
    """The files of one directory, by node and by name."""

    def __init__(self, backing: pathlib.Path) -> None:
        self.backing = backing
        self.files: dict[int, VolatileFile] = {}
        self.names: dict[str, int] = {}
        self._changes: list[NameChange] = []
        self._next_node = 2
        self.losses = 0

    def create(self, name: str) -> VolatileFile:
        """A new and empty file."""
        node, self._next_node = self._next_node, self._next_node + 1
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        file = VolatileFile(node, os.open(self.backing / f"node-{node}", flags, 0o600))
        self.files[node] = file
        self._change({name: node})
        return file

    def remove(self, name: str) -> None:
        self._change({name: None})

    def rename(self, name: str, other: str) -> None:
        self._change({name: None, other: self.names[name]})

    def _change(self, after: dict[str, int | None]) -> None:
        change = NameChange({name: self.names.get(name) for name in after}, after)
        self._changes.append(change)
        self._apply(change.after)

    def _apply(self, names: dict[str, int | None]) -> None:
        for name, node in names.items():
            if node is None:
                self.names.pop(name, None)
            else:
                self.names[name] = node

    def synchronise_names(self) -> None:
        """Makes all changes of names durable."""
        self._changes.clear()
        self._forget_nameless()

    def lose_power(self, seed: int) -> dict[str, int]:
        """Loses what is not durable; the whole choice comes from `seed`."""
        rng = random.Random(seed)
        kept, torn = rng.choice([(0.0, 0.0), (0.1, 0.2), (0.5, 0.3), (0.9, 0.3), (1.0, 1.0)])
        lost = at_stake = 0
        for _, file in sorted(self.files.items()):
            counts = file.lose_power(rng, kept, torn)
            lost, at_stake = lost + counts[0], at_stake + counts[1]
        surviving = rng.randint(0, len(self._changes)) if kept < 1 else len(self._changes)
        undone = self._changes[surviving:]
        for change in reversed(undone):
            self._apply(change.before)
        self._changes.clear()
        self._forget_nameless()
        self.losses += 1
        return {"sectors_lost": lost, "sectors_at_stake": at_stake, "names_undone": len(undone)}

    def released(self, file: VolatileFile) -> None:
        """One opener less."""
        file.is_open -= 1
        if not self._changes:
            self._forget_nameless()

    def _forget_nameless(self) -> None:
        named = set(self.names.values())
        for node, file in list(self.files.items()):
            if node not in named and file.is_open <= 0:
                os.close(file.descriptor)
                (self.backing / f"node-{node}").unlink()
                del self.files[node]
