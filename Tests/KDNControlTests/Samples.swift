import KDNCore

@testable import KDNControl

/// Values of the control with other numbers in each field, so that none can stand for another.
enum Samples {
  static let daemon = DaemonReport(
    version: "1.2.3", state: .recovering, uptimeSeconds: 12.5, unixMilliseconds: 1_800_000_000_000,
    process: ProcessReport(
      pid: 1, cpuSeconds: 2.5, residentBytes: 3, residentBytesMax: 4, openFiles: 5,
      openFilesMax: 6, threads: 7),
    memory: MemoryReport(
      capacityBytes: 8, allocatedBytes: 9, extents: 10, freeSlabs: 11,
      largestFreeExtentBytes: 12, slabBytes: 13, placement: "plain"),
    pool: pool, tiers: [tier], disk: disk, links: [link], sharedMemory: sharedMemory,
    operations: [operation], connections: connections, namespaces: [namespace],
    codecs: [CodecReport(name: "raw", objects: 14, bytes: 15, rawBytes: 16)],
    diskCodecs: [CodecReport(name: "small", objects: 161, bytes: 162, rawBytes: 163)],
    coding: coding, documents: DocumentReport(documents: 243, edits: 244), blends: blends,
    delivery: DeliveryReport(
      codecs: [.init(name: "small", itemsTotal: 155, sentBytesTotal: 156, rawBytesTotal: 157)],
      adaptedTotal: 158, recomputeTotal: 159, inexactTotal: 160),
    work: work,
    reload: ReloadState(
      lastSucceeded: false, lastUnixMilliseconds: 17, succeededTotal: 18, failedTotal: 19,
      lastFault: "ram: too small"),
    events: EventCounts(total: 20, newest: 21))

  static let work: WorkReport = {
    var work = WorkReport()
    work.queued = 201
    work.running = 202
    work.waitingWorkers = 203
    work.bytes = 204
    work.submittedTotal = 205
    work.doneTotal = 206
    work.failedTotal = 207
    work.cancelledTotal = 208
    work.expiredTotal = 209
    work.givenBackTotal = 210
    work.lostTotal = 211
    return work
  }()

  static let blends = BlendReport(
    assembledTotal: 201, assembledTokensTotal: 202, assembledBytesTotal: 203,
    assembleSecondsTotal: 2.5, hitsTotal: 204, joinedTotal: 205, editedObjectsTotal: 215,
    editedKeptObjectsTotal: 216, materialisedObjectsTotal: 217, forbiddenTotal: 206,
    unknownTotal: 207, unsuitedTotal: 208, missingTotal: 209, busyTotal: 210,
    withoutRoomTotal: 211, cancelledTotal: 212, underWay: 213, kept: 214)

  static let coding = CodingReport(
    encodedTotal: 164, encodedRawBytesTotal: 165, encodedBytesTotal: 166, encodeSecondsTotal: 1.5,
    declinedTotal: 167, failedTotal: 168, withoutRoomTotal: 169, overflowsTotal: 170,
    replacedTotal: 171, rewrittenTotal: 172, rewritesRefusedTotal: 173, recodedTotal: 181,
    recodesDeclinedTotal: 182, decodedTotal: 174, decodedBytesTotal: 175,
    decodesJoinedTotal: 176, decodesFailedTotal: 177, recodings: 183, queued: 178,
    encoding: 179, decoding: 180, profilesInUse: 184, profilesLoaded: 185, profileBytes: 186,
    profilesLostTotal: 187)

  static let pool = PoolReport(
    objects: 22, bytes: 23, deadObjects: 24, memoryBytesMax: 25, chargedBytes: 26,
    indexBytes: 27, bufferBytes: 28, reservations: 29, leases: 30, pins: 31, waiters: 32,
    hitsTotal: 33, missesTotal: ["never_stored": 34, "over_credit": 35], evictionsTotal: 36,
    evictedBytesTotal: 37, storesTotal: 38, conflictsTotal: 39, expiredTotal: 40,
    purgedTotal: 41, refusalsTotal: 42)

  static let tier = TierReport(
    kind: "disk", place: "/var/lib/kdn", state: "serving", capacityBytes: 43, usedBytes: 44,
    objects: 45, bytes: 46, hitsTotal: 47, evictionsTotal: 48)

