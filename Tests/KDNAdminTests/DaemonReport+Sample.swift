import KDNControl

extension DaemonReport {
  /// A report of a daemon that has run for `second` seconds since the epoch, with RAM alone.
  static func sample(
    second: Double, sentBytes: UInt64 = 0, requests: [String: UInt64] = [:], ramHits: UInt64 = 0,
    misses: [String: UInt64] = [:]
  ) -> DaemonReport {
    DaemonReport(
      version: "0", state: .ready, uptimeSeconds: second, unixMilliseconds: UInt64(second * 1000),
      process: ProcessReport(
        pid: 1, cpuSeconds: 0, residentBytes: 0, residentBytesMax: 0, openFiles: 0,
        openFilesMax: 0, threads: 1),
      memory: MemoryReport(
        capacityBytes: 1, allocatedBytes: 0, extents: 0, freeSlabs: 0, largestFreeExtentBytes: 0,
        slabBytes: 1, placement: ""),
      pool: PoolReport(
        objects: 0, bytes: 0, deadObjects: 0, memoryBytesMax: 0, chargedBytes: 0, indexBytes: 0,
        bufferBytes: 0, reservations: 0, leases: 0, pins: 0, waiters: 0, hitsTotal: ramHits,
        missesTotal: misses, evictionsTotal: 0, evictedBytesTotal: 0, storesTotal: 0,
        conflictsTotal: 0, expiredTotal: 0, purgedTotal: 0, refusalsTotal: 0),
      tiers: [
        TierReport(
          kind: "ram", place: "", state: "serving", capacityBytes: 4, usedBytes: 1, objects: 0,
          bytes: 0, hitsTotal: ramHits, evictionsTotal: 0)
      ],
      disk: nil, links: [],
      operations: requests.sorted { $0.key < $1.key }.map {
        OperationReport(
          name: $0.key, requestsTotal: $0.value, errorsTotal: [:], latency: .cumulative([]))
      },
      connections: ConnectionReport(
        open: 0, acceptedTotal: 0, refusedTotal: 0, timedOutTotal: 0, framingFaultsTotal: 0,
        unauthorisedTotal: 0, requestsTotal: 0, errorsTotal: 0, receivedBytesTotal: 0,
        sentBytesTotal: sentBytes, openTransfers: 0, waitingGets: 0),
      namespaces: [], codecs: [],
      reload: ReloadState(
        lastSucceeded: true, lastUnixMilliseconds: 0, succeededTotal: 0, failedTotal: 0),
      events: EventCounts(total: 0, newest: 0))
  }
}

extension LatencyReport {
  /// A report whose buckets hold these cumulative counts, the last of them from there on.
  static func cumulative(_ counts: [UInt64]) -> LatencyReport {
    let last = counts.last ?? 0
    let missing = LatencyReport.bucketMicroseconds.count + 1 - counts.count
    return LatencyReport(
      count: last, sumMicroseconds: 0, p50Microseconds: 0, p90Microseconds: 0, p99Microseconds: 0,
      p999Microseconds: 0, maxMicroseconds: 0,
      bucketCounts: counts + Array(repeating: last, count: missing))
  }
}
