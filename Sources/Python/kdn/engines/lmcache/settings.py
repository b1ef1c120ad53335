"""What the adapter is told: the `adapter_params` of LMCache's `--l2-adapter`."""

from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass, field, fields
from typing import Any

from lmcache.v1.distributed.l2_adapters.config import L2AdapterConfigBase

from kdn.address import Address
from kdn.errors import FieldError
from kdn.link import check_choice

ADDRESS_VARIABLE = "KDN_ADDRESS"


@dataclass
class KDNL2AdapterConfig(L2AdapterConfigBase):
    """Settings of a KDNL2Adapter; times are in seconds.

    `link` is what carries the bytes: auto takes the best that there is, as the client does.
    `timeout` is the deadline of a load or a store, `lookup_timeout` that of a lookup, which a
    request waits for. `lease_ms` is how long found objects are kept from eviction for the load
    that follows. `streams` is how many connections loads, and as many again stores, may use.
    `queue_tasks` bounds the tasks that wait in each of the three lanes. `tag` must be given, and be
    the same on every server, if LMCache encodes what it stores (its `serde`): then shapes cannot
    tell objects apart.
    """

    address: str = ""
    namespace: str = "default"
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    link: str = "auto"
    timeout: float = 10.0
    lookup_timeout: float = 1.0
    lease_ms: int = 30_000
    streams: int = 2
    queue_tasks: int = 256
    tag: str = ""

    def __post_init__(self) -> None:
        """Raises FieldError naming the setting that is out of its limits."""
        if not self.address:
            self.address = os.environ.get(ADDRESS_VARIABLE, "127.0.0.1:9440")
        check_choice(self.link, Address.parse(self.address))
        for name in ("namespace", "tag"):
            if not isinstance(getattr(self, name), str):
                raise FieldError(name, getattr(self, name), "a string")
        for name, limit in (("timeout", 3600.0), ("lookup_timeout", 3600.0)):
            _require_number(name, getattr(self, name), 0.001, limit)
        _require_whole("lease_ms", self.lease_ms, 1, 3_600_000)
        _require_whole("streams", self.streams, 1, 64)
        _require_whole("queue_tasks", self.queue_tasks, 1, 65_536)
        if self.token is not None and self.token_file is not None:
            raise FieldError("token_file", self.token_file, "given only without token")

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> KDNL2AdapterConfig:
        """Raises FieldError, which is a ValueError, for an unknown or a wrong setting."""
        known = {field.name for field in fields(cls)}
        for name in d:
            if name not in known:
                raise FieldError("adapter_params", name, f"one of {', '.join(sorted(known))}")
        return cls(**d)

    @classmethod
    def help(cls) -> str:
        """What LMCache prints about this adapter."""
        return (
            "KDN L2 adapter settings (all optional):\n"
            "- address (str): host:port, tls://host:port or unix:///path of kdnd "
            f"(default: environment {ADDRESS_VARIABLE}, else 127.0.0.1:9440)\n"
            "- namespace (str), token (str) or token_file (str): where, and by what right\n"
            "- ca, certificate, key (str): files for TLS\n"
            "- link (str): auto, or tcp, unix, shm, rdma\n"
            "- timeout, lookup_timeout (float): seconds for a load or store, for a lookup\n"
            "- lease_ms (int): how long found objects are kept for the load\n"
            "- streams (int): connections for loads, and as many for stores\n"
            "- queue_tasks (int): tasks that may wait\n"
            "- tag (str): name of the encoding, where LMCache has a serde"
        )

    def read_token(self) -> str | None:
        """The token; raises OSError if its file cannot be read."""
        if self.token_file is None:
            return self.token
        return pathlib.Path(self.token_file).read_text("utf-8").strip()


def _require_number(name: str, value: Any, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise FieldError(name, value, f"{least} to {most}")


def _require_whole(name: str, value: Any, least: int, most: int) -> None:
    if not isinstance(value, int):
        raise FieldError(name, value, "a whole number")
    _require_number(name, value, least, most)
