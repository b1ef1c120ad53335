"""Dials: a connection by the best link that there is, whose `link` says which and why."""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from kdn.address import Address
from kdn.aio_connection import AsyncConnection
from kdn.connection import Connection
from kdn.errors import KDNError, LinkUnavailable
from kdn.fabric import FabricConnection, obstacle
from kdn.layouts import Layout
from kdn.link import Link, direct_link, own_host_id, ways
from kdn.link_bodies import LinkOffer, LinkTicket
from kdn.slabs import SlabCache
from kdn.wire import Limits, LinkKind

# What one attempt may take of the time that is left, so that there is some for the next.
ATTEMPT_SHARE = 0.5


@dataclass(slots=True)
class Dialler:
    """What every dial of a client needs."""

    address: Address
    namespace: str
    token: str = field(repr=False)
    choice: str
    security: ssl.SSLContext | None
    files: tuple[str | None, str | None, str | None]
    rdma_trusted: bool
    slabs: SlabCache = field(default_factory=SlabCache)
    # Whether answers may be encoded, which RDMA does not carry.
    encoded: bool = False

    def dial(
        self, layouts: Sequence[Layout], deadline: float
    ) -> tuple[Connection | FabricConnection, Link]:
        """A connection for one caller at a time; raises what Connection.dial raises.

        A link that was asked for and cannot be had raises LinkUnavailable.
        """
        if self.choice == "rdma" or self.address.rdma:
            return self._dial_fabric(layouts, deadline, "asked for")
        first = Connection.dial(
            self.address, self.namespace, self.token, (), deadline, self.security
        )
        chosen: Connection | FabricConnection = first
        try:
            chosen, link = self._choose(first, deadline)
            chosen.register(layouts, deadline)
        except BaseException:
            first.close()
            chosen.close()
            raise
        if chosen is not first:
            first.close()
        return chosen, link

    def _choose(
        self, first: Connection, deadline: float
    ) -> tuple[Connection | FabricConnection, Link]:
        link = direct_link(self.choice, self.address, first.limits)
        reasons: list[str] = []
        if link is None and not self.address.path:
            try:
                ticket = first.ask_ticket(deadline)
            except KDNError as error:
                if first.closed:
                    raise
                reasons.append(str(error))
            else:
                found = ways(self.choice, ticket, own_host_id(), self._obstacle)
                reasons += found.reasons
                for number, offer in enumerate(found.offers):
                    try:
                        if number > 0:
                            ticket = first.ask_ticket(deadline)
                        return self._follow(offer, ticket, first, deadline)
                    except KDNError as error:
                        reasons.append(f"{offer.address}: {error}")
        return self._stay(first, link, reasons)

    def _obstacle(self) -> str:
        """Why RDMA is out of the question, if it is; nobody is moved off TLS unasked."""
        if self.encoded:
            return "it carries raw bytes only, and a fidelity was asked for"
        if self.choice == "auto" and self.address.tls and not self.rdma_trusted:
            return "nothing encrypts it, and TLS was asked for: set rdma_trusted, or link='rdma'"
        return obstacle()

    def _stay(
        self, first: Connection, link: Link | None, reasons: list[str]
    ) -> tuple[Connection, Link]:
        link = link or self.fallback(reasons)
        if link.kind == "shm":
            first.share(self.slabs)
        return first, link

    def fallback(self, reasons: Sequence[str]) -> Link:
        """The link to the address itself, if any will do; LinkUnavailable if not."""
        if self.choice == "auto":
            return Link("tcp", "; ".join(reasons) or "nothing better is offered")
        why = "; ".join(reasons) or "the server does not offer it here"
        raise LinkUnavailable(f"no link {self.choice}: {why}")

    def _follow(
        self, offer: LinkOffer, ticket: LinkTicket, first: Connection, deadline: float
    ) -> tuple[Connection | FabricConnection, Link]:
        limit = attempt_deadline(deadline)
        if offer.kind == LinkKind.RDMA:
            return self._dial_fabric((), limit, f"the server listens at {offer.address}")
        connection = Connection.dial(
            Address(path=offer.address), self.namespace, ticket.token, (), limit, ticket=True
        )
        return connection, _settle(connection, self.choice, offer, first.limits, self.slabs)

    def _dial_fabric(
        self, layouts: Sequence[Layout], deadline: float, reason: str
    ) -> tuple[FabricConnection, Link]:
        connection = FabricConnection.dial(
            self.address, self.namespace, self.token, self.files, self.rdma_trusted, deadline
        )
        try:
            connection.register(layouts, deadline)
        except BaseException:
            connection.close()
            raise
        return connection, Link(connection.kind, f"{reason}: {connection.reason}")

    async def dial_async(
        self, layouts: Sequence[Layout], deadline: float
    ) -> tuple[AsyncConnection, Link]:
        """A connection for calls of a loop, by any link but RDMA; raises as `dial` does."""
        first = await AsyncConnection.dial(
            self.address, self.namespace, self.token, (), deadline, self.security
        )
        chosen = first
        try:
            chosen, link = await self._choose_async(first, deadline)
            await chosen.register(layouts, deadline)
        except BaseException:
            first.close()
            chosen.close()
            raise
        if chosen is not first:
            first.close()
        return chosen, link

    async def _choose_async(
        self, first: AsyncConnection, deadline: float
    ) -> tuple[AsyncConnection, Link]:
        link = direct_link(self.choice, self.address, first.limits)
        reasons: list[str] = []
        if link is None and not self.address.path:
            try:
                ticket = await first.ask_ticket(deadline)
            except KDNError as error:
                if first.closed:
                    raise
                reasons.append(str(error))
            else:
                found = ways(self.choice, ticket, own_host_id(), no_fabric)
                reasons += found.reasons
                for number, offer in enumerate(found.offers):
                    try:
                        if number > 0:
                            ticket = await first.ask_ticket(deadline)
                        return await self._follow_async(offer, ticket, first, deadline)
                    except KDNError as error:
                        reasons.append(f"{offer.address}: {error}")
        link = link or self.fallback(reasons)
        if link.kind == "shm":
            first.share(self.slabs)
        return first, link

    async def _follow_async(
        self, offer: LinkOffer, ticket: LinkTicket, first: AsyncConnection, deadline: float
    ) -> tuple[AsyncConnection, Link]:
        limit = attempt_deadline(deadline)
        connection = await AsyncConnection.dial(
            Address(path=offer.address), self.namespace, ticket.token, (), limit, ticket=True
        )
        return connection, _settle(connection, self.choice, offer, first.limits, self.slabs)


