import Foundation
import KDNClient
import KDNControl
import KDNCore
import Logging
import Testing

@testable import KDNServer

@Suite("Orders of an administrator")
struct ControlOrderTests {
  private let fixture: ControlFixture

  init() throws { fixture = try ControlFixture() }

  /// The audit line of an order; nil unless there is exactly one line.
  private var audited: [String: String]? {
    let lines = fixture.record.lines
    return lines.count == 1
      ? lines[0].values.merging(["order": lines[0].message]) { old, _ in old } : nil
  }

  private func text(_ hashes: some Sequence<ChunkHash>) -> [String] { hashes.map { "\($0)" } }

  @Test("purge the hashes named and nothing else, opaque objects among them")
  func purgeHashes() async throws {
    let server = try fixture.start()
    let client = try fixture.enter(server, "default", token: "")
    let hashes = try fixture.putChain(client, 4)
    let key = try fixture.putOpaque(client, "a")
    let report = try await server.control.purge(
      PurgeOrder(namespace: "default", hashes: text([hashes[1], key.hash])), by: fixture.who)
    #expect(report == PurgeReport(objects: 2, bytes: 164))
    let keys = hashes.map { fixture.key($0) } + [key]
    #expect(try fixture.present(client, keys) == [true, false, true, true, false])
    #expect(audited?["order"] == "purge" && audited?["result"] == "granted")
    #expect(audited?["who"] == "ops" && audited?["from"] == "127.0.0.1:5000")
    #expect(audited?["objects"] == "2" && audited?["bytes"] == "164")
    #expect(audited?["namespace"] == "default")
    let event = try #require(server.control.events(after: 1, limit: 5).first)
    #expect(event.kind == "purged" && event.administrator == "ops")
    #expect(!event.text.contains("\(hashes[1])"))
  }

  @Test("purge all that builds on a hash if that is wanted")
  func purgeDescendants() async throws {
    let server = try fixture.start()
    let client = try fixture.enter(server, "default", token: "")
    let hashes = try fixture.putChain(client, 4)
    let key = try fixture.putOpaque(client, "a")
    let order = PurgeOrder(
      namespace: "default", hashes: text([hashes[1], key.hash]), withDescendants: true)
    #expect(try await server.control.purge(order, by: fixture.who).objects == 4)
    let keys = hashes.map { fixture.key($0) } + [key]
    #expect(try fixture.present(client, keys) == [true, false, false, false, false])
  }

  @Test("purge a layout, or everything")
  func purgeWide() async throws {
    let server = try fixture.start()
    let client = try fixture.enter(server, "default", token: "")
    _ = try fixture.putChain(client, 3)
    let key = try fixture.putOpaque(client, "a")
    let layouts = PurgeOrder(namespace: "default", layouts: ["\(fixture.layout.id)"])
    #expect(try await server.control.purge(layouts, by: fixture.who).objects == 3)
    #expect(try fixture.present(client, [key]) == [true])
    let all = PurgeOrder(namespace: "default", all: true)
    #expect(try await server.control.purge(all, by: fixture.who).objects == 1)
    #expect(try fixture.present(client, [key]) == [false])
  }

  @Test(
    "that name no tenant, or not exactly one thing to purge, change nothing and are audited",
    arguments: [
      (PurgeOrder(namespace: "nobody", all: true), ControlFault.Code.notFound, "namespace"),
      (PurgeOrder(namespace: "", all: true), .badRequest, "namespace"),
      (PurgeOrder(namespace: "default"), .badRequest, ""),
      (PurgeOrder(namespace: "default", all: false), .badRequest, ""),
      (PurgeOrder(namespace: "default", hashes: ["00"], all: true), .badRequest, ""),
      (PurgeOrder(namespace: "default", hashes: ["00"]), .badRequest, "hashes[0]"),
      (PurgeOrder(namespace: "default", hashes: []), .badRequest, "hashes"),
      (PurgeOrder(namespace: "default", layouts: ["x"]), .badRequest, "layouts[0]"),
      (
        PurgeOrder(namespace: "default", withDescendants: true, all: true), .badRequest,
        "with_descendants"
      ),
    ])
  func purgeRefused(order: PurgeOrder, code: ControlFault.Code, field: String) async throws {
    let server = try fixture.start()
    let client = try fixture.enter(server, "default", token: "")
    let key = try fixture.putOpaque(client, "a")
    let fault = await fixture.fault { try await server.control.purge(order, by: fixture.who) }
    #expect(fault?.code == code && fault?.field == field)
    #expect(try fixture.present(client, [key]) == [true])
    #expect(audited?["result"] == "refused" && audited?["code"] == code.rawValue)
    #expect(server.control.events(after: 1, limit: 5).isEmpty)
  }

  @Test("pin every object of a hash, and unpin them")
  func pins() async throws {
    let server = try fixture.start()
    let client = try fixture.enter(server, "default", token: "")
    let hashes = try fixture.putChain(client, 2)
    let key = try fixture.putOpaque(client, "a")
    let names = text(hashes + [key.hash, HashChain.opaque([0])])
    let pin = PinOrder(namespace: "default", hashes: names, ttlMilliseconds: 60_000)
    #expect(try await server.control.pin(pin, by: fixture.who).objects == 3)
    #expect(server.control.report().pool.pins == 3)
    let unpin = PinOrder(namespace: "default", hashes: names)
    #expect(try await server.control.pin(unpin, by: fixture.who).objects == 3)
    #expect(try await server.control.pin(unpin, by: fixture.who).objects == 0)
    #expect(server.control.report().pool.pins == 0)
    #expect(fixture.record.lines.map(\.message) == ["pin", "unpin", "unpin"])
    let kinds = server.control.events(after: 1, limit: 5).map(\.kind)
    #expect(kinds == ["pinned", "pinned", "pinned"])
  }

