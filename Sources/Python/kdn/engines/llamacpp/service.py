"""What the proxy does around each request: find, restore, pin, and afterwards save."""

from __future__ import annotations

import logging
import pathlib
import queue
import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kdn.engines.llamacpp.cache import Identity, Restored, SlotCache
from kdn.engines.llamacpp.identity import UnsupportedServer
from kdn.engines.llamacpp.prompts import Prompt, pinned, read_prompt
from kdn.engines.llamacpp.rules import Timings, computed_as_told, timings_of, worth_saving
from kdn.engines.llamacpp.server import ServerTrouble, credentials_of
from kdn.engines.llamacpp.settings import ProxySettings
from kdn.engines.llamacpp.slots import Slot, SlotPool
from kdn.errors import KDNError

UPLOADS_MAX = 2
RETRY_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)

log = logging.getLogger("kdn.llamacpp")


@dataclass
class Ticket:
    """A request that goes to a slot of its own. `possible` tokens the slot may have had."""

    identity: Identity
    pool: SlotPool
    slot: Slot
    tokens: Sequence[int]
    restored: Restored
    possible: int
    body: bytes
    timings: Timings | None = None


class Service:
    """Lends slots to requests. Any trouble means only that a request passes as it is."""

    def __init__(self, cache: SlotCache, settings: ProxySettings) -> None:
        self.cache = cache
        self.settings = settings
        self.why = "not identified yet"
        self._pool: tuple[Identity, SlotPool] | None = None
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._writes: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._uploads: queue.Queue[tuple[pathlib.Path, Timings | None] | None]
        self._uploads = queue.Queue(UPLOADS_MAX)
        self._changed = threading.Condition()
        self._unfinished = 0
        self._threads = [
            threading.Thread(target=task, name=f"kdn-{name}", daemon=True)
            for name, task in (
                ("identify", self._identify),
                ("save", self._write),
                ("upload", self._upload),
            )
        ]

    def start(self) -> None:
        """Starts the threads; the server need not be there yet."""
        self._wanted.set()
        for thread in self._threads:
            thread.start()

    def close(self, timeout: float = 10.0) -> None:
        """Ends the threads; what is being saved is finished if it is quick."""
        self._closed.set()
        self._wanted.set()
        self._writes.put(None)
        for thread in self._threads:
            thread.join(timeout)

    # Around a request

    def begin(self, path: str, data: bytes, headers: Any) -> Ticket | None:
        """Readies a slot for a request; None if the request is to pass as it is."""
        identity, settings = self.cache.identity, self.cache.settings
        if identity is None:
            self._wanted.set()
            return None
        prompt = read_prompt(path, data, settings.min_tokens)
        if prompt is None:
            return None
        if not self.cache.is_current(identity):
            self._lost(identity)
            return None
        try:
            tokens = self._tokens(prompt, headers)
        except ServerTrouble as error:
            self.cache.counts.blame(f"tokenize: {error.status}")
            return None
        if not settings.min_tokens <= len(tokens) < identity.context:
            return None
        pool = self._pool_of(identity)
        slot = pool.borrow(tokens, settings.min_tokens, self.settings.slot_wait)
        if slot is None:
            self.cache.counts.blame("no slot was free in time")
            return None
        try:
            return self._ready(identity, pool, slot, tokens, prompt)
        except BaseException:
            pool.give_back(slot)
            raise

    def _tokens(self, prompt: Prompt, headers: Any) -> array[int]:
        server, timeout = self.cache.server, self.cache.settings.restore_timeout
        credentials = credentials_of(headers)
        content = prompt.content
        if prompt.is_chat:
            content = server.apply_template(prompt.body, timeout, credentials)
        elif isinstance(content, list):
            # Nothing to tokenise, but whoever asks must be one whom the server answers.
            server.tokenize("", timeout, credentials)
        return server.tokenize(content, timeout, credentials)

    def _ready(
        self, identity: Identity, pool: SlotPool, slot: Slot, tokens: array[int], prompt: Prompt
    ) -> Ticket:
        restored = self.cache.restore_slot(slot.number, tokens, slot.shared(tokens))
        if restored.tokens:
            slot.tokens, slot.extra = restored.tokens, 0
        body = pinned(prompt.body, slot.number)
        with self._changed:
            self._unfinished += 1
        return Ticket(identity, pool, slot, tokens, restored, slot.possible(tokens), body)

    def finish(self, ticket: Ticket, tail: bytes | None) -> None:
        """Ends a request by the end of its answer, None if it was cut short; may save the slot."""
        if self._note(ticket, tail):
            self._writes.put(ticket)
        else:
            ticket.pool.give_back(ticket.slot)
            self._finished()

    def _note(self, ticket: Ticket, tail: bytes | None) -> bool:
        """Notes what the slot holds now; returns whether it is to be saved."""
        timings = ticket.timings = None if tail is None else timings_of(tail)
        slot = ticket.slot
        if timings is None or timings.prompt != len(ticket.tokens):
            slot.tokens, slot.extra = array("i"), ticket.identity.context
            return False
        slot.tokens, slot.extra = ticket.tokens, timings.generated
        self.cache.counts.add(
            requests=1, engine_cached=timings.cached, engine_computed=timings.computed
        )
        if ticket.restored.tokens and timings.cached < ticket.restored.shared:
            self.cache.counts.add(restores_unused=1)
        return self._is_worth_saving(ticket, timings)

    def _is_worth_saving(self, ticket: Ticket, timings: Timings) -> bool:
        prompt, covered = len(ticket.tokens), ticket.restored.covered
        if not worth_saving(prompt, covered, self.cache.settings):
            return False
        if not computed_as_told(prompt, timings, ticket.possible):
            self.cache.counts.blame("save: the server reused more than its slot was known to hold")
            return False
        return self.cache.identity is ticket.identity and not self._closed.is_set()

    def wait_saved(self, timeout: float) -> bool:
        """Returns once no request is served and nothing is being saved; False if that took longer.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._unfinished == 0, timeout)

    def wait_ready(self, timeout: float) -> bool:
        """Returns once the server is identified; False if that took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: self.cache.identity is not None, timeout)

    def report(self) -> dict[str, Any]:
        """What is shown to the operator."""
        identity = self.cache.identity
        return {
            "ready": identity is not None,
            "why": "" if identity is not None else self.why,
            "model": identity.name if identity is not None else "",
            "unfinished": self._unfinished,
            **self.cache.counts.report(),
        }

    # In the background

    def _pool_of(self, identity: Identity) -> SlotPool:
        known = self._pool
        if known is None or known[0] is not identity:
            with self._changed:
                known = self._pool
                if known is None or known[0] is not identity:
                    known = self._pool = (identity, SlotPool(identity.slots))
        return known[1]

    def _lost(self, identity: Identity) -> None:
        if self.cache.identity is identity:
            self.cache.identity = None
            self.why = "the server does not answer, or is another one now"
            self.cache.counts.add(servers_lost=1)
        self._wanted.set()

    def _identify(self) -> None:
        failures = 0
        while True:
            self._wanted.wait()
            if self._closed.is_set():
                return
            if self.cache.identity is not None:
                self._wanted.clear()
                continue
            try:
                log.info("ready: %s", self.cache.identify().name)
                failures = 0
                with self._changed:
                    self._changed.notify_all()
                continue
            except (UnsupportedServer, ServerTrouble, KDNError, OSError, ValueError) as error:
                if str(error) != self.why:
                    log.warning("requests pass as they are: %s", error)
                self.why = str(error)
            pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
            failures += 1
            if self._closed.wait(pause):
                return

    def _write(self) -> None:
        """Has slots written to files; a slot is free again once it is."""
        while (ticket := self._writes.get()) is not None:
            path, written = self.cache.new_path(), False
            try:
                if self.cache.identity is ticket.identity:
                    stored = self.cache.write_slot(
                        ticket.slot.number, path, ticket.tokens, ticket.timings
                    )
                    written = not stored.error
            except Exception:
                log.exception("a slot was not saved")
            finally:
                ticket.pool.give_back(ticket.slot)
            if not written or not self._hand_over(path, ticket.timings):
                path.unlink(missing_ok=True)
                self._finished()
        self._uploads.put(None)

    def _hand_over(self, path: pathlib.Path, timings: Timings | None) -> bool:
        try:
            self._uploads.put_nowait((path, timings))
            return True
        except queue.Full:
            self.cache.counts.blame("save: too many are being stored")
            return False

    def _upload(self) -> None:
        while (item := self._uploads.get()) is not None:
            path, timings = item
            try:
                self.cache.store_file(path, timings)
            except Exception:
                log.exception("a state was not stored")
            finally:
                path.unlink(missing_ok=True)
                self._finished()

    def _finished(self) -> None:
        with self._changed:
            self._unfinished -= 1
            self._changed.notify_all()
