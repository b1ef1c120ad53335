import Foundation
import KDNClient
import KDNControl
import KDNCore
import Testing

@testable import KDNServer

@Suite("The control of a server with a disk")
struct ControlDiskTests: ServerTesting {
  private let who = AdministratorName("ops")
  private let size = 1 << 20

  @Test("tells of each directory, and of what RAM lost")
  func report() throws {
    let fixture = try DiskFixture()
    let server = try fixture.start()
    let client = try connect(server)
    try fixture.waitUntilReady(client)
    let count = try fixture.fill(client, size: size)
    let report = server.control.report()
    #expect(report.tiers.map(\.kind) == ["ram", "disk"])
    #expect(report.tiers[1].place == fixture.path && report.tiers[1].state == "serving")
    #expect(report.tiers[1].objects == count && report.tiers[0].objects < count)
    #expect(report.disk?.directories.map(\.path) == [fixture.path] && report.disk?.ready == true)
    let own = try #require(report.namespaces.first { $0.name == "default" })
    #expect(own.diskObjects == count && own.diskBytes == count * size)
    let checks = server.control.readiness().checks
    #expect(checks.filter { ["disk", "recovery"].contains($0.name) }.map(\.isOK) == [true, true])
    let kinds = server.control.events(after: 0, limit: 10).map(\.kind)
    #expect(Set(kinds) == ["started", "recovered"])
    let text = ControlJSON.encode(report)
    #expect(ControlJSON.encode(try ControlJSON.decode(DaemonReport.self, from: text)) == text)
  }

  @Test("purges by hash for good, also what only the disk holds, and lists it before")
  func purge() async throws {
    let fixture = try DiskFixture()
    let first = try fixture.start()
    let client = try connect(first)
    try fixture.waitUntilReady(client)
    _ = try fixture.fill(client, size: size)
    let lost = try #require(
      try page(first).first { $0.tiers == ["disk"] }, "RAM has lost one by now")
    let kept = try #require(try page(first).first { $0.tiers == ["ram", "disk"] })
    let order = PurgeOrder(namespace: "default", hashes: [lost.hash, kept.hash])
    let purged = try await first.control.purge(order, by: who)
    #expect(purged == PurgeReport(objects: 2, bytes: 2 * size))
    #expect(await fixture.stop(first))
    let second = try fixture.start()
    let again = try connect(second)
    try fixture.waitUntilReady(again)
    let left = try page(second)
    #expect(!left.contains { $0.hash == lost.hash || $0.hash == kept.hash })
    #expect(!left.isEmpty && left.allSatisfy { $0.tiers == ["disk"] && $0.kind == "opaque" })
    #expect(try await second.control.purge(order, by: who).objects == 0)
  }

  @Test("pins and unpins in both tiers at once")
  func pin() async throws {
    let fixture = try DiskFixture()
    let server = try fixture.start()
    let client = try connect(server)
    try fixture.waitUntilReady(client)
    _ = try fixture.fill(client, size: size)
    let items = try page(server)
    let hashes = [["disk"], ["ram", "disk"]].compactMap { tiers in
      items.first { $0.tiers == tiers }?.hash
    }
    let pin = PinOrder(namespace: "default", hashes: hashes, ttlMilliseconds: 600_000)
    #expect(hashes.count == 2)
    #expect(try await server.control.pin(pin, by: who).objects == 2)
    #expect(Set(try page(server).filter(\.isPinned).map(\.hash)) == Set(hashes))
    let unpin = PinOrder(namespace: "default", hashes: hashes)
    #expect(try await server.control.pin(unpin, by: who).objects == 2)
    #expect(try page(server).filter(\.isPinned).isEmpty)
  }

  @Test("refuses to purge or pin by hash while it does not know what is on disk")
  func recovering() async throws {
    let before = try DiskFixture()
    let name = opaque("a")
    let first = try before.start()
    try before.putDurably(connect(first), name, bytes(100, seed: 1))
    // As a crash would leave it: what is there must be read before it is known.
    let fixture = try DiskFixture()
    try FileManager.default.copyItem(atPath: before.path, toPath: fixture.path)
    let gate = DiskGate()
    gate.shut(.runs)
    let server = try fixture.start(gate: gate)
    let order = PurgeOrder(namespace: "default", hashes: ["\(name.hash)"])
    let pin = PinOrder(namespace: "default", hashes: ["\(name.hash)"], ttlMilliseconds: 60_000)
    #expect(server.control.report().state == .recovering)
    let readiness = server.control.readiness()
    #expect(readiness.isReady && readiness.checks.contains { $0.detail.contains("still") })
    #expect(await code { try await server.control.purge(order, by: who) } == .busy)
    #expect(await code { try await server.control.pin(pin, by: who) } == .busy)
    gate.open()
    try fixture.waitUntilReady(connect(server))
    #expect(server.control.report().state == .ready)
    #expect(try await server.control.pin(pin, by: who).objects == 1)
    #expect(try await server.control.purge(order, by: who).objects == 1)
  }

  private func code<Value: Sendable>(
    _ order: () async throws -> Value
  ) async -> ControlFault.Code? {
    do {
      _ = try await order()
      return nil
    } catch {
      return (error as? ControlFault)?.code
    }
  }

  private func page(_ server: Server) throws -> [ObjectPage.Item] {
    var items: [ObjectPage.Item] = []
    var query = ObjectQuery(namespace: "default", limit: 100)
    repeat {
      let page = try server.control.objects(query)
      items += page.objects
      query.cursor = page.next
    } while query.cursor != nil
    return items
  }
}
