import KDNControl
import KDNCore

extension DaemonReport {
  /// A report in which every number is another, with two tenants, a disk and names to be escaped.
  static func full(events: UInt64 = 3) -> DaemonReport {
    DaemonReport(
      version: "0.1.0", state: .ready, uptimeSeconds: 12.5, unixMilliseconds: 1_700_000_012_500,
      process: ProcessReport(
        pid: 42, cpuSeconds: 1.25, residentBytes: 101, residentBytesMax: 102, openFiles: 103,
        openFilesMax: 104, threads: 5),
      memory: MemoryReport(
        capacityBytes: 201, allocatedBytes: 202, extents: 203, freeSlabs: 204,
        largestFreeExtentBytes: 205, slabBytes: 206, placement: "4 KiB pages"),
      pool: PoolReport(
        objects: 301, bytes: 302, deadObjects: 303, memoryBytesMax: 304, chargedBytes: 305,
        indexBytes: 306, bufferBytes: 307, reservations: 308, leases: 309, pins: 310,
        waiters: 311, hitsTotal: 312, missesTotal: ["evicted": 2, "never_stored": 1],
        evictionsTotal: 313, evictedBytesTotal: 314, storesTotal: 315, conflictsTotal: 316,
        expiredTotal: 317, purgedTotal: 318, refusalsTotal: 319),
      tiers: [
        TierReport(
          kind: "ram", place: "", state: "serving", capacityBytes: 401, usedBytes: 402,
          objects: 403, bytes: 404, hitsTotal: 405, evictionsTotal: 406),
        TierReport(
          kind: "disk", place: "/a \"b\"\\\n", state: "recovering", capacityBytes: 411,
          usedBytes: 412, objects: 413, bytes: 414, hitsTotal: 415, evictionsTotal: 416),
      ],
      disk: .full,
      links: [
        LinkReport(
          kind: "tcp", endpoints: ["127.0.0.1:9440"], open: 501, acceptedTotal: 502,
          receivedBytesTotal: 503, sentBytesTotal: 504, copiedBytesTotal: 505,
          hashedBytesTotal: 506, handshakeFailuresTotal: 0)
      ],
      sharedMemory: SharedMemoryReport(
        offered: true, leases: 511, leasedBytes: 512, windows: 513, windowBytes: 514,
        windowBytesMax: 515, strandedBytes: 516, refusedTotal: 517, connections: []),
      operations: [
        OperationReport(
          name: "GET", requestsTotal: 601, errorsTotal: ["not_found": 2, "busy": 1],
          latency: LatencyReport(
            count: 9, sumMicroseconds: 1_234_567, p50Microseconds: 10, p90Microseconds: 20,
            p99Microseconds: 30, p999Microseconds: 40, maxMicroseconds: 50,
            bucketCounts: Array(repeating: 4, count: 18) + [9]))
      ],
      connections: ConnectionReport(
        open: 701, acceptedTotal: 702, refusedTotal: 703, timedOutTotal: 704,
        framingFaultsTotal: 705, unauthorisedTotal: 706, requestsTotal: 707, errorsTotal: 708,
        receivedBytesTotal: 709, sentBytesTotal: 710, openTransfers: 711, waitingGets: 712),
      namespaces: [
        .full("alpha", limits: NamespaceLimits(ramBytesMax: 801, requestsPerSecond: 802)),
        .full("beta", limits: .none),
      ],
      codecs: [CodecReport(name: "raw", objects: 901, bytes: 902, rawBytes: 903)],
      diskCodecs: [CodecReport(name: "small", objects: 904, bytes: 905, rawBytes: 906)],
      coding: CodingReport(
        encodedTotal: 911, encodedRawBytesTotal: 912, encodedBytesTotal: 913,
        encodeSecondsTotal: 9.5, declinedTotal: 914, failedTotal: 915, withoutRoomTotal: 916,
        overflowsTotal: 917, replacedTotal: 918, rewrittenTotal: 919, rewritesRefusedTotal: 920,
        recodedTotal: 928, recodesDeclinedTotal: 929, decodedTotal: 921, decodedBytesTotal: 922,
        decodesJoinedTotal: 923, decodesFailedTotal: 924, recodings: 930, queued: 925,
        encoding: 926, decoding: 927, profilesInUse: 941, profilesLoaded: 942, profileBytes: 943,
        profilesLostTotal: 944),
      documents: DocumentReport(documents: 949, edits: 950),
      blends: .full,
      delivery: .full,
      work: .full,
      reload: ReloadState(
        lastSucceeded: false, lastUnixMilliseconds: 1_700_000_001_000, succeededTotal: 1,
        failedTotal: 2, lastFault: "tcp: cannot change"),
      events: EventCounts(total: events, newest: events))
  }
}

