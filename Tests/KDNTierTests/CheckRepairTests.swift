import KDNCore
import Testing

@testable import KDNTier

@Suite("Repair puts right what can be put right and takes nothing sound away")
struct CheckRepairTests {
  @Test("damaged objects are purged in the journal, everything else stays")
  func damagedObjects() throws {
    var log = try CheckDamageTests.sound()
    let (second, records) = log.segment([
      try LogBuilder.object("c"), try LogBuilder.object("d"), try LogBuilder.object("e"),
    ])
    log.storage[Damage.segment].flip(4096 + 5511)
    log.storage[second].flip(records[1].blockIndex * 4096 + 1000)
    let before = try log.check()
    #expect(before.damaged.map(\.header.sequence) == [1, 4])
    let repair = try LogRepair(log.storage, after: before)
    #expect(repair.purged.map(\.header.sequence) == [1, 4])
    #expect(repair.sealed.isEmpty)
    let after = try log.check()
    // What is damaged is still there, and nobody's loss any more.
    #expect(after.damaged.isEmpty && after.findings.isEmpty)
    #expect(after.notes.map(\.problem.name) == ["payload", "payload"])
    #expect(after.live.map(\.header) == before.live.map(\.header))
    #expect(after.totals.journalFrames == before.totals.journalFrames + 1)
    #expect(log.storage["journal-0"].unsynchronisedWrites == 0)
    // A daemon finds the same.
    let state = try opened(log)
    let purges = state.entries.count { if case .purgedKeys = $0 { true } else { false } }
    #expect(purges == 2)
  }

  @Test("more damaged objects than one frame holds are purged in several")
  func manyDamagedObjects() throws {
    var log = try CheckDamageTests.sound()
    for segment in 0..<6 {
      let objects = try (0..<50).map {
        try LogBuilder.object("\(segment)-\($0)", byteCount: 100)
      }
      let (name, records) = log.segment(objects)
      for record in records { log.storage[name].flip(record.blockIndex * 4096 + 600) }
    }
    #expect(try LogRepair(log.storage, after: log.check()).purged.count == 300)
    let after = try log.check()
    #expect(after.findings.isEmpty)
    #expect(after.live.map(\.header.sequence) == [1, 2])
    #expect(after.totals.journalFrames == 5)
    #expect(after.totals.deadRecords == 300)
  }

  @Test("an object that is stored again after the repair counts")
  func storedAgain() throws {
    var log = try CheckDamageTests.sound()
    log.storage[Damage.segment].flip(4096 + 5511)
    _ = try LogRepair(log.storage, after: log.check())
    log.segment([try LogBuilder.object("a")])
    #expect(try log.check(readsPayloads: false).live.map(\.header.sequence) == [2, 3])
  }

  @Test("an unsealed segment is sealed with its whole records, torn ones left out")
  func sealing() throws {
    var log = try CheckDamageTests.sound()
    let (name, records) = log.segment(
      [try LogBuilder.object("c"), try LogBuilder.object("d"), try LogBuilder.object("e")],
      sealed: false)
    log.storage[name].flip(records[1].blockIndex * 4096 + 1000)
    let before = try log.check()
    #expect(before.unsealed == [name])
    #expect(try LogRepair(log.storage, after: before).sealed == [name])
    let after = try log.check()
    #expect(after.findings.isEmpty)
    #expect(after.totals.unsealedSegments == 0)
    #expect(after.totals.tornRecords == 0)
    #expect(after.live.map(\.header) == before.live.map(\.header))
    #expect(log.storage[name].unsynchronisedWrites == 0)
  }

  @Test("a segment whose footer is damaged gets a new one")
  func damagedFooter() throws {
    let log = try CheckDamageTests.sound()
    log.storage[Damage.segment].flip(Damage.footerBlock * 4096 + 513)
    let before = try log.check()
    #expect(try LogRepair(log.storage, after: before).sealed == [Damage.segment])
    let after = try log.check()
    #expect(after.findings.isEmpty && after.totals.sealedSegments == 1)
    #expect(after.live.map(\.header) == before.live.map(\.header))
  }

  @Test("nothing is written to a sound directory")
  func sound() throws {
    let log = try CheckDamageTests.sound()
    let before = log.storage.files.mapValues(\.bytes)
    let repair = try LogRepair(log.storage, after: log.check())
    #expect(repair.sealed.isEmpty && repair.purged.isEmpty)
    #expect(log.storage.files.mapValues(\.bytes) == before)
  }

  @Test("a check writes nothing, whatever it finds", arguments: Damage.all)
  func checkWritesNothing(_ damage: Damage) throws {
    let log = try CheckDamageTests.sound()
    damage.make(log.storage)
    let before = log.storage.files.mapValues(\.bytes)
    _ = try log.check()
    #expect(log.storage.files.mapValues(\.bytes) == before)
  }

  @Test("a full journal is not written over")
  func fullJournal() throws {
    var log = try CheckDamageTests.sound()
    for _ in 4..<16 { log.remember([.sequenceReserved(5)]) }
    log.storage[Damage.segment].flip(4096 + 5511)
    let report = try log.check()
    #expect(report.damaged.count == 1)
    let fault = #expect(throws: CheckFault.self) { try LogRepair(log.storage, after: report) }
    guard case .beyondRepair = fault else {
      Issue.record("\(String(describing: fault))")
      return
    }
    #expect(try log.check().totals.journalFrames == 15)
  }

  @Test("a directory that a daemon would not believe is left alone")
  func distrusted() throws {
    let log = try CheckDamageTests.sound()
    log.storage[Damage.segment].flip(4096 + 5511)
    log.storage["journal-0"].flip(4096 + 40)
    let report = try log.check()
    #expect(report.damaged.isEmpty && report.live.isEmpty)
    let repair = try LogRepair(log.storage, after: report)
    #expect(repair.purged.isEmpty)
  }

  private func opened(
    _ log: LogBuilder
  ) throws -> (state: DirectoryState, entries: [JournalEntry]) {
    try DirectoryOpening.open(
      DiskDirectoryConfiguration(
        directory: log.storage, engine: NoEngine(), capacityBytes: 100 << 20),
      DiskConfiguration(), wall: LogBuilder.now)
  }
}

/// An engine of a log that does nothing yet.
private final class NoEngine: DiskEngine {
  let name = "none"
  func submit(
    _ work: DiskWork, completion: @escaping @Sendable (Result<Void, DiskError>) -> Void
  ) { preconditionFailure("nothing is submitted") }
  func shutDown() {}
}
