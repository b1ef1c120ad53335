"""What the blocking and the asyncio client share: settings, layouts, dial policy, counters."""

from __future__ import annotations

import os
import ssl
import threading
import time
import weakref
from collections.abc import Sequence

from kdn.address import Address, Breaker
from kdn.errors import ConnectionLost, DeadlineExceeded, FieldError, KDNError, ServerError
from kdn.layouts import Layout
from kdn.operations import GetOperation
from kdn.results import Counters, Get
from kdn.secure import make_context

# Below this a second stream costs more in hand-over than it brings.
FAN_OUT_BYTES_MIN = 32 << 20


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
        self._security = self._make_security(ca, certificate, key)
        self._namespace = namespace
        self._token = token or ""
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

    def _dialled(self) -> None:
        with self._lock:
            self._breaker.succeeded()
            if self._lost > 0:
                self._lost -= 1
                self.counters.reconnects += 1

    def _on_lost(self) -> None:
        with self._lock:
            self._lost += 1

    # Gets and counters

    def _get_operation(self, items: Sequence[Get], wait: bool) -> GetOperation:
        return GetOperation(items, wait=wait, verify=self._verify, strict=self._strict)

    def _groups(self, operation: GetOperation, items: Sequence[Get]) -> list[Sequence[Get]]:
        """Neighbouring items, in as many groups of like size as there are streams."""
        total = operation.expected_bytes
        if self._stream_count == 1 or len(items) < 2 or total < FAN_OUT_BYTES_MIN:
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

    def _count_error(self, error: KDNError) -> None:
        name = error.status.name.lower() if isinstance(error, ServerError) else type(error).__name__
        with self._lock:
            self.counters.errors[name] += 1

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()


_clients: weakref.WeakSet[ClientBase] = weakref.WeakSet()


def _reset_clients_in_child() -> None:
    for client in list(_clients):
        client._after_fork_in_child()


os.register_at_fork(after_in_child=_reset_clients_in_child)
