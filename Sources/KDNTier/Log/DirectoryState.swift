internal import DequeModule
internal import KDNCore

/// One directory of the log.
struct DirectoryState: Sendable {
  /// How the directory is.
  enum Phase: Sendable, Equatable {
    /// Its segments are being read.
    case recovering
    case serving
    /// Nothing more is written.
    case quarantined
    /// Not even read.
    case lost
  }

  let storage: any BlockDirectory
  let engine: any DiskEngine
  let id: DirectoryID
  let segmentBytes: Int
  let capacityBytes: Int
  /// Most segments that the cap allows.
  let segmentsMax: Int
  var phase = Phase.recovering

  init(
    _ configuration: DiskDirectoryConfiguration, _ superblock: Superblock, segmentsMax: Int,
    journal: JournalState
  ) {
    storage = configuration.directory
    engine = configuration.engine
    capacityBytes = configuration.capacityBytes
    id = superblock.directoryID
    segmentBytes = superblock.segmentBytes
    self.segmentsMax = segmentsMax
    self.journal = journal
    allowance = ReinsertionAllowance(segmentBytes: superblock.segmentBytes)
  }

  /// Segments by number; nil where the file is gone or unusable.
  var slots: [SegmentSlot] = []
  var open: Int?
  /// Segments that are open, sealing or closing.
  var busy: [Int] = []
  var free: [Int] = []
  /// How many files there are.
  var fileCount = 0
  var isMaking = false
  /// The device was full below the cap: no more files are made in this run.
  var isFull = false
  var nextIncarnation: UInt64 = 1
  /// The number in the name of the next file.
  var nextFileNumber = 1

  /// Sequences of writes that wait for a place; copies of reclaimed records first.
  var copies: Deque<UInt64> = []
  var queue: Deque<UInt64> = []
  var queuedBytes = 0
  var writesInFlight = 0

  var reads: Deque<PendingRead> = []
  var readsInFlight = 0
  var readErrorsInARow = 0

  var journal: JournalState
  var reclaim: Reclaim?
  /// Segments passed over because their pinned records had no other place.
  var spared: Set<Int> = []
  /// What may be written anew out of reclaimed segments.
  var allowance: ReinsertionAllowance

  // Recovery.
  var unread: [Int] = []
  var segmentsRead = 0
  var segmentsToRead = 0
  var startedAt = Instant(nanoseconds: 0)
  var droppedInRecovery = 0
  /// What the device refused in recovery, so that nothing may be written here.
  var recoveryFault: DiskError?
  /// Use counts that the last clean stop left, by sequence.
  var useCounts: [UInt64: UInt32] = [:]
  /// What was purged cannot be told any more: nothing in the segments is believed.
  var isDistrusted = false

  var readErrors: UInt64 = 0
  var writeErrors: UInt64 = 0
  var syncErrors: UInt64 = 0
  var objects = 0
  var bytes = 0

  /// Segments that could still be begun: free files and files not made yet.
  var available: Int { free.count + (isFull ? 0 : max(0, segmentsMax - fileCount)) }

  /// Whether there are, or can be made, too few usable segments for a log.
  var isTooSmall: Bool {
    let usable = slots.count { $0.state != .unusable }
    return usable + (isFull ? 0 : max(0, segmentsMax - fileCount)) < DirectoryLayout.segmentsMin
  }

  /// Bytes of all files.
  var usedBytes: Int {
    fileCount * segmentBytes + journal.files.reduce(0) { $0 + $1.byteCount }
      + DirectoryLayout.fixedBytes
  }

  /// Whether a segment's file has the length that it should have.
  func hasFullSize(_ slot: Int) -> Bool { slots[slot].file.byteCount == segmentBytes }

  /// Whether writes may go here.
  var isWritable: Bool { phase == .serving }

  /// The largest record that a segment holds, in bytes of payload.
  var payloadBytesMax: Int {
    (SegmentSlot.recordBlocksMax(segmentBytes: segmentBytes) - 1) * diskBlockBytes
  }

  /// The smallest sequence that any record in the directory's files may have.
  var oldestSequence: UInt64 { slots.map(\.oldestSequence).min() ?? .max }
}

