"""States in KDN: found by prefix, written to a file only when every byte was checked."""

from __future__ import annotations

import os
import pathlib
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import xxhash

from kdn.engines.llamacpp.records import (
    NONCE_BYTES,
    PIECES_MAX,
    Manifest,
    PrefixEntry,
    manifest_key,
    piece_key,
    prefix_key,
    state_hash,
)
from kdn.engines.llamacpp.rules import replaces, worth_restoring
from kdn.engines.llamacpp.settings import StateSettings
from kdn.engines.llamacpp.state_file import head_bytes_needed, parse_head
from kdn.errors import FieldError, KDNError
from kdn.keys import chunk_hashes
from kdn.results import Get, MissCause, Put

CANDIDATES_MAX = 8


# After these, asking again gives the same answer.
_GONE = (
    MissCause.NEVER_STORED,
    MissCause.EVICTED,
    MissCause.EXPIRED,
    MissCause.CORRUPT,
    MissCause.PURGED,
)


class Doubt(Exception):
    """A stored state is not what it should be; the message says in what.

    `final` if it will not become better, and had better be forgotten.
    """

    def __init__(self, message: str, final: bool = True) -> None:
        super().__init__(message)
        self.final = final


@dataclass(frozen=True)
class Candidate:
    """A stored state that starts with the first `shared` tokens of a prompt."""

    entry: PrefixEntry
    shared: int
    chunk_hash: bytes


@dataclass
class Found:
    """What is stored of a prompt, longest first; `worthy` are the states to try."""

    stored: list[Candidate] = field(default_factory=list)
    worthy: list[Candidate] = field(default_factory=list)

    @property
    def covered(self) -> int:
        """How many tokens of the prompt are in stored states."""
        return max((candidate.shared for candidate in self.stored), default=0)

    def drop(self, state: bytes) -> list[Candidate]:
        """Takes out a state that turned out to be gone; returns what led to it."""
        dropped = [candidate for candidate in self.stored if candidate.entry.state == state]
        self.stored = [c for c in self.stored if c.entry.state != state]
        return dropped


@dataclass
class StoredState:
    """What a store did; `error` says why nothing was stored."""

    tokens: int = 0
    bytes_sent: int = 0
    entries: int = 0
    present: bool = False
    error: str = ""


