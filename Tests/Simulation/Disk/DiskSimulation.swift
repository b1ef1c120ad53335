import Foundation
import KDNCore
import KDNMemory
import KDNTier
import Testing

/// Runs a scenario with one seed after the other; a seed that fails is done again and told.
struct DiskSimulator {
  var scenario: DiskScenario
  let makeTier: () -> DiskDriver.MakeTier

  /// The only seed to be tried, if one is given.
  static let firstSeed = ProcessInfo.processInfo.environment["KDN_SIM_FIRST"].flatMap { UInt64($0) }
  static let givenSeed = ProcessInfo.processInfo.environment["KDN_SIM_SEED"].flatMap { UInt64($0) }
  private static let traceLinesMax =
    ProcessInfo.processInfo.environment["KDN_SIM_TRACE"].flatMap { Int($0) } ?? 60
  /// How many crashes all runs of a test come to together.
  static let crashes =
    ProcessInfo.processInfo.environment["KDN_SIM_CRASHES"].flatMap { Int($0) } ?? 400

  /// What a seed came to.
  func run(
    seed: UInt64, in arena: Arena, isTraced: Bool = false
  ) throws -> (DiskDriver, (any Error)?) {
    let driver = try DiskDriver(
      seed: seed, scenario: scenario, arena: arena, makeTier: makeTier())
    if isTraced { driver.disk.trace = [] }
    do {
      try driver.run()
      return (driver, nil)
    } catch {
      return (driver, error)
    }
  }

  /// Runs until there were so many crashes; records the first seed that fails.
  func run(
    crashes: Int, from first: UInt64, only given: UInt64? = nil
  ) throws -> DiskDriver.Totals {
    let arena = try DiskDriver.makeArena()
    var totals = DiskDriver.Totals()
    var seed = given ?? first
    while totals.lives < crashes {
      let (driver, error) = try run(seed: seed, in: arena)
      totals.add(driver.totals)
      if let error {
        let (again, _) = try run(seed: seed, in: arena, isTraced: true)
        let trace = (again.disk.trace ?? []).suffix(Self.traceLinesMax).joined(separator: "\n  ")
        Issue.record("KDN_SIM_SEED=\(seed), life \(driver.totals.lives): \(error)\n  \(trace)")
        return totals
      }
      guard given == nil else { break }
      seed += 1
    }
    return totals
  }
}

extension DiskDriver.Totals {
  mutating func add(_ other: Self) {
    lives += other.lives
    powerLosses += other.powerLosses
    kills += other.kills
    closes += other.closes
    startsInterrupted += other.startsInterrupted
    promised += other.promised
    readsWhole += other.readsWhole
    purges += other.purges
    foundAfterRecovery += other.foundAfterRecovery
    missedExcused += other.missedExcused
    forged += other.forged
    cannotReturn += other.cannotReturn
    quotaChecks += other.quotaChecks
    lists += other.lists
    rewritten += other.rewritten
    refusals.merge(other.refusals) { $0 + $1 }
  }
}

extension DiskSetting {
  /// The tier under test.
  func makeDiskTier() throws -> DiskTier {
    var configuration = DiskConfiguration()
    configuration.segmentBytes = scenario.segmentBytes
    configuration.journalBytes = scenario.journalBytes
    let random = Guarded(RandomSource(seed: seed))
    configuration.random = { random.withLock { $0.next() } }
    let directories = zip(disk.directories, engines).map { directory, engine in
      DiskDirectoryConfiguration(
        directory: directory, engine: engine, capacityBytes: directory.capacityBytes)
    }
    return try DiskTier(
      configuration, directories: directories, clock: clock, wallClock: wallClock
    ) { [disk] event in disk.note { "event: \(event)" } }
  }
}

