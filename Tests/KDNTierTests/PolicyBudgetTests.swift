import KDNCore
import Testing

@testable import KDNTier

/// A budget that `#expect` can take from, for it keeps what it calls immutable.
private final class Bucket {
  private var budget: WriteBudget

  init(bytesPerDay: Int) { budget = WriteBudget(bytesPerDay: bytesPerDay) }

  func take(_ bytes: Int, now: Instant) -> Bool { budget.take(bytes, now: now) }
  func giveBack(_ bytes: Int) { budget.giveBack(bytes) }
}

@Suite("How much may be written in a day")
struct PolicyBudgetTests {
  private static let start = Instant(nanoseconds: 5_000_000_000)
  private static let day: UInt64 = 86_400_000

  private func after(_ milliseconds: UInt64) -> Instant {
    Self.start.advanced(milliseconds: milliseconds)
  }

  @Test("it starts with one day's worth")
  func startsFull() {
    let budget = Bucket(bytesPerDay: 1_000)
    #expect(budget.take(600, now: Self.start))
    #expect(budget.take(400, now: Self.start))
    #expect(!budget.take(1, now: Self.start))
  }

  @Test("what is refused takes nothing")
  func refusalTakesNothing() {
    let budget = Bucket(bytesPerDay: 1_000)
    #expect(budget.take(600, now: Self.start))
    #expect(!budget.take(401, now: Self.start))
    #expect(budget.take(400, now: Self.start))
  }

  @Test("what is given back can be taken again, up to a day's worth")
  func givesBack() {
    let budget = Bucket(bytesPerDay: 1_000)
    #expect(budget.take(900, now: Self.start))
    budget.giveBack(500)
    #expect(!budget.take(601, now: Self.start))
    #expect(budget.take(600, now: Self.start))
    budget.giveBack(5_000)
    #expect(budget.take(1_000, now: Self.start))
    #expect(!budget.take(1, now: Self.start))
  }

  @Test("it fills in proportion to time, byte by byte")
  func fillsContinuously() {
    let budget = Bucket(bytesPerDay: 1_000)
    #expect(budget.take(1_000, now: Self.start))
    #expect(!budget.take(1, now: after(Self.day / 1_000 - 1)))
    #expect(budget.take(1, now: after(Self.day / 1_000)))
    #expect(!budget.take(500, now: after(Self.day / 2)))
    #expect(budget.take(499, now: after(Self.day / 2)))
  }

  @Test("it never holds more than one day's worth")
  func holdsOneDay() {
    let budget = Bucket(bytesPerDay: 1_000)
    #expect(budget.take(1_000, now: Self.start))
    #expect(!budget.take(1_001, now: after(9 * Self.day)))
    #expect(budget.take(1_000, now: after(9 * Self.day)))
    #expect(!budget.take(1, now: after(9 * Self.day)))
  }

  @Test("asking often loses nothing to rounding")
  func noRounding() {
    let budget = Bucket(bytesPerDay: 7)
    #expect(budget.take(7, now: Self.start))
    for second in 1..<UInt64(86_400) {
      let elapsed = after(second * 1_000)
      #expect(!budget.take(7, now: elapsed))
    }
    #expect(budget.take(7, now: after(Self.day)))
  }

  @Test("an instant before the last one adds nothing, then or later")
  func clockBack() {
    let budget = Bucket(bytesPerDay: 1_000)
    #expect(budget.take(1_000, now: after(Self.day)))
    #expect(!budget.take(1, now: Self.start))
    #expect(!budget.take(1, now: after(Self.day)))
    #expect(budget.take(500, now: after(Self.day + Self.day / 2)))
  }

  @Test("another budget goes on with what is left of the day's, and no more than it has itself")
  func changes() {
    let start = Instant(nanoseconds: 0)
    let hour = start.advanced(milliseconds: 3_600_000)
    var budget = WriteBudget(bytesPerDay: 2400)
    var taken = [budget.take(2400, now: start)]
    // What has come since comes at the old rate, what comes then at the new one.
    budget.change(bytesPerDay: 24_000, now: hour)
    taken += [budget.take(101, now: hour), budget.take(100, now: hour)]
    taken.append(budget.take(1000, now: hour.advanced(milliseconds: 3_600_000)))
    #expect(taken == [true, false, true, true] && budget.bytesPerDay == 24_000)
    budget.change(bytesPerDay: 0, now: hour)
    taken = [budget.take(.max, now: hour)]
    budget.change(bytesPerDay: 500, now: hour)
    taken += [budget.take(500, now: hour), budget.take(1, now: hour)]
    #expect(taken == [true, true, false])
    budget = WriteBudget(bytesPerDay: 1000)
    budget.change(bytesPerDay: 10, now: start)
    taken = [budget.take(11, now: start), budget.take(10, now: start)]
    #expect(taken == [false, true])
  }

  @Test("0 is no limit")
  func noLimit() {
    let budget = Bucket(bytesPerDay: 0)
    #expect(budget.take(.max, now: Self.start))
    #expect(budget.take(.max, now: Self.start))
  }

  @Test("the largest budget and the longest time do not overflow")
  func extremes() {
    let budget = Bucket(bytesPerDay: .max)
    #expect(budget.take(.max, now: Instant(nanoseconds: 0)))
    #expect(budget.take(.max, now: .never))
    #expect(!budget.take(1, now: .never))
  }

  @Test("takes and refusals are those of exact arithmetic", arguments: 0..<20)
  func exact(seed: UInt64) {
    var random = seed
    func next(below limit: UInt64) -> UInt64 {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (random >> 33) % limit
    }
    let bytesPerDay = 1 + next(below: 1 << 20)
    let budget = Bucket(bytesPerDay: Int(bytesPerDay))
    let unit = UInt128(Self.day)
    let full = UInt128(bytesPerDay) * unit
    var (time, level) = (UInt64(0), full)
    for _ in 0..<400 {
      let step = next(below: Self.day / 20)
      time += step
      level = min(full, level + UInt128(step) * UInt128(bytesPerDay))
      let bytes = next(below: bytesPerDay / 8 + 2)
      let fits = UInt128(bytes) * unit <= level
      #expect(budget.take(Int(bytes), now: after(time)) == fits)
      if fits { level -= UInt128(bytes) * unit }
    }
  }
}
