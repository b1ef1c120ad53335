import Foundation
import KDNClient
import KDNControl
import KDNCore
import KDNWire
import Testing

@testable import KDNServer

@Suite("What the control tells of a server")
struct ControlReportTests {
  private let fixture: ControlFixture

  init() throws { fixture = try ControlFixture() }

  @Test("is what clients did")
  func report() throws {
    let server = try fixture.start()
    let client = try fixture.enter(server, "default", token: "")
    let hashes = try fixture.putChain(client, 3)
    let key = try fixture.putOpaque(client, "a")
    var room = [UInt8](repeating: 0, count: 100)
    try room.withUnsafeMutableBytes { room in
      _ = try client.connection.get([GetRequest.Item(key: key)], into: [room])
    }
    let report = server.control.report()
    #expect(report.state == .ready && report.version == Version.text)
    #expect(report.pool.objects == 4 && report.pool.storesTotal == 4)
    #expect(report.tiers.map(\.kind) == ["ram"] && report.tiers[0].objects == 4)
    #expect(report.disk == nil)
    #expect(report.links.map(\.kind) == ["tcp"] && report.links[0].open == 1)
    #expect(report.links[0].endpoints == ["\(server.endpoints[0])"])
    #expect(report.connections.open == 1 && report.connections.acceptedTotal == 1)
    let begun = try #require(report.operations.first { $0.name == "PUT_BEGIN" })
    #expect(begun.requestsTotal == 4 && begun.latency.count == 4)
    #expect(begun.latency.bucketCounts.count == LatencyReport.bucketMicroseconds.count + 1)
    let own = try #require(report.namespaces.first { $0.name == "default" })
    #expect(own.ramObjects == 4 && own.storesTotal == 4 && own.storedBytesTotal == 3 * 64 + 100)
    #expect(own.ramHitsTotal == 1 && report.tiers[0].hitsTotal == 1)
    #expect(own.connections == 1 && own.requestsTotal > 4)
    #expect(Set(own.missesTotal.keys) == Set(MissCause.allCases.map(\.name)))
    let codecs = Dictionary(uniqueKeysWithValues: report.codecs.map { ($0.name, $0.objects) })
    #expect(codecs == ["raw": hashes.count, "opaque": 1])
    #expect(report.events.newest >= 1 && report.process.residentBytes > 0)
  }

  @Test("can be written as JSON and read back")
  func roundTrip() throws {
    let server = try fixture.start()
    let text = ControlJSON.encode(server.control.report())
    let back = try ControlJSON.decode(DaemonReport.self, from: text)
    #expect(ControlJSON.encode(back) == text)
  }

  @Test("has tenants that nobody entered, in the order of their names")
  func unused() throws {
    let hash = fixture.sha256("t")
    let server = try fixture.start("namespaces: [zeta:\(hash), alpha:\(hash)]")
    let report = server.control.report()
    #expect(report.namespaces.map(\.name).starts(with: ["alpha"]))
    #expect(report.namespaces.map(\.name).sorted() == report.namespaces.map(\.name))
    #expect(report.namespaces.contains { $0.name == "zeta" && $0.ramObjects == 0 })
  }

