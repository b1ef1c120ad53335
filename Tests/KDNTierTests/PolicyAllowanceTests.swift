import Testing

@testable import KDNTier

@Suite("How much reclaiming may write anew")
struct PolicyAllowanceTests {
  @Test("without savings it is half of each segment")
  func half() {
    var allowance = ReinsertionAllowance(segmentBytes: 100, savedSegments: 0)
    for spent in [0, 10, 50, 0] {
      let bytes = allowance.next()
      #expect(bytes == 50)
      allowance.spend(spent)
    }
  }

  @Test("what was left over is there later, never more than the segment")
  func saved() {
    var allowance = ReinsertionAllowance(segmentBytes: 100, savedSegments: 4)
    let allowed = [20, 0, 100, 0].map { spent in
      let bytes = allowance.next()
      allowance.spend(spent)
      return bytes
    }
    #expect(allowed == [50, 80, 100, 80])
  }

  @Test("twice as many segments as are saved survive whole, then half of each", arguments: 0...8)
  func bounded(saved: Int) {
    var allowance = ReinsertionAllowance(segmentBytes: 100, savedSegments: saved)
    for _ in 0..<100 { _ = allowance.next() }
    let allowed = (0..<20).map { _ in
      let bytes = allowance.next()
      allowance.spend(bytes)
      return bytes
    }
    #expect(allowed.prefix { $0 == 100 }.count == 2 * saved)
    #expect(allowed.dropFirst(2 * saved).allSatisfy { $0 == 50 })
  }

  @Test("pins that take more than was allowed leave nothing over, and no debt")
  func pins() {
    var allowance = ReinsertionAllowance(segmentBytes: 100, savedSegments: 4)
    _ = allowance.next()
    allowance.spend(1_000)
    let bytes = allowance.next()
    #expect(bytes == 50)
  }

  @Test("over time no more than half is written anew", arguments: 0..<20)
  func longRun(seed: UInt64) {
    var random = seed
    var allowance = ReinsertionAllowance(segmentBytes: 1_000)
    var spent = 0
    for segment in 1...500 {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let bytes = min(allowance.next(), Int((random >> 33) % 1_200))
      allowance.spend(bytes)
      spent += bytes
      #expect(spent <= segment * 500)
    }
  }
}
