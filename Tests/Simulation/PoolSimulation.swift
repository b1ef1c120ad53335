import Foundation
import Testing

/// Random operations against the model.
///
/// `KDN_SIM_OPERATIONS` says how many, `KDN_SIM_SEED` or else `KDN_SIM_FIRST` which.
struct PoolSimulation {
  @Test func poolDoesWhatTheModelSaysOverManyRandomOperations() throws {
    let environment = ProcessInfo.processInfo.environment
    let operations = environment["KDN_SIM_OPERATIONS"].flatMap { Int($0) } ?? 50_000
    let given = (environment["KDN_SIM_SEED"] ?? environment["KDN_SIM_FIRST"]).flatMap(UInt64.init)
    let seed = given ?? UInt64.random(in: 1...UInt64.max)
    print("simulation: KDN_SIM_SEED=\(seed) KDN_SIM_OPERATIONS=\(operations)")
    let driver = try Driver(seed: seed)
    for operation in 1...operations {
      do {
        try driver.step()
        if operation % 1000 == 0 { try driver.compareAll() }
      } catch {
        Issue.record("KDN_SIM_SEED=\(seed), operation \(operation): \(error)")
        return
      }
    }
    let picture = driver.pool.statistics
    print(
      "simulation: stores=\(picture.stores) evictions=\(picture.evictions)",
      "hits=\(picture.hits) expired=\(picture.expired) purged=\(picture.purged)",
      "conflicts=\(picture.conflicts) refusals=\(picture.refusals)",
      "quotaRefusals=\(driver.quotaRefusals)")
    // A run that never came to what it is to test would prove nothing.
    if operations >= 50_000 {
      #expect(picture.evictions > 0 && picture.expired > 0 && picture.purged > 0)
      #expect(picture.conflicts > 0 && picture.hits > 0 && picture.refusals > 0)
      #expect(driver.quotaRefusals > 0)
      #expect(picture.misses.filter { $0.value > 0 }.count >= 5)
    }
    try driver.finish()
  }
}
