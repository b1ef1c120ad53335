internal import KDNControl
internal import KDNCore
internal import KDNPool

extension PoolReport {
  /// The pool's numbers as they are reported.
  init(_ statistics: PoolStatistics) {
    self.init(
      objects: statistics.objects,
      bytes: statistics.bytes,
      deadObjects: statistics.deadObjects,
      memoryBytesMax: statistics.memoryBytesMax,
      chargedBytes: statistics.chargedBytes,
      indexBytes: statistics.indexBytes,
      bufferBytes: statistics.bufferBytes,
      reservations: statistics.reservations,
      leases: statistics.leases,
      pins: statistics.pins,
      waiters: statistics.waiters,
      hitsTotal: statistics.hits,
      missesTotal: Dictionary(
        uniqueKeysWithValues: MissCause.allCases.map { ($0.name, statistics.misses[$0] ?? 0) }),
      evictionsTotal: statistics.evictions,
      evictedBytesTotal: statistics.evictedBytes,
      storesTotal: statistics.stores,
      conflictsTotal: statistics.conflicts,
      expiredTotal: statistics.expired,
      purgedTotal: statistics.purged,
      refusalsTotal: statistics.refusals)
  }
}
