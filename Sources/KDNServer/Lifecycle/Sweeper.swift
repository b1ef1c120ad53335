internal import Dispatch
internal import KDNCore
internal import KDNPool

/// Lets the pool expire and reclaim in the background, a bounded piece of work at a time, and lets
/// the queues of work and the disk tier do what is due by the clock.
// Safe because: a dispatch timer may be started and cancelled from any thread.
final class Sweeper: @unchecked Sendable {
  private static let pauseMilliseconds = 250
  /// Group commits, and what the disk was too busy for, are due sooner.
  private static let tierPauseMilliseconds = 20
  private let timers: [any DispatchSourceTimer]
  private let queue = DispatchQueue(label: "kdn.sweep", qos: .utility)
  private let tierQueue = DispatchQueue(label: "kdn.tick", qos: .userInitiated)

  init(pool: Pool, work: WorkQueues, hasTier: Bool) {
    let sweep = Self.timer(every: Self.pauseMilliseconds, on: queue) {
      while pool.sweep(now: SystemClock().now()) {}
      work.sweep(now: SystemClock().now())
    }
    // Without a tier only what is encoded in RAM is due by the clock.
    let pause = hasTier ? Self.tierPauseMilliseconds : Self.pauseMilliseconds
    let tick = Self.timer(every: pause, on: tierQueue) {
      pool.tick(now: SystemClock().now())
    }
    timers = [sweep, tick]
  }

  deinit { stop() }

  func stop() {
    for timer in timers { timer.cancel() }
  }

  private static func timer(
    every milliseconds: Int, on queue: DispatchQueue, _ work: @escaping @Sendable () -> Void
  ) -> any DispatchSourceTimer {
    let timer = DispatchSource.makeTimerSource(queue: queue)
    timer.schedule(
      deadline: .now() + .milliseconds(milliseconds), repeating: .milliseconds(milliseconds),
      leeway: .milliseconds(milliseconds / 5))
    timer.setEventHandler(handler: work)
    // At once: Dispatch traps when a source is dropped that was never activated.
    timer.activate()
    return timer
  }
}
