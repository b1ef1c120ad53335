/// The part of STATS that speaks of the pool as a whole.
package struct PoolReport: Codable, Sendable {
  package var objects: Int
  package var bytes: Int
  package var deadObjects: Int
  package var memoryBytesMax: Int
  package var chargedBytes: Int
  package var indexBytes: Int
  package var bufferBytes: Int
  package var reservations: Int
  package var leases: Int
  package var pins: Int
  package var waiters: Int
  package var hitsTotal: UInt64
  package var missesTotal: [String: UInt64]
  package var evictionsTotal: UInt64
  package var evictedBytesTotal: UInt64
  package var storesTotal: UInt64
  package var conflictsTotal: UInt64
  package var expiredTotal: UInt64
  package var purgedTotal: UInt64
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
