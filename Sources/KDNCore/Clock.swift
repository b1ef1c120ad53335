internal import Glibc
internal import Synchronization

/// A point in time on a clock that never runs backwards, in nanoseconds from an unnamed origin.
package struct Instant: Comparable, Hashable, Sendable {
  /// Nanoseconds since the origin.
  package let nanoseconds: UInt64

  /// Creates the instant that lies `nanoseconds` behind the origin.
  package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  /// An instant that never comes.
  package static let never = Instant(nanoseconds: .max)

  package static func < (left: Instant, right: Instant) -> Bool {
    left.nanoseconds < right.nanoseconds
  }

  /// The instant `milliseconds` later; `never` if that is beyond the range.
  package func advanced(milliseconds: UInt64) -> Instant {
    let (product, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
    let (sum, carried) = nanoseconds.addingReportingOverflow(product)
    return overflow || carried ? .never : Instant(nanoseconds: sum)
  }

  /// Nanoseconds from `earlier` to this instant; 0 if it is not earlier.
  package func nanoseconds(since earlier: Instant) -> UInt64 {
    nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0
  }

  /// Whole milliseconds from now until `later`, rounded up; 0 if it has passed.
  package func milliseconds(until later: Instant) -> UInt64 {
    let nanoseconds = later.nanoseconds(since: self)
    return nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 == 0 ? 0 : 1)
  }
}

/// Tells the time; injected so that tests play it.
package protocol MonotonicClock: Sendable {
  /// The present instant.
  func now() -> Instant
}

/// The kernel's `CLOCK_MONOTONIC`.
package struct SystemClock: MonotonicClock {
  /// Creates the clock.
  package init() {}

  package func now() -> Instant {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
  }
}

/// A clock that moves only when told to.
package final class ManualClock: MonotonicClock {
  private let current: Atomic<UInt64>

  /// Creates a clock that shows `start`.
  package init(start: Instant = Instant(nanoseconds: 1_000_000_000)) {
    current = Atomic(start.nanoseconds)
  }

  package func now() -> Instant {
    Instant(nanoseconds: current.load(ordering: .sequentiallyConsistent))
  }

  /// Moves the clock forward.
  package func advance(milliseconds: UInt64) {
    current.wrappingAdd(milliseconds * 1_000_000, ordering: .sequentiallyConsistent)
  }
}

/// Tells the time of day, which may jump; for what outlives the process.
package protocol WallClock: Sendable {
  /// Milliseconds since 1970, UTC.
  func milliseconds() -> UInt64
}

/// The kernel's `CLOCK_REALTIME`.
package struct SystemWallClock: WallClock {
  /// Creates the clock.
  package init() {}

  package func milliseconds() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    return UInt64(max(0, time.tv_sec)) * 1000 + UInt64(time.tv_nsec) / 1_000_000
  }
}

/// A wall clock that shows what it was set to.
package final class ManualWallClock: WallClock {
  private let current: Atomic<UInt64>

  /// Creates a clock that shows `milliseconds` since 1970.
  package init(milliseconds: UInt64 = 1_800_000_000_000) { current = Atomic(milliseconds) }

  package func milliseconds() -> UInt64 { current.load(ordering: .sequentiallyConsistent) }

  /// Sets the clock, forward or back.
  package func set(milliseconds: UInt64) {
    current.store(milliseconds, ordering: .sequentiallyConsistent)
  }
}
