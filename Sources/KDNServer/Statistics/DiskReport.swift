internal import KDNPool
internal import KDNTier

/// The part of STATS that speaks of the disk tier; absent without one.
struct DiskReport: Codable {
  /// One directory.
  struct Directory: Codable {
    let path: String
    let state: String
    let capacityBytes: Int
    let usedBytes: Int
    let segments: Int
    let objects: Int
    let bytes: Int
    let readErrorsTotal: UInt64
    let writeErrorsTotal: UInt64
    let syncErrorsTotal: UInt64
  }

  /// What the start found.
  struct Recovery: Codable {
    let records: Int
    let dropped: Int
    let milliseconds: UInt64
  }

  /// What is on its way to disk.
  struct WriteBehind: Codable {
    let waiting: Int
    let waitingBytes: Int
    let refusedTotal: UInt64
    let unwrittenEvictionsTotal: UInt64
  }

  let ready: Bool
  let directories: [Directory]
  let objects: Int
  let bytes: Int
  let hitsTotal: UInt64
  let readsTotal: UInt64
  let readBytesTotal: UInt64
  let writesTotal: UInt64
  let writtenBytesTotal: UInt64
  let syncedTotal: UInt64
  let reinsertedTotal: UInt64
  let reinsertedBytesTotal: UInt64
  let reclaimedSegmentsTotal: UInt64
  let droppedTotal: UInt64
  let corruptTotal: UInt64
  let engine: String
  let recovery: Recovery
  let writeBehind: WriteBehind

  init(_ disk: DiskStatistics, _ writes: WriteBehindStatistics) {
    ready = disk.isReady
    directories = disk.directories.map(Directory.init)
    objects = disk.objects
    bytes = disk.bytes
    hitsTotal = disk.hits
    readsTotal = disk.reads
    readBytesTotal = disk.readBytes
    writesTotal = disk.writes
    writtenBytesTotal = disk.writtenBytes
    syncedTotal = disk.syncs
    reinsertedTotal = disk.reinserted
    reinsertedBytesTotal = disk.reinsertedBytes
    reclaimedSegmentsTotal = disk.reclaimedSegments
    droppedTotal = disk.dropped
    corruptTotal = disk.corrupt
    engine = Set(disk.directories.map(\.engine)).sorted().joined(separator: ",")
    recovery = Recovery(
      records: disk.recoveredRecords, dropped: disk.recoveryDropped,
      milliseconds: disk.recoveryMilliseconds)
    writeBehind = WriteBehind(writes)
  }
}

extension DiskReport.Directory {
  init(_ directory: DiskStatistics.Directory) {
    path = directory.path
    state = directory.state
    capacityBytes = directory.capacityBytes
    usedBytes = directory.usedBytes
    segments = directory.segments
    objects = directory.objects
    bytes = directory.bytes
    readErrorsTotal = directory.readErrors
    writeErrorsTotal = directory.writeErrors
    syncErrorsTotal = directory.syncErrors
  }
}

extension DiskReport.WriteBehind {
  /// Waiting is what waits for its turn and what the tier is writing; refused is all that will
  /// never be written because it had no place or was not let in.
  init(_ writes: WriteBehindStatistics) {
    waiting = writes.waitingObjects + writes.leasedObjects
    waitingBytes = writes.waitingBytes + writes.leasedBytes
    let counts = writes.counts
    refusedTotal =
      counts.declined + counts.overflows + counts.overBudget + counts.notAdmitted
      + counts.tooLarge + counts.failed + counts.closing
    unwrittenEvictionsTotal = counts.unwrittenEvictions
  }
}
