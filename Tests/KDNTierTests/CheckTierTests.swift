import Foundation
import KDNCore
import Testing

@testable import KDNTier

@Suite("A check sees what a tier has left on real files")
struct CheckTierTests {
  private func check(_ log: LogFixture, readsPayloads: Bool = true) throws -> CheckReport {
    try LogCheck.report(
      on: FileDirectory(readOnly: "\(log.folder.path)/a"), readsPayloads: readsPayloads,
      nowMilliseconds: log.wall.milliseconds())
  }

  @Test("after a clean stop it finds the objects that are held, and nothing wrong")
  func cleanStop() async throws {
    let log = try LogFixture()
    let tier = try await log.open()
    for number in 1...40 {
      try await log.write(number, number * 4000, to: tier).get()
    }
    #expect(try await log.purge(.keys([log.key(3), log.key(30)]), from: tier) == 2)
    #expect(try tier.pin([log.key(7)], in: log.tenant, milliseconds: 60_000).get() == [true])
    await log.close(tier)
    let report = try check(log)
    #expect(report.findings.isEmpty && report.notes.isEmpty)
    let expected = Set(try (1...40).filter { ![3, 30].contains($0) }.map(log.key))
    #expect(Set(report.live.map(\.header.facts.key)) == expected)
    let pinned = report.live.filter { $0.pinEndMilliseconds != nil }
    #expect(pinned.map(\.header.facts.key) == [try log.key(7)])
    #expect(report.totals.sealedSegments > 1)
    #expect(report.totals.fileBytes <= log.capacityBytes)
  }

  @Test("a directory in use is not checked")
  func inUse() async throws {
    let log = try LogFixture()
    let tier = try await log.open()
    #expect(throws: DirectoryFault.self) { try check(log) }
    await log.close(tier)
  }

  @Test("what repair has purged is gone for the next tier, and all else is whole")
  func repair() async throws {
    let log = try LogFixture()
    var tier = try await log.open()
    for number in 1...10 { try await log.write(number, 50_000, to: tier).get() }
    await log.close(tier)
    let sound = try check(log)
    let victim = try #require(sound.live.first { $0.header.facts.key == (try? log.key(4)) })
    let url = log.folder.url("a/\(victim.file)")
    var bytes = try Data(contentsOf: url)
    bytes[victim.header.blockIndex * 4096 + victim.header.payloadOffset + 40_000] ^= 16
    try bytes.write(to: url)
    let damaged = try check(log)
    #expect(damaged.findings.map(\.problem.name) == ["payload"])
    #expect(damaged.damaged.map(\.header) == [victim.header])
    #expect(try check(log, readsPayloads: false).findings.isEmpty)
    do {
      let storage = try FileDirectory(path: "\(log.folder.path)/a")
      #expect(try LogRepair(storage, after: damaged).purged.count == 1)
    }
    let repaired = try check(log)
    #expect(repaired.findings.isEmpty && repaired.damaged.isEmpty)
    #expect(repaired.totals.damagedRecords == 1 && repaired.totals.liveRecords == 9)
    tier = try await log.open()
    for number in 1...10 {
      #expect(try await log.read(number, from: tier).isWhole == (number != 4))
    }
    await log.close(tier)
  }
}
