package import KDNCore

/// One directory of the tier: where it is, who does its I/O, and how much it may hold.
package struct DiskDirectoryConfiguration: Sendable {
  /// The files.
  package var directory: any BlockDirectory
  /// Does the I/O; shut down by the tier's `close`.
  package var engine: any DiskEngine
  /// Hard cap on the bytes of all files of the directory together.
  package var capacityBytes: Int

  /// Puts the parts together.
  package init(directory: any BlockDirectory, engine: any DiskEngine, capacityBytes: Int) {
    self.directory = directory
    self.engine = engine
    self.capacityBytes = capacityBytes
  }
}

/// Limits and habits of a disk tier.
package struct DiskConfiguration: Sendable {
  /// Bytes of one segment file, for directories that are new; others keep what they have.
  package var segmentBytes = 256 << 20
  /// Bytes of each of a directory's two journal files, for directories that are new.
  package var journalBytes = 8 << 20
  /// Writes of records under way at once in one directory.
  package var writesInFlight = 8
  /// Reads under way at once in one directory.
  package var readsInFlight = 8
  /// Bytes of records waiting to be written; more is `busy`.
  package var queuedWriteBytesMax = 256 << 20
  /// Most objects that are known at once, since their index is memory; more are not admitted.
  package var objectsMax = Int.max
  /// Reads waiting in one directory; more is `busy`.
  package var queuedReadsMax = 4096
  /// Purges that wait for the end of recovery; more is `busy`.
  package var waitingPurgesMax = 1024
  /// Longest time that a written record waits to be made durable.
  package var syncDelayMilliseconds: UInt64 = 200
  /// Largest record that is copied to a new segment only because it is hot.
  package var reinsertedBytesMax = 32 << 20
  /// Failed reads in a row that make a directory count as gone.
  package var readErrorsMax = 8
  /// What survives when a segment is reclaimed.
  package var reclaim: any ReclaimPolicy
  /// Where nonces and identities come from; tests give a seeded source.
  package var random: @Sendable () -> UInt64 = { UInt64.random(in: .min ... .max) }

  /// The default limits with the policy `reclaim`.
  package init(reclaim: any ReclaimPolicy = ReinsertionPolicy()) { self.reclaim = reclaim }
}

/// Why a disk tier cannot be opened.
package enum DiskTierFault: Error, Sendable, CustomStringConvertible {
  /// Nothing can be done with this device.
  case device(path: String, DiskError)
  /// The directory was written in a format that this program does not know, or is damaged where
  /// nothing can be told without it.
  case format(path: String, FieldFault)
  /// The capacity cannot hold what a log needs at least.
  case capacity(path: String, FieldFault)
  /// The same directory is configured twice.
  case twice(path: String)

  package var description: String {
    switch self {
    case .device(let path, let error): "\(path): \(error)"
    case .format(let path, let fault)
    where fault.field == "formatVersion" && fault.value > fault.limit:
      "\(path) was written by a newer kdnd: format \(fault.value), this one knows up to "
        + "\(fault.limit); start the newer kdnd, or drop the cache with --reset-cache"
    case .format(let path, let fault):
      "\(path) cannot be read: \(fault); drop the cache with --reset-cache"
    case .capacity(let path, let fault): "\(path): \(fault)"
    case .twice(let path): "\(path) is configured twice"
    }
  }
}

/// Something that an operator may want to read in the log.
package enum DiskEvent: Sendable, CustomStringConvertible {
  /// So many of the directory's segments have been read.
  case recovering(path: String, segments: Int, of: Int, objects: Int)
  /// All of the directory is known.
  case recovered(path: String, objects: Int, dropped: Int, milliseconds: UInt64)
  /// An unsealed segment ended in something that was never acknowledged.
  case tornTail(path: String, file: String, records: Int)
  /// The device refused something.
  case error(path: String, DiskError)
  /// Nothing more is written to this directory; what is there can still be read.
  case quarantined(path: String, reason: String)
  /// The directory cannot be read either: its objects are gone.
  case lost(path: String, objects: Int)
  /// The device is full below the configured capacity.
  case full(path: String, segments: Int)
  /// A record's bytes are not those that were stored; it was dropped.
  case corrupt(path: String, file: String, block: Int)
  /// The journal is damaged, so what was purged cannot be told: no object here is believed.
  case distrusted(path: String)
  /// The journal has no room for what must be remembered.
  case journalFull(path: String)

  package var description: String {
    switch self {
    case .recovering(let path, let segments, let total, let objects):
      "disk recovery directory=\(path) segments=\(segments) of=\(total) objects=\(objects)"
    case .recovered(let path, let objects, let dropped, let milliseconds):
      "disk recovered directory=\(path) objects=\(objects) dropped=\(dropped) ms=\(milliseconds)"
    case .tornTail(let path, let file, let records):
      "disk segment was open directory=\(path) file=\(file) records=\(records)"
    case .error(let path, let error): "disk error directory=\(path) error=\"\(error)\""
    case .quarantined(let path, let reason):
      "disk quarantined directory=\(path) reason=\"\(reason)\""
    case .lost(let path, let objects): "disk lost directory=\(path) objects=\(objects)"
    case .full(let path, let segments): "disk full directory=\(path) segments=\(segments)"
    case .corrupt(let path, let file, let block):
      "disk record corrupt directory=\(path) file=\(file) block=\(block)"
    case .distrusted(let path):
      "disk journal damaged, all objects of the directory are dropped directory=\(path)"
    case .journalFull(let path): "disk journal full directory=\(path)"
    }
  }
}
