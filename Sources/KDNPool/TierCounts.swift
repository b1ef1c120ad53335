package import KDNCore
internal import KDNTier

/// What became of objects on their way to the slower tier.
package struct WriteCounts: Equatable, Sendable {
  /// Objects that the tier wrote.
  package var written: UInt64 = 0
  /// Their bytes.
  package var writtenBytes: UInt64 = 0
  /// Objects that the admission policy declined when it was asked first.
  package var declined: UInt64 = 0
  /// Objects for which the queue had no place.
  package var overflows: UInt64 = 0
  /// Objects that the day's budget of writes was spent for.
  package var overBudget: UInt64 = 0
  /// Objects evicted while they waited for their turn.
  package var unwrittenEvictions: UInt64 = 0
  /// Times that the tier was too busy, and the object waited on.
  package var busy: UInt64 = 0
  /// Objects that the tier let not in.
  package var notAdmitted: UInt64 = 0
  /// Objects that can never fit.
  package var tooLarge: UInt64 = 0
  /// Objects for which their tenant's quota had no room.
  package var overQuota: UInt64 = 0
  /// Objects lost because the devices failed.
  package var failed: UInt64 = 0
  /// Objects purged or dropped while they were being written.
  package var gone: UInt64 = 0
  /// Objects that came when the tier was closing.
  package var closing: UInt64 = 0

  mutating func note(_ refusal: TierRefusal) {
    switch refusal {
    case .busy: busy += 1
    case .notAdmitted: notAdmitted += 1
    case .tooLarge: tooLarge += 1
    case .failed: failed += 1
    case .overQuota: overQuota += 1
    case .gone: gone += 1
    case .closing: closing += 1
    }
  }
}

/// A picture of what is on its way to the slower tier.
package struct WriteBehindStatistics: Equatable, Sendable {
  /// Objects that wait for their turn; some may have been evicted since.
  package var waitingObjects = 0
  /// Their bytes.
  package var waitingBytes = 0
  /// Objects that the tier is writing.
  package var leasedObjects = 0
  /// Their bytes.
  package var leasedBytes = 0
  /// What became of the others.
  package var counts = WriteCounts()
}

/// A picture of the reads from the slower tier.
package struct FetchStatistics: Equatable, Sendable {
  /// Reads handed to the tier.
  package var started: UInt64 = 0
  /// Requests that found a read of their object under way.
  package var joined: UInt64 = 0
  /// Reads that prefetches began.
  package var prefetched: UInt64 = 0
  /// Objects read into RAM, where they stay.
  package var promoted: UInt64 = 0
  /// Objects read into staging memory because RAM was full.
  package var staged: UInt64 = 0
  /// Bytes read.
  package var readBytes: UInt64 = 0
  /// Times that the tier was too busy, and the read waited on.
  package var busy: UInt64 = 0
  /// Requests that a read did not serve, by cause.
  package var failed: [MissCause: UInt64] = [:]
  /// Reads under way.
  package var underWay = 0
  /// Staging memory in use, in bytes.
  package var stagingBytes = 0
}
