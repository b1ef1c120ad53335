internal import Dispatch
internal import KDNCore
internal import KDNPool

/// Lets the pool expire and reclaim in the background, a bounded piece of work at a time.
// Safe because: a dispatch timer may be started and cancelled from any thread.
final class Sweeper: @unchecked Sendable {
  private static let pauseMilliseconds = 250
  private let timer: any DispatchSourceTimer
  private let queue = DispatchQueue(label: "kdn.sweep", qos: .utility)

  init(pool: Pool) {
    timer = DispatchSource.makeTimerSource(queue: queue)
    timer.schedule(
      deadline: .now() + .milliseconds(Self.pauseMilliseconds),
      repeating: .milliseconds(Self.pauseMilliseconds), leeway: .milliseconds(50))
    timer.setEventHandler { @Sendable in
      while pool.sweep(now: SystemClock().now()) {}
    }
    // At once: Dispatch traps when a source is dropped that was never activated.
    timer.activate()
  }

  deinit { timer.cancel() }

  func stop() { timer.cancel() }
}
