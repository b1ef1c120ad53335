"""The errors of the client: each names what is at fault, so that a caller can decide."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """Outcome of a request, as the server says it."""

    OK = 0
    BAD_REQUEST = 1
    UNKNOWN_OP = 2
    UNAUTHORISED = 3
    BUSY = 4
    CONFLICT = 5
    TOO_LARGE = 6
    NOT_FOUND = 7
    DEADLINE = 8
    DRAINING = 9
    OVER_CREDIT = 10
    CHECKSUM_MISMATCH = 11
    UNSUPPORTED = 12
    NOT_ALLOWED = 13
    INTERNAL = 14
    TOO_MANY_CONNECTIONS = 15
    OUT_OF_SEQUENCE = 16
    OVER_QUOTA = 17
    FORBIDDEN = 18


class KDNError(Exception):
    """Base of every error that this package raises on purpose."""


class FieldError(KDNError, ValueError):
    """A value given by the caller, or an encoding, has a field outside its limits."""

    def __init__(self, field: str, value: object, limit: object) -> None:
        super().__init__(f"{field} is {value!r}, must be {limit}")
        self.field = field
        self.value = value
        self.limit = limit


class ProtocolError(KDNError):
    """The server sent bytes that break the protocol; the connection is dropped."""

    def __init__(self, field: str, value: object, limit: object) -> None:
        super().__init__(f"server sent {field} {value!r}, expected {limit}")
        self.field = field
        self.value = value
        self.limit = limit


class ServerError(KDNError):
    """The server refused a request; `retry_after_ms` 0 means that asking again is no use."""

    def __init__(
        self,
        status: Status,
        field: str = "",
        value: int = 0,
        limit: int = 0,
        retry_after_ms: int = 0,
        message: str = "",
    ) -> None:
        place = f" in {field} (value {value}, limit {limit})" if field else ""
        super().__init__(f"{status.name.lower()}{place}: {message}")
        self.status = status
        self.field = field
        self.value = value
        self.limit = limit
        self.retry_after_ms = retry_after_ms
        self.message = message


class ConnectionLost(KDNError, ConnectionError):
    """No connection could be made, or it broke before the answer."""


class LinkUnavailable(ConnectionLost):
    """The link that was asked for, or that a verb needs, cannot be had; says why."""


class DeadlineExceeded(KDNError, TimeoutError):
    """The call's deadline passed before the answer."""


class LeaseExpired(KDNError):
    """A lease ended while its bytes were in use: they may not be what was stored."""


class CorruptPayload(KDNError):
    """Bytes received do not have the checksum that was taken when they were stored."""
