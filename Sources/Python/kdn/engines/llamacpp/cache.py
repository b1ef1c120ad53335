"""Saves and restores a server's slots: what the proxy uses, and those who want no proxy.

    cache = SlotCache(kdn.Client("127.0.0.1:9440"), LlamaServer(url), slots_dir)
    cache.identify()
    restored = cache.restore_slot(0, tokens)      # then request with id_slot 0, cache_prompt
    cache.save_slot(0)
"""

from __future__ import annotations

import os
import pathlib
import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kdn.engines.llamacpp import identity as naming
from kdn.engines.llamacpp.identity import UnsupportedServer
from kdn.engines.llamacpp.rules import Timings, holds_all
from kdn.engines.llamacpp.server import LlamaServer, ServerTrouble
from kdn.engines.llamacpp.settings import StateSettings
from kdn.engines.llamacpp.store import (
    TROUBLE,
    Candidate,
    Doubt,
    Found,
    StateStore,
    StoredState,
    read_tokens,
)
from kdn.keys import chain_root

PREFIX = "kdn-"
PROPS_TIMEOUT = 2.0
REFUSED_MAX = 1024


@dataclass(frozen=True)
class Identity:
    """A server as it was when it was looked at; void once its fingerprint changes."""

    name: str
    fingerprint: str
    slots: int
    context: int
    store: StateStore


@dataclass
class Restored:
    """What a restore did: the slot holds `tokens` now, of which the first `shared` (at least) are
    the prompt's; nothing if `tokens` is empty, and `cause` says why. `covered` tokens of the
    prompt are in stored states."""

    tokens: Sequence[int] = ()
    shared: int = 0
    nbytes: int = 0
    covered: int = 0
    cause: str = ""


@dataclass
class Counts:
    """What happened since the start; `causes` says why restores and saves did not come about."""

    numbers: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **numbers: int) -> None:
        with self.lock:
            self.numbers.update(numbers)

    def blame(self, cause: str) -> None:
        with self.lock:
            if cause in self.causes or len(self.causes) < 64:
                self.causes[cause] += 1

    def report(self) -> dict[str, Any]:
        with self.lock:
            return {**self.numbers, "causes": dict(self.causes)}


