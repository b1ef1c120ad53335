internal import KDNCore
internal import KDNTier

extension Pool {
  /// How many objects of a namespace can be had from either tier, and their bytes; an object in
  /// both counts once.
  package func count(of namespace: Namespace) -> PurgeCount {
    let share = residency.withLock { $0.shares[Int(namespace.number)] }
    let below = backing?.tier.usage(of: namespace.name) ?? TierUsage()
    return PurgeCount(
      objects: share.objects + max(0, below.objects - share.heldObjects),
      bytes: share.bytes + max(0, below.bytes - share.heldBytes))
  }
}
