package import KDNControl

/// Asks the daemon for its numbers again and again and records them.
package struct HistorySampler: Sendable {
  private let control: any DaemonControl
  private let history: History

  /// Prepares to record; nothing is asked yet.
  package init(control: any DaemonControl, history: History) {
    self.control = control
    self.history = history
  }

  /// Records until its task is cancelled.
  package func run() async {
    let clock = ContinuousClock()
    let interval = Duration.milliseconds(Int64(History.intervalMilliseconds))
    var next = clock.now
    while !Task.isCancelled {
      history.record(control.report())
      next = max(next.advanced(by: interval), clock.now)
      do {
        try await clock.sleep(until: next)
      } catch {
        return
      }
    }
  }
}
