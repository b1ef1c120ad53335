public import Synchronization

/// A value behind a lock; the only lock of the house.
///
/// A `Mutex` that the thread sanitizer can follow: the runtime's own is not instrumented, and where
/// threads contend for it the sanitizer sees no order and reports races that are none. The flag
/// shows it each handover; on x86-64 and arm64 that is one plain load and one plain store.
///
/// Public, not package: only so is it specialised in other modules.
@frozen public struct Guarded<Value: Sendable>: ~Copyable, Sendable {
  @usableFromInline let mutex: Mutex<Value>
  @usableFromInline let handover = Atomic<Bool>(false)

  /// Puts `value` behind a lock.
  @inlinable public init(_ value: Value) { mutex = Mutex(value) }

  /// Runs `body` alone with the value.
  @inlinable @inline(__always)
  public func withLock<Result: ~Copyable>(
    _ body: (inout Value) -> sending Result
  ) -> sending Result {
    mutex.withLock { value in
      _ = handover.load(ordering: .acquiring)
      defer { handover.store(true, ordering: .releasing) }
      return body(&value)
    }
  }
}
