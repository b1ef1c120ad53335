"""Which link a client takes to its server, and why: pure choices, no sockets."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

from kdn.address import Address
from kdn.errors import FieldError
from kdn.link_bodies import LinkOffer, LinkTicket
from kdn.wire import Limits, LinkKind

LINKS = ("auto", "tcp", "unix", "shm", "rdma")
_BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Link:
    """What carries the bytes: `kind` is tcp, unix, shm or rdma, empty before the first call.

    `reason` says in one line why it is this one, and why none better.
    """

    kind: str = ""
    reason: str = "not connected yet"

    def __str__(self) -> str:
        return f"{self.kind or 'none'} ({self.reason})"


def check_choice(choice: str, address: Address) -> None:
    """Raises FieldError for a link that there is not, or that the address rules out."""
    if choice not in LINKS:
        raise FieldError("link", choice, " or ".join(LINKS))
    if choice == "tcp" and address.path:
        raise FieldError("link", choice, "auto, unix or shm with the address of a Unix socket")
    if address.rdma and choice not in ("auto", "rdma"):
        raise FieldError("link", choice, "auto or rdma with an address rdma://host:port")


def own_host_id() -> bytes:
    """What names this host for as long as it runs; empty if the kernel does not tell."""
    try:
        text = _BOOT_ID.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return b""
    return hashlib.sha256(text.encode()).digest()[:16]


def direct_link(choice: str, address: Address, limits: Limits) -> Link | None:
    """The link of a connection to `address` itself, if nothing better is to be asked for."""
    offered = LinkKind(limits.links & 15)
    if address.path:
        if choice == "unix":
            return Link("unix", "asked for")
        if offered & LinkKind.SHARED_MEMORY and choice in ("auto", "shm"):
            return Link("shm", "asked for" if choice == "shm" else "the server shares memory here")
        return None if choice == "shm" else Link("unix", "the server shares no memory here")
    if choice == "tcp":
        return Link("tcp", "asked for")
    if choice == "auto" and not offered & (LinkKind.SHARED_MEMORY | LinkKind.RDMA):
        return Link("tcp", "the server offers nothing better")
    return None


@dataclass(frozen=True, slots=True)
class Ways:
    """Offers to try, best first, and why those that are missing were left out."""

    offers: tuple[LinkOffer, ...]
    reasons: tuple[str, ...]


def ways(
    choice: str, ticket: LinkTicket, host_id: bytes, rdma_obstacle: Callable[[], str]
) -> Ways:
    """Memory on the same host before RDMA; `rdma_obstacle` says why RDMA cannot be used here.

    It is asked only if there is RDMA to be had, since it may have to load a library.
    """
    found: list[LinkOffer] = []
    reasons: list[str] = []
    local = {"auto": LinkKind.SHARED_MEMORY, "shm": LinkKind.SHARED_MEMORY, "unix": LinkKind.UNIX}
    if choice in local:
        near = [offer for offer in ticket.offers if offer.kind == local[choice]]
        if near and (not host_id or ticket.host_id != host_id):
            reasons.append("the server is on another host")
        else:
            found += [offer for offer in near if offer.address.startswith("/")]
            if not near:
                reasons.append("the server has no such Unix socket")
    if choice == "auto":
        far = [offer for offer in ticket.offers if offer.kind == LinkKind.RDMA]
        obstacle = rdma_obstacle() if far else ""
        if obstacle:
            reasons.append(f"no RDMA: {obstacle}")
        else:
            found += far
    return Ways(tuple(found), tuple(reasons))
