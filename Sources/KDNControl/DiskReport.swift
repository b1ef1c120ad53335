/// The part of STATS that speaks of the disk tier; absent without one.
package struct DiskReport: Codable, Sendable {
  /// One directory.
  package struct Directory: Codable, Sendable {
    package var path: String
    package var state: String
    package var capacityBytes: Int
    package var usedBytes: Int
    package var segments: Int
    package var objects: Int
    package var bytes: Int
    package var readErrorsTotal: UInt64
    package var writeErrorsTotal: UInt64
    package var syncErrorsTotal: UInt64

    /// Puts the values together.
    package init(
      path: String, state: String, capacityBytes: Int, usedBytes: Int, segments: Int,
      objects:
        Int, bytes: Int, readErrorsTotal: UInt64, writeErrorsTotal: UInt64, syncErrorsTotal: UInt64
    ) {
      self.path = path
      self.state = state
      self.capacityBytes = capacityBytes
      self.usedBytes = usedBytes
      self.segments = segments
      self.objects = objects
      self.bytes = bytes
      self.readErrorsTotal = readErrorsTotal
      self.writeErrorsTotal = writeErrorsTotal
      self.syncErrorsTotal = syncErrorsTotal
    }
  }

  /// What the start found.
  package struct Recovery: Codable, Sendable {
    package var records: Int
    package var dropped: Int
    package var milliseconds: UInt64

    /// Puts the values together.
    package init(records: Int, dropped: Int, milliseconds: UInt64) {
      self.records = records
      self.dropped = dropped
      self.milliseconds = milliseconds
    }
  }

  /// What is on its way to disk.
  package struct WriteBehind: Codable, Sendable {
    package var waiting: Int
    package var waitingBytes: Int
    package var refusedTotal: UInt64
    package var unwrittenEvictionsTotal: UInt64

    /// Puts the values together.
    package init(
      waiting: Int, waitingBytes: Int, refusedTotal: UInt64, unwrittenEvictionsTotal: UInt64
    ) {
      self.waiting = waiting
      self.waitingBytes = waitingBytes
      self.refusedTotal = refusedTotal
      self.unwrittenEvictionsTotal = unwrittenEvictionsTotal
    }
  }

  package var ready: Bool
  package var directories: [Directory]
  package var objects: Int
  package var bytes: Int
  package var hitsTotal: UInt64
  package var readsTotal: UInt64
  package var readBytesTotal: UInt64
  package var writesTotal: UInt64
  package var writtenBytesTotal: UInt64
  package var syncedTotal: UInt64
  package var reinsertedTotal: UInt64
  package var reinsertedBytesTotal: UInt64
  package var reclaimedSegmentsTotal: UInt64
  package var droppedTotal: UInt64
  package var corruptTotal: UInt64
  package var engine: String
  package var recovery: Recovery
  package var writeBehind: WriteBehind

  /// Puts the values together.
  package init(
    ready: Bool, directories: [Directory], objects: Int, bytes: Int, hitsTotal: UInt64,
    readsTotal: UInt64, readBytesTotal: UInt64, writesTotal: UInt64, writtenBytesTotal: UInt64,
    syncedTotal: UInt64, reinsertedTotal: UInt64, reinsertedBytesTotal: UInt64,
    reclaimedSegmentsTotal: UInt64, droppedTotal: UInt64, corruptTotal: UInt64, engine: String,
    recovery: Recovery, writeBehind: WriteBehind
  ) {
    self.ready = ready
    self.directories = directories
    self.objects = objects
    self.bytes = bytes
    self.hitsTotal = hitsTotal
    self.readsTotal = readsTotal
    self.readBytesTotal = readBytesTotal
    self.writesTotal = writesTotal
    self.writtenBytesTotal = writtenBytesTotal
    self.syncedTotal = syncedTotal
    self.reinsertedTotal = reinsertedTotal
    self.reinsertedBytesTotal = reinsertedBytesTotal
    self.reclaimedSegmentsTotal = reclaimedSegmentsTotal
    self.droppedTotal = droppedTotal
    self.corruptTotal = corruptTotal
    self.engine = engine
    self.recovery = recovery
    self.writeBehind = writeBehind
  }
}
