package import KDNCore
package import KDNMemory
package import KDNTier
internal import Synchronization

/// A picture of a pool's counters and contents.
package struct PoolStatistics: Sendable {
  /// Contents of one namespace.
  package struct NamespaceShare: Sendable {
    /// The tenant's name.
    package let name: NamespaceName
    /// The tenant's limits.
    package let limits: NamespaceLimits
    /// Objects in RAM, of the present generation.
    package let objects: Int
    /// Their bytes.
    package let bytes: Int
    /// How often the whole namespace was purged.
    package let generation: UInt64
    /// Bytes of RAM charged to the tenant's quota: of objects, of reservations, and of what was
    /// dropped and is still being read or waits to be reclaimed.
    package let ramBytes: Int
    /// Objects pinned in RAM.
    package let pinnedObjects: Int
    /// Their bytes.
    package let pinnedBytes: Int
    /// What the slower tier has of it.
    package let below: TierUsage
    /// What it did.
    package let counts: NamespaceCounts

    /// Objects in the slower tier.
    package var diskObjects: Int { below.objects }
    /// Their bytes.
    package var diskBytes: Int { below.bytes }
  }

  /// Objects in RAM that are kept in one form.
  package struct CodecShare: Sendable, Equatable {
    /// The codec's name for bytes that were encoded here; else `raw` for the layout's own bytes,
    /// `opaque` for bytes of no layout, `variant-N` for another form of a layout's bytes,
    /// `variant-other` for those whose number is 64 or more.
    package let name: String
    /// How many objects.
    package let objects: Int
    /// Their bytes.
    package let bytes: Int
    /// What the same tokens take raw.
    package let rawBytes: Int
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
  /// Objects in RAM whose turn to make room may come: no child, pin or lease keeps them.
  package var evictableObjects = 0
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
  /// Objects in RAM by form, in a fixed order.
  package var codecs: [CodecShare] = []
  /// Objects in the slower tier by form, in a fixed order; `raw` for all that are not encoded.
  package var diskCodecs: [CodecShare] = []
  /// Encoding and decoding.
  package var coding = CodingStatistics()
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
    picture.refusals = refusals.load(ordering: .relaxed)
    picture.leases = leases.withLock { $0.count }
    picture.waiters = waiters.withLock { $0.count }
    let namespaces = namespaces
    picture.reservations = namespaces.reduce(0) { $0 + $1.openReservations.count }
    picture.namespaces = shares(of: namespaces)
    residency.withLock { $0.fill(&picture) }
    return picture
  }

  /// Contents and counts of one namespace alone.
  package func share(of namespace: Namespace) -> PoolStatistics.NamespaceShare {
    PoolStatistics.NamespaceShare(
      namespace, residency.withLock { $0.shares[Int(namespace.number)] }, usage(of: namespace))
  }

  /// Contents and counts of namespaces; the lock is held for a copy only.
  private func shares(of namespaces: [Namespace]) -> [PoolStatistics.NamespaceShare] {
    let shares = residency.withLock { $0.shares }
    return namespaces.map { namespace in
      PoolStatistics.NamespaceShare(
        namespace, shares[Int(namespace.number)], usage(of: namespace))
    }
  }

  private func usage(of namespace: Namespace) -> TierUsage {
    backing?.tier.usage(of: namespace.name) ?? TierUsage()
  }
}

extension Pool {
  private func fillTier(_ picture: inout PoolStatistics) {
    if let coding = coding.withLock({ $0 }) { picture.coding = coding.statistics }
    guard let backing else { return }
    picture.diskCodecs = backing.tier.forms.sorted { $0.key < $1.key }.map { codec, share in
      PoolStatistics.CodecShare(
        name: CodecNames.name(of: codec), objects: share.objects, bytes: share.bytes,
        rawBytes: share.rawBytes)
    }
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

extension PoolStatistics.NamespaceShare {
  fileprivate init(_ namespace: Namespace, _ share: ResidencyCensus, _ below: TierUsage) {
    self.init(
      name: namespace.name, limits: namespace.limits, objects: share.objects,
      bytes: share.bytes, generation: namespace.generation,
      ramBytes: namespace.quota.chargedBytes, pinnedObjects: share.pinnedObjects,
      pinnedBytes: share.pinnedBytes, below: below, counts: namespace.counters.snapshot)
  }
}

extension Residency {
  fileprivate func fill(_ picture: inout PoolStatistics) {
    picture.objects = total.objects
    picture.bytes = total.bytes
    picture.deadObjects = deadObjects
    picture.pins = pinCount
    picture.evictableObjects = candidates.count
    picture.evictions = evictions
    picture.evictedBytes = evictedBytes
    picture.stores = stores
    picture.conflicts = conflicts
    picture.expired = expired
    picture.purged = purged
    picture.codecs = codecs
  }

  private var codecs: [PoolStatistics.CodecShare] {
    var sums: [ObjectForm: ResidencyCensus.Form] = [:]
    for (form, part) in shares.lazy.flatMap(\.forms) {
      sums[form, default: ResidencyCensus.Form()].add(part)
    }
    return sums.sorted { $0.key < $1.key }.map { form, sum in
      PoolStatistics.CodecShare(
        name: form.name, objects: sum.objects, bytes: sum.bytes, rawBytes: sum.rawBytes)
    }
  }
}
