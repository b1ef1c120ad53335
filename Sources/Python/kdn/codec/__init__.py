"""Decoding of KV that the daemon delivers encoded: containers, profiles and three back ends."""

from __future__ import annotations

from kdn.codec.container import Entry, Header
from kdn.codec.decoder import Decoder
from kdn.codec.errors import BackEndMissing, EncodingError, ProfileMissing
from kdn.codec.header import read_header
from kdn.codec.profile import Basis, Profile
from kdn.codec.profiles import Profiles
from kdn.codec.stream import DecodedPlane, DecodeStream

__all__ = [
    "BackEndMissing",
    "Basis",
    "DecodeStream",
    "DecodedPlane",
    "Decoder",
    "EncodingError",
    "Entry",
    "Header",
    "Profile",
    "ProfileMissing",
    "Profiles",
    "read_header",
]
