internal import KDNTier

/// The disk tier's log: blocks are appended to segments, and the oldest segment is reclaimed.
///
/// Counts the space as the disk tier does: headers, footers, and two segments kept free.
struct SegmentReplay: ReplayCache {
  let name: String
  private(set) var stored = 0
  private(set) var written = 0

  private let trace: ReplayTrace
  private let policy: any ReclaimPolicy
  private var allowance: ReinsertionAllowance
  private let shape: SegmentShape
  /// Full segments, oldest first.
  private var full: ArraySlice<[Int]> = []
  private var open: [Int] = []
  /// Uses of each block since it was last written; nil for those that are not there.
  private var uses: [UInt32?]
  /// How many blocks that are there build on each block.
  private var children: [Int]

  private static let freeSegments = 2

  /// Creates an empty log for blocks of `trace`.
  init(
    _ name: String, _ policy: any ReclaimPolicy, _ shape: SegmentShape, savedSegments: Int = 4,
    trace: ReplayTrace
  ) {
    self.name = name
    self.trace = trace
    self.policy = policy
    self.shape = shape
    allowance = ReinsertionAllowance(
      segmentBytes: shape.recordBytes * shape.recordsPerSegment, savedSegments: savedSegments)
    uses = Array(repeating: nil, count: trace.blockCount)
    children = Array(repeating: 0, count: trace.blockCount)
  }

  func holds(_ block: Int) -> Bool { uses[block] != nil }

  mutating func use(_ block: Int) {
    if let count = uses[block] {
      uses[block] = count &+ 1
      return
    }
    stored += 1
    if let parent = trace.parents[block] { children[parent] += 1 }
    append(block)
    while shape.segmentCount - full.count - 1 < Self.freeSegments { reclaim() }
  }

  private mutating func append(_ block: Int) {
    uses[block] = 0
    written += 1
    open.append(block)
    guard open.count == shape.recordsPerSegment else { return }
    full.append(open)
    open = []
  }

  private mutating func reclaim() {
    guard let oldest = full.popFirst() else { return }
    let survives = policy.survivors(of: facts(of: oldest), bytesMax: allowance.next())
    var survivors = 0
    for (block, isKept) in zip(oldest, survives) {
      if isKept {
        survivors += 1
        append(block)
      } else {
        uses[block] = nil
        if let parent = trace.parents[block] { children[parent] -= 1 }
      }
    }
    allowance.spend(survivors * shape.recordBytes)
  }

  private func facts(of blocks: [Int]) -> [ReclaimFacts] {
    let places = Dictionary(uniqueKeysWithValues: zip(blocks, blocks.indices))
    return blocks.map { block in
      let parent = trace.parents[block]
      return ReclaimFacts(
        byteCount: shape.recordBytes, uses: uses[block] ?? 0, children: children[block],
        parent: parent.flatMap { places[$0] }, isOrphan: parent.map { !holds($0) } ?? false,
        firstToken: trace.depths[block])
    }
  }
}

/// How the disk tier would lay blocks of one size out.
struct SegmentShape {
  /// What a block takes on disk.
  let recordBytes: Int
  /// How many blocks a segment holds.
  let recordsPerSegment: Int
  /// How many segments there are.
  let segmentCount: Int

  /// Fewest segments: one open, two kept free, one full.
  static let segmentCountMin = 4

  private static let pageBytes = 4096
  private static let headerBytes = 512

  /// Lays `capacityBytes` out; nil if that is less than four segments, or a segment less than one
  /// block.
  init?(capacityBytes: Int, segmentBytes: Int, blockBytes: Int) {
    let pages = (blockBytes + Self.pageBytes - 1) / Self.pageBytes
    recordBytes = (pages + 1) * Self.pageBytes
    // The segment's header, its trailer, and headers of all records in whole pages between them.
    let room = segmentBytes - 3 * Self.pageBytes + 1
    recordsPerSegment = max(0, room / (recordBytes + Self.headerBytes))
    segmentCount = capacityBytes / segmentBytes
    guard recordsPerSegment > 0, segmentCount >= Self.segmentCountMin else { return nil }
  }
}
