internal import Synchronization

/// A value behind a lock.
///
/// A `Mutex` that the thread sanitizer can follow: the runtime's own is not instrumented, and where
/// threads contend for it the sanitizer sees no order and reports races that are none. The flag
/// shows it each handover; on x86-64 and arm64 that is one plain load and one plain store.
struct Guarded<Value: Sendable>: ~Copyable, Sendable {
  private let mutex: Mutex<Value>
  private let handover = Atomic<Bool>(false)

  init(_ value: Value) { mutex = Mutex(value) }

  /// Runs `body` alone with the value.
  @inline(__always)
  func withLock<Result: ~Copyable>(_ body: (inout Value) -> sending Result) -> sending Result {
    mutex.withLock { value in
      _ = handover.load(ordering: .acquiring)
      defer { handover.store(true, ordering: .releasing) }
      return body(&value)
    }
  }
}
