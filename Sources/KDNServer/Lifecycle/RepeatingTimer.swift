package import Dispatch

/// Calls somebody again and again until it is dropped or stopped.
// Safe because: a dispatch timer may be started and cancelled from any thread.
package final class RepeatingTimer: @unchecked Sendable {
  private let source: any DispatchSourceTimer

  /// Begins at once, then every `interval`.
  package init(
    every interval: DispatchTimeInterval,
    on queue: DispatchQueue = .global(qos: .userInitiated), _ body: @escaping @Sendable () -> Void
  ) {
    source = DispatchSource.makeTimerSource(queue: queue)
    source.schedule(deadline: .now(), repeating: interval)
    source.setEventHandler(handler: body)
    source.activate()
  }

  deinit { stop() }

  /// Calls nobody any more.
  package func stop() { source.cancel() }
}
