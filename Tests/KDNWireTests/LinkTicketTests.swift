import KDNCore
import KDNWire
import Testing

@Suite("Tickets")
struct LinkTicketTests {
  @Test("a ticket is read from its own text and from nothing else")
  func text() throws {
    let ticket = try #require(LinkTicket(Array(200..<232)))
    #expect(ticket.text.count == 64)
    #expect(LinkTicket(text: ticket.text) == ticket)
    #expect(LinkTicket(text: ticket.text.uppercased()) == nil)
    let short = ticket.text.dropLast()
    for wrong in ["", String(short), ticket.text + "0", " " + short] {
      #expect(LinkTicket(text: wrong) == nil)
    }
    #expect(LinkTicket([1, 2, 3]) == nil)
    #expect(LinkTicket([UInt8](repeating: 0, count: 33)) == nil)
  }

  @Test("HELLO with a ticket says so, and one with a token is none")
  func hello() throws {
    let ticket = try #require(LinkTicket(Array(0..<32)))
    let name = try NamespaceName("a")
    let shown = HelloRequest(namespace: name, ticket: ticket)
    #expect(shown.usesTicket && shown.ticket == ticket)
    let looksLikeOne = HelloRequest(namespace: name, token: ticket.text)
    #expect(!looksLikeOne.usesTicket && looksLikeOne.ticket == nil)
    #expect(shown != looksLikeOne)
  }
}
