internal import KDNControl
internal import KDNCore
internal import KDNPool
internal import KDNWire

extension NamespaceReport {
  /// A tenant's part of the pool's picture.
  init(_ share: PoolStatistics.NamespaceShare) {
    let counts = share.counts
    self.init(
      name: share.name.text, generation: share.generation, limits: share.limits,
      ramObjects: share.objects, ramBytes: share.ramBytes, diskObjects: share.diskObjects,
      diskBytes: share.diskBytes, pinnedBytes: share.pinnedBytes,
      connections: counts.connections, requestsTotal: counts.requests,
      errorsTotal: Self.errors(counts.errors), receivedBytesTotal: counts.receivedBytes,
      sentBytesTotal: counts.sentBytes, ramHitsTotal: counts.ramHits,
      diskHitsTotal: counts.diskHits, missesTotal: Self.misses(counts.misses),
      storesTotal: counts.stores, storedBytesTotal: counts.storedBytes,
      evictionsTotal: counts.evictions, evictedBytesTotal: counts.evictedBytes,
      quotaRefusalsTotal: counts.quotaRefusals, rateRefusalsTotal: counts.rateRefusals)
  }

  /// A tenant that nobody has entered in this run.
  init(unused name: NamespaceName, limits: NamespaceLimits) {
    self.init(
      name: name.text, generation: 0, limits: limits, ramObjects: 0, ramBytes: 0, diskObjects: 0,
      diskBytes: 0, pinnedBytes: 0, connections: 0, requestsTotal: 0, errorsTotal: [:],
      receivedBytesTotal: 0, sentBytesTotal: 0, ramHitsTotal: 0, diskHitsTotal: 0,
      missesTotal: Self.noMisses, storesTotal: 0, storedBytesTotal: 0, evictionsTotal: 0,
      evictedBytesTotal: 0, quotaRefusalsTotal: 0, rateRefusalsTotal: 0)
  }

  /// All causes with nothing counted; shared by all tenants that have not missed.
  private static let noMisses = Dictionary(
    uniqueKeysWithValues: MissCause.allCases.map { ($0.name, UInt64(0)) })

  private static func misses(_ counts: [MissCause: UInt64]) -> [String: UInt64] {
    var misses = noMisses
    for (cause, count) in counts where count > 0 { misses[cause.name] = count }
    return misses
  }

  /// `counts` by the number of the status; only those that occurred are told.
  private static func errors(_ counts: [UInt64]) -> [String: UInt64] {
    var errors: [String: UInt64] = [:]
    for (number, count) in counts.enumerated() where count > 0 {
      guard let status = UInt16(exactly: number).flatMap({ Status(rawValue: $0) }) else { continue }
      errors[status.name] = count
    }
    return errors
  }
}
