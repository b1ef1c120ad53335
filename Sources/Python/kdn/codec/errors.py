"""What can be wrong with encoded bytes: each error names the field, its value and its limit."""

from __future__ import annotations

from kdn.errors import FieldError, KDNError


class EncodingError(FieldError):
    """An encoded object or a profile has a field that cannot be; nothing of it is to be used."""


class ProfileMissing(KDNError, LookupError):
    """An encoded object needs a profile that is not at hand; `profile` is the 32-byte hash."""

    def __init__(self, profile: bytes) -> None:
        super().__init__(f"profile {profile.hex()} is not at hand")
        self.profile = profile


class BackEndMissing(KDNError, RuntimeError):
    """What was asked to decode cannot be had here; says why."""


def require(field: str, value: int, least: int, most: int) -> int:
    """The value; raises EncodingError outside `least` to `most`."""
    if not least <= value <= most:
        raise EncodingError(field, value, f"{least} to {most}")
    return value
