package import KDNCore

/// Limits of a pool; each has a documented default.
package struct PoolConfiguration: Sendable {
  /// Hard cap on arena, index, leases and connection buffers together.
  package var memoryBytesMax: Int
  /// How many locks the index is spread over.
  package var indexStripes = 16
  /// Bytes of index charged for each object, from reserve until its last reader is gone.
  ///
  /// Measured with 200 000 objects: 491 resident bytes of object, block, extent, index cells and
  /// places in the eviction order; the rest is for tables that have just doubled.
  package var objectOverheadBytes = 768
  /// Most namespaces.
  package var namespacesMax = 1024
  /// Most layouts registered in one namespace.
  package var layoutsPerNamespaceMax = 1024
  /// Most documents of one namespace.
  package var documentsPerNamespaceMax = 65_536
  /// Epochs of documents grow from here in namespaces of which nothing is known: the wall clock's
  /// milliseconds at the start keep them from going back where nothing is kept.
  package var documentEpochBase: UInt64 = 0
  /// Most removed objects whose cause of removal is remembered, over all stripes.
  package var ghostsMax = 1 << 18
  /// Most waits of one namespace for objects not yet published.
  package var waitersMax = 4096
  /// Most leases of one owner.
  package var leasesPerOwnerMax = 1024
  /// Lease granted when a match names none.
  package var leaseDefaultMilliseconds: UInt64 = 10_000
  /// Longest lease; longer wishes are cut to it.
  package var leaseMaxMilliseconds: UInt64 = 60_000
  /// Longest pin; longer wishes are cut to it.
  package var pinMaxMilliseconds: UInt64 = 30 * 24 * 3_600_000
  /// How long a writer may be silent; the longest that `busy` asks to wait.
  package var reservationTimeoutMilliseconds: UInt64 = 30_000
  /// Most objects that wait to be written to the slower tier.
  package var writeBehindObjectsMax = 1 << 13
  /// Most bytes of objects that the slower tier is writing; they cannot be evicted meanwhile.
  package var writeBehindBytesMax = 256 << 20
  /// Most bytes a day that are written to the slower tier unasked, that is neither for durability
  /// nor for a pin; 0 for no limit.
  package var writeBytesPerDay = 0
  /// Most reads from the slower tier that prefetches of one namespace have under way.
  package var prefetchesMax = 64
  /// How long a read waits for a slower tier that is busy.
  package var readStallMilliseconds: UInt64 = 30_000
  /// How long a read waits for others to give back memory.
  package var roomWaitMilliseconds: UInt64 = 5_000
  /// When to ask again for durability that was refused as busy.
  package var durabilityRetryMilliseconds: UInt64 = 100

  /// Creates the default limits under a cap on memory.
  package init(memoryBytesMax: Int) { self.memoryBytesMax = memoryBytesMax }

  var ghostsPerStripe: Int { ghostsMax / indexStripes }

  /// Bytes charged once for the ghosts and for the stripes themselves.
  package var fixedBytes: Int {
    indexStripes * (Stripe.fixedBytes + GhostTable.byteCount(entries: ghostsPerStripe))
  }

  /// Bytes charged once for the queue of what is to be written to a slower tier.
  package var writeQueueBytes: Int { writeBehindObjectsMax * WriteQueue.bytesPerEntry }

  /// The least that a plan leaves beside the arena: the default ghosts, and as much again.
  package static let overheadBytesMin = 4 << 20

  /// Divides a cap between the arena, in whole slabs, and everything else.
  ///
  /// Everything else gets 48 MiB and a 64th of the cap, but no more than a quarter, and never
  /// less than `overheadBytesMin`; `stagingBytes` for a second arena come on top of it.
  /// `overheadBytes` has in it the `spareBytes` that whole slabs leave over.
  /// - Throws: a fault that names `slabBytes` if it is not positive, or `memoryBytesMax` if not
  ///   one slab fits.
  package static func plan(
    memoryBytesMax: Int, slabBytes: Int, stagingBytes: Int = 0
  ) throws(FieldFault) -> (arenaBytes: Int, overheadBytes: Int, spareBytes: Int) {
    guard slabBytes > 0 else {
      throw FieldFault("slabBytes", value: slabBytes, limit: 1, "must be positive")
    }
    let wanted = min(max(memoryBytesMax, 0) / 4, 48 << 20 + memoryBytesMax / 64)
    let overheadBytes = max(wanted, overheadBytesMin) + stagingBytes
    let arenaBytes = (memoryBytesMax - overheadBytes) / slabBytes * slabBytes
    guard arenaBytes > 0 else {
      throw FieldFault(
        "memoryBytesMax", value: memoryBytesMax,
        limit: slabBytes + max(slabBytes / 3 + 1, overheadBytesMin) + stagingBytes,
        "no room for one slab beside the index")
    }
    return (
      arenaBytes, memoryBytesMax - arenaBytes, memoryBytesMax - overheadBytes - arenaBytes
    )
  }
}
