package import KDNCore

/// Tenants' quotas.
///
/// An object's bytes are charged to its tenant from `reserve`, or from the read that brings them to
/// RAM, until they are gone from memory: a reader of an object that was dropped keeps them charged.
/// Staging memory is not charged.
extension Pool {
  /// Sets a tenant's limits, which hold at once in both tiers.
  ///
  /// What a tenant has beyond a lowered quota goes in `sweep`, and before all others when room is
  /// needed. Pins beyond a lowered limit last until they end.
  package func setLimits(_ limits: NamespaceLimits, of namespace: Namespace) {
    namespace.setLimits(limits)
    residency.withLock { residency in
      if namespace.quota.excessBytes > 0 { residency.noteLowered(namespace) }
    }
    backing?.tier.setLimits(
      diskBytesMax: limits.diskBytesMax, pinnedBytesMax: limits.pinnedBytesMax,
      of: namespace.name)
  }

  /// Charges an object to its tenant's quota, evicting the tenant's own objects if need be, and
  /// nobody else's.
  ///
  /// - Throws: `tooLarge` if it is larger than the quota; `overQuota` if pins leave no room; `busy`
  ///   if only what is leased, being read or being written does.
  func takeQuota(
    _ byteCount: Int, _ namespace: Namespace, now: Instant
  ) throws(PoolRefusal) -> QuotaCharge {
    while true {
      if let charge = namespace.quota.charge(byteCount) { return charge }
      let limit = namespace.quota.bytesMax
      guard byteCount <= limit else { throw .tooLarge(bytes: byteCount, limit: limit) }
      try makeOwnRoom(byteCount, namespace, now: now)
    }
  }

  /// Drops one object of the tenant: one that has ended, else the policy's.
  private func makeOwnRoom(
    _ byteCount: Int, _ namespace: Namespace, now: Instant
  ) throws(PoolRefusal) {
    _ = endDueLeases(now: now)
    // The block is freed here, when the last reference goes, after the lock.
    let (ended, eviction) = residency.withLock {
      residency -> (StoredObject?, Residency.Eviction) in
      _ = residency.endPins(by: now)
      let ended = dropEnded(of: namespace, from: &residency, now: now)
      return (ended, ended == nil ? evict(&residency, of: namespace, for: .quota) : .none)
    }
    guard ended == nil else { return }
    switch eviction {
    case .evicted(let object): noteEviction(of: object)
    case .inUse: throw fullQuota(byteCount, namespace, isInUse: true, now: now)
    case .none: throw fullQuota(byteCount, namespace, isInUse: false, now: now)
    }
  }

  /// What keeps the tenant's quota full: waiting helps, or only an end of pins.
  private func fullQuota(
    _ byteCount: Int, _ namespace: Namespace, isInUse: Bool, now: Instant
  ) -> PoolRefusal {
    let limit = namespace.quota.bytesMax
    let charged = namespace.quota.chargedBytes
    let share = residency.withLock { $0.shares[Int(namespace.number)] }
    // What is charged and cannot be found is being written, or read by its last holders.
    let isWaitOfUse = isInUse || charged > share.bytes
    guard share.pinnedBytes + byteCount > limit || (share.pinnedObjects > 0 && !isWaitOfUse)
    else { return .busy(retryAfterMilliseconds: retryHint(for: namespace, now: now)) }
    return .overQuota(
      FieldFault(
        "ramBytes", value: charged + byteCount, limit: limit,
        "the quota of RAM is full of pinned objects"))
  }

  /// Evicts what tenants have beyond their lowered quotas, at most `countMax` objects.
  ///
  /// What is evicted stays charged until the caller drops it.
  func evictExcess(_ residency: inout Residency, countMax: Int) -> [StoredObject] {
    guard !residency.lowered.isEmpty else { return [] }
    var evicted: [StoredObject] = []
    for namespace in residency.lowered {
      var excess = namespace.quota.excessBytes
      while excess > 0, evicted.count < countMax,
        let object = evict(&residency, of: namespace, for: .loweredQuota).object
      {
        excess -= object.storedBytes
        evicted.append(object)
      }
    }
    residency.lowered.removeAll { $0.quota.excessBytes == 0 }
    return evicted
  }
}
