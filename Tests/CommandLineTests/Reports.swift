import KDNControl
import KDNCore

@testable import kdn

/// Reports of daemons that tests look at.
enum Reports {
  /// A daemon with so many tiers, operations and tenants, after `seconds` in each of which each
  /// operation was asked for a hundred times.
  static func busy(
    seconds: Double, tiers: Int = 1, operations: Int = 2, tenants: Int = 1
  ) -> DaemonReport {
    let count = UInt64(seconds * 100)
    return DaemonReport(
      version: "1.2.3", state: .ready, uptimeSeconds: seconds, unixMilliseconds: 0,
      process: ProcessReport(
        pid: 1, cpuSeconds: seconds / 2, residentBytes: 3 << 30, residentBytesMax: 3 << 30,
        openFiles: 5, openFilesMax: 6, threads: 7),
      memory: MemoryReport(
        capacityBytes: 4 << 30, allocatedBytes: 1 << 30, extents: 1, freeSlabs: 1,
        largestFreeExtentBytes: 1, slabBytes: 1, placement: ""),
      pool: pool(misses: count / 4), tiers: (0..<tiers).map(tier), disk: nil, links: [],
      operations: (0..<operations).map { operation($0, count) } + [operation(99, 0)],
      connections: connections(requests: count * UInt64(operations)),
      namespaces: (0..<tenants).map { namespace($0, requests: count) }, codecs: [],
      reload: ReloadState(
        lastSucceeded: true, lastUnixMilliseconds: 0, succeededTotal: 0, failedTotal: 0),
      events: EventCounts(total: 0, newest: 0))
  }

  private static func pool(misses: UInt64) -> PoolReport {
    PoolReport(
      objects: 1, bytes: 1, deadObjects: 0, memoryBytesMax: 4 << 30, chargedBytes: 0,
      indexBytes: 0, bufferBytes: 0, reservations: 0, leases: 2, pins: 3, waiters: 4,
      hitsTotal: 0, missesTotal: ["evicted": misses, "expired": 0], evictionsTotal: misses,
      evictedBytesTotal: 0, storesTotal: 0, conflictsTotal: 0, expiredTotal: 0, purgedTotal: 0,
      refusalsTotal: 0)
  }

  private static func tier(_ number: Int) -> TierReport {
    TierReport(
      kind: number == 0 ? "ram" : "disk", place: "/srv/a-long-way-down/cache-\(number)",
      state: "serving", capacityBytes: 4 << 30, usedBytes: 1 << 30, objects: 12, bytes: 1 << 30,
      hitsTotal: 0, evictionsTotal: 0)
  }

  private static func operation(_ number: Int, _ requests: UInt64) -> OperationReport {
    OperationReport(
      name: "OPERATION_\(number)", requestsTotal: requests + (requests == 0 ? 0 : UInt64(number)),
      errorsTotal: ["busy": 1],
      latency: LatencyReport(
        count: 1, sumMicroseconds: 1, p50Microseconds: 150, p90Microseconds: 1,
        p99Microseconds: 2500, p999Microseconds: 12_000, maxMicroseconds: 2_000_000,
        bucketCounts: []))
  }

  private static func connections(requests: UInt64) -> ConnectionReport {
    ConnectionReport(
      open: 9, acceptedTotal: 9, refusedTotal: 0, timedOutTotal: 0, framingFaultsTotal: 0,
      unauthorisedTotal: 0, requestsTotal: requests, errorsTotal: 0,
      receivedBytesTotal: requests << 20, sentBytesTotal: requests << 21, openTransfers: 0,
      waitingGets: 0)
  }

  private static func namespace(_ number: Int, requests: UInt64) -> NamespaceReport {
    var limits = NamespaceLimits.none
    limits.ramBytesMax = 2 << 30
    return NamespaceReport(
      name: "tenant-with-a-name-that-is-long-\(number)", generation: 1, limits: limits,
      ramObjects: 1, ramBytes: number << 20, diskObjects: 1, diskBytes: 1 << 30, pinnedBytes: 0,
      connections: 3, requestsTotal: requests, errorsTotal: [:], receivedBytesTotal: 0,
      sentBytesTotal: 0, ramHitsTotal: requests / 2, diskHitsTotal: requests / 4,
      missesTotal: ["evicted": requests / 4], storesTotal: 0, storedBytesTotal: 0,
      evictionsTotal: 0, evictedBytesTotal: 0, quotaRefusalsTotal: 0, rateRefusalsTotal: 0)
  }
}
