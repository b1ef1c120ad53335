internal import Synchronization

/// The right to write into a fresh extent; not sealed, the extent goes back when it is dropped.
@safe package struct Reservation: ~Copyable, Sendable {
  private let extent: Extent

  init(_ extent: Extent) { self.extent = extent }

  /// Length in bytes, as asked for.
  package var byteCount: Int { extent.byteCount }
  /// Whether it begins at a page and the rest of its last page belongs to it too.
  package var ownsWholePages: Bool { extent.ownsWholePages }
  /// The slab that it lies in.
  package var slab: Slab { extent.slab }
  /// Bytes from the beginning of the slab.
  package var offset: Int { extent.offset }
  /// First byte; writable until the reservation is sealed or dropped.
  @unsafe package var base: UnsafeMutableRawPointer { unsafe extent.base }

  /// Ends writing; from now on the bytes are only read.
  ///
  /// `companion` lives as long as the bytes do.
  package consuming func seal(keeping companion: (any AnyObject & Sendable)? = nil) -> Block {
    Block(extent, companion)
  }
}

/// Sealed bytes; the extent goes back to the arena with the last reference.
package final class Block: Sendable {
  private let extent: Extent
  private let leases = Atomic<Int>(0)
  private let companion: (any AnyObject & Sendable)?

  fileprivate init(_ extent: Extent, _ companion: (any AnyObject & Sendable)?) {
    self.extent = extent
    self.companion = companion
  }

  /// Length in bytes.
  package var byteCount: Int { extent.byteCount }
  /// First byte; readable as long as the block lives.
  @unsafe package var base: UnsafeRawPointer { unsafe UnsafeRawPointer(extent.base) }
  /// Whether it begins at a page and the rest of its last page belongs to it too.
  package var ownsWholePages: Bool { extent.ownsWholePages }
  /// The slab that it lies in, for clients that map slabs and devices that register them.
  package var slab: Slab { extent.slab }
  /// Bytes from the beginning of the slab.
  package var offset: Int { extent.offset }
  /// Whether anybody reads in place.
  package var isLeased: Bool {
    // Acquiring: who sees no lease also sees that reading has ended.
    leases.load(ordering: .acquiring) > 0
  }

  /// Grants a right to read in place.
  package func lease() -> Lease {
    leases.add(1, ordering: .relaxed)
    return Lease(self)
  }

  fileprivate func endLease() { leases.subtract(1, ordering: .releasing) }
}

/// A right to read a block in place; ends when it is dropped.
package struct Lease: ~Copyable, Sendable {
  /// The block that is read.
  package let block: Block

  fileprivate init(_ block: Block) { self.block = block }

  deinit { block.endLease() }

  /// Length in bytes.
  package var byteCount: Int { block.byteCount }
  /// First byte; readable as long as the lease lives.
  @unsafe package var base: UnsafeRawPointer { unsafe block.base }
}

/// A piece of a slab that gives itself back.
final class Extent: Sendable {
  let byteCount: Int
  let slab: Slab
  var base: UnsafeMutableRawPointer { unsafe slab.base + grant.offset }
  var offset: Int { grant.offset }
  var ownsWholePages: Bool { grant.isWholePages }
  private let slot: Int
  private let grant: ExtentAllocator.Grant
  private let arena: Arena

  init(
    byteCount: Int, slab: Slab, slot: Int, grant: ExtentAllocator.Grant, arena: Arena
  ) {
    self.byteCount = byteCount
    self.slab = slab
    self.slot = slot
    self.grant = grant
    self.arena = arena
  }

  deinit { arena.free(grant, inSlot: slot) }
}
