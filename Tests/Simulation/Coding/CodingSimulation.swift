import Foundation
import KDNCore
import Testing

@testable import KDNPool

/// Random operations on a pool that encodes and decodes, over a disk that loses power.
///
/// `KDN_SIM_CRASHES` says how many lives all seeds end together (a tenth of it is done here),
/// `KDN_SIM_FIRST` from which seed on, `KDN_SIM_SEED` which run is to be done again.
@Suite("A pool that encodes, under faults")
struct CodingSimulation {
  private static let livesPerSeed = 8

  @Test("what is given is what was stored, or what its lossy form says, after crashes too")
  func crashes() throws {
    let lives = max(40, DiskSimulator.crashes / 10)
    let first = DiskSimulator.givenSeed ?? DiskSimulator.firstSeed ?? .random(in: 1...1 << 32)
    var totals = CodingDriver.Totals()
    var seed = first
    while totals.lives < lives {
      let driver = try CodingDriver(seed: seed)
      do {
        for _ in 0..<Self.livesPerSeed { try driver.live(operations: 120) }
      } catch {
        Issue.record("KDN_SIM_SEED=\(seed), life \(driver.totals.lives): \(error)")
        return
      }
      totals.merge(driver.totals)
      guard DiskSimulator.givenSeed == nil else { break }
      seed += 1
    }
    print("coding simulation from KDN_SIM_SEED=\(first): \(totals)")
    guard DiskSimulator.givenSeed == nil else { return }
    // A run that never came to what it is to test would prove nothing.
    #expect(totals.hits > 0 && totals.encodedHits > 0 && totals.lossyHits > 0)
    #expect(totals.belowHits > 0 && totals.exactHits > 0 && totals.inexactHits > 0)
    #expect(totals.looks > 0)
    #expect(totals.required > 0 && totals.lies > 0 && totals.recodings > 0)
    #expect(totals.coding.replaced > 0 && totals.coding.rewritten > 0)
    #expect(totals.coding.failed > 0 && totals.coding.declined > 0)
    #expect(totals.misses[.corrupt] == nil && totals.misses[.undecodable] == nil)
  }
}

extension CodingDriver.Totals {
  mutating func merge(_ other: Self) {
    lives += other.lives
    hits += other.hits
    encodedHits += other.encodedHits
    lossyHits += other.lossyHits
    belowHits += other.belowHits
    exactHits += other.exactHits
    inexactHits += other.inexactHits
    looks += other.looks
    required += other.required
    misses.merge(other.misses) { $0 + $1 }
    add(other.coding)
    lies += other.lies
    recodings += other.recodings
  }
}
