internal import KDNCore
internal import KDNMemory
internal import KDNPool

/// The part of STATS that speaks of the pool as a whole.
struct PoolReport: Codable {
  let objects: Int
  let bytes: Int
  let deadObjects: Int
  let memoryBytesMax: Int
  let chargedBytes: Int
  let indexBytes: Int
  let bufferBytes: Int
  let reservations: Int
  let leases: Int
  let pins: Int
  let waiters: Int
  let hitsTotal: UInt64
  let missesTotal: [String: UInt64]
  let evictionsTotal: UInt64
  let evictedBytesTotal: UInt64
  let storesTotal: UInt64
  let conflictsTotal: UInt64
  let expiredTotal: UInt64
  let purgedTotal: UInt64
  let refusalsTotal: UInt64

  init(_ statistics: PoolStatistics) {
    objects = statistics.objects
    bytes = statistics.bytes
    deadObjects = statistics.deadObjects
    memoryBytesMax = statistics.memoryBytesMax
    chargedBytes = statistics.chargedBytes
    indexBytes = statistics.indexBytes
    bufferBytes = statistics.bufferBytes
    reservations = statistics.reservations
    leases = statistics.leases
    pins = statistics.pins
    waiters = statistics.waiters
    hitsTotal = statistics.hits
    missesTotal = Dictionary(
      uniqueKeysWithValues: MissCause.allCases.map { ($0.name, statistics.misses[$0] ?? 0) })
    evictionsTotal = statistics.evictions
    evictedBytesTotal = statistics.evictedBytes
    storesTotal = statistics.stores
    conflictsTotal = statistics.conflicts
    expiredTotal = statistics.expired
    purgedTotal = statistics.purged
    refusalsTotal = statistics.refusals
  }
}

/// The part of STATS that speaks of the asker's own namespace.
struct NamespaceReport: Codable {
  let name: String
  let objects: Int
  let bytes: Int
  let generation: UInt64

  init(_ namespace: Namespace, _ statistics: PoolStatistics) {
    let share = statistics.namespaces.first { $0.name == namespace.name }
    name = namespace.name.text
    objects = share?.objects ?? 0
    bytes = share?.bytes ?? 0
    generation = namespace.generation
  }
}