class StateStore:
    """The states of one server's identity. `client` is a kdn.Client; its errors are raised."""

    def __init__(self, client: Any, root: bytes, settings: StateSettings) -> None:
        self._client = client
        self._root = root
        self._settings = settings

    def find(self, tokens: Sequence[int], in_slot: int, context: int, timeout: float) -> Found:
        """The states that are worth fetching for a prompt of which a slot has `in_slot` tokens."""
        step = self._settings.chunk_tokens
        hashes = chunk_hashes(self._root, tokens, step)
        if not hashes:
            return Found()
        there = self._client.exists([prefix_key(h) for h in hashes], timeout=timeout)
        places = [i for i, present in enumerate(there) if present][-CANDIDATES_MAX:]
        if not places:
            return Found()
        items = [Get(prefix_key(hashes[i])) for i in places]
        results = self._client.get_into(items, timeout=timeout)
        found = Found()
        for place, result in zip(reversed(places), reversed(results), strict=True):
            entry = _decoded(PrefixEntry, result)
            if entry is None:
                continue
            candidate = Candidate(entry, (place + 1) * step, hashes[place])
            found.stored.append(candidate)
            if worth_restoring(entry, candidate.shared, in_slot, context, self._settings):
                found.worthy.append(candidate)
        return found

    def load(self, candidate: Candidate, path: pathlib.Path, deadline: float) -> array[int]:
        """Writes a state to a new file; returns its tokens.

        Raises Doubt if it is gone, damaged or not that of the candidate's tokens; then, and after
        any other error, there is no file.
        """
        manifest = self._manifest(candidate.entry.state, deadline)
        if (manifest.tokens, manifest.nbytes) != (candidate.entry.tokens, candidate.entry.nbytes):
            raise Doubt("its manifest and its entry differ")
        largest = max(size for size, _ in manifest.pieces)
        if manifest.nbytes > self._settings.state_bytes_max or largest > manifest.nbytes:
            raise Doubt(f"its {manifest.nbytes} bytes are too many")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
        try:
            with open(descriptor, "wb", buffering=0) as file:
                return self._fetch(candidate, manifest, file, bytearray(largest), deadline)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _manifest(self, state: bytes, deadline: float) -> Manifest:
        result = self._client.get_into([Get(manifest_key(state))], timeout=_left(deadline))[0]
        manifest: Manifest | None = _decoded(Manifest, result)
        if manifest is None:
            final = result.hit or result.cause in _GONE
            raise Doubt(f"no manifest: {result.cause.name.lower()}", final)
        return manifest

    def _fetch(
        self, candidate: Candidate, manifest: Manifest, file: Any, room: bytearray, deadline: float
    ) -> array[int]:
        tokens: array[int] | None = None
        state = candidate.entry.state
        for index, (size, checksum) in enumerate(manifest.pieces):
            view = memoryview(room)[:size]
            key = piece_key(state, manifest.nonce, index)
            result = self._client.get_into([Get(key, view)], timeout=_left(deadline))[0]
            if not result.hit or result.nbytes != size:
                final = result.hit or result.cause in _GONE
                raise Doubt(f"piece {index} is missing: {result.cause.name.lower()}", final)
            if xxhash.xxh3_64_intdigest(view) != checksum:
                raise Doubt(f"piece {index} is damaged")
            if tokens is None:
                tokens = self._checked_tokens(candidate, view)
            _write_all(file, view)
        if tokens is None:
            raise Doubt("it has no pieces")
        return tokens

    def _checked_tokens(self, candidate: Candidate, start: memoryview) -> array[int]:
        """The tokens of a state; raises Doubt unless they are those that it was found by."""
        try:
            tokens = parse_head(start).tokens
        except FieldError as error:
            raise Doubt(f"its head is not understood: {error}") from error
        step = self._settings.chunk_tokens
        if len(tokens) != candidate.entry.tokens or not tokens:
            raise Doubt(f"it has {len(tokens)} tokens, not {candidate.entry.tokens}")
        if state_hash(self._root, tokens, step) != candidate.entry.state:
            raise Doubt("it is of other tokens")
        if chunk_hashes(self._root, tokens[: candidate.shared], step)[-1] != candidate.chunk_hash:
            raise Doubt("it starts with other tokens")
        return tokens

    def forget(self, candidates: Sequence[Candidate], timeout: float) -> None:
        """Removes what led to a state that is gone or damaged, so that it is stored anew."""
        keys = [prefix_key(candidate.chunk_hash) for candidate in candidates]
        keys += [manifest_key(state) for state in {c.entry.state for c in candidates}]
        self._client.purge(keys=keys, timeout=timeout)

    def save(self, path: pathlib.Path, recompute_us: int, deadline: float) -> StoredState:
        """Stores the state in a file and has all of its chunks found by it."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with open(descriptor, "rb", buffering=0) as file:
            tokens = read_tokens(file)
            nbytes = os.fstat(file.fileno()).st_size
            if nbytes > self._settings.state_bytes_max:
                return StoredState(error=f"{nbytes} bytes are too many")
            hashes = chunk_hashes(self._root, tokens, self._settings.chunk_tokens)
            if not hashes:
                return StoredState(error="not one whole chunk")
            state = state_hash(self._root, tokens, self._settings.chunk_tokens)
            entry = PrefixEntry(state, len(tokens), nbytes)
            stored = StoredState(tokens=len(tokens))
            known = self._known(state, deadline)
            if known is not None:
                entry, stored.present = known, True
            else:
                stored.error = self._upload(file, entry, recompute_us, deadline)
                stored.bytes_sent = 0 if stored.error else nbytes
        if not stored.error:
            stored.entries = self._enter(entry, hashes, deadline)
        return stored

    def _known(self, state: bytes, deadline: float) -> PrefixEntry | None:
        """The entry of a state that is there in full; forgets one that is there in part."""
        result = self._client.get_into([Get(manifest_key(state))], timeout=_left(deadline))[0]
        if not result.hit:
            return None
        manifest = _decoded(Manifest, result)
        if manifest is not None:
            keys = [piece_key(state, manifest.nonce, i) for i in range(len(manifest.pieces))]
            if all(self._client.exists(keys, timeout=_left(deadline))):
                return PrefixEntry(state, manifest.tokens, manifest.nbytes)
        self._client.purge(keys=[manifest_key(state)], timeout=_left(deadline))
        return None

    def _upload(self, file: Any, entry: PrefixEntry, recompute_us: int, deadline: float) -> str:
        """Stores pieces and manifest; returns why it failed, and leaves no pieces then."""
        # The first piece holds the whole head: it is checked before anything else is fetched.
        step = min(max(self._settings.piece_bytes, 4 * entry.tokens + 64), entry.nbytes)
        count = -(-entry.nbytes // step)
        if count > PIECES_MAX:
            return f"{count} pieces are too many"
        nonce = os.urandom(NONCE_BYTES)
        pieces: list[tuple[int, int]] = []
        room = bytearray(step)
        file.seek(0)
        error = ""
        for index in range(count):
            view = memoryview(room)[: min(step, entry.nbytes - index * step)]
            _read_all(file, view)
            put = Put(
                piece_key(entry.state, nonce, index),
                [view],
                ttl_ms=self._settings.ttl_ms,
                recompute_us=recompute_us // count,
            )
            error = self._put(put, deadline)
            if error:
                break
            pieces.append((len(view), xxhash.xxh3_64_intdigest(view)))
        if not error:
            manifest = Manifest(nonce, entry.tokens, tuple(pieces))
            error = self._put(self._record(manifest_key(entry.state), manifest), deadline)
        if error and pieces:
            keys = [piece_key(entry.state, nonce, index) for index in range(len(pieces))]
            self._client.purge(keys=keys, timeout=_left(deadline))
        return error

    def _enter(self, entry: PrefixEntry, hashes: Sequence[bytes], deadline: float) -> int:
        """Has each chunk found by this state, unless a state is found that serves as well."""
        keys = [prefix_key(h) for h in hashes]
        there = self._client.exists(keys, timeout=_left(deadline))
        known = [key for key, present in zip(keys, there, strict=True) if present]
        fresh = [key for key, present in zip(keys, there, strict=True) if not present]
        stale = self._outdone(entry, known, deadline)
        if stale:
            self._client.purge(keys=stale, timeout=_left(deadline))
        puts = [self._record(key, entry) for key in fresh + stale]
        results = self._client.put_from(puts, timeout=_left(deadline)) if puts else []
        return sum(result.stored for result in results)

    def _outdone(self, entry: PrefixEntry, keys: list[Any], deadline: float) -> list[Any]:
        """Those of the entries that lead nowhere, or to a state that is much longer."""
        if not keys:
            return []
        results = self._client.get_into([Get(key) for key in keys], timeout=_left(deadline))
        entries = [_decoded(PrefixEntry, result) for result in results]
        states = sorted({old.state for old in entries if old is not None})
        alive: dict[bytes, bool] = {}
        if states:
            there = self._client.exists([manifest_key(s) for s in states], timeout=_left(deadline))
            alive = dict(zip(states, there, strict=True))
        return [
            key
            for key, old in zip(keys, entries, strict=True)
            if old is None or not alive[old.state] or replaces(entry, old, self._settings)
        ]

    def _record(self, key: Any, record: Manifest | PrefixEntry) -> Put:
        return Put(key, [record.encode()], ttl_ms=self._settings.ttl_ms)

    def _put(self, put: Put, deadline: float) -> str:
        result = self._client.put_from([put], timeout=_left(deadline))[0]
        return "" if result.stored else str(result.error or "refused")


def read_tokens(file: Any) -> array[int]:
    """The tokens of a state file, open for reading; raises FieldError, OSError."""
    start = file.read(12)
    return parse_head(start + file.read(head_bytes_needed(start) - len(start))).tokens


def _decoded(kind: Any, result: Any) -> Any:
    """The record of a result, None if it is a miss or damaged."""
    if not result.hit or result.data is None:
        return None
    try:
        return kind.decode(bytes(result.data))
    except FieldError:
        return None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for this state is over")
    return left


def _write_all(file: Any, view: memoryview) -> None:
    while view:
        view = view[file.write(view) :]


def _read_all(file: Any, view: memoryview) -> None:
    while view:
        count = file.readinto(view)
        if not count:
            raise OSError("the state file became shorter while it was read")
        view = view[count:]


TROUBLE = (KDNError, OSError, Doubt)
