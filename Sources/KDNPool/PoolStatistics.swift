package import KDNCore
package import KDNMemory

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
  /// Contents by namespace, in the order in which they were made.
  package var namespaces: [NamespaceShare] = []
}