/// Random operations on the disk tier over devices that fail, against the model.
///
/// `KDN_SIM_CRASHES` says how many lives all tests end together, `KDN_SIM_FIRST` from which seed on
/// (else they are new each time), `KDN_SIM_SEED` which run is to be done again, `KDN_SIM_TRACE` how
/// much of it is told.
@Suite("The disk tier under faults")
struct DiskSimulation {
  /// Does `percent` of all crashes with one scenario.
  private func run(_ scenario: DiskScenario, percent: Int) throws -> DiskDriver.Totals {
    let simulator = DiskSimulator(scenario: scenario) { { try $0.makeDiskTier() } }
    let first = DiskSimulator.firstSeed ?? UInt64.random(in: 1...1 << 32)
    let totals = try simulator.run(
      crashes: DiskSimulator.crashes * percent / 100, from: first, only: DiskSimulator.givenSeed)
    print("disk simulation from KDN_SIM_SEED=\(first): \(totals)")
    // A run that never came to what it is to test would prove nothing.
    if totals.lives >= 100, DiskSimulator.givenSeed == nil {
      #expect(totals.powerLosses > 0 && totals.kills > 0 && totals.startsInterrupted > 0)
      #expect(totals.promised > 0 && totals.purges > 0 && totals.foundAfterRecovery > 0)
    }
    return totals
  }

  @Test("what was acknowledged survives crashes at any point, and nothing else comes back")
  func crashes() throws {
    let totals = try run(.roomy, percent: 18)
    if totals.lives >= 400 {
      #expect(totals.forged > 0 && totals.closes > 0 && totals.cannotReturn > 0)
      #expect(totals.rewritten > 0)
    }
  }

  @Test("so it does on devices far too small, where what is not pinned makes room")
  func reclaiming() throws {
    let totals = try run(.tight, percent: 10)
    if totals.lives >= 40 { #expect(totals.missedExcused > 0) }
  }

  @Test("a tenant with a quota never has more, and costs no other tenant anything")
  func metered() throws {
    let totals = try run(.metered, percent: 8)
    guard totals.lives >= 100, DiskSimulator.givenSeed == nil else { return }
    #expect(totals.missedExcused > 0 && totals.quotaChecks > 0 && totals.lists > 0)
    #expect(totals.refusals["write overQuota", default: 0] > 0)
  }

  @Test("so it does where segments are reclaimed meanwhile")
  func crowded() throws {
    let totals = try run(.crowded, percent: 4)
    if totals.lives >= 40 { #expect(totals.quotaChecks > 0 && totals.lists > 0) }
    if totals.lives >= 400 { #expect(totals.refusals["pin overQuota", default: 0] > 0) }
  }

  @Test("so it does when one start follows the other")
  func restless() throws {
    _ = try run(.restless, percent: 18)
  }

  @Test("so it does with objects that are written and read in place")
  func large() throws {
    _ = try run(.large, percent: 5)
  }

  @Test("so it does on two devices")
  func twofold() throws {
    _ = try run(.twofold, percent: 7)
  }

  @Test("of two devices one fails, and only what it has is missed")
  func halfFailing() throws {
    let totals = try run(.halfFailing, percent: 8)
    if totals.lives >= 100 { #expect(totals.missedExcused > 0) }
  }

  @Test("a synchronise that fails is never taken for success")
  func unsynchronised() throws {
    let totals = try run(.unsynchronised, percent: 6)
    if totals.lives >= 100 { #expect(totals.refusals["write failed", default: 0] > 0) }
  }

  @Test("whatever a device refuses, no wrong byte is given and no promise is broken")
  func flaky() throws {
    _ = try run(.flaky, percent: 6)
  }

  @Test("what a device alters is missed, and nothing else")
  func decaying() throws {
    let totals = try run(.decaying, percent: 5)
    if totals.lives >= 100 { #expect(totals.missedExcused > 0) }
  }

  @Test("a wall clock that jumps ends no promise before its time and brings nothing back")
  func jumping() throws {
    _ = try run(.jumping, percent: 5)
  }
}