  @Test("that pin beyond the quota are refused whole")
  func pinQuota() async throws {
    let server = try fixture.start(
      """
      namespaces: [a:\(fixture.sha256("1"))]
      namespace_limits: ["a pinned=128"]
      """)
    let client = try fixture.enter(server, "a", token: "1")
    let hashes = try fixture.putChain(client, 3)
    let order = PinOrder(namespace: "a", hashes: text(hashes), ttlMilliseconds: 60_000)
    let fault = await fixture.fault { try await server.control.pin(order, by: fixture.who) }
    #expect(fault?.code == .overQuota)
    #expect(server.control.report().pool.pins == 0)
    #expect(audited?["code"] == "over_quota")
  }

  @Test("set the level of the log at once")
  func logLevel() async throws {
    let server = try fixture.start()
    try server.control.setLogLevel("debug", by: fixture.who)
    #expect(fixture.threshold.level == .debug)
    #expect(audited?["level"] == "debug")
    #expect(server.control.events(after: 1, limit: 5).map(\.kind) == ["log_level"])
    for level in ["loud", "", "DEBUG"] {
      let fault = await fixture.fault {
        try server.control.setLogLevel(level, by: fixture.who)
      }
      #expect(fault?.code == .badRequest && fault?.field == "level")
    }
    #expect(fixture.threshold.level == .debug)
  }

  @Test("reload what changed, or nothing and say why")
  func reload() async throws {
    let server = try fixture.start("log_level: error")
    try fixture.configure("log_level: warning")
    let report = try await server.control.reload(by: fixture.who)
    #expect(report.changed == ["log_level"] && fixture.threshold.level == .warning)
    #expect(audited?["order"] == "reload" && audited?["changed"] == "log_level")
    try fixture.configure("log_level: error\nmax_connections: none")
    let fault = await fixture.fault { try await server.control.reload(by: .signal) }
    #expect(fault?.code == .badRequest && fixture.threshold.level == .warning)
    let state = server.control.report().reload
    #expect(!state.lastSucceeded && state.succeededTotal == 1 && state.failedTotal == 1)
    #expect(state.lastFault?.contains("max_connections") == true)
    let events = server.control.events(after: 1, limit: 5)
    #expect(events.map(\.kind) == ["reloaded", "reload_failed"])
    #expect(events.map(\.administrator) == ["ops", "signal"])
  }

  @Test("let new administrators in and old ones out with the next reload")
  func reloadAdministrators() async throws {
    let server = try fixture.start("admin_tokens: [ann:\(fixture.sha256("1"))]")
    try fixture.configure("admin_tokens: [bob:\(fixture.sha256("2"))]")
    _ = try await server.control.reload(by: .signal)
    #expect(server.control.administrator(of: "1") == nil)
    #expect(server.control.administrator(of: "2")?.text == "bob")
  }

  @Test("drain once, however often they are given")
  func drain() async throws {
    let server = try fixture.start()
    let givers = Guarded<[String]>([])
    server.control.onDrain { who in givers.withLock { $0.append(who.text) } }
    for name in ["ann", "bob"] { server.control.drain(by: AdministratorName(name)) }
    #expect(givers.withLock { $0 } == ["ann"])
    #expect(fixture.record.lines.map { $0.values["again"] } == ["false", "true"])
    #expect(server.control.events(after: 1, limit: 5).map(\.kind) == ["draining"])
  }

  @Test("change tenants, and never tell a token")
  func tenants() async throws {
    let server = try fixture.start("namespaces_file: \(fixture.namespacesFile)")
    let control = server.control
    let hash = fixture.sha256("secret")
    let id = String(hash.prefix(12))
    _ = try await control.change(.add(name: "a", limits: .none), by: fixture.who)
    let detail = try await control.change(
      .addToken(name: "a", sha256: hash, expiresInSeconds: nil), by: fixture.who)
    #expect(detail.tokens.map(\.id) == [id] && detail.source == "file")
    let client = try fixture.enter(server, "a", token: "secret")
    let key = try fixture.putOpaque(client, "x")
    #expect(try fixture.present(client, [key]) == [true])
    let fault = await fixture.fault {
      try await control.change(.add(name: "a", limits: .none), by: fixture.who)
    }
    #expect(fault?.code == .conflict)
    _ = try await control.change(.remove(name: "a"), by: fixture.who)
    #expect(!control.namespaces().contains { $0.name == "a" })
    #expect(control.report().pool.objects == 0)
    let lines = fixture.record.lines
    #expect(
      lines.map(\.message) == [
        "namespace_add", "namespace_token_add", "namespace_add", "namespace_remove",
      ])
    #expect(lines.map { $0.values["result"] } == ["granted", "granted", "refused", "granted"])
    #expect(lines[1].values["token"] == id)
    let told = lines.flatMap(\.values.values) + control.events(after: 0, limit: 50).map(\.text)
    #expect(!told.contains { $0.contains(hash) || $0.contains("secret") })
    #expect(
      control.events(after: 1, limit: 50).map(\.kind)
        == Array(repeating: "namespace_changed", count: 3))
  }
}
