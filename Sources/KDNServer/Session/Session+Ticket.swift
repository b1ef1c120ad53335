internal import KDNCore
internal import KDNTransport
internal import KDNWire

/// Ways for a client to come in again over another link.
extension Session {
  /// LINK_TICKET: says where else the daemon can be reached, and gives a ticket for it.
  func ticket(_ member: Member, now: Instant) throws(Refusal) -> LinkTicketResponse {
    let bytes = (0..<LinkTicket.byteCount).map { _ in UInt8.random(in: 0...255) }
    guard let ticket = LinkTicket(bytes) else { preconditionFailure("a ticket has 32 bytes") }
    let hash = TokenHash(of: ticket.text)
    let full = context.tickets.withLock {
      $0.issue(hash, to: owner, member.pass, now: now)
    }
    if let full {
      throw Refusal(
        .busy, FieldFault("tickets", value: full, limit: full, "as many are out"),
        retryAfterMilliseconds: UInt32(TicketTable.lifeMilliseconds))
    }
    return LinkTicketResponse(
      ticket: ticket, ticketMilliseconds: UInt32(TicketTable.lifeMilliseconds),
      hostID: context.offers.hostID, offers: context.offers.all(localHost: localHost))
  }

  /// What a ticket opens; nil if it opens nothing, or not this namespace.
  func redeem(_ hello: HelloRequest, _ name: NamespaceName, now: Instant) -> TenantPass? {
    let hash = TokenHash(of: hello.token)
    let found = context.tickets.withLock { $0.redeem(hash, now: now) }
    guard let found, found.namespace == name,
      context.tenants.holds(found, nowMilliseconds: SystemWallClock().milliseconds())
    else { return nil }
    return found
  }

  /// The address by which this client has reached the daemon; nil on a Unix socket.
  private var localHost: String? {
    if case .tcp(let host, _) = link.localEndpoint { host } else { nil }
  }
}