def _settle(
    connection: Connection | AsyncConnection,
    choice: str,
    offer: LinkOffer,
    first: Limits,
    slabs: SlabCache,
) -> Link:
    """Lets a connection to what was offered share memory; closes it if it is something else."""
    try:
        link = check_followed(choice, offer, connection.limits, first)
    except BaseException:
        connection.close()
        raise
    if link.kind == "shm":
        connection.share(slabs)
    return link


def no_fabric() -> str:
    """Why the asyncio client has no RDMA."""
    return "the asyncio client does not use it"


def attempt_deadline(deadline: float) -> float:
    """When an attempt gives way to the next."""
    now = time.monotonic()
    return now + max(0.0, deadline - now) * ATTEMPT_SHARE


def check_followed(choice: str, offer: LinkOffer, there: Limits, first: Limits) -> Link:
    """The link that following an offer yields; LinkUnavailable unless it is the same server's."""
    if there.server_id != first.server_id:
        raise LinkUnavailable("another server listens there")
    if offer.kind == LinkKind.UNIX:
        return Link("unix", f"asked for; at {offer.address}")
    if not there.links & LinkKind.SHARED_MEMORY:
        raise LinkUnavailable("the server shares no memory with this process")
    why = "asked for" if choice == "shm" else "the server is on this host"
    return Link("shm", f"{why}; at {offer.address}")
