internal import KDNCore
internal import KDNMemory

extension Pool {
  /// Shortest time that `busy` asks to wait.
  private static let retryMillisecondsMin: UInt64 = 1
  /// How soon a reader or writer that is under way may be through.
  private static let retryMillisecondsWhileOpen: UInt64 = 10

  /// Charges the index memory of one object, making room if need be.
  func takeIndexRoom(now: Instant) throws(PoolRefusal) -> IndexCharge {
    while true {
      if let charge = IndexCharge(configuration.objectOverheadBytes, to: budget) { return charge }
      try makeRoom(now: now)
    }
  }

  /// The same for a read, which hands the charge on; nil if nothing can go.
  func takeSharedCharge(now: Instant) -> SharedCharge? {
    while true {
      let charge = SharedCharge(configuration.objectOverheadBytes, to: budget)
      if let charge { return charge }
      guard (try? makeRoom(now: now)) != nil else { return nil }
    }
  }

  /// Reserves an extent, making room if need be.
  func takeMemory(
    _ byteCount: Int, _ namespace: Namespace, now: Instant
  ) throws(PoolRefusal) -> Reservation {
    while true {
      if let memory = arena.reserve(byteCount: byteCount, owner: namespace.owner) {
        return memory
      }
      try makeRoom(now: now)
    }
  }

  /// Drops one object: one whose TTL ended, else one of an ended generation, else the policy's.
  ///
  /// - Throws: `busy` if none can go.
  private func makeRoom(now: Instant) throws(PoolRefusal) {
    _ = endDueLeases(now: now)
    // The block is freed here, when the last reference goes, after the lock.
    let (lost, evicted) = residency.withLock { residency -> (StoredObject?, StoredObject?) in
      _ = residency.endPins(by: now)
      let lost = dropExpired(&residency, now: now) ?? dropDead(&residency)
      return (lost, lost == nil ? evict(&residency) : nil)
    }
    if let evicted, backing != nil { noteEviction(of: evicted) }
    guard lost == nil, evicted == nil else { return }
    throw .busy(retryAfterMilliseconds: retryHint(now: now))
  }

  /// Drops an object whose TTL has ended; nil if there is none.
  func dropExpired(_ residency: inout Residency, now: Instant) -> StoredObject? {
    guard let object = residency.nextExpired(by: now) else { return nil }
    let isPresent = object.generation == object.namespace.generation
    drop(object, from: &residency, isPresent ? .expired : .purged)
    if isPresent { residency.expired += 1 }
    return object
  }

  /// Drops an object of an ended generation; nil if there is none.
  func dropDead(_ residency: inout Residency) -> StoredObject? {
    guard let object = residency.chains.nextDead() else { return nil }
    drop(object, from: &residency, .purged)
    return object
  }

  /// Drops an object from index and residency; what it returns to memory, its last holder does.
  func drop(_ object: StoredObject, from residency: inout Residency, _ cause: MissCause) {
    let (stripe, place) = stripe(of: object)
    stripe.withLock { $0.remove(object, at: place, cause) }
    residency.remove(object)
  }

  private func evict(_ residency: inout Residency) -> StoredObject? {
    let evicted = residency.evict { object in
      let (stripe, place) = stripe(of: object)
      // Leases are added under this lock: what is free of them here stays free until it is gone.
      return stripe.withLock { state in
        if object.leases > 0 { return .leased }
        if object.block.isLeased { return .read }
        state.remove(object, at: place, .evicted)
        return .removed
      }
    }
    policyAgeBits.store(residency.policy.age.bitPattern, ordering: .relaxed)
    return evicted
  }

  /// When asking again may help: at the next end of a lease or pin, or soon if a reader or writer
  /// is under way.
  func retryHint(now: Instant) -> UInt64 {
    var hint = configuration.reservationTimeoutMilliseconds
    if let end = leases.withLock({ $0.nextEnd }) {
      hint = min(hint, now.milliseconds(until: end))
    }
    if let end = residency.withLock({ $0.nextPinEnd }) {
      hint = min(hint, now.milliseconds(until: end))
    }
    if openReservations.count > 0 { hint = min(hint, Self.retryMillisecondsWhileOpen) }
    return max(hint, Self.retryMillisecondsMin)
  }
}
