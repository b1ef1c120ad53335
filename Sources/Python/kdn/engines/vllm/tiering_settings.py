"""Settings of the vLLM tier: the entries of its `secondary_tiers` dictionary, checked."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from dataclasses import dataclass, field
from typing import Any

from kdn.address import DEFAULT_PORT, Address
from kdn.client import Client
from kdn.errors import FieldError
from kdn.keys import MODEL_BYTES_MAX
from kdn.link import check_choice

ADDRESS_VARIABLE = "KDN_ADDRESS"
AFTER_RESET = ("forget", "keep")
LOCALITIES = (None, "LOCAL", "REMOTE")


@dataclass(frozen=True)
class TierSettings:
    """What a tier may be told.

    `model_name` names weights, revision, overrides and adapters: engines share KV only under the
    same name, and the tier cannot see any of these itself. `timeout` (seconds) is the deadline of
    each batch of a transfer, `lookup_timeout` that of a question whether a key is there: the
    request waits for it. `pending_bytes` bounds what queued stores may keep pinned in the primary
    tier (None: a quarter of it). `after_reset` says whether objects of before a reset of the cache
    may be used after it ("keep") or not ("forget": a reset may stand for new weights). `link` is
    what carries the bytes: auto takes the best that there is, as the client does.
    """

    model_name: str
    address: str
    namespace: str = "default"
    token: str | None = field(default=None, repr=False)
    timeout: float = 5.0
    lookup_timeout: float = 0.5
    streams: int = 4
    pending_bytes: int | None = None
    lookup_keys: int = 262_144
    after_reset: str = "forget"
    enable_kv_events: bool = False
    locality: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    link: str = "auto"

    def __post_init__(self) -> None:
        name_bytes = len(self.model_name.encode()) if isinstance(self.model_name, str) else 0
        if not 1 <= name_bytes <= MODEL_BYTES_MAX:
            limit = f"given: a name of 1 to {MODEL_BYTES_MAX} bytes for exactly these weights"
            raise FieldError("model_name", self.model_name, limit)
        if not isinstance(self.address, str):
            raise FieldError("address", self.address, "text")
        check_choice(self.link, Address.parse(self.address))
        for field in ("timeout", "lookup_timeout", "streams", "lookup_keys"):
            _require_positive(field, getattr(self, field))
        if self.pending_bytes is not None:
            _require_positive("pending_bytes", self.pending_bytes)
        if self.after_reset not in AFTER_RESET:
            raise FieldError("after_reset", self.after_reset, " or ".join(AFTER_RESET))
        if self.locality not in LOCALITIES:
            raise FieldError("locality", self.locality, "LOCAL or REMOTE")

    @staticmethod
    def parse(entries: dict[str, Any]) -> TierSettings:
        """Settings from a tier's dictionary.

        `token_file` may stand for `token`; without `address` the environment's KDN_ADDRESS or the
        local default is taken. Raises FieldError for an unknown key, a value outside its limits,
        or a token file that cannot be read.
        """
        entries = dict(entries)
        if "token_file" in entries:
            entries["token"] = _read_token(entries, entries.pop("token_file"))
        default = f"127.0.0.1:{DEFAULT_PORT}"
        entries.setdefault("address", os.environ.get(ADDRESS_VARIABLE) or default)
        entries.setdefault("model_name", "")
        known = {field.name for field in dataclasses.fields(TierSettings)}
        for name in entries:
            if name not in known:
                raise FieldError(name, entries[name], f"one of {', '.join(sorted(known))}")
        return TierSettings(**entries)

    def make_client(self, streams: int, timeout: float) -> Client:
        """A client to whom all trouble is a miss."""
        return Client(
            self.address, namespace=self.namespace, token=self.token, streams=streams,
            timeout=timeout, connect_timeout=min(3.0, timeout), on_error="miss",
            ca=self.ca, certificate=self.certificate, key=self.key,
            link=self.link,
        )


def _require_positive(field: str, value: Any) -> None:
    kinds = (int, float) if field.endswith("timeout") else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
        raise FieldError(field, value, "a number greater than 0")


def _read_token(entries: dict[str, Any], path: str) -> str:
    if entries.get("token") is not None:
        raise FieldError("token_file", path, "absent when token is given")
    try:
        return pathlib.Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FieldError("token_file", path, "a file that can be read") from error