extension WorkReport {
  fileprivate static let full: WorkReport = {
    var full = WorkReport()
    full.queued = 951
    full.running = 952
    full.waitingWorkers = 953
    full.bytes = 954
    full.submittedTotal = 955
    full.doneTotal = 956
    full.failedTotal = 957
    full.cancelledTotal = 958
    full.expiredTotal = 959
    full.givenBackTotal = 960
    full.lostTotal = 961
    return full
  }()
}

extension DiskReport {
  fileprivate static let full = DiskReport(
    ready: true,
    directories: [
      .init(
        path: "/a \"b\"\\\n", state: "recovering", capacityBytes: 1001, usedBytes: 1002,
        segments: 1003, objects: 1004, bytes: 1005, readErrorsTotal: 1006, writeErrorsTotal: 1007,
        syncErrorsTotal: 1008)
    ],
    objects: 1011, bytes: 1012, hitsTotal: 1013, readsTotal: 1014, readBytesTotal: 1015,
    writesTotal: 1016, writtenBytesTotal: 1017, syncedTotal: 1018, reinsertedTotal: 1019,
    reinsertedBytesTotal: 1020, reclaimedSegmentsTotal: 1021, droppedTotal: 1022,
    corruptTotal: 1023, engine: "threads",
    recovery: .init(records: 1031, dropped: 1032, milliseconds: 1033),
    writeBehind: .init(
      waiting: 1041, waitingBytes: 1042, refusedTotal: 1043, unwrittenEvictionsTotal: 1044))
}

extension NamespaceReport {
  fileprivate static func full(_ name: String, limits: NamespaceLimits) -> NamespaceReport {
    NamespaceReport(
      name: name, generation: 1, limits: limits, ramObjects: 1101, ramBytes: 1102,
      diskObjects: 1103, diskBytes: 1104, pinnedBytes: 1105, connections: 1106,
      requestsTotal: 1107, errorsTotal: ["busy": 1], receivedBytesTotal: 1108,
      sentBytesTotal: 1109, ramHitsTotal: 1110, diskHitsTotal: 1111,
      missesTotal: ["evicted": 1112, "corrupt": 1113], storesTotal: 1114, storedBytesTotal: 1115,
      evictionsTotal: 1116, evictedBytesTotal: 1117, quotaRefusalsTotal: 1118,
      rateRefusalsTotal: 1119)
  }
}

extension BlendReport {
  /// Numbers that are all different.
  static let full = BlendReport(
    assembledTotal: 951, assembledTokensTotal: 952, assembledBytesTotal: 953,
    assembleSecondsTotal: 9.75, hitsTotal: 954, joinedTotal: 955, editedObjectsTotal: 965,
    editedKeptObjectsTotal: 966, materialisedObjectsTotal: 967, forbiddenTotal: 956,
    unknownTotal: 957, unsuitedTotal: 958, missingTotal: 959, busyTotal: 960,
    withoutRoomTotal: 961, cancelledTotal: 962, underWay: 963, kept: 964)
}

extension DeliveryReport {
  /// Numbers that are all different.
  static let full = DeliveryReport(
    codecs: [
      .init(name: "raw", itemsTotal: 931, sentBytesTotal: 932, rawBytesTotal: 932),
      .init(name: "small", itemsTotal: 933, sentBytesTotal: 934, rawBytesTotal: 935),
    ], adaptedTotal: 936, recomputeTotal: 937, inexactTotal: 938)
}