class SlotCache:
    """The states of one server's slots in KDN. `client` is a kdn.Client that raises; thread-safe.

    `slots_dir` is the server's --slot-save-path, as this process sees it: a private folder on the
    same machine, best in memory. Files there are named by this class alone.
    """

    def __init__(
        self,
        client: Any,
        server: LlamaServer,
        slots_dir: pathlib.Path,
        settings: StateSettings | None = None,
    ) -> None:
        self.settings = settings or StateSettings()
        self.server = server
        self.counts = Counts()
        self.identity: Identity | None = None
        self._client = client
        self._dir = slots_dir.resolve(strict=True)
        self._refused: OrderedDict[bytes, None] = OrderedDict()
        remove_stale_files(self._dir)

    def identify(self) -> Identity:
        """Finds out what the server computes; reads the whole model file the first time.

        Raises UnsupportedServer, ServerTrouble, OSError.
        """
        props = self.server.props()
        naming.check_supported(props, self.server.adapters())
        model = self.settings.model_file or pathlib.Path(str(props.get("model_path", "")))
        try:
            digest, long_rope = naming.model_digest(model)
        except OSError as error:
            raise UnsupportedServer(f"its model file cannot be read: {error}") from error
        with self._file() as path:
            probed = naming.probe(self.server, self._dir, path.name)
        if naming.fingerprint(self.server.props()) != naming.fingerprint(props):
            raise ServerTrouble("the server changed while it was looked at")
        name = naming.name_of(digest, long_rope, props, probed, self.settings)
        root = chain_root(name, self.settings.salt)
        store = StateStore(self._client, root, self.settings)
        self.identity = Identity(
            name,
            naming.fingerprint(props),
            int(props["total_slots"]),
            naming.slot_context(props),
            store,
        )
        return self.identity

    def is_current(self, identity: Identity, timeout: float = PROPS_TIMEOUT) -> bool:
        """Whether the server is still the one that was looked at."""
        try:
            return naming.fingerprint(self.server.props(timeout)) == identity.fingerprint
        except ServerTrouble:
            return False

    def restore_slot(self, slot: int, tokens: Sequence[int], in_slot: int = 0) -> Restored:
        """Fills a slot with the stored state that shares most with a prompt, if that is worth it.

        `in_slot` tokens of the prompt are in the slot already. Never raises for trouble: then
        nothing was restored, and `cause` says why.
        """
        identity = self.identity
        if identity is None:
            return self._missed(Restored(cause="the server is not identified"))
        deadline = time.monotonic() + self.settings.restore_timeout
        restored = Restored()
        try:
            found = identity.store.find(tokens, in_slot, identity.context, _left(deadline))
            restored.covered = found.covered
            return self._try_candidates(identity, slot, found, restored, deadline)
        except (*TROUBLE, ServerTrouble) as error:
            restored.cause = f"{type(error).__name__}: {error}"
            return self._missed(restored)

    def _try_candidates(
        self, identity: Identity, slot: int, found: Found, restored: Restored, deadline: float
    ) -> Restored:
        restored.cause = "already in the slot, or not worth it" if found.covered else "not stored"
        tried: set[bytes] = set()
        for candidate in found.worthy:
            state = candidate.entry.state
            if state in tried:
                continue
            tried.add(state)
            if state in self._refused:
                restored.cause = "refused by the server before"
                continue
            try:
                self._restore(identity, slot, candidate, restored, deadline)
                return restored
            except Doubt as error:
                restored.cause = f"doubt: {error}"
                if error.final:
                    gone = found.drop(state)
                    restored.covered = found.covered
                    identity.store.forget(gone, _left(deadline))
        return self._missed(restored)

    def _restore(
        self,
        identity: Identity,
        slot: int,
        candidate: Candidate,
        restored: Restored,
        deadline: float,
    ) -> None:
        with self._file() as path:
            tokens = identity.store.load(candidate, path, deadline)
            try:
                count = self.server.restore_slot(slot, path.name, _left(deadline))
            except ServerTrouble as error:
                if error.status:
                    self._remember_refused(candidate.entry.state)
                raise
        if count != len(tokens) or not self.is_current(identity, _left(deadline)):
            self.server.erase_slot(slot)
            raise ServerTrouble(f"the slot holds {count} tokens, not {len(tokens)}, or it is new")
        restored.tokens, restored.shared = tokens, candidate.shared
        restored.nbytes, restored.cause = candidate.entry.nbytes, ""
        self.counts.add(restores=1, tokens_restored=count, bytes_restored=restored.nbytes)

    def save_slot(
        self, slot: int, prompt: Sequence[int] = (), timings: Timings | None = None
    ) -> StoredState:
        """Stores what a slot holds. Never raises for trouble: `error` says it.

        With `timings`, only if the slot holds the prompt and what was generated, and nothing else.
        """
        with self._file() as path:
            stored = self.write_slot(slot, path, prompt, timings)
            return stored if stored.error else self.store_file(path, timings)

    def write_slot(
        self, slot: int, path: pathlib.Path, prompt: Sequence[int], timings: Timings | None
    ) -> StoredState:
        """Has the server write a slot to a file of `new_path`; the slot is free afterwards."""
        identity = self.identity
        if identity is None:
            return self._not_saved("the server is not identified")
        try:
            self.server.save_slot(slot, path.name, self.settings.save_timeout)
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                tokens = read_tokens(file)
        except (*TROUBLE, ServerTrouble, ValueError) as error:
            return self._not_saved(f"{type(error).__name__}: {error}")
        if timings is not None and not holds_all(tokens, prompt, timings):
            return self._not_saved("the slot holds other tokens than prompt and answer")
        if not self.is_current(identity):
            return self._not_saved("the server changed")
        return StoredState(tokens=len(tokens))

    def store_file(self, path: pathlib.Path, timings: Timings | None = None) -> StoredState:
        """Stores a file that `write_slot` had written."""
        identity = self.identity
        if identity is None:
            return self._not_saved("the server is not identified")
        deadline = time.monotonic() + self.settings.save_timeout
        cost = timings.prompt_us * timings.prompt // max(1, timings.computed) if timings else 0
        try:
            stored = identity.store.save(path, cost, deadline)
        except (*TROUBLE, ValueError) as error:
            return self._not_saved(f"{type(error).__name__}: {error}")
        if stored.error:
            return self._not_saved(stored.error)
        self.counts.add(
            saves=1,
            tokens_saved=stored.tokens,
            bytes_saved=stored.bytes_sent,
            saves_present=int(stored.present),
        )
        return stored

    def new_path(self) -> pathlib.Path:
        """A name that no file has yet; whoever takes it removes the file."""
        return self._dir / f"{PREFIX}{os.getpid()}-{secrets.token_hex(8)}.slot"

    @contextmanager
    def _file(self) -> Iterator[pathlib.Path]:
        path = self.new_path()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _remember_refused(self, state: bytes) -> None:
        self._refused[state] = None
        while len(self._refused) > REFUSED_MAX:
            self._refused.popitem(last=False)

    def _missed(self, restored: Restored) -> Restored:
        self.counts.add(restores_missed=1)
        self.counts.blame(f"restore: {restored.cause}"[:160])
        return restored

    def _not_saved(self, error: str) -> StoredState:
        self.counts.add(saves_failed=1)
        self.counts.blame(f"save: {error}"[:160])
        return StoredState(error=error)


def remove_stale_files(folder: pathlib.Path) -> int:
    """Removes what processes that have ended left; returns how many files."""
    count = 0
    for path in folder.glob(f"{PREFIX}*.slot"):
        owner = path.name.split("-")[1]
        if owner.isdigit() and not _is_alive(int(owner)):
            path.unlink(missing_ok=True)
            count += 1
    return count


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for this state is over")
    return left


__all__ = [
    "Counts",
    "Identity",
    "Restored",
    "SlotCache",
    "UnsupportedServer",
    "remove_stale_files",
]
