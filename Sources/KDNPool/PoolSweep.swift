package import KDNCore

extension Pool {
  /// Most things of one kind that one call of `sweep` does.
  package static let sweepCountMax = 256

  /// Ends leases, pins and TTLs that are due at `now`, reclaims ended generations, and brings
  /// tenants down to quotas that were lowered: at most `sweepCountMax` of each; says whether more
  /// is left to do.
  ///
  /// Begins with a `tick`.
  package func sweep(now: Instant) -> Bool {
    tick(now: now)
    let isMoreLeases = endDueLeases(now: now, countMax: Self.sweepCountMax)
    var dropped: [StoredObject] = []
    dropped.reserveCapacity(2 * Self.sweepCountMax)
    let isMoreEnded = residency.withLock { residency in
      let isMorePins = residency.endPins(by: now, countMax: Self.sweepCountMax)
      var left = Self.sweepCountMax
      while left > 0, let object = dropExpired(&residency, now: now) {
        dropped.append(object)
        left -= 1
      }
      var deadLeft = Self.sweepCountMax
      while deadLeft > 0, let object = dropDead(&residency) {
        dropped.append(object)
        deadLeft -= 1
      }
      return isMorePins || left == 0 || deadLeft == 0
    }
    // What has ended goes first, so that nothing is evicted for what it returns, nor in the place
    // of what a pin or a lease kept until now.
    guard !isMoreLeases, !isMoreEnded else { return true }
    dropped = []
    let evicted = residency.withLock { evictExcess(&$0, countMax: Self.sweepCountMax) }
    for object in evicted { noteEviction(of: object) }
    return evicted.count == Self.sweepCountMax
  }
}
