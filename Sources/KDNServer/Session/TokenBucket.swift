internal import KDNCore

/// So much a second on average, a second's worth at once; pure, so that tests play the time.
///
/// Exact: the level is kept in billionths, so that no rate and no pause is rounded.
struct TokenBucket {
  private static let nanosecondsPerSecond: Int128 = 1_000_000_000

  /// How much flows in each second; at least 1.
  private(set) var perSecond: Int
  /// In billionths; below 0 after a charge that could not be refused.
  private var level: Int128
  private var lastFilled: Instant

  /// A full bucket.
  init(perSecond: Int, now: Instant) {
    self.perSecond = max(1, perSecond)
    level = Int128(self.perSecond) * Self.nanosecondsPerSecond
    lastFilled = now
  }

  /// Takes `amount` if it is there, or if the bucket is full when more is asked for than it holds:
  /// what is over is then owed.
  ///
  /// - Returns: nil if it was taken, else in how many milliseconds asking again may help.
  mutating func take(_ amount: Int, now: Instant) -> UInt64? {
    fill(now)
    let wanted = min(Int128(amount) * Self.nanosecondsPerSecond, capacity)
    guard level >= wanted else {
      return Self.milliseconds(wanted - level, perSecond: perSecond)
    }
    level -= Int128(amount) * Self.nanosecondsPerSecond
    return nil
  }

  /// Takes `amount` whether it is there or not; what is missing is owed.
  mutating func charge(_ amount: Int, now: Instant) {
    fill(now)
    level -= Int128(amount) * Self.nanosecondsPerSecond
  }

  /// Gives back what was taken for nothing.
  mutating func refund(_ amount: Int) {
    level = min(capacity, level + Int128(amount) * Self.nanosecondsPerSecond)
  }

  /// Goes on at another rate; what is owed stays owed.
  mutating func setRate(perSecond: Int, now: Instant) {
    fill(now)
    self.perSecond = max(1, perSecond)
    level = min(level, capacity)
  }

  private var capacity: Int128 { Int128(perSecond) * Self.nanosecondsPerSecond }

  private mutating func fill(_ now: Instant) {
    let passed = now.nanoseconds(since: lastFilled)
    guard passed > 0 else { return }
    lastFilled = now
    level = min(capacity, level + Int128(passed) * Int128(perSecond))
  }

  private static func milliseconds(_ missing: Int128, perSecond: Int) -> UInt64 {
    let perMillisecond = Int128(perSecond) * 1_000_000
    return UInt64(clamping: (missing + perMillisecond - 1) / perMillisecond)
  }
}
