internal import KDNControl
internal import KDNPool
internal import KDNTier

extension DiskReport {
  init(_ disk: DiskStatistics, _ writes: WriteBehindStatistics) {
    self.init(
      ready: disk.isReady,
      directories: disk.directories.map { Directory($0) },
      objects: disk.objects,
      bytes: disk.bytes,
      hitsTotal: disk.hits,
      readsTotal: disk.reads,
      readBytesTotal: disk.readBytes,
      writesTotal: disk.writes,
      writtenBytesTotal: disk.writtenBytes,
      syncedTotal: disk.syncs,
      reinsertedTotal: disk.reinserted,
      reinsertedBytesTotal: disk.reinsertedBytes,
      reclaimedSegmentsTotal: disk.reclaimedSegments,
      droppedTotal: disk.dropped,
      corruptTotal: disk.corrupt,
      engine: Set(disk.directories.map(\.engine)).sorted().joined(separator: ","),
      recovery: Recovery(
        records: disk.recoveredRecords, dropped: disk.recoveryDropped,
        milliseconds: disk.recoveryMilliseconds),
      writeBehind: WriteBehind(writes))
  }
}

extension DiskReport.Directory {
  init(_ directory: DiskStatistics.Directory) {
    self.init(
      path: directory.path,
      state: directory.state,
      capacityBytes: directory.capacityBytes,
      usedBytes: directory.usedBytes,
      segments: directory.segments,
      objects: directory.objects,
      bytes: directory.bytes,
      readErrorsTotal: directory.readErrors,
      writeErrorsTotal: directory.writeErrors,
      syncErrorsTotal: directory.syncErrors)
  }
}

extension DiskReport.WriteBehind {
  /// Waiting is what waits for its turn and what the tier is writing; refused is all that will
  /// never be written because it had no place or was not let in.
  init(_ writes: WriteBehindStatistics) {
    let counts = writes.counts
    self.init(
      waiting: writes.waitingObjects + writes.leasedObjects,
      waitingBytes: writes.waitingBytes + writes.leasedBytes,
      refusedTotal:
        counts.declined + counts.overflows + counts.overBudget + counts.notAdmitted
        + counts.tooLarge + counts.failed + counts.closing,
      unwrittenEvictionsTotal: counts.unwrittenEvictions)
  }
}
