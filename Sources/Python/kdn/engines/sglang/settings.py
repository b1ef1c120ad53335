"""The backend's settings, read from `--hicache-storage-backend-extra-config` and environment."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdn.client import Client
from kdn.errors import FieldError
from kdn.link import LINKS

PREFIX = "kdn_"
# Settings that a container image or a secret store gives rather than a command line.
ENVIRONMENT = {
    "address": "KDN_ADDRESS",
    "namespace": "KDN_NAMESPACE",
    "token": "KDN_TOKEN",
    "token_file": "KDN_TOKEN_FILE",
    "model_name": "KDN_MODEL_NAME",
}
_SECONDS_MAX = 3600.0
_OPTIONAL = ("token", "model_name", "ca", "certificate", "key")


@dataclass(frozen=True)
class Settings:
    """What a user may set; each field is the key `kdn_<name>` of the extra config.

    `timeout` bounds a batch of pages read or written and `lookup_timeout` a batch of lookups, in
    seconds. `ttl` is how long pages are kept at most, in seconds, 0 = no limit. `model_name`
    None: named by its weights. `link` is what carries the bytes: auto takes the best that there
    is, as the client does. `interface_v1` is SGLang's own key: pages go by address.
    """

    address: str = "127.0.0.1:9440"
    namespace: str = "default"
    token: str | None = field(default=None, repr=False)
    model_name: str | None = None
    timeout: float = 10.0
    lookup_timeout: float = 1.0
    ttl: float = 0.0
    streams: int = 2
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    link: str = "auto"
    interface_v1: bool = False

    def __post_init__(self) -> None:
        for name in ("timeout", "lookup_timeout"):
            if not 0 < getattr(self, name) <= _SECONDS_MAX:
                raise FieldError(PREFIX + name, getattr(self, name), "above 0, at most 3600 s")
        if not 0 <= self.ttl < 1 << 32:
            raise FieldError(PREFIX + "ttl", self.ttl, "0 to 2^32 - 1 s")
        if self.link not in LINKS:
            raise FieldError(PREFIX + "link", self.link, " or ".join(LINKS))
        if not 1 <= self.streams <= 64:
            raise FieldError(PREFIX + "streams", self.streams, "1 to 64")

    @classmethod
    def of(
        cls, extra: Mapping[str, Any] | None, environment: Mapping[str, str] = os.environ
    ) -> Settings:
        """The settings of an extra config; what it does not give, the environment may.

        Keys without the prefix `kdn_` are others' business. Raises FieldError for a key that is
        not known, a value of the wrong kind or out of its limits, and a token file that cannot be
        read.
        """
        extra = extra or {}
        given = {k[len(PREFIX) :]: v for k, v in extra.items() if k.startswith(PREFIX)}
        known = [name for name in cls.__dataclass_fields__ if name != "interface_v1"]
        for name in given:
            if name not in known and name != "token_file":
                keys = ", ".join(PREFIX + field for field in (*known, "token_file"))
                raise FieldError(PREFIX + name, given[name], f"one of the keys {keys}")
        _add_environment(given, environment)
        _read_token(given)
        values = {name: _converted(name, value) for name, value in given.items()}
        return cls(**values, interface_v1=bool(extra.get("interface_v1", 0)))

    def client(self) -> Client:
        """A client whose troubles are misses; raises FieldError for a wrong address or file.

        It does not check what it receives: pages come in pieces, and are checked as a whole.
        """
        return Client(
            self.address,
            self.namespace,
            self.token,
            streams=self.streams,
            timeout=self.timeout,
            connect_timeout=min(3.0, self.lookup_timeout),
            verify=False,
            on_error="miss",
            ca=self.ca,
            certificate=self.certificate,
            key=self.key,
            link=self.link,
        )


def _add_environment(given: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Adds what the environment says and the config does not; one token or the other."""
    has_token = "token" in given or "token_file" in given
    for name, variable in ENVIRONMENT.items():
        if name in given or (has_token and name in ("token", "token_file")):
            continue
        value = environment.get(variable)
        if value:
            given[name] = value


def _read_token(given: dict[str, Any]) -> None:
    path = given.pop("token_file", None)
    if path is None:
        return
    if given.get("token") is not None:
        raise FieldError("kdn_token_file", path, "absent when kdn_token is given")
    try:
        given["token"] = pathlib.Path(path).read_text("utf-8").strip()
    except (OSError, TypeError, UnicodeDecodeError) as error:
        raise FieldError("kdn_token_file", path, "a file that can be read") from error


def _converted(name: str, value: Any) -> Any:
    """`value` as its field's type; numbers may come as text."""
    if value is None and name in _OPTIONAL:
        return None
    if name in ("timeout", "lookup_timeout", "ttl", "streams"):
        return _number(name, value)
    if not isinstance(value, str) or not value:
        raise FieldError(PREFIX + name, value, "text")
    return value


def _number(name: str, value: Any) -> int | float:
    kind = int if name == "streams" else float
    try:
        if isinstance(value, bool):
            raise ValueError("not a number")
        converted = kind(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise FieldError(PREFIX + name, value, "a number") from error
    if kind is int and not isinstance(value, str) and converted != value:
        raise FieldError(PREFIX + name, value, "a whole number")
    return converted
