internal import KDNCore
internal import KDNPool
internal import Synchronization

/// What clients of Redis told of a namespace, beside its objects; shared by its connections.
final class RESPKeyspace: Sendable {
  private let pool: Pool
  private let names = Guarded(KeyNames())
  private let lengths = Guarded(ValueLengths())
  private let found = Atomic<UInt64>(0)
  private let missed = Atomic<UInt64>(0)

  init(pool: Pool) { self.pool = pool }

  /// Reads that found a value, and that did not.
  var counts: (hits: UInt64, misses: UInt64) {
    (found.load(ordering: .relaxed), missed.load(ordering: .relaxed))
  }

  func countHit() { found.add(1, ordering: .relaxed) }
  func countMiss() { missed.add(1, ordering: .relaxed) }

  // MARK: Names

  /// Notes that there is, or was, a key of this name.
  func note(_ name: [UInt8]) {
    let change = names.withLock { names in
      names.note(name) { bytes in bytes <= 0 || pool.chargeBuffers(bytes) }
    }
    if change < 0 { pool.refundBuffers(-change) }
  }

  /// Forgets a name.
  func forget(_ name: [UInt8]) {
    let bytes = names.withLock { $0.forget(name) }
    if bytes > 0 { pool.refundBuffers(bytes) }
  }

  /// Forgets all names.
  func forgetNames() {
    let bytes = names.withLock { $0.forgetAll() }
    if bytes > 0 { pool.refundBuffers(bytes) }
  }

  /// A page of names.
  func page(from cursor: UInt64, count: Int) -> (names: [[UInt8]], next: UInt64) {
    names.withLock { $0.page(from: cursor, count: count) }
  }

  // MARK: Lengths

  /// Notes the length of a value that was stored.
  func note(length: Int, of key: [UInt8]) { lengths.withLock { $0.note(length, of: key) } }

  /// How long the value of `key` most likely is; nil if nothing is known.
  func length(likeOf key: [UInt8]) -> Int? {
    lengths.withLock { $0.length(likeOf: key) ?? $0.last }
  }
}

/// The keyspaces of all namespaces that clients of Redis have entered.
final class RESPKeyspaces: Sendable {
  private let pool: Pool
  private let keyspaces = Guarded<[NamespaceName: RESPKeyspace]>([:])

  init(pool: Pool) { self.pool = pool }

  /// The keyspace of a namespace, the same for all its connections.
  func keyspace(of namespace: Namespace) -> RESPKeyspace {
    keyspaces.withLock { keyspaces in
      if let known = keyspaces[namespace.name] { return known }
      let made = RESPKeyspace(pool: pool)
      keyspaces[namespace.name] = made
      return made
    }
  }
}
