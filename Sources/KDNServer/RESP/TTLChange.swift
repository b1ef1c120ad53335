internal import KDNCore
internal import KDNPool

/// Gives an object another TTL, after it has been read from disk if it has to be.
final class TTLChange: Sendable {
  private let milliseconds: UInt64
  private let key: ObjectKey
  private let namespace: Namespace
  private let pool: Pool
  private let done: @Sendable (Result<ReplaceAnswer, PoolRefusal>) -> Void
  private let fetch = Guarded<Fetch?>(nil)
  private let hasGoneOn = Guarded(false)

  init(
    _ milliseconds: UInt64, _ key: ObjectKey, _ namespace: Namespace, _ pool: Pool,
    _ done: @escaping @Sendable (Result<ReplaceAnswer, PoolRefusal>) -> Void
  ) {
    self.milliseconds = milliseconds
    self.key = key
    self.namespace = namespace
    self.pool = pool
    self.done = done
  }

  /// Begins; what was to be told is told once it is over.
  func begin() {
    let fetch = pool.fetch([key], in: namespace) { self.goOn() }
    guard let fetch else { return change() }
    self.fetch.withLock { $0 = fetch }
    if fetch.isDone { goOn() }
  }

  private func goOn() {
    // Told before the fetch was at hand: `begin` comes here then.
    guard fetch.withLock({ $0 }) != nil else { return }
    let isFirst = hasGoneOn.withLock { hasGoneOn in
      defer { hasGoneOn = true }
      return !hasGoneOn
    }
    if isFirst { change() }
  }

  private func change() {
    // The fetch keeps what it has read in RAM until the new object stands in its place.
    pool.setTTL(milliseconds, of: key, in: namespace) { result in
      self.fetch.withLock { $0 }?.cancel()
      self.done(result)
    }
  }
}
