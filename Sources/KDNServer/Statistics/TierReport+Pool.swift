internal import KDNControl
internal import KDNPool
internal import KDNTier

extension TierReport {
  /// RAM first, then each directory of the disk tier.
  static func all(_ pool: PoolStatistics, _ disk: DiskStatistics?) -> [TierReport] {
    [TierReport(ram: pool)]
      + (disk.map { disk in
        disk.directories.map { TierReport($0, of: disk, hits: pool.diskHits) }
      } ?? [])
  }

  private init(ram pool: PoolStatistics) {
    self.init(
      kind: "ram", place: "", state: "serving", capacityBytes: pool.arena.capacityBytes,
      usedBytes: pool.arena.allocatedBytes, objects: pool.objects, bytes: pool.bytes,
      hitsTotal: pool.hits, evictionsTotal: pool.evictions)
  }

  private init(_ directory: DiskStatistics.Directory, of disk: DiskStatistics, hits: UInt64) {
    self.init(
      kind: "disk", place: directory.path, state: directory.state,
      capacityBytes: directory.capacityBytes, usedBytes: directory.usedBytes,
      objects: directory.objects, bytes: directory.bytes, hitsTotal: hits,
      evictionsTotal: disk.dropped)
  }
}
