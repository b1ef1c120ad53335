"""Profiles by hash: kept in memory up to a limit, and in a folder between runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pathlib
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from kdn.codec.errors import EncodingError, ProfileMissing
from kdn.codec.profile import Profile
from kdn.pages import kept_in_pages

MEMORY_BYTES_MAX = 2 << 30
FOLDER_BYTES_MAX = 4 << 30
VARIABLE = "KDN_PROFILES"
_NEW = ".new-"
# What a process that ended in the midst of writing has left behind.
_LEFT_SECONDS = 3600.0

Fetch = Callable[[bytes], "bytes | bytearray | memoryview | None"]


def default_folder() -> pathlib.Path:
    """Where profiles are kept: KDN_PROFILES, else the user's cache."""
    named = os.environ.get(VARIABLE)
    if named:
        return pathlib.Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (pathlib.Path(cache) if cache else pathlib.Path.home() / ".cache") / "kdn" / "profiles"


class Profiles:
    """Finds profiles in memory, then in `folder`, then by `fetch`; safe to share by threads.

    `folder` None keeps nothing on disk. What a file or `fetch` gives counts only with its hash.
    Processes may share a folder: beyond `folder_bytes_max` those that none has used for longest go.
    """

    def __init__(
        self,
        folder: pathlib.Path | None = None,
        fetch: Fetch | None = None,
        bytes_max: int = MEMORY_BYTES_MAX,
        folder_bytes_max: int = FOLDER_BYTES_MAX,
    ) -> None:
        self.folder = folder
        self.bytes_max = bytes_max
        self.folder_bytes_max = folder_bytes_max
        self._fetch = fetch
        self._lock = threading.Lock()
        self._held: OrderedDict[bytes, Profile] = OrderedDict()

    def add(self, data: bytes | bytearray | memoryview) -> Profile:
        """Takes a profile's bytes; raises EncodingError if they are none."""
        profile = Profile(kept_in_pages(data))
        self._hold(profile)
        return profile

    def get(self, name: bytes, fetch: Fetch | None = None) -> Profile:
        """The profile of this hash; `fetch` goes before the one given at first.

        Raises ProfileMissing where there is none, EncodingError where what has the hash is none.
        """
        with self._lock:
            held = self._held.get(name)
            if held is not None:
                self._held.move_to_end(name)
                return held
        data = self._read(name)
        if data is None:
            data = self._fetched(name, fetch or self._fetch)
        return self.add(data)

    def _hold(self, profile: Profile) -> None:
        with self._lock:
            self._held[profile.hash] = profile
            self._held.move_to_end(profile.hash)
            total = sum(held.byte_count for held in self._held.values())
            while total > self.bytes_max and len(self._held) > 1:
                total -= self._held.popitem(last=False)[1].byte_count

    def _read(self, name: bytes) -> bytes | None:
        if self.folder is None:
            return None
        path = self.folder / name.hex()
        with suppress(OSError):
            data = path.read_bytes()
            if hashlib.sha256(data).digest() == name:
                # The time of last use, by which room is made.
                with suppress(OSError):
                    os.utime(path)
                return data
            path.unlink()
        return None

    def _fetched(self, name: bytes, fetch: Fetch | None) -> bytes:
        found = None if fetch is None else fetch(name)
        if found is None:
            raise ProfileMissing(name)
        data = bytes(found)
        digest = hashlib.sha256(data).digest()
        if digest != name:
            raise EncodingError("profile.hash", digest.hex(), name.hex())
        self._write(name, data)
        return data

    def _write(self, name: bytes, data: bytes) -> None:
        """Keeps it for the next run; a folder that cannot be written costs only that."""
        if self.folder is None or len(data) > self.folder_bytes_max:
            return
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=_NEW)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                os.replace(temporary, self.folder / name.hex())
            except OSError:
                os.unlink(temporary)
                raise
            self._make_room(self.folder, name)

    def _make_room(self, folder: pathlib.Path, newest: bytes) -> None:
        """Removes what was not used for longest, but not what was just written.

        Others may read a file while it goes: an open one stays readable.
        """
        with (folder / ".lock").open("a") as lock:
            # One process at a time counts, or two would make the same room twice.
            fcntl.flock(lock, fcntl.LOCK_EX)
            files: list[tuple[float, int, str]] = []
            for entry in os.scandir(folder):
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if entry.name.startswith(_NEW):
                        if time.time() - found.st_mtime > _LEFT_SECONDS:
                            os.unlink(entry.path)
                    elif _is_profile(entry.name):
                        files.append((found.st_mtime, found.st_size, entry.name))
            total = sum(size for _, size, _ in files)
            for _, size, name in sorted(files):
                if total <= self.folder_bytes_max:
                    return
                if name != newest.hex():
                    os.unlink(folder / name)
                    total -= size


def _is_profile(name: str) -> bool:
    return len(name) == 64 and not set(name) - set("0123456789abcdef")
