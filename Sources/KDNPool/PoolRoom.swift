internal import KDNCore
internal import KDNMemory

extension Pool {
  /// Shortest time that `busy` asks to wait.
  private static let retryMillisecondsMin: UInt64 = 1
  /// How soon a reader or writer that is under way may be through.
  private static let retryMillisecondsWhileOpen: UInt64 = 10

  /// Charges the index memory of one object, making room if need be.
  func takeIndexRoom(for namespace: Namespace, now: Instant) throws(PoolRefusal) -> IndexCharge {
    while true {
      if let charge = IndexCharge(configuration.objectOverheadBytes, to: budget) { return charge }
      try makeRoom(for: namespace, now: now)
    }
  }

  /// The same for a read, which hands the charge on; nil if nothing can go.
  func takeSharedCharge(for namespace: Namespace, now: Instant) -> SharedCharge? {
    while true {
      let charge = SharedCharge(configuration.objectOverheadBytes, to: budget)
      if let charge { return charge }
      guard (try? makeRoom(for: namespace, now: now)) != nil else { return nil }
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
      try makeRoom(for: namespace, now: now)
    }
  }

  /// Drops one object: one whose TTL ended, else one of an ended generation, else one of a tenant
  /// above its quota, else the policy's.
  ///
  /// - Throws: `busy` if none can go.
  private func makeRoom(for namespace: Namespace, now: Instant) throws(PoolRefusal) {
    _ = endDueLeases(now: now)
    // The block is freed here, when the last reference goes, after the lock.
    let (lost, evicted) = residency.withLock { residency -> (StoredObject?, StoredObject?) in
      _ = residency.endPins(by: now)
      if let lost = dropExpired(&residency, now: now) ?? dropDead(&residency) {
        return (lost, nil)
      }
      let excess = evictExcess(&residency, countMax: 1).first
      return (nil, excess ?? evict(&residency).object)
    }
    if let evicted { noteEviction(of: evicted) }
    guard lost == nil, evicted == nil else { return }
    throw .busy(retryAfterMilliseconds: retryHint(for: namespace, now: now))
  }

  /// Drops an object whose TTL has ended; nil if there is none.
  func dropExpired(_ residency: inout Residency, now: Instant) -> StoredObject? {
    guard let object = residency.nextExpired(by: now) else { return nil }
    dropExpired(object, from: &residency)
    return object
  }

  /// Drops an object of an ended generation; nil if there is none.
  func dropDead(_ residency: inout Residency) -> StoredObject? {
    guard let object = residency.chains.nextDead() else { return nil }
    drop(object, from: &residency, .purged)
    return object
  }

  /// Drops an object of one namespace that has ended, by its TTL or its generation; nil if there is
  /// none.
  func dropEnded(
    of namespace: Namespace, from residency: inout Residency, now: Instant
  ) -> StoredObject? {
    if let object = residency.nextExpired(of: namespace.number, by: now) {
      dropExpired(object, from: &residency)
      return object
    }
    guard let object = residency.chains.nextDead(of: namespace.number) else { return nil }
    drop(object, from: &residency, .purged)
    return object
  }

  private func dropExpired(_ object: StoredObject, from residency: inout Residency) {
    let isPresent = object.generation == object.namespace.generation
    drop(object, from: &residency, isPresent ? .expired : .purged)
    if isPresent { residency.expired += 1 }
  }

  /// Drops an object from index and residency; what it returns to memory, its last holder does.
  func drop(_ object: StoredObject, from residency: inout Residency, _ cause: MissCause) {
    let (stripe, place) = stripe(of: object)
    stripe.withLock { $0.remove(object, at: place, cause) }
    residency.remove(object)
  }

  /// Evicts one object of all, or of one tenant.
  func evict(
    _ residency: inout Residency, of namespace: Namespace? = nil,
    for cause: Residency.Cause = .room
  ) -> Residency.Eviction {
    let eviction = residency.evict(of: namespace?.number, for: cause) { object in
      let (stripe, place) = stripe(of: object)
      // Leases are added under this lock: what is free of them here stays free until it is gone.
      return stripe.withLock { state in
        if object.leases > 0 { return .leased }
        if object.body.block.isLeased { return .read }
        state.remove(object, at: place, .evicted)
        return .removed
      }
    }
    policyAgeBits.store(residency.policy.age.bitPattern, ordering: .relaxed)
    return eviction
  }

  /// When asking again may help: at the next end of a lease or pin of the tenant, or soon if a
  /// writer of its is under way.
  ///
  /// What others hold is none of its business.
  func retryHint(for namespace: Namespace, now: Instant) -> UInt64 {
    var hint = configuration.reservationTimeoutMilliseconds
    if let end = leases.withLock({ $0.nextEnd(of: namespace) }) {
      hint = min(hint, now.milliseconds(until: end))
    }
    if let end = residency.withLock({ $0.pins.first(of: namespace.number)?.key }) {
      hint = min(hint, now.milliseconds(until: end))
    }
    if namespace.openReservations.count > 0 { hint = min(hint, Self.retryMillisecondsWhileOpen) }
    return max(hint, Self.retryMillisecondsMin)
  }
}
