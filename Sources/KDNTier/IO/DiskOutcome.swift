internal import KDNCore

/// How a work ended, for a thread that waits for it.
final class DiskOutcome: Sendable {
  private let result = Guarded<Result<Void, DiskError>?>(nil)
  private let told = CountingSemaphore()

  /// Says how it ended, once.
  func tell(_ outcome: Result<Void, DiskError>) {
    result.withLock { $0 = outcome }
    told.signal()
  }

  /// Waits for the end, once.
  ///
  /// - Throws: what the work threw.
  func get() throws(DiskError) {
    told.wait()
    try result.withLock({ $0 })?.get()
  }
}
