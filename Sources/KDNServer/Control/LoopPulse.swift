internal import KDNCore
internal import KDNTransport

/// Finds out whether event loops still answer.
///
/// Asks each, and knows how long those that did not answer yet have been silent. At most one
/// question is open for each loop.
package final class LoopPulse: Sendable {
  private let loops: [Loop]
  private let clock: any MonotonicClock
  /// When the open question to each loop was asked; nil if it answered.
  private let asked: Guarded<[Instant?]>

  init(loops: [Loop], clock: any MonotonicClock = SystemClock()) {
    self.loops = loops
    self.clock = clock
    asked = Guarded(Array(repeating: nil, count: loops.count))
  }

  /// Asks all loops that have no question open.
  package func beat() {
    let now = clock.now()
    let silent = asked.withLock { asked in
      let silent = asked.indices.filter { asked[$0] == nil }
      for index in silent { asked[index] = now }
      return silent
    }
    for index in silent {
      loops[index].post { [self] _ in answered(index) }
    }
  }

  /// For each loop how many milliseconds its open question waits; 0 if none does.
  package var silence: [UInt64] {
    let now = clock.now()
    return asked.withLock { asked in
      asked.map { $0.map { now.nanoseconds(since: $0) / 1_000_000 } ?? 0 }
    }
  }

  private func answered(_ index: Int) {
    asked.withLock { $0[index] = nil }
  }
}
