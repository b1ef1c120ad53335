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
  /// What the tenant did; connections count here too.
  package let counters = NamespaceCounters()

  let quota = QuotaAccount()
  let openReservations = Counter()
  private let agingBits = Atomic<UInt64>(0)
  private let currentLimits = Guarded(NamespaceLimits.none)
  private let currentGeneration: Atomic<UInt64>
  private let layouts = Guarded<[LayoutID: LayoutGeometry]>([:])

  init(name: NamespaceName, number: UInt32, generation: UInt64) {
    self.name = name
    self.number = number
    self.owner = ArenaOwner(number: number)
    currentGeneration = Atomic(generation)
  }

  /// Grows by one with each purge of the whole namespace; objects of older ones are gone.
  package var generation: UInt64 { currentGeneration.load(ordering: .acquiring) }

  /// The tenant's limits.
  package var limits: NamespaceLimits { currentLimits.withLock { $0 } }

  func setLimits(_ limits: NamespaceLimits) {
    currentLimits.withLock { $0 = limits }
    quota.bytesMax = limits.ramBytesMax ?? .max
  }

  /// How far the policy's age has run ahead for this tenant by evictions for its own quota.
  var aging: Double {
    get { Double(bitPattern: agingBits.load(ordering: .relaxed)) }
    set { agingBits.store(newValue.bitPattern, ordering: .relaxed) }
  }

  /// Makes every object of the namespace a thing of the past; the residency lock must be held.
  func endGeneration() {
    currentGeneration.wrappingAdd(1, ordering: .acquiringAndReleasing)
  }

  /// Registers `layout`, or finds that it is registered; says whether it is new.
  ///
  /// - Throws: `fault` if the id belongs to other facts, `limit` beyond `countMax` layouts.
  func register(_ layout: Layout, countMax: Int) throws(PoolRefusal) -> Bool {
    let id = layout.id
    let isNew = layouts.withLock { known -> Result<Bool, PoolRefusal> in
      if let geometry = known[id] {
        guard geometry.layout != layout else { return .success(false) }
        return .failure(
          .fault(FieldFault("layoutID", value: 1, limit: 0, "this id belongs to other facts")))
      }
      guard known.count < countMax else {
        return .failure(
          .limit(FieldFault("layouts", value: known.count, limit: countMax, "too many layouts")))
      }
      known[id] = LayoutGeometry(layout)
      return .success(true)
    }
    return try isNew.get()
  }

  /// What the tokens of an object take in its layout's own form; its own length where the layout
  /// does not tell.
  func rawByteCount(of facts: StoreFacts) -> Int {
    guard facts.key.kind == .layout, facts.key.variant != 0,
      let bytes = try? geometry(of: facts.key.layout)?.byteCount(
        of: facts.key.part, tokens: facts.tokenCount)
    else { return facts.byteCount }
    return bytes
  }

  /// The geometry of a registered layout.
  func geometry(of id: LayoutID) -> LayoutGeometry? {
    layouts.withLock { $0[id] }
  }
}
