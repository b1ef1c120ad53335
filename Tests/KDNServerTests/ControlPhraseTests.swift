import KDNClient
import KDNControl
import KDNCore
import KDNPool
import KDNWire
import Testing

@testable import KDNServer

@Suite("edits by phrase, over HTTP")
struct ControlPhraseTests {
  private let fixture: ControlFixture
  private let server: Server
  private let document: Document

  /// A document of four tokens with the texts that are given.
  init() throws {
    fixture = try ControlFixture()
    server = try fixture.start()
    let client = try fixture.enter(server, "default", token: "")
    let hashes = try fixture.putChain(client, 4)
    let pool = server.context.pool
    document = try Document(
      name: "note", layout: fixture.layout.id, tokenCount: 4, chunkTokens: 1, hashes: hashes)
    _ = try pool.publish(document, in: pool.namespace(NamespaceName("default")))
  }

  private func keep(_ bytes: [UInt8]) throws {
    let client = try fixture.enter(server, "default", token: "")
    let key = TokenTexts.key(lastChunk: try #require(document.hashes.last))
    let facts = PutBeginRequest(key: key, totalBytes: bytes.count)
    _ = try client.put(facts, bytes: bytes)
  }

  private func keepTexts() throws {
    try keep(TokenTexts(ends: [1, 4, 7, 8], text: Array("a key.a.".utf8)).encoding)
  }

  private func order(
    _ operation: String, text: String? = "a", occurrence: Int? = nil, all: Bool? = nil,
    epoch: UInt64? = nil, spans: [[Int]]? = nil, strength: Double? = nil
  ) -> DocumentEditOrder {
    DocumentEditOrder(
      namespace: "default", name: "note", epoch: epoch, operation: operation, strength: strength,
      spans: spans, text: text, occurrence: occurrence, all: all)
  }

  @Test("a phrase is edited in the tokens that stand for it")
  func phrases() async throws {
    try keepTexts()
    for order in [
      order("emphasise", text: "key"), order("suppress", occurrence: 2),
      order("drop", all: true), order("emphasise", text: "key.", strength: 1.25),
      order("suppress", text: nil, spans: [[0, 1]]),
    ] {
      _ = try await server.control.edit(order, by: fixture.who)
    }
    let edits = try server.control.documentEdits(
      DocumentName(namespace: "default", name: "note"))
    #expect(
      edits.edits.map(\.spans) == [[[1, 3]], [[2, 3]], [[0, 1], [2, 3]], [[1, 3]], [[0, 1]]])
    #expect(edits.edits.map(\.strength) == [1.75, 0.5, nil, 1.25, 0.5])
    #expect(server.control.report().documents == DocumentReport(documents: 1, edits: 5))
  }

  @Test("what cannot be found is refused by its field, and told to the audit log")
  func refusals() async throws {
    let without = await fixture.fault {
      try await server.control.edit(order("drop", text: "key"), by: fixture.who)
    }
    #expect(without?.code == .notFound && without?.field == "text")
    try keepTexts()
    for (order, field) in [
      (order("drop"), "text"), (order("drop", text: "nowhere"), "text"),
      (order("drop", text: ""), "text"), (order("drop", occurrence: 3), "occurrence"),
      (order("drop", occurrence: 1, all: true), "occurrence"),
      (order("drop", text: nil, occurrence: 1, spans: [[0, 1]]), "occurrence"),
      (order("drop", text: nil, all: true, spans: [[0, 1]]), "all"),
      (order("drop", spans: [[0, 1]]), "text"), (order("drop", all: true, epoch: 1), "epoch"),
      (order("keep", all: true), "permille"),
    ] {
      let fault = await fixture.fault { try await server.control.edit(order, by: fixture.who) }
      #expect(fault?.code == .badRequest && fault?.field == field, "\(order)")
    }
    let edits = try server.control.documentEdits(
      DocumentName(namespace: "default", name: "note"))
    #expect(edits.edits.isEmpty)
  }

  @Test(
    "what is not the texts of the document is refused",
    arguments: [[1], try TokenTexts(ends: [1], text: [97]).encoding])
  func others(bytes: [UInt8]) async throws {
    try keep(bytes)
    let fault = await fixture.fault {
      try await server.control.edit(order("drop"), by: fixture.who)
    }
    #expect(fault?.code == .badRequest)
  }

  @Test("retiring the last document of the same tokens purges their texts")
  func retiring() async throws {
    try keepTexts()
    let key = TokenTexts.key(lastChunk: try #require(document.hashes.last))
    let pool = server.context.pool
    let namespace = try pool.namespace(NamespaceName("default"))
    let twin = try Document(
      name: "twin", layout: document.layout, tokenCount: 4, chunkTokens: 1,
      hashes: document.hashes)
    _ = try pool.publish(twin, in: namespace)
    for (name, isThere) in [("note", true), ("twin", false)] {
      _ = try await server.control.retire(
        DocumentName(namespace: "default", name: name), by: fixture.who)
      #expect(pool.contains(key, in: namespace) == isThere)
    }
  }
}
