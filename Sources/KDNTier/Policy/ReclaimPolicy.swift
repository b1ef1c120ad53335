/// What a reclaim policy knows of a record in the segment that is to be used again.
package struct ReclaimFacts: Sendable, Equatable {
  /// What it takes on disk, in bytes; more than 0.
  package var byteCount: Int
  /// Uses since it was written to its present segment; writing is none.
  package var uses: UInt32
  /// Whether a client pinned it.
  package var isPinned: Bool
  /// Whether someone needs it just now.
  package var isHeld: Bool
  /// How many chunks here build directly on it.
  package var children: Int
  /// Where the record that it builds on is among those asked about; nil if it is not.
  package var parent: Int?
  /// Whether the chunk that it builds on is gone, so that no prefix reaches it.
  package var isOrphan: Bool
  /// Position of the first token in its chain.
  package var firstToken: Int
  /// What it cost to compute; 0 if unknown.
  package var recomputeMicroseconds: UInt64

  /// Puts the facts together.
  package init(
    byteCount: Int, uses: UInt32 = 0, isPinned: Bool = false, isHeld: Bool = false,
    children: Int = 0, parent: Int? = nil, isOrphan: Bool = false, firstToken: Int = 0,
    recomputeMicroseconds: UInt64 = 0
  ) {
    self.byteCount = byteCount
    self.uses = uses
    self.isPinned = isPinned
    self.isHeld = isHeld
    self.children = children
    self.parent = parent
    self.isOrphan = isOrphan
    self.firstToken = firstToken
    self.recomputeMicroseconds = recomputeMicroseconds
  }

  /// Whether it stays whatever else goes.
  package var isBound: Bool { isPinned || isHeld }
}

/// Decides what of the oldest segment is written anew before the segment is used again; pure,
/// without clock or I/O.
package protocol ReclaimPolicy: Sendable {
  /// Which of `records`, in the order of the log, survive.
  ///
  /// All that are pinned or held do, even beyond `bytesMax`; others only while the bytes of all
  /// survivors stay within it. The answer has one element for each record.
  func survivors(of records: [ReclaimFacts], bytesMax: Int) -> [Bool]
}

/// Keeps only what must be kept: first in, first out; for comparison.
package struct FIFOPolicy: ReclaimPolicy {
  /// Creates the policy.
  package init() {}

  package func survivors(of records: [ReclaimFacts], bytesMax: Int) -> [Bool] {
    records.map(\.isBound)
  }
}
