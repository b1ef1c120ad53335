import KDNTier
import Testing

@Suite("The disk simulation itself")
struct DiskModelTests {
  private func simulator(_ flaw: ToyTier.Flaw?) -> DiskSimulator {
    var scenario = DiskScenario.roomy
    scenario.lives = 6
    switch flaw {
    case .givesUpNothing:
      scenario.faults.synchronise = 12
      scenario.watchesPlaces = true
    case .believesAnyRecord:
      scenario.forgesOneIn = 1
    case .ignoresQuotas, .robsOthers, .miscounts, .listsByPlace:
      scenario.hasQuotas = true
    default: break
    }
    return DiskSimulator(scenario: scenario) {
      let catalogue = ToyCatalogue()
      return { try ToyTier($0, catalogue: catalogue, flaw: flaw) }
    }
  }

  @Test("a tier that keeps its promises is never accused")
  func toyIsRight() throws {
    let totals = try simulator(nil).run(crashes: 240, from: 1)
    #expect(totals.powerLosses > 0 && totals.kills > 0 && totals.closes > 0)
    #expect(totals.promised > 0 && totals.purges > 0 && totals.foundAfterRecovery > 0)
    #expect(totals.startsInterrupted > 0 && totals.readsWhole > 0)
    print(totals)
  }

  @Test("nor one that keeps to quotas")
  func toyKeepsQuotas() throws {
    var simulator = simulator(nil)
    simulator.scenario.hasQuotas = true
    let totals = try simulator.run(crashes: 240, from: 1)
    #expect(totals.quotaChecks > 0 && totals.lists > 0)
    #expect(totals.refusals["write overQuota", default: 0] > 0)
    print(totals)
  }

  @Test("a broken promise is seen", arguments: ToyTier.Flaw.allCases)
  func flawIsSeen(_ flaw: ToyTier.Flaw) throws {
    let simulator = simulator(flaw)
    let arena = try DiskDriver.makeArena()
    for seed: UInt64 in 1...200 {
      let (_, error) = try simulator.run(seed: seed, in: arena)
      guard let error else { continue }
      print("\(flaw): seed \(seed): \(error)")
      #expect(error is DiskDifference)
      return
    }
    Issue.record("200 seeds did not show that the tier \(flaw)")
  }

  @Test("the same seed does the same")
  func seedsRepeat() throws {
    let traces = try (0..<2).map { _ in
      try simulator(nil).run(seed: 7, in: DiskDriver.makeArena(), isTraced: true).0.disk.trace ?? []
    }
    #expect(!traces[0].isEmpty && traces[0] == traces[1])
  }
}
