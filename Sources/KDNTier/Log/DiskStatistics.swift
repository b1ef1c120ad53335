/// What the log counts itself.
struct DiskCounters: Sendable {
  var hits: UInt64 = 0
  var reads: UInt64 = 0
  var readBytes: UInt64 = 0
  var writes: UInt64 = 0
  var writtenBytes: UInt64 = 0
  var syncs: UInt64 = 0
  var reinserted: UInt64 = 0
  var reinsertedBytes: UInt64 = 0
  var rewritten: UInt64 = 0
  var reclaimedSegments: UInt64 = 0
  var dropped: UInt64 = 0
  var droppedForQuota: UInt64 = 0
  var corrupt: UInt64 = 0
  var recoveredRecords = 0
  var recoveryDropped = 0
  var recoveryMilliseconds: UInt64 = 0
}

/// A disk tier in numbers, at about one moment; totals count since the start.
package struct DiskStatistics: Sendable, Equatable {
  /// One directory.
  package struct Directory: Sendable, Equatable {
    /// Where it is.
    package var path: String
    /// `recovering`, `serving`, or `failed` when nothing more is written to it.
    package var state: String
    /// The hard cap on `usedBytes`.
    package var capacityBytes: Int
    /// Bytes of all its files.
    package var usedBytes: Int
    /// Segment files.
    package var segments: Int
    /// Objects in it.
    package var objects: Int
    /// Their bytes.
    package var bytes: Int
    /// Reads that the device refused.
    package var readErrors: UInt64
    /// Writes that the device refused.
    package var writeErrors: UInt64
    /// Times that the device could not make durable what was written.
    package var syncErrors: UInt64
    /// Who does its I/O.
    package var engine: String
  }

  /// Whether everything that is there is known.
  package var isReady: Bool
  /// All directories, in the order of the configuration.
  package var directories: [Directory]
  /// Objects, those on their way too.
  package var objects: Int
  /// Their bytes.
  package var bytes: Int
  /// Bytes waiting to be written.
  package var queuedBytes: Int
  /// Reads asked for that found their object.
  package var hits: UInt64
  /// Reads made.
  package var reads: UInt64
  /// Bytes that the devices were asked for.
  package var readBytes: UInt64
  /// Records written, copies included.
  package var writes: UInt64
  /// Bytes written for them, footers included.
  package var writtenBytes: UInt64
  /// Group commits.
  package var syncs: UInt64
  /// Records copied out of segments that were reclaimed.
  package var reinserted: UInt64
  /// Bytes of those copies.
  package var reinsertedBytes: UInt64
  /// Objects written anew in another form.
  package var rewritten: UInt64
  /// Segments begun anew.
  package var reclaimedSegments: UInt64
  /// Objects dropped by reclaiming, by faults and for quotas.
  package var dropped: UInt64
  /// Those of them dropped for their tenants' quotas.
  package var droppedForQuota: UInt64
  /// Objects dropped because their bytes were not those that were stored.
  package var corrupt: UInt64
  /// Purged names that the journals still remember.
  package var tombstones: Int
  /// Objects found at the start.
  package var recoveredRecords: Int
  /// Records found there that did not count.
  package var recoveryDropped: Int
  /// How long that took, in the slowest directory.
  package var recoveryMilliseconds: UInt64
}

extension LogState {
  /// The numbers now.
  var statistics: DiskStatistics {
    DiskStatistics(
      isReady: isReady, directories: directories.map(\.statistics), objects: index.count,
      bytes: index.bytes, queuedBytes: queuedBytes, hits: counters.hits, reads: counters.reads,
      readBytes: counters.readBytes, writes: counters.writes,
      writtenBytes: counters.writtenBytes, syncs: counters.syncs,
      reinserted: counters.reinserted, reinsertedBytes: counters.reinsertedBytes,
      rewritten: counters.rewritten,
      reclaimedSegments: counters.reclaimedSegments, dropped: counters.dropped,
      droppedForQuota: counters.droppedForQuota, corrupt: counters.corrupt,
      tombstones: tenants.tombstoneCount, recoveredRecords: counters.recoveredRecords,
      recoveryDropped: counters.recoveryDropped,
      recoveryMilliseconds: counters.recoveryMilliseconds)
  }
}

extension DirectoryState {
  fileprivate var statistics: DiskStatistics.Directory {
    let state =
      switch phase {
      case .recovering: "recovering"
      case .serving: "serving"
      case .quarantined, .lost: "failed"
      }
    return DiskStatistics.Directory(
      path: storage.path, state: state, capacityBytes: capacityBytes, usedBytes: usedBytes,
      segments: fileCount, objects: objects, bytes: bytes, readErrors: readErrors,
      writeErrors: writeErrors, syncErrors: syncErrors, engine: engine.name)
  }
}
