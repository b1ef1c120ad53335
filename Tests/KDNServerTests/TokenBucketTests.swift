import KDNCore
import Testing

@testable import KDNServer

@Suite("A token bucket")
struct TokenBucketTests {
  private let start = Instant(nanoseconds: 1_000_000_000)

  private func after(_ nanoseconds: UInt64) -> Instant {
    Instant(nanoseconds: start.nanoseconds + nanoseconds)
  }

  @Test("gives a second's worth at once, then one at a time", arguments: [1, 3, 10, 1000])
  func burst(perSecond: Int) {
    var bucket = TokenBucket(perSecond: perSecond, now: start)
    for _ in 0..<perSecond { #expect(bucket.take(1, now: start) == nil) }
    let wait = bucket.take(1, now: start)
    #expect(wait == UInt64((1000 + perSecond - 1) / perSecond))
    let later = start.advanced(milliseconds: wait ?? 0)
    #expect(bucket.take(1, now: later) == nil)
    #expect(bucket.take(1, now: later) != nil)
  }

  @Test("whoever waits as long as it says is served then, and not a millisecond sooner")
  func hintIsExact() {
    var random = SeededGenerator(seed: 7)
    for _ in 0..<2000 {
      let rate = Int.random(in: 1...1_000_000_000, using: &random)
      var bucket = TokenBucket(perSecond: rate, now: start)
      bucket.charge(Int.random(in: 0...3 * rate, using: &random), now: start)
      let amount = Int.random(in: 1...2 * rate, using: &random)
      guard let wait = bucket.take(amount, now: start) else { continue }
      #expect(wait > 0)
      var early = bucket
      #expect(early.take(amount, now: after((wait - 1) * 1_000_000)) != nil)
      #expect(bucket.take(amount, now: after(wait * 1_000_000)) == nil)
    }
  }

  @Test("over any stretch of time it gives no more than rate, burst and one amount")
  func rateHolds() {
    for seed in UInt64(1)...40 {
      var random = SeededGenerator(seed: seed)
      let rate = Int.random(in: 1...100_000, using: &random)
      let most = Int.random(in: 1...2 * rate, using: &random)
      var bucket = TokenBucket(perSecond: rate, now: start)
      var passed: UInt64 = 0
      var given = 0
      for _ in 0..<2000 {
        passed += UInt64.random(in: 0...20_000_000, using: &random)
        let amount = Int.random(in: 1...most, using: &random)
        if bucket.take(amount, now: after(passed)) == nil { given += amount }
        let allowed = Double(rate) * (1 + Double(passed) / 1e9) + Double(most)
        #expect(Double(given) <= allowed, "seed \(seed)")
      }
    }
  }

  @Test("a client that always asks again gets the whole rate, whatever the amounts")
  func rateIsReached() {
    for seed in UInt64(1)...20 {
      var random = SeededGenerator(seed: seed)
      let rate = Int.random(in: 100...100_000, using: &random)
      var bucket = TokenBucket(perSecond: rate, now: start)
      var milliseconds: UInt64 = 0
      var given = 0
      while milliseconds < 60_000 {
        let amount = Int.random(in: 1...rate, using: &random)
        if let wait = bucket.take(amount, now: after(milliseconds * 1_000_000)) {
          milliseconds += wait
        } else {
          given += amount
        }
      }
      #expect(given >= rate * 59, "seed \(seed): \(given) at \(rate) a second")
    }
  }

  @Test("more than it holds passes when it is full, and is owed afterwards")
  func oversize() {
    var bucket = TokenBucket(perSecond: 100, now: start)
    #expect(bucket.take(1000, now: start) == nil)
    #expect(bucket.take(1, now: start) == 9010)
    #expect(bucket.take(0, now: start) == 9000, "nothing passes while something is owed")
    #expect(bucket.take(0, now: after(9_000_000_000)) == nil)
  }

  @Test("what is given back is there again, but never above a second's worth")
  func refund() {
    var bucket = TokenBucket(perSecond: 10, now: start)
    #expect(bucket.take(10, now: start) == nil)
    bucket.refund(4)
    #expect(bucket.take(4, now: start) == nil)
    #expect(bucket.take(1, now: start) != nil)
    bucket.refund(1000)
    #expect(bucket.take(10, now: start) == nil)
    #expect(bucket.take(1, now: start) != nil)
  }

  @Test("another rate holds at once, both ways, and debts stay")
  func newRate() {
    var bucket = TokenBucket(perSecond: 1000, now: start)
    bucket.setRate(perSecond: 10, now: start)
    for _ in 0..<10 { #expect(bucket.take(1, now: start) == nil) }
    #expect(bucket.take(1, now: start) == 100)
    bucket.charge(20, now: start)
    bucket.setRate(perSecond: 1000, now: start)
    #expect(bucket.take(1, now: start) == 21)
  }

  @Test("the largest rate and a clock that stands still or jumps far do not overflow")
  func extremes() {
    var bucket = TokenBucket(perSecond: .max, now: start)
    #expect(bucket.take(.max, now: start) == nil)
    #expect(bucket.take(.max, now: start) == 1000)
    #expect(bucket.take(.max, now: .never) == nil)
    #expect(bucket.take(1, now: start) != nil, "an earlier time fills nothing")
  }
}

/// SplitMix64: the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }
}
