package import KDNCore

/// How many bytes may be written to a device per day, so that its flash lasts.
///
/// A token bucket that fills continuously and holds one day's worth at most; it starts full. An
/// object of more than a day's worth is never let through.
package struct WriteBudget: Sendable {
  /// Bytes per day; 0 is no limit.
  package private(set) var bytesPerDay: Int
  /// Bytes times nanoseconds of a day, so that no fraction is ever lost.
  private var level: UInt128
  private var lastRefill = Instant(nanoseconds: 0)

  private static let nanosecondsPerDay: UInt128 = 86_400_000_000_000

  /// Creates a full bucket; `bytesPerDay` must not be negative.
  package init(bytesPerDay: Int) {
    precondition(bytesPerDay >= 0, "a budget is never negative")
    self.bytesPerDay = bytesPerDay
    level = UInt128(bytesPerDay) * Self.nanosecondsPerDay
  }

  /// Takes `bytes` if they are there at `now`, else nothing; `bytes` must not be negative.
  ///
  /// A `now` before the last one adds nothing.
  package mutating func take(_ bytes: Int, now: Instant) -> Bool {
    precondition(bytes >= 0, "nothing gives bytes back to a budget")
    guard bytesPerDay > 0 else { return true }
    refill(now: now)
    let cost = UInt128(bytes) * Self.nanosecondsPerDay
    guard cost <= level else { return false }
    level -= cost
    return true
  }

  /// Gives back `bytes` that were taken and not written; must not be negative.
  package mutating func giveBack(_ bytes: Int) {
    precondition(bytes >= 0, "nothing is taken by giving back")
    let most = UInt128(bytesPerDay) * Self.nanosecondsPerDay
    level = min(level + UInt128(bytes) * Self.nanosecondsPerDay, most)
  }

  /// Goes on with another budget; what is left of the day's is kept, as far as the new one goes.
  ///
  /// `bytesPerDay` must not be negative. Where there was no limit the new budget begins full.
  package mutating func change(bytesPerDay new: Int, now: Instant) {
    precondition(new >= 0, "a budget is never negative")
    refill(now: now)
    let most = UInt128(new) * Self.nanosecondsPerDay
    level = bytesPerDay == 0 ? most : min(level, most)
    bytesPerDay = new
  }

  private mutating func refill(now: Instant) {
    let gained = UInt128(now.nanoseconds(since: lastRefill)) * UInt128(bytesPerDay)
    level = min(level + gained, UInt128(bytesPerDay) * Self.nanosecondsPerDay)
    lastRefill = max(lastRefill, now)
  }
}
