/// The part of STATS that speaks of the pool as a whole.
package struct PoolReport: Codable, Sendable {
  /// Objects that can be found.
  package var objects: Int
  /// Their bytes.
  package var bytes: Int
  /// Objects of purged namespaces not yet reclaimed.
  package var deadObjects: Int
  /// Hard cap on all memory.
  package var memoryBytesMax: Int
  /// Memory charged against the cap: arena, index, leases, buffers.
  package var chargedBytes: Int
  /// Memory of index and leases.
  package var indexBytes: Int
  /// Memory of connection buffers.
  package var bufferBytes: Int
  /// Stores under way.
  package var reservations: Int
  /// Leases held by connections.
  package var leases: Int
  /// Objects pinned.
  package var pins: Int
  /// Waits for objects not yet published.
  package var waiters: Int
  /// Lookups that hit.
  package var hitsTotal: UInt64
  /// Lookups that missed, by the name of the cause; all causes.
  package var missesTotal: [String: UInt64]
  /// Objects that made room for others.
  package var evictionsTotal: UInt64
  /// Their bytes.
  package var evictedBytesTotal: UInt64
  /// Objects published.
  package var storesTotal: UInt64
  /// Stores whose key held other bytes.
  package var conflictsTotal: UInt64
  /// Objects whose TTL ended.
  package var expiredTotal: UInt64
  /// Objects purged.
  package var purgedTotal: UInt64
  /// Stores refused for want of room.
  package var refusalsTotal: UInt64

  /// Puts the values together.
  package init(
    objects: Int, bytes: Int, deadObjects: Int, memoryBytesMax: Int, chargedBytes: Int,
    indexBytes: Int, bufferBytes: Int, reservations: Int, leases: Int, pins: Int, waiters: Int,
    hitsTotal: UInt64, missesTotal: [String: UInt64], evictionsTotal: UInt64,
    evictedBytesTotal:
      UInt64, storesTotal: UInt64, conflictsTotal: UInt64, expiredTotal: UInt64,
    purgedTotal:
      UInt64, refusalsTotal: UInt64
  ) {
    self.objects = objects
    self.bytes = bytes
    self.deadObjects = deadObjects
    self.memoryBytesMax = memoryBytesMax
    self.chargedBytes = chargedBytes
    self.indexBytes = indexBytes
    self.bufferBytes = bufferBytes
    self.reservations = reservations
    self.leases = leases
    self.pins = pins
    self.waiters = waiters
    self.hitsTotal = hitsTotal
    self.missesTotal = missesTotal
    self.evictionsTotal = evictionsTotal
    self.evictedBytesTotal = evictedBytesTotal
    self.storesTotal = storesTotal
    self.conflictsTotal = conflictsTotal
    self.expiredTotal = expiredTotal
    self.purgedTotal = purgedTotal
    self.refusalsTotal = refusalsTotal
  }
}
