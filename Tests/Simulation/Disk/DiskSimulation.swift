import Foundation
import KDNCore
import KDNTier
import Testing

/// Runs a scenario with one seed after the other; a seed that fails is done again and told.
struct DiskSimulator {
  let scenario: DiskScenario
  let makeTier: () -> DiskDriver.MakeTier

  /// The only seed to be tried, if one is given.
  static let givenSeed = ProcessInfo.processInfo.environment["KDN_SIM_SEED"].flatMap { UInt64($0) }
  private static let traceLinesMax =
    ProcessInfo.processInfo.environment["KDN_SIM_TRACE"].flatMap { Int($0) } ?? 60
  /// How many crashes all runs of a test come to together.
  static let crashes =
    ProcessInfo.processInfo.environment["KDN_SIM_CRASHES"].flatMap { Int($0) } ?? 400

  /// What a seed came to.
  func run(seed: UInt64, isTraced: Bool = false) throws -> (DiskDriver, (any Error)?) {
    let driver = try DiskDriver(seed: seed, scenario: scenario, makeTier: makeTier())
    if isTraced { driver.disk.trace = [] }
    do {
      try driver.run()
      return (driver, nil)
    } catch {
      return (driver, error)
    }
  }

  /// Runs until there were so many crashes; records the first seed that fails.
  func run(crashes: Int, from first: UInt64) throws -> DiskDriver.Totals {
    var totals = DiskDriver.Totals()
    var seed = Self.givenSeed ?? first
    while totals.lives < crashes {
      let (driver, error) = try run(seed: seed)
      totals.add(driver.totals)
      if let error {
        let (again, _) = try run(seed: seed, isTraced: true)
        let trace = (again.disk.trace ?? []).suffix(Self.traceLinesMax).joined(separator: "\n  ")
        Issue.record("KDN_SIM_SEED=\(seed), life \(driver.totals.lives): \(error)\n  \(trace)")
        return totals
      }
      guard Self.givenSeed == nil else { break }
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

@Suite("The disk tier under faults")
struct DiskSimulation {
  private func run(_ scenario: DiskScenario, from seed: UInt64, share: Int = 1) throws
    -> DiskDriver.Totals
  {
    let simulator = DiskSimulator(scenario: scenario) { { try $0.makeDiskTier() } }
    let totals = try simulator.run(crashes: DiskSimulator.crashes / share, from: seed)
    print("disk simulation: \(totals)")
    return totals
  }

  @Test("what was acknowledged survives crashes at any point, and nothing else comes back")
  func crashes() throws {
    _ = try run(.roomy, from: 1)
  }

  @Test("so it does on devices far too small, where what is not pinned makes room")
  func reclaiming() throws {
    _ = try run(.tight, from: 1)
  }

  @Test("so it does when one start follows the other")
  func restless() throws {
    _ = try run(.restless, from: 1)
  }

  @Test("so it does with objects that are written and read in place")
  func large() throws {
    _ = try run(.large, from: 1)
  }

  @Test("so it does on two devices")
  func twofold() throws {
    _ = try run(.twofold, from: 1)
  }

  @Test("of two devices one fails, and only what it has is missed")
  func halfFailing() throws {
    _ = try run(.halfFailing, from: 1)
  }

  @Test("a synchronise that fails is never taken for success")
  func unsynchronised() throws {
    _ = try run(.unsynchronised, from: 1)
  }

  @Test("whatever a device refuses, no wrong byte is given and no promise is broken")
  func flaky() throws {
    _ = try run(.flaky, from: 1)
  }

  @Test("what a device alters is missed, and nothing else")
  func decaying() throws {
    _ = try run(.decaying, from: 1)
  }

  @Test("a wall clock that jumps ends no promise before its time and brings nothing back")
  func jumping() throws {
    _ = try run(.jumping, from: 1)
  }
}
