import Foundation
import KDNCore
import KDNPool
import KDNTransport
import KDNWire
import Testing

@testable import KDNServer

@Suite("A link ticket")
struct LinkTicketTests: ServerTesting {
  private static let red = TokenHash(of: "red token")

  private func fixture(_ flags: [String: [String]] = [:]) throws -> SharedMemoryFixture {
    let tenants = ["namespaces": ["red:\(Self.red.hexadecimal)"]]
    return try SharedMemoryFixture(tenants.merging(flags) { _, new in new })
  }

  private func tcp(_ fixture: SharedMemoryFixture) throws -> RawClient {
    try RawClient(silent: fixture.server.endpoints[0])
  }

  private func ticket(_ client: RawClient, id: UInt64 = 2) throws -> LinkTicketResponse {
    let frame = try client.exchange(.linkTicket(LinkTicketRequest()), id: id)
    #expect(frame.status == .ok)
    var reader = ByteReader(frame.body)
    return try LinkTicketResponse(from: &reader)
  }

  @Test("opens what its asker has opened, once, over any link")
  func opensOnce() throws {
    let fixture = try fixture()
    let asker = try tcp(fixture)
    #expect(try asker.hello("red", token: "red token").status == .ok)
    let answer = try ticket(asker)
    #expect(answer.ticketMilliseconds == 10_000)
    #expect(try fixture.silentClient().hello("red", ticket: answer.ticket).status == .ok)
    let again = try fixture.silentClient().hello("red", ticket: answer.ticket)
    #expect(again.status == .unauthorised)
    withExtendedLifetime(fixture) {}
  }

  @Test("opens no other namespace, and is used up by the attempt")
  func otherNamespace() throws {
    let fixture = try fixture()
    let asker = try tcp(fixture)
    #expect(try asker.hello("red", token: "red token").status == .ok)
    let answer = try ticket(asker)
    let wrong = try fixture.silentClient().hello("default", ticket: answer.ticket)
    #expect(wrong.status == .unauthorised)
    let late = try fixture.silentClient().hello("red", ticket: answer.ticket)
    #expect(late.status == .unauthorised)
    withExtendedLifetime(fixture) {}
  }

  @Test("opens nothing once its asker's token has lost its right, and neither does a made-up one")
  func lostRight() throws {
    let fixture = try fixture()
    let asker = try tcp(fixture)
    #expect(try asker.hello("red", token: "red token").status == .ok)
    let answer = try ticket(asker)
    let tenants = fixture.server.context.tenants
    let red = Tenant(
      try NamespaceName("red"), tokens: [TenantToken(TokenHash(of: "new"))], source: .file)
    tenants.replace(TenantSnapshot([red]))
    let late = try fixture.silentClient().hello("red", ticket: answer.ticket)
    #expect(late.status == .unauthorised)
    let invented = try #require(LinkTicket([UInt8](repeating: 7, count: 32)))
    #expect(try fixture.silentClient().hello("red", ticket: invented).status == .unauthorised)
    // As a token it is worth nothing.
    let asToken = try fixture.silentClient().hello("red", token: answer.ticket.text)
    #expect(asToken.status == .unauthorised)
    withExtendedLifetime(fixture) {}
  }

  @Test("comes with the host and all links, the best first, as this client can reach them")
  func offers() throws {
    let fixture = try fixture()
    let answer = try ticket(try RawClient(fixture.server.endpoints[0]))
    let port = fixture.server.endpoints[0]
    #expect(
      answer.offers == [
        LinkOffer(kind: .sharedMemory, address: fixture.path),
        LinkOffer(kind: .unix, address: fixture.path), LinkOffer(kind: .tcp, address: "\(port)"),
      ])
    #expect(answer.hostID == LinkOffers.ownHostID())
    withExtendedLifetime(fixture) {}
  }

  @Test("is given to one connection so often, then it is busy until some are used or over")
  func limitOfConnection() throws {
    let fixture = try fixture()
    let asker = try fixture.client()
    var tickets = try (0..<TicketTable.ownerCountMax).map { try ticket(asker, id: UInt64($0 + 2)) }
    let full = try asker.exchange(.linkTicket(LinkTicketRequest()), id: 90)
    #expect(full.status == .busy)
    #expect(try full.error().retryAfterMilliseconds > 0)
    let used = tickets.removeLast().ticket
    #expect(try fixture.silentClient().hello(ticket: used).status == .ok)
    _ = try ticket(asker, id: 91)
    withExtendedLifetime(fixture) {}
  }

  // MARK: The table

  private func pass(_ name: String) throws -> TenantPass {
    TenantPass(namespace: try NamespaceName(name), credential: .open)
  }

  @Test("is over after ten seconds, to the millisecond")
  func expires() throws {
    var table = TicketTable()
    let start = Instant(nanoseconds: 5_000_000)
    let owner = OwnerID(number: 1)
    for (name, age, isGood) in [("a", UInt64(9_999), true), ("b", 10_000, false)] {
      let hash = TokenHash(of: name)
      let full = table.issue(hash, to: owner, try pass("x"), now: start)
      #expect(full == nil)
      let found = table.redeem(hash, now: start.advanced(milliseconds: age))
      #expect((found != nil) == isGood)
      let again = table.redeem(hash, now: start)
      #expect(again == nil, "once")
    }
  }

  @Test("takes no place in the table once it is over, and the table is bounded")
  func bounded() throws {
    var table = TicketTable()
    let start = Instant(nanoseconds: 0)
    for number in 0..<TicketTable.countMax {
      let owner = OwnerID(number: UInt64(number / TicketTable.ownerCountMax))
      let full = table.issue(TokenHash(of: "\(number)"), to: owner, try pass("x"), now: start)
      #expect(full == nil)
    }
    let other = OwnerID(number: 1 << 40)
    let hash = TokenHash(of: "one more")
    let early = table.issue(hash, to: other, try pass("x"), now: start)
    #expect(early == TicketTable.countMax)
    let later = start.advanced(milliseconds: TicketTable.lifeMilliseconds)
    let issued = table.issue(hash, to: other, try pass("x"), now: later)
    #expect(issued == nil)
    #expect(table.count == 1)
  }
}