/// How a directory's capacity is divided, and what its files are called.
package enum DirectoryLayout {
  static let superblock = "superblock"
  static let superblockDraft = "superblock.new"
  static let checkpoint = "checkpoint"
  static let checkpointDraft = "checkpoint.new"
  /// Which profiles of codecs are in use; the daemon's, not the tier's.
  package static let profiles = "profiles"
  /// The next list, until it takes the place of the last one.
  package static let profilesDraft = "profiles.new"
  /// What is known of documents; the daemon's, not the tier's.
  package static let documents = "documents"
  /// The next such file, until it takes the place of the last one.
  package static let documentsDraft = "documents.new"
  static let journals = ["journal-0", "journal-1"]
  private static let segmentPrefix = "segment-"

  /// Bytes of superblock and lock.
  static let fixedBytes = 2 * diskBlockBytes
  /// Fewest segments: one open, one kept for survivors, two full.
  static let segmentsMin = 4

  /// Bytes that a checkpoint may have.
  static func checkpointBytesMax(capacityBytes: Int) -> Int {
    (capacityBytes / 1024 + 2 * diskBlockBytes) / diskBlockBytes * diskBlockBytes
  }

  /// How many segments fit under the cap.
  static func segmentsMax(capacityBytes: Int, segmentBytes: Int, journalBytes: Int) -> Int {
    let rest =
      capacityBytes - fixedBytes - 2 * journalBytes
      - checkpointBytesMax(capacityBytes: capacityBytes)
    return max(0, rest / segmentBytes)
  }

  /// The name of a segment's file.
  static func segmentName(_ number: Int) -> String {
    let digits = String(number)
    return segmentPrefix + String(repeating: "0", count: max(0, 8 - digits.count)) + digits
  }

  /// The number in the name of a segment's file; nil if it is another file.
  static func segmentNumber(_ name: String) -> Int? {
    guard name.hasPrefix(segmentPrefix) else { return nil }
    let digits = name.dropFirst(segmentPrefix.count)
    guard digits.count >= 8, digits.allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
    return Int(digits)
  }

  /// Whether a file is one that the tier makes, so that it may go with the cache.
  package static func isOurs(_ name: String) -> Bool {
    segmentNumber(name) != nil || journals.contains(name)
      || [
        superblock, superblockDraft, checkpoint, checkpointDraft, profiles, profilesDraft,
        documents, documentsDraft,
      ].contains(name)
  }

  /// Whether a file stays when the cache is dropped: the documents in it are forgotten by whoever
  /// reads it, and the rules of operators and the epochs stay.
  package static func outlivesCache(_ name: String) -> Bool { name == documents }
}

/// A read that waits for its turn, or is under way.
struct PendingRead: Sendable {
  let key: DiskKey
  let sequence: UInt64
  let place: RecordPlace
  let byteCount: Int
  let checksum: Checksum
  let nonce: UInt64
  let incarnation: UInt64
  let isPaged: Bool
  let room: TierRoom
  let completion: @Sendable (TierReading) -> Void

  /// Blocks of the record.
  var blocks: Int {
    RecordHeader.recordBytes(storing: byteCount, isPaged: isPaged) / diskBlockBytes
  }
}

/// The journal of one directory.
struct JournalState: Sendable {
  var files: [any BlockFile]
  var active = 0
  var epoch: UInt64 = 1
  var nextIndex: UInt64 = 0
  var nextBlock = 1
  /// Entries to be written, and who waits for them.
  var pending: [JournalEntry] = []
  var pendingTickets: [UInt64] = []
  /// Who waits for the frame under way.
  var ticketsInFlight: [UInt64] = []
  var step = Step.idle
  /// Something was taken in that found no room: all must be written anew.
  var isBehind = false

  /// What is under way.
  enum Step: Sendable, Equatable {
    case idle
    case writing
    case syncing
    /// The other file gets everything anew: its frames, then its header, each made durable.
    case rewriting, syncingFrames, writingHeader, syncingHeader
  }

  /// Blocks of each file.
  var blockCount: Int { files[active].byteCount / diskBlockBytes }
}

/// The reclaiming of one segment.
struct Reclaim: Sendable {
  let slot: Int
  let nonce: UInt64
  /// Records to be copied that were not begun yet.
  var survivors: [(key: DiskKey, header: RecordHeader)]
  /// All survivors; those still in the segment at the end could not be copied.
  var copied: [DiskKey] = []
  /// Copies that are not durable yet.
  var copiesLeft = 0
  var isReadingFooter = true
  /// Whether a survivor is being read.
  var isReading = false
  /// Blocks that survivors not placed yet will take.
  var blocksLeft: Int
}