  static let disk = DiskReport(
    ready: true,
    directories: [
      DiskReport.Directory(
        path: "/var/lib/kdn", state: "serving", capacityBytes: 49, usedBytes: 50, segments: 51,
        objects: 52, bytes: 53, readErrorsTotal: 54, writeErrorsTotal: 55, syncErrorsTotal: 56)
    ],
    objects: 57, bytes: 58, hitsTotal: 59, readsTotal: 60, readBytesTotal: 61, writesTotal: 62,
    writtenBytesTotal: 63, syncedTotal: 64, reinsertedTotal: 65, reinsertedBytesTotal: 66,
    reclaimedSegmentsTotal: 67, droppedTotal: 68, corruptTotal: 69, engine: "threads",
    recovery: DiskReport.Recovery(records: 70, dropped: 71, milliseconds: 72),
    writeBehind: DiskReport.WriteBehind(
      waiting: 73, waitingBytes: 74, refusedTotal: 75, unwrittenEvictionsTotal: 76))

  static let link = LinkReport(
    kind: "tls", endpoints: ["127.0.0.1:9440"], open: 77, acceptedTotal: 78,
    receivedBytesTotal: 79, sentBytesTotal: 80, copiedBytesTotal: 140, hashedBytesTotal: 141,
    handshakeFailuresTotal: 81)

  static let sharedMemory = SharedMemoryReport(
    offered: true, leases: 142, leasedBytes: 143, windows: 144, windowBytes: 145,
    windowBytesMax: 146, strandedBytes: 147, refusedTotal: 148,
    connections: [
      .init(
        connection: 149, namespace: "docs", pid: 150, uid: 151, leases: 152, leasedBytes: 153,
        windowBytes: 154)
    ])

  static let operation = OperationReport(
    name: "GET", requestsTotal: 82, errorsTotal: ["over_quota": 83],
    latency: LatencyReport(
      count: 84, sumMicroseconds: 85, p50Microseconds: 86, p90Microseconds: 87,
      p99Microseconds: 88, p999Microseconds: 89, maxMicroseconds: 90, bucketCounts: [91, 92]))

  static let connections = ConnectionReport(
    open: 93, acceptedTotal: 94, refusedTotal: 95, timedOutTotal: 96, framingFaultsTotal: 97,
    unauthorisedTotal: 98, requestsTotal: 99, errorsTotal: 100, receivedBytesTotal: 101,
    sentBytesTotal: 102, openTransfers: 103, waitingGets: 104)

  static let limits = NamespaceLimits(
    ramBytesMax: 105, diskBytesMax: 106, pinnedBytesMax: 107, connectionsMax: 108,
    requestsPerSecond: 109, bytesPerSecond: 110)

  static let namespace = NamespaceReport(
    name: "team-a", generation: 111, limits: limits, ramObjects: 112, ramBytes: 113,
    diskObjects: 114, diskBytes: 115, pinnedBytes: 116, connections: 117, requestsTotal: 118,
    errorsTotal: ["not_found": 119], receivedBytesTotal: 120, sentBytesTotal: 121,
    ramHitsTotal: 122, diskHitsTotal: 123, missesTotal: ["wrong_layout": 124], storesTotal: 125,
    storedBytesTotal: 126, evictionsTotal: 127, evictedBytesTotal: 128, quotaRefusalsTotal: 129,
    rateRefusalsTotal: 130)

  static let detail = NamespaceDetail(
    name: "team-a", limits: limits,
    tokens: [
      NamespaceDetail.Token(id: "0123456789ab", expiresUnixMilliseconds: 131),
      NamespaceDetail.Token(id: "ba9876543210"),
    ], certificateNames: ["CN=engine"], source: "file")

  static let readiness = ReadinessReport(
    isReady: false, checks: [.init(name: "draining", isOK: false, detail: "going away")])

  static let configuration = ConfigurationReport(entries: [
    .init(
      key: "tcp", values: ["127.0.0.1:9440"], isList: true, source: "default",
      isReloadable: false, unit: "HOST:PORT", help: "Where to listen.")
  ])

  static let page = ObjectPage(
    objects: [
      .init(
        hash: "ab", kind: "layout", layout: "cd", part: "layers 0-3, heads 0-7", variant: 132,
        bytes: 133, tokens: 134, firstToken: 135, uses: 136, tiers: ["ram", "disk"],
        isPinned: true, ttlMilliseconds: 137)
    ], next: "cursor")

  static let documents = DocumentPage(
    documents: [
      .init(
        name: "manual", epoch: 147, layout: "ef", tokens: 148, chunks: 149, presentChunks: 150,
        metadata: "v1")
    ], next: "manual")

  static let slow = SlowRequest(
    operation: "GET", namespace: "team-a", connection: 138, unixMilliseconds: 139, items: 140,
    bytes: 141, status: "ok", totalMicroseconds: 142, waitMicroseconds: 143,
    diskMicroseconds: 144)

  static let event = DaemonEvent(
    serial: 145, unixMilliseconds: 146, kind: "reload_failed", administrator: "ops",
    text: "nothing changed")
}
