internal import KDNCore

/// One part of the index behind its own lock; all objects of a chunk are in one stripe.
final class Stripe: Sendable {
  /// What the lock guards.
  struct State: Sendable {
    var table = ObjectTable()
    var ghosts: GhostTable
    var hits: UInt64 = 0
    /// Lookups that missed, by the number of their cause.
    var misses = [UInt64](repeating: 0, count: MissCause.allCases.count + 1)
  }

  /// Bytes of a stripe without objects and ghosts.
  static let fixedBytes = 1024

  private let state: Guarded<State>

  init(ghosts: Int) {
    state = Guarded(State(ghosts: GhostTable(entries: ghosts)))
  }

  /// Runs `body` under the lock; it must not take another lock but the arena's, nor call out.
  @inline(__always)
  func withLock<Result: ~Copyable>(_ body: (inout State) -> sending Result) -> sending Result {
    state.withLock { state in body(&state) }
  }
}

extension Stripe.State {
  /// The object of `key`, if its generation and TTL still hold.
  func live(_ key: ObjectKey, at place: ChunkPlace, now: Instant) -> StoredObject? {
    guard let object = table.find(key, at: place), object.isLive(at: now) else { return nil }
    return object
  }

  /// Why `key`, which is not live, is missed.
  func missCause(_ key: ObjectKey, at place: ChunkPlace, now: Instant) -> MissCause {
    if let object = table.find(key, at: place) {
      return object.generation == object.namespace.generation ? .expired : .purged
    }
    if let cause = ghosts.cause(of: Self.fingerprint(key, place.namespace)) { return cause }
    let isElsewhere =
      key.kind == .layout
      && table.all(at: place).contains { $0.key.kind == .layout && $0.isLive(at: now) }
    return isElsewhere ? .wrongLayout : .neverStored
  }

  /// Drops an object from the index and remembers why.
  mutating func remove(_ object: StoredObject, at place: ChunkPlace, _ cause: MissCause) {
    table.remove(object, at: place)
    ghosts.note(Self.fingerprint(object.key, place.namespace), cause)
  }

  /// Remembers why an object that is not in the index is not there.
  mutating func noteAbsence(of key: ObjectKey, at place: ChunkPlace, _ cause: MissCause) {
    ghosts.note(Self.fingerprint(key, place.namespace), cause)
  }

  private static func fingerprint(_ key: ObjectKey, _ namespace: UInt32) -> UInt64 {
    var hasher = Hasher()
    hasher.combine(namespace)
    hasher.combine(key)
    return UInt64(bitPattern: Int64(hasher.finalize()))
  }
}
