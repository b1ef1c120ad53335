/// The part of STATS that speaks of the disk tier; absent without one.
package struct DiskReport: Codable, Sendable {
  /// One directory.
  package struct Directory: Codable, Sendable {
    /// Where it is.
    package var path: String
    /// `recovering`, `serving`, or `failed` when nothing more is written to it.
    package var state: String
    /// Hard cap on `usedBytes`.
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
    package var readErrorsTotal: UInt64
    /// Writes that the device refused.
    package var writeErrorsTotal: UInt64
    /// Times that the device could not make durable what was written.
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
    /// Objects found.
    package var records: Int
    /// Records found that did not count.
    package var dropped: Int
    /// How long it took, in the slowest directory.
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
    /// Objects that wait for their turn or are being written.
    package var waiting: Int
    /// Their bytes.
    package var waitingBytes: Int
    /// Objects that had no place or were not let in.
    package var refusedTotal: UInt64
    /// Objects that made room before their turn came.
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

  /// Whether all that is there is known.
  package var ready: Bool
  /// All directories, in the order of the configuration.
  package var directories: [Directory]
  /// Objects, those on their way too.
  package var objects: Int
  /// Their bytes.
  package var bytes: Int
  /// Reads asked for that found their object.
  package var hitsTotal: UInt64
  /// Reads made.
  package var readsTotal: UInt64
  /// Bytes that the devices were asked for.
  package var readBytesTotal: UInt64
  /// Records written, copies included.
  package var writesTotal: UInt64
  /// Bytes written for them.
  package var writtenBytesTotal: UInt64
  /// Group commits.
  package var syncedTotal: UInt64
  /// Records copied out of segments that were reclaimed.
  package var reinsertedTotal: UInt64
  /// Bytes of those copies.
  package var reinsertedBytesTotal: UInt64
  /// Segments begun anew.
  package var reclaimedSegmentsTotal: UInt64
  /// Objects dropped by reclaiming and by faults.
  package var droppedTotal: UInt64
  /// Objects dropped because their bytes were not those that were stored.
  package var corruptTotal: UInt64
  /// `io_uring` or `threads`.
  package var engine: String
  /// What the start found.
  package var recovery: Recovery
  /// What is on its way to disk.
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
