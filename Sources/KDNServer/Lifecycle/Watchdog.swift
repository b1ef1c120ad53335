internal import Dispatch
internal import KDNCore

/// Tells a supervisor regularly that the daemon lives, as long as all data loops answer.
///
/// A loop that is stuck starves the supervisor's watchdog, which then ends the process: alive is
/// who serves, not who has a thread left for a timer.
package final class Watchdog: Sendable {
  /// Asks all loops; calls back once each of them has answered.
  package typealias Ping = @Sendable (_ answered: @escaping @Sendable () -> Void) -> Void

  private let ping: Ping
  private let alive: @Sendable () -> Void
  /// Whether loops were asked and have not all answered yet.
  private let isWaiting = Guarded(false)
  private let timer = Guarded<RepeatingTimer?>(nil)

  /// Prepares to ask by `ping` and to report by `alive`.
  package init(ping: @escaping Ping, alive: @escaping @Sendable () -> Void) {
    self.ping = ping
    self.alive = alive
  }

  deinit { stop() }

  /// Begins; a supervisor that hears nothing for `microseconds` acts.
  package func start(microseconds: UInt64) {
    let half = DispatchTimeInterval.microseconds(Int(clamping: max(1, microseconds / 2)))
    let new = RepeatingTimer(every: half) { [weak self] in self?.beat() }
    timer.withLock { $0 = new }
  }

  /// Asks the loops, unless they are being asked: at most one question is open.
  package func beat() {
    let mayAsk = isWaiting.withLock { isWaiting in
      defer { isWaiting = true }
      return !isWaiting
    }
    guard mayAsk else { return }
    ping { [self] in
      isWaiting.withLock { $0 = false }
      alive()
    }
  }

  /// Reports nothing more by itself.
  package func stop() { timer.withLock { $0?.stop() } }
}
