"""What the blocking and the asyncio client share: settings, layouts, dial policy, counters."""

from __future__ import annotations

import os
import ssl
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kdn.address import Address, Breaker
from kdn.byte_operations import GetOperation, count_results
from kdn.dialling import Dialler
from kdn.errors import ConnectionLost, DeadlineExceeded, FieldError, KDNError, ServerError
from kdn.decoders import Decoders
from kdn.fidelity import check_fidelity, terms_of
from kdn.get_job import Delivery
from kdn.layouts import Layout
from kdn.link import Link, check_choice
from kdn.rates import Rates
from kdn.results import Counters, Get, GetResult
from kdn.secure import make_context

# Below this a second stream costs more in hand-over than it brings.
FAN_OUT_BYTES_MIN = 32 << 20


@dataclass(frozen=True, slots=True)
class Hurry:
    """By when (monotonic seconds) a chain of chunks is to be there, and hints: see Rates."""

    due: float
    bandwidth: float | None = None
    prefill_rate: float | None = None


class ClientBase:
    """Settings and bookkeeping; subclasses move the bytes."""

    def __init__(
        self,
        address: str,
        namespace: str,
        token: str | None,
        streams: int,
        timeout: float,
        connect_timeout: float,
        verify: bool,
        on_error: str,
        ca: str | None,
        certificate: str | None,
        key: str | None,
        link: str,
        rdma_trusted: bool,
        fidelity: str | None = None,
    ) -> None:
        if on_error not in ("raise", "miss"):
            raise FieldError("on_error", on_error, "raise or miss")
        for field, value in (
            ("streams", streams),
            ("timeout", timeout),
            ("connect_timeout", connect_timeout),
        ):
            if not value > 0:
                raise FieldError(field, value, "greater than 0")
        self._address = Address.parse(address)
        self._fidelity = check_fidelity(fidelity, is_rdma=link == "rdma" or self._address.rdma)
        check_choice(link, self._address)
        self._dialler = Dialler(
            self._address, namespace, token or "", link,
            self._make_security(ca, certificate, key), (ca, certificate, key), rdma_trusted,
            encoded=fidelity is not None,
        )
        self._link = Link()
        self._terms = terms_of(self._fidelity)
        self._rates = Rates()
        self._stream_count = streams
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._verify = verify
        self._strict = on_error == "raise"
        self._layouts: dict[bytes, Layout] = {}
        self._breaker = Breaker()
        self._lost = 0
        self._lock = threading.Lock()
        self.counters = Counters()
        _clients.add(self)

    def _make_security(
        self, ca: str | None, certificate: str | None, key: str | None
    ) -> ssl.SSLContext | None:
        if self._address.tls:
            return make_context(ca, certificate, key)
        for field, value in (("ca", ca), ("certificate", certificate), ("key", key)):
            if value is not None:
                raise FieldError(field, value, "given only with an address tls://host:port")
        return None

    @property
    def fidelity(self) -> str | None:
        """How near whole objects must be to what was stored; None: as the server keeps them."""
        return self._fidelity

    @property
    def rates(self) -> Rates:
        """How fast bytes arrive, are decoded and are computed here, as far as it was measured."""
        return self._rates

    @property
    def link(self) -> Link:
        """What carries the bytes, as the connection made last has it, and why."""
        return self._link

    def _deadline(self, timeout: float | None) -> float:
        return time.monotonic() + (self._timeout if timeout is None else timeout)

    @staticmethod
    def _remaining(deadline: float) -> float:
        return max(0.0, deadline - time.monotonic())

    # Layouts

    def _knows_layout(self, layout: Layout) -> bool:
        with self._lock:
            return layout.id in self._layouts

    def _learn_layout(self, layout: Layout) -> None:
        """Remembers a layout, to register it on every later connection."""
        with self._lock:
            self._layouts[layout.id] = layout

    # Dials

    def _before_dial(self, deadline: float) -> tuple[list[Layout], float]:
        """Layouts to register and the dial's own deadline; raises while the breaker is open."""
        now = time.monotonic()
        with self._lock:
            pause = self._breaker.wait_seconds(now)
            if pause > 0:
                raise ConnectionLost(f"the last dial failed; the next is allowed in {pause:.2f} s")
            return list(self._layouts.values()), min(deadline, now + self._connect_timeout)

    def _dial_failed(self, error: KDNError, early: bool) -> KDNError:
        """Opens the breaker; `early`: the dial's time was over before the call's."""
        with self._lock:
            self._breaker.failed(time.monotonic())
        if early and isinstance(error, DeadlineExceeded):
            return ConnectionLost(f"no connection in {self._connect_timeout} s")
        return error

    def _dialled(self, link: Link) -> None:
        with self._lock:
            self._link = link
            self._breaker.succeeded()
            if self._lost > 0:
                self._lost -= 1
                self.counters.reconnects += 1

    def _on_lost(self) -> None:
        with self._lock:
            self._lost += 1

    # Gets and counters

    def _get_operation(
        self, items: Sequence[Get], wait: bool, hurry: Hurry | None = None
    ) -> GetOperation:
        delivery = Delivery(self._terms, self._the_decoders(), rates=self._rates)
        if hurry is not None:
            delivery = replace(
                delivery, due=hurry.due,
                adapt=self._rates.adaptation(hurry.bandwidth, hurry.prefill_rate),
            )
        return GetOperation(
            items, wait=wait, verify=self._verify, strict=self._strict, delivery=delivery
        )

    def _the_decoders(self) -> Decoders | None:
        """What decodes what comes encoded."""
        raise NotImplementedError

    @staticmethod
    def _hurry(
        deadline: float | None, bandwidth: float | None, prefill_rate: float | None, wait: bool
    ) -> Hurry | None:
        """What a call says of its hurry, None if it has none; raises FieldError for nonsense."""
        if deadline is None:
            for field, value in (("bandwidth", bandwidth), ("prefill_rate", prefill_rate)):
                if value is not None:
                    raise FieldError(field, value, "given only with a deadline")
            return None
        if wait:
            raise FieldError("wait", wait, "False with a deadline")
        for field, value in (
            ("deadline", deadline),
            ("bandwidth", bandwidth),
            ("prefill_rate", prefill_rate),
        ):
            if value is not None and not 0 < value < float("inf"):
                raise FieldError(field, value, "greater than 0, and finite")
        return Hurry(time.monotonic() + deadline, bandwidth, prefill_rate)

    def _groups(self, operation: GetOperation, items: Sequence[Get]) -> list[Sequence[Get]]:
        """Neighbouring items, in as many groups of like size as there are streams.

        The server chooses among all chunks of a chain, which are one group then; and those with
        takers are to be done one after another, not all at the end.
        """
        total = operation.expected_bytes
        if self._stream_count == 1 or len(items) < 2 or total < FAN_OUT_BYTES_MIN:
            return [items]
        if operation.is_adaptive or any(item.taker is not None for item in items):
            return [items]
        groups: list[list[Get]] = [[]]
        filled = 0
        for entry in operation.entries:
            if groups[-1] and filled >= total * len(groups) / self._stream_count:
                groups.append([])
            groups[-1].append(entry.item)
            filled += entry.expected_bytes
        return list(groups)

    def _count_gets(self, operation: GetOperation) -> None:
        with self._lock:
            operation.count(self.counters)

    def _count_results(self, results: Sequence[GetResult]) -> None:
        with self._lock:
            count_results(results, self.counters)

    def _count_error(self, error: KDNError) -> None:
        name = error.status.name.lower() if isinstance(error, ServerError) else type(error).__name__
        with self._lock:
            self.counters.errors[name] += 1

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._rates.after_fork_in_child()
        self._dialler.slabs.after_fork_in_child()


_clients: weakref.WeakSet[ClientBase] = weakref.WeakSet()


def _reset_clients_in_child() -> None:
    for client in list(_clients):
        client._after_fork_in_child()


os.register_at_fork(after_in_child=_reset_clients_in_child)
