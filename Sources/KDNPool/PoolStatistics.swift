package import KDNCore
package import KDNMemory
internal import Synchronization

/// A picture of a pool's counters and contents.
package struct PoolStatistics: Sendable {
  /// Contents of one namespace.
  package struct NamespaceShare: Sendable {
    /// The tenant's name.
    package let name: NamespaceName
    /// Objects of the present generation.
    package let objects: Int
    /// Their bytes.
    package let bytes: Int
    /// How often the whole namespace was purged.
    package let generation: UInt64
  }

  /// Objects that can be found.
  package var objects = 0
  /// Their bytes.
  package var bytes = 0
  /// Objects of purged generations not yet reclaimed.
  package var deadObjects = 0
  /// Hard cap on all memory.
  package var memoryBytesMax = 0
  /// Memory charged against the cap: arena, index, leases, buffers.
  package var chargedBytes = 0
  /// Memory of index, ghosts and leases.
  package var indexBytes = 0
  /// Memory of connection buffers.
  package var bufferBytes = 0
  /// State of the arena.
  package var arena: ArenaStatistics
  /// Reservations neither published nor dropped.
  package var reservations = 0
  /// Leases held by connections.
  package var leases = 0
  /// Objects pinned.
  package var pins = 0
  /// Waits for objects not yet published.
  package var waiters = 0
  /// Lookups that hit.
  package var hits: UInt64 = 0
  /// Lookups that missed, by cause.
  package var misses: [MissCause: UInt64] = [:]
  /// Objects that made room for others.
  package var evictions: UInt64 = 0
  /// Bytes of objects that made room for others.
  package var evictedBytes: UInt64 = 0
  /// Objects published.
  package var stores: UInt64 = 0
  /// Stores whose key held other bytes.
  package var conflicts: UInt64 = 0
  /// Objects whose TTL ended.
  package var expired: UInt64 = 0
  /// Objects purged.
  package var purged: UInt64 = 0
  /// Reserves refused for want of room.
  package var refusals: UInt64 = 0
  /// Objects of the slower tier that were answered.
  package var diskHits: UInt64 = 0
  /// Reads from the slower tier.
  package var fetches = FetchStatistics()
  /// What is on its way to the slower tier.
  package var writeBehind = WriteBehindStatistics()
  /// Contents by namespace, in the order in which they were made.
  package var namespaces: [NamespaceShare] = []
}

extension Pool {
  /// A picture of the counters; each is right, but they are read one after the other.
  package var statistics: PoolStatistics {
    var picture = PoolStatistics(arena: arena.statistics)
    var misses = [UInt64](repeating: 0, count: MissCause.allCases.count + 1)
    for stripe in stripes {
      let (hits, missed) = stripe.withLock { ($0.hits, $0.misses) }
      picture.hits += hits
      for (cause, count) in missed.enumerated() { misses[cause] += count }
    }
    for cause in MissCause.allCases { picture.misses[cause] = misses[Int(cause.rawValue)] }
    picture.memoryBytesMax = configuration.memoryBytesMax
    picture.chargedBytes = budget.chargedBytes
    picture.bufferBytes = bufferBytes.load(ordering: .relaxed)
    picture.indexBytes =
      picture.chargedBytes - picture.bufferBytes - picture.arena.capacityBytes
      - (backing?.staging?.statistics.capacityBytes ?? 0)
    fillTier(&picture)
    picture.reservations = openReservations.count
    picture.refusals = refusals.load(ordering: .relaxed)
    picture.leases = leases.withLock { $0.count }
    picture.waiters = waiters.withLock { $0.count }
    let namespaces = namespaces
    residency.withLock { $0.fill(&picture, namespaces) }
    return picture
  }
}

extension Pool {
  private func fillTier(_ picture: inout PoolStatistics) {
    guard let backing else { return }
    picture.diskHits = backing.diskHits.load(ordering: .relaxed)
    picture.writeBehind = writeBehind
    picture.fetches = backing.fetches.withLock { table in
      var counts = table.counts
      counts.underWay = table.count
      return counts
    }
    picture.fetches.stagingBytes = backing.staging?.statistics.allocatedBytes ?? 0
  }
}

extension Residency {
  fileprivate func fill(_ picture: inout PoolStatistics, _ namespaces: [Namespace]) {
    picture.objects = total.objects
    picture.bytes = total.bytes
    picture.deadObjects = deadObjects
    picture.pins = pinCount
    picture.evictions = evictions
    picture.evictedBytes = evictedBytes
    picture.stores = stores
    picture.conflicts = conflicts
    picture.expired = expired
    picture.purged = purged
    picture.namespaces = namespaces.map { namespace in
      let share = shares[Int(namespace.number)]
      return PoolStatistics.NamespaceShare(
        name: namespace.name, objects: share.objects, bytes: share.bytes,
        generation: namespace.generation)
    }
  }
}
