internal import KDNCore

/// One segment file and what it is used for now.
struct SegmentSlot: Sendable {
  /// What the file is used for.
  enum State: Sendable, Equatable {
    /// Nothing that is here counts; it may be begun anew.
    case free
    /// Records are being placed in it.
    case open
    /// No more records; those placed are on their way, then comes the footer.
    case sealing
    /// The footer and trailer are on their way.
    case closing
    /// Whole and durable.
    case sealed
    /// Its survivors are being copied, or its last readers are under way.
    case reclaimed
    /// The file is gone, or cannot be read.
    case unusable
  }

  let file: any BlockFile
  /// Whether the file was made in this run and never begun: no earlier life can be found in it.
  var isFresh: Bool
  var state = State.free
  /// Number of the file's present life.
  var incarnation: UInt64 = 0
  /// Part of every record header's checksum in this life.
  var nonce: UInt64 = 0
  /// First block that is not placed yet.
  var nextBlock = 1
  /// Headers of the records placed, encoded, for the footer.
  var footer: [UInt8] = []
  /// Where the footer is, once it is placed or known.
  var footerBlock = 0
  /// How many records the footer names.
  var recordCount = 0
  /// Smallest and largest sequence placed in this life; 0 if none.
  var lifeFirstSequence: UInt64 = 0
  var lifeLastSequence: UInt64 = 0
  /// Smallest sequence of the life whose header is durable; `.max` if it has no record.
  var durableFirstSequence = UInt64.max
  /// Whether the header of this life is written, and durable where an earlier life could be found.
  var isHeaderWritten = false
  /// Whether records must wait for that: an earlier life's footer would else vouch for bytes that
  /// they have overwritten.
  var awaitsHeader = false
  /// Writes under way.
  var writesInFlight = 0
  /// Records written and not yet durable.
  var unsynced: [UInt64] = []
  /// When the first of them was written.
  var unsyncedSince = Instant.never
  /// Whether somebody waits for one of them.
  var isSyncWanted = false
  var isSyncing = false
  /// Reads under way or waiting; the file is not begun anew before they end.
  var readers = 0

  init(file: any BlockFile, isFresh: Bool = false) {
    self.file = file
    self.isFresh = isFresh
  }

  /// Blocks of the file.
  var blockCount: Int { file.byteCount / diskBlockBytes }

  /// No record that could be found in the file after a crash has a smaller sequence.
  var oldestSequence: UInt64 {
    lifeFirstSequence == 0 ? durableFirstSequence : min(durableFirstSequence, lifeFirstSequence)
  }

  /// Blocks that records may still take, if each line in the footer is counted as a block.
  var blocksLeft: Int {
    let records = footer.count / RecordHeader.byteCount
    return max(0, blockCount - nextBlock - SegmentTrailer.footerBlocks(records: records) - 1)
  }

  /// Whether a record of `blocks` blocks, its line in the footer and the trailer still fit.
  func fits(blocks: Int) -> Bool {
    let records = footer.count / RecordHeader.byteCount + 1
    return nextBlock + blocks + SegmentTrailer.footerBlocks(records: records) + 1 <= blockCount
  }

  /// Blocks of the largest record that fits into an empty segment of `byteCount` bytes.
  static func recordBlocksMax(segmentBytes byteCount: Int) -> Int {
    byteCount / diskBlockBytes - 1 - SegmentTrailer.footerBlocks(records: 1) - 1
  }

  /// Begins a new life.
  mutating func begin(incarnation: UInt64, nonce: UInt64) {
    state = .open
    self.incarnation = incarnation
    self.nonce = nonce
    nextBlock = 1
    footer = []
    footerBlock = 0
    recordCount = 0
    lifeFirstSequence = 0
    lifeLastSequence = 0
    isHeaderWritten = false
    awaitsHeader = !isFresh
    isFresh = false
    unsynced = []
    unsyncedSince = .never
    isSyncWanted = false
  }

  /// Places a record and returns its first block.
  mutating func place(blocks: Int, sequence: UInt64) -> Int {
    let block = nextBlock
    nextBlock += blocks
    lifeFirstSequence = lifeFirstSequence == 0 ? sequence : min(lifeFirstSequence, sequence)
    lifeLastSequence = max(lifeLastSequence, sequence)
    return block
  }

  /// Takes over what a segment of an earlier run holds: it is sealed, or can be gone on with.
  mutating func take(
    _ outcome: SegmentReader.Outcome, _ header: SegmentHeader, sequences: ClosedRange<UInt64>
  ) {
    incarnation = header.incarnation
    nonce = header.nonce
    footerBlock = outcome.footerBlock
    durableFirstSequence = sequences.lowerBound
    recordCount = outcome.wasSealed ? outcome.records.count : 0
    isHeaderWritten = true
    state = .sealed
    // A file that was cut has no room for its footer; its records go when it is reclaimed.
    guard !outcome.wasSealed, !outcome.isCut else { return }
    state = .sealing
    footer = outcome.records.flatMap { $0.encoded(nonce: header.nonce) }
    nextBlock = outcome.records.map(\.blocks.upperBound).max() ?? 1
    lifeFirstSequence = sequences.lowerBound
    lifeLastSequence = sequences.upperBound
  }
}
