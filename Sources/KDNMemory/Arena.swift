internal import KDNCore

/// All memory that KV lies in: slabs, each of one owner at a time, divided into extents.
///
/// A slab passes to another owner only as a fresh memfd, so that a client that maps its tenant's
/// slabs never sees another's bytes. One short lock guards the bookkeeping; it is never held while
/// bytes are copied.
package final class Arena: Sendable {
  /// What was really obtained at start.
  package let placement: ArenaPlacement
  /// Whether slabs can be passed to clients: nobody but this process can write into any of them.
  package let isShareable: Bool
  private let factory: SlabFactory
  private let state: Guarded<SlabTable>

  /// Maps all slabs, and has the kernel give their pages if so configured.
  ///
  /// - Throws: `sizes` if not one slab fits, `system` if the kernel refuses the memory.
  package init(_ configuration: ArenaConfiguration) throws(ArenaError) {
    let factory = try SlabFactory(configuration)
    let slabs = try factory.makeAll()
    placement = factory.place(slabs)
    isShareable = slabs.allSatisfy(\.isSealed)
    self.factory = factory
    state = Guarded(SlabTable(slabs: slabs, slabBytes: factory.slabBytes))
  }

  /// Takes room for `byteCount` bytes in the owner's slabs, or in a free one.
  ///
  /// - Returns: nil if there is no room now: evict, or refuse.
  package func reserve(byteCount: Int, owner: ArenaOwner) -> Reservation? {
    guard canEverHold(byteCount: byteCount) else { return nil }
    let taken = withTable { $0.take(byteCount, owner, factory) }
    guard let taken else { return nil }
    return Reservation(
      Extent(
        byteCount: byteCount, slab: taken.slab, slot: taken.slot, grant: taken.grant,
        arena: self))
  }

  /// Whether an empty arena could hold an object of `byteCount` bytes.
  package func canEverHold(byteCount: Int) -> Bool {
    byteCount > 0 && byteCount <= placement.slabCount * placement.slabBytes
  }

  /// Drops what `owner` keeps with any slab, such as when its device is gone.
  package func dropCompanions(of owner: ObjectIdentifier) {
    for slab in withTable({ $0.slabs }) { slab.dropCompanions(of: owner) }
  }

  /// Bytes beyond the capacity: of slabs that were handed on while clients had them mapped.
  package var strandedBytes: Int { factory.stranded.byteCount }

  /// The state in numbers, at about one moment.
  package var statistics: ArenaStatistics { withTable { $0.statistics } }

  func free(_ grant: ExtentAllocator.Grant, inSlot slot: Int) {
    withTable { $0.give(grant, slot, factory) }
  }

  private func withTable<Result: Sendable>(_ body: (inout SlabTable) -> Result) -> Result {
    state.withLock { table in body(&table) }
  }
}
