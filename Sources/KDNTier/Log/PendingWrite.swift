internal import KDNCore
internal import KDNMemory

/// A record on its way to disk, from being asked for until it is durable.
struct PendingWrite: Sendable {
  /// Where the bytes come from.
  enum Source: Sendable {
    /// An object in memory.
    case object(TierBytes)
    /// A record read from a segment that is being reclaimed: all of it, header first.
    case copy(PageBuffer)
    /// The bytes are written.
    case none
  }

  let key: DiskKey
  let facts: ObjectFacts
  var source: Source
  var directory: Int
  /// Whether the payload begins at a page, so that it can be read in place.
  let isPaged: Bool
  /// The sequence of the record whose place it takes once it is durable; nil if it is the first.
  var original: UInt64?
  /// Where it was placed; nil as long as it waits.
  var placed: (slot: Int, incarnation: UInt64, block: Int)?
  /// Called once the bytes can be read back.
  var whenWritten: [@Sendable (Result<Void, TierRefusal>) -> Void] = []
  /// Called once they survive a loss of power.
  var whenDurable: [@Sendable (Result<Void, TierRefusal>) -> Void] = []

  /// Bytes that the record takes in a segment.
  var recordBytes: Int {
    RecordHeader.recordBytes(storing: facts.storedBytes, isPaged: isPaged)
  }

  /// Whether it is a record out of a segment that is being reclaimed.
  var isCopy: Bool {
    if case .copy = source { true } else { false }
  }
}
