"""The connector's settings, read from `kv_connector_extra_config`."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kdn.client import Client
from kdn.errors import FieldError
from kdn.fidelity import FIDELITIES
from kdn.keys import CHUNK_TOKENS_MAX, CHUNK_TOKENS_MIN
from kdn.link import LINKS

DEFAULT_ADDRESS = "127.0.0.1:9440"
PREFIX = "kdn_"


@dataclass(frozen=True)
class Settings:
    """What a user may set; each field is the key `kdn_<name>` of the extra config.

    `chunk_tokens` is rounded up to a multiple of the engine's block by what describes the model.
    `timeout` and `lookup_timeout` are in seconds. `model_name` None: named by its weights. `ca`,
    `certificate` and `key` are files, for an address `tls://host:port` only. `link` is what carries
    the bytes: auto takes the best that there is, as the client does. `fidelity` is the client's
    too: how near whole chunks must be to what was stored, in the canonical layout. With `deadline`,
    in seconds, the server sends what can be there by then, and the engine computes what is behind
    it, `prefill_rate` tokens a second.
    """

    address: str = DEFAULT_ADDRESS
    namespace: str = "default"
    token: str | None = field(default=None, repr=False)
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    link: str = "auto"
    fidelity: str | None = None
    deadline: float | None = None
    prefill_rate: float | None = None
    chunk_tokens: int = 256
    model_name: str | None = None
    timeout: float = 10.0
    lookup_timeout: float = 0.5
    load: str = "async"
    save: str = "all"
    mode: str = "auto"
    streams: int = 2
    save_queue_bytes: int = 256 << 20
    after_reset: str = "forget"

    def __post_init__(self) -> None:
        for name, choices in (
            ("load", ("async", "layerwise")),
            ("save", ("all", "prompt")),
            ("after_reset", ("forget", "keep")),
            ("mode", ("auto", "canonical", "opaque")),
            ("link", LINKS),
            ("fidelity", (None, *FIDELITIES)),
        ):
            if getattr(self, name) not in choices:
                limit = " or ".join(map(str, choices))
                raise FieldError(PREFIX + name, getattr(self, name), limit)
        for name, least, most in (
            ("chunk_tokens", CHUNK_TOKENS_MIN, CHUNK_TOKENS_MAX),
            ("streams", 1, 64),
            ("save_queue_bytes", 1, 1 << 40),
        ):
            if not least <= getattr(self, name) <= most:
                raise FieldError(PREFIX + name, getattr(self, name), f"{least} to {most}")
        for name in ("timeout", "lookup_timeout"):
            if not 0 < getattr(self, name) <= 3600:
                raise FieldError(PREFIX + name, getattr(self, name), "above 0, at most 3600 s")
        if self.deadline is not None and not 0 < self.deadline <= 3600:
            raise FieldError("kdn_deadline", self.deadline, "above 0, at most 3600 s")
        if self.prefill_rate is not None:
            if self.deadline is None:
                raise FieldError("kdn_prefill_rate", self.prefill_rate, "absent without a deadline")
            if not 0 < self.prefill_rate < 1e9:
                raise FieldError("kdn_prefill_rate", self.prefill_rate, "above 0, below 10^9")

    @classmethod
    def of(cls, extra: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings of an extra config; keys without the prefix `kdn_` are others' business.

        Raises FieldError for a key that is not known, a value of the wrong kind or out of its
        limits, and a token file that cannot be read.
        """
        given = {k[len(PREFIX) :]: v for k, v in extra.items() if k.startswith(PREFIX)}
        token_file = given.pop("token_file", None)
        if token_file is not None:
            if "token" in given:
                raise FieldError("kdn_token_file", token_file, "absent when kdn_token is given")
            given["token"] = _read_token(token_file)
        given.setdefault("address", environment.get("KDN_ADDRESS") or DEFAULT_ADDRESS)
        known = cls.__dataclass_fields__
        for name in given:
            if name not in known:
                keys = ", ".join(PREFIX + field for field in (*known, "token_file"))
                raise FieldError(PREFIX + name, given[name], f"one of the keys {keys}")
        return cls(**{name: _converted(name, value) for name, value in given.items()})

    @property
    def takes_layers(self) -> bool:
        """Whether chunks may be fetched layer by layer: encoded ones, and choices, are of all."""
        return self.fidelity is None and self.deadline is None

    def client(self) -> Client:
        """A client whose troubles are misses; raises FieldError for a wrong address."""
        return Client(
            self.address,
            self.namespace,
            self.token,
            streams=self.streams,
            timeout=self.timeout,
            connect_timeout=min(3.0, self.timeout),
            on_error="miss",
            ca=self.ca,
            certificate=self.certificate,
            key=self.key,
            link=self.link,
            fidelity=self.fidelity,
        )


def _read_token(path: Any) -> str:
    try:
        return pathlib.Path(path).read_text("utf-8").strip()
    except (OSError, TypeError, UnicodeDecodeError) as error:
        raise FieldError("kdn_token_file", path, "a file that can be read") from error


_INTEGERS = ("chunk_tokens", "streams", "save_queue_bytes")
_FLOATS = ("timeout", "lookup_timeout", "deadline", "prefill_rate")
_OPTIONAL = (
    "token", "ca", "certificate", "key", "model_name", "fidelity", "deadline", "prefill_rate",
)


def _converted(name: str, value: Any) -> Any:
    """`value` as its field's type; command lines bring numbers as text too."""
    if value is None and name in _OPTIONAL:
        return None
    kind = int if name in _INTEGERS else float if name in _FLOATS else str
    if kind is str and not isinstance(value, str) or isinstance(value, bool):
        raise FieldError(PREFIX + name, value, "text" if kind is str else "a number")
    try:
        converted = kind(value)
    except (TypeError, ValueError) as error:
        raise FieldError(PREFIX + name, value, "a number") from error
    if kind is int and not isinstance(value, str) and converted != value:
        raise FieldError(PREFIX + name, value, "a whole number")
    return converted
