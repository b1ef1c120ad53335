internal import KDNCore
internal import KDNPool

/// Tickets by which clients that are in enter again over another link.
///
/// Each opens what its asker has opened, once and for a short time; pure, so that tests play it.
/// Tickets are kept as hashes, as tokens are: how long a lookup takes says nothing of a ticket.
struct TicketTable {
  /// How long a ticket is good, in milliseconds.
  static let lifeMilliseconds: UInt64 = 10_000
  /// Most tickets that are out, of all connections and of one.
  static let countMax = 1024
  static let ownerCountMax = 16

  private struct Ticket {
    let owner: OwnerID
    let pass: TenantPass
    let ends: Instant
  }

  private var tickets: [TokenHash: Ticket] = [:]

  /// Tickets that are out, ended ones included.
  var count: Int { tickets.count }

  /// Puts a ticket out that opens what `pass` does.
  ///
  /// - Returns: nil if it is out, else how many there may be.
  mutating func issue(
    _ ticket: TokenHash, to owner: OwnerID, _ pass: TenantPass, now: Instant
  ) -> Int? {
    tickets = tickets.filter { $0.value.ends > now }
    guard tickets.count < Self.countMax else { return Self.countMax }
    let own = tickets.values.count { $0.owner == owner }
    guard own < Self.ownerCountMax else { return Self.ownerCountMax }
    let ends = now.advanced(milliseconds: Self.lifeMilliseconds)
    tickets[ticket] = Ticket(owner: owner, pass: pass, ends: ends)
    return nil
  }

  /// Takes a ticket back and says what it opens; nil if it is unknown, used up or over.
  mutating func redeem(_ ticket: TokenHash, now: Instant) -> TenantPass? {
    guard let found = tickets.removeValue(forKey: ticket), now < found.ends else { return nil }
    return found.pass
  }
}
