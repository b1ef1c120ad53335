package import KDNCore
package import KDNMemory
internal import Synchronization

/// A tenant's own key space inside a pool.
package final class Namespace: Sendable {
  /// The tenant's name.
  package let name: NamespaceName
  /// Number of the namespace in its pool, from 0.
  package let number: UInt32
  /// Who owns the tenant's slabs in the arena.
  package let owner: ArenaOwner

  private let currentGeneration = Atomic<UInt64>(0)
  private let layouts = Guarded<[LayoutID: LayoutGeometry]>([:])

  init(name: NamespaceName, number: UInt32) {
    self.name = name
    self.number = number
    self.owner = ArenaOwner(number: number)
  }

  /// Grows by one with each purge of the whole namespace; objects of older ones are gone.
  package var generation: UInt64 { currentGeneration.load(ordering: .acquiring) }

  /// Makes every object of the namespace a thing of the past; the residency lock must be held.
  func endGeneration() {
    currentGeneration.wrappingAdd(1, ordering: .acquiringAndReleasing)
  }

  /// Registers `layout`, or finds that it is registered.
  ///
  /// - Throws: `fault` if the id belongs to other facts, `limit` beyond `countMax` layouts.
  func register(_ layout: Layout, countMax: Int) throws(PoolRefusal) -> LayoutID {
    let id = layout.id
    let refusal = layouts.withLock { known -> PoolRefusal? in
      if let geometry = known[id] {
        guard geometry.layout != layout else { return nil }
        return .fault(
          FieldFault("layoutID", value: 1, limit: 0, "this id belongs to other facts"))
      }
      guard known.count < countMax else {
        return .limit(
          FieldFault("layouts", value: known.count, limit: countMax, "too many layouts"))
      }
      known[id] = LayoutGeometry(layout)
      return nil
    }
    if let refusal { throw refusal }
    return id
  }

  /// The geometry of a registered layout.
  func geometry(of id: LayoutID) -> LayoutGeometry? {
    layouts.withLock { $0[id] }
  }
}