  @Test("never shows a secret of the configuration")
  func secrets() throws {
    let tokens = ["one", "two"].map { fixture.sha256($0) }
    let server = try fixture.start(
      "namespaces: [a:\(tokens[0])]\nadmin_tokens: [ops:\(tokens[1])]")
    let text = String(
      decoding: ControlJSON.encode(server.control.configuration()), as: UTF8.self)
    for token in tokens { #expect(!text.contains(token)) }
    #expect(text.contains("1 entries"))
    let entries = server.control.configuration().entries
    #expect(Set(entries.map(\.key)) == Set(Setting.all.map(\.key)))
  }

  @Test("knows who an admin token belongs to, and nobody by a wrong one")
  func administrators() throws {
    let none = try fixture.start()
    #expect(!none.control.hasAdministrators)
    #expect(none.control.administrator(of: "") == nil)
    let hashes = ["ann:\(fixture.sha256("1"))", "bob:\(fixture.sha256("2"))"]
    let server = try fixture.start("admin_tokens: [\(hashes.joined(separator: ", "))]")
    #expect(server.control.hasAdministrators)
    #expect(server.control.administrator(of: "1")?.text == "ann")
    #expect(server.control.administrator(of: "2")?.text == "bob")
    for wrong in ["", "3", fixture.sha256("1"), "1 ", "\u{0}"] {
      #expect(server.control.administrator(of: wrong) == nil)
    }
  }

  @Test("is ready while it serves, and not from the order to drain on")
  func readiness() async throws {
    let server = try fixture.start()
    #expect(server.control.readiness().isReady)
    await withCheckedContinuation { done in
      server.drain { _ in done.resume() }
    }
    let report = server.control.readiness()
    #expect(!report.isReady)
    #expect(report.checks.first { $0.name == "draining" }?.isOK == false)
    #expect(server.control.report().state == .draining)
  }

  @Test("begins with the event of the start, and the slow log is empty")
  func events() throws {
    let server = try fixture.start()
    #expect(server.control.events(after: 0, limit: 10).map(\.kind) == ["started"])
    #expect(server.control.slowRequests().isEmpty)
  }

  @Test("lists objects page by page, each once, with all that is known of them")
  func objects() throws {
    let server = try fixture.start()
    let client = try fixture.enter(server, "default", token: "")
    let hashes = try fixture.putChain(client, 5)
    let key = try fixture.putOpaque(client, "a")
    _ = try client.pin([key], ttlMilliseconds: 60_000)
    var found: [ObjectPage.Item] = []
    var query = ObjectQuery(namespace: "default", limit: 2)
    repeat {
      let page = try server.control.objects(query)
      #expect(page.objects.count <= 2)
      found += page.objects
      query.cursor = page.next
    } while query.cursor != nil
    #expect(Set(found.map(\.hash)) == Set(hashes.map { "\($0)" } + ["\(key.hash)"]))
    #expect(found.count == 6)
    let opaque = try #require(found.first { $0.kind == "opaque" })
    #expect(opaque.isPinned && opaque.bytes == 100 && opaque.layout.isEmpty && opaque.part.isEmpty)
    let chunk = try #require(found.first { $0.hash == "\(hashes[4])" })
    #expect(chunk.layout == "\(fixture.layout.id)" && chunk.part == "layers 0-0, heads 0-0")
    #expect(chunk.tokens == 1 && chunk.firstToken == 4 && chunk.tiers == ["ram"])
  }

  @Test(
    "refuses to list what is not there or asked for wrongly",
    arguments: [
      ("default", nil, 0, ControlFault.Code.badRequest, "limit"),
      ("default", nil, 1001, .badRequest, "limit"), ("nobody", nil, 5, .notFound, "namespace"),
      ("a b", nil, 5, .badRequest, "namespace"), ("", nil, 5, .badRequest, "namespace"),
      ("default", "no cursor", 5, .badRequest, "cursor"),
    ] as [(String, String?, Int, ControlFault.Code, String)])
  func refused(
    namespace: String, cursor: String?, limit: Int, code: ControlFault.Code, field: String
  ) async throws {
    let server = try fixture.start()
    let fault = await fixture.fault {
      try server.control.objects(
        ObjectQuery(namespace: namespace, cursor: cursor, limit: limit))
    }
    #expect(fault?.code == code && fault?.field == field)
  }

  @Test("lists documents by name, and how much of each is there")
  func documents() throws {
    let server = try fixture.start()
    let client = try fixture.enter(server, "default", token: "")
    let hashes = try fixture.putChain(client, 4)
    let pool = server.context.pool
    let namespace = try pool.namespace(NamespaceName("default"))
    for (name, missing) in [("b", 1), ("a", 0), ("c", 0)] {
      let chain = hashes.dropLast(missing) + (0..<missing).map { _ in ChunkHash.none }
      _ = try pool.publish(
        Document(
          name: name, layout: fixture.layout.id, tokenCount: 4, chunkTokens: 1,
          hashes: Array(chain), metadata: "of \(name)"), in: namespace)
    }
    let first = try server.control.documents(DocumentQuery(namespace: "default", limit: 2))
    #expect(first.documents.map(\.name) == ["a", "b"] && first.next == "b")
    #expect(first.documents.map(\.presentChunks) == [4, 3])
    #expect(first.documents[1].metadata == "of b" && first.documents[1].chunks == 4)
    let rest = try server.control.documents(
      DocumentQuery(namespace: "default", after: first.next, limit: 2))
    #expect(rest.documents.map(\.name) == ["c"] && rest.next == nil)
  }
}

@Suite("STATS")
struct ControlStatisticsTests {
  private let fixture: ControlFixture
  private static let whole: Set<String> = [
    "schema", "version", "uptime_seconds", "process", "memory", "pool", "namespace",
    "connections", "links", "work", "blends", "documents",
  ]
  private static let own: Set<String> = ["schema", "version", "uptime_seconds", "namespace"]

  init() throws { fixture = try ControlFixture() }

  @Test("tells the only tenant all, with the names that it always had")
  func alone() throws {
    let server = try fixture.start(
      "namespaces: [a:\(fixture.sha256("1"))]\ndevelopment_namespace: off")
    let client = try fixture.enter(server, "a", token: "1")
    _ = try fixture.putOpaque(client, "x")
    let all = try fixture.statistics(client)
    #expect(Set(all.keys) == Self.whole)
    let namespace = try #require(all["namespace"] as? [String: Any])
    #expect(namespace["objects"] as? Int == 1 && namespace["bytes"] as? Int == 100)
    #expect(namespace["name"] as? String == "a" && namespace["generation"] as? Int == 0)
    #expect(namespace["stores_total"] as? Int == 1 && namespace["ram_objects"] as? Int == 1)
  }

  @Test("tells a tenant among others only of itself, and the development namespace all")
  func several() throws {
    let tokens = ["1", "2"].map { fixture.sha256($0) }
    let server = try fixture.start("namespaces: [a:\(tokens[0]), b:\(tokens[1])]")
    let b = try fixture.enter(server, "b", token: "2")
    _ = try fixture.putOpaque(b, "secret")
    let a = try fixture.enter(server, "a", token: "1")
    let seen = try fixture.statistics(a)
    #expect(Set(seen.keys) == Self.own)
    let namespace = try #require(seen["namespace"] as? [String: Any])
    #expect(namespace["name"] as? String == "a" && namespace["ram_objects"] as? Int == 0)
    let development = try fixture.enter(server, "default", token: "")
    #expect(Set(try fixture.statistics(development).keys) == Self.whole)
  }

  @Test("tells less from the moment that a second tenant comes, and all when it has gone")
  func live() async throws {
    let server = try fixture.start(
      """
      namespaces: [a:\(fixture.sha256("1"))]
      development_namespace: off
      namespaces_file: \(fixture.namespacesFile)
      """)
    let client = try fixture.enter(server, "a", token: "1")
    #expect(Set(try fixture.statistics(client).keys) == Self.whole)
    _ = try await server.control.change(.add(name: "b", limits: .none), by: fixture.who)
    #expect(Set(try fixture.statistics(client).keys) == Self.own)
    _ = try await server.control.change(.remove(name: "b"), by: fixture.who)
    #expect(Set(try fixture.statistics(client).keys) == Self.whole)
  }
}
