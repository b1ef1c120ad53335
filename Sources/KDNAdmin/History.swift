package import KDNControl
internal import KDNCore

/// What the daemon did over the last half hour, so that a dashboard opened now can show it.
///
/// Memory is bounded: 900 samples of at most 128 lines, 4 bytes each.
package final class History: Sendable {
  private struct State: Sendable {
    var ring: HistoryRing
    var newest: DaemonReport?
  }

  /// How far samples are apart.
  package static let intervalMilliseconds: UInt64 = 2000
  /// Half an hour of samples.
  package static let samplesMax = 900

  private let state: Guarded<State>

  /// Makes an empty history.
  package init(capacity: Int = History.samplesMax) {
    state = Guarded(State(ring: HistoryRing(capacity: capacity)))
  }

  /// Adds what happened since the report before; the first one is only compared with.
  package func record(_ report: DaemonReport) {
    state.withLock { state in
      defer { state.newest = report }
      guard let before = state.newest,
        let interval = HistoryInterval(from: before, to: report)
      else { return }
      state.ring.append(interval.values(), at: report.unixMilliseconds)
    }
  }

  /// The samples after a time, in milliseconds since 1970, oldest first.
  package func columns(since unixMilliseconds: UInt64 = 0) -> HistoryColumns {
    state.withLock {
      $0.ring.columns(since: unixMilliseconds, every: Self.intervalMilliseconds)
    }
  }
}
