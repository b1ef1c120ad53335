import Testing

@testable import KDNTransport

@Suite("The adaptive spin")
struct AdaptiveSpinTests {
  @Test("costs a quiet loop one trial in many waits")
  func quiet() {
    var spin = AdaptiveSpin()
    var spins = 0
    for _ in 0..<6_400 where spin.budgetNanoseconds() > 0 {
      spins += 1
      spin.ended(foundWork: false)
    }
    #expect(spins == 100)
  }

  @Test("spins on every wait while that finds work, and stops soon when it does not")
  func busyThenQuiet() {
    var spin = AdaptiveSpin()
    var waits = 0
    while spin.budgetNanoseconds() == 0 { waits += 1 }
    #expect(waits < 64)
    for _ in 0..<4 { spin.ended(foundWork: true) }
    for _ in 0..<1_000 {
      #expect(spin.budgetNanoseconds() > 0)
      spin.ended(foundWork: true)
    }
    var vain = 0
    while spin.budgetNanoseconds() > 0 {
      spin.ended(foundWork: false)
      vain += 1
    }
    #expect(vain < 20)
  }
}
