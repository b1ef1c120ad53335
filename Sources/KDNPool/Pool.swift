package import KDNCore
package import KDNMemory
package import KDNTier
internal import Synchronization

/// The objects in RAM and in the slower tier behind it: which are here, who may read them, and what
/// makes room for what.
///
/// All operations may be called from any thread. Locks: `names`, then `residency`; `waiters` or
/// `residency`, then one stripe; `residency`, then the fetch table, then one fetch; `leases`,
/// `keeps`, the write queue, the table of blends and one blend each alone. A stripe's lock is the
/// innermost; under it nothing is called but the block's lease counter. Blocks are dropped, waiters
/// told, and the slower tier called, after all locks are free. Jobs of the write queue, purges of
/// two tiers and replacements among them, are done by one thread at a time, which holds no lock
/// meanwhile.
package final class Pool: Sendable {
  /// The limits.
  package let configuration: PoolConfiguration
  let arena: Arena
  let clock: any MonotonicClock
  /// The slower tier; nil if there is only RAM.
  let backing: Backing?
  let budget: MemoryBudget
  let stripes: [Stripe]
  let residency: Guarded<Residency>
  let leases = Guarded(LeaseTable())
  let keeps = Guarded(KeepTable())
  let waiters = Guarded(WaitTable())
  let documents: DocumentBook
  /// Who hears of purges of whole namespaces.
  let purgeListener = Guarded<(@Sendable (NamespaceName) -> Void)?>(nil)
  /// Numbers the uses of objects.
  let useCount = Atomic<UInt64>(0)
  /// The policy's age, for uses noted outside the residency lock.
  let policyAgeBits: Atomic<UInt64>
  let bufferBytes = Atomic<Int>(0)
  /// The second of the clock at the last `tick`, so that no use has to read the clock.
  let tickSecond = Atomic<UInt32>(0)
  /// What encodes and decodes; nil as long as nothing does.
  let coding = Guarded<Coding?>(nil)
  /// What assembles blends; nil as long as nothing does.
  let blending = Guarded<Blending?>(nil)
  /// What applies edits to chunks; nil as long as nothing does.
  let editing = Guarded<Editing?>(nil)
  /// Forms that raw objects in RAM may be given at any moment; only grows.
  let formsInSight = Atomic<UInt32>(0)
  let refusals = Atomic<UInt64>(0)
  let times: PoolTimes
  /// Tells cursors of this run from those of others.
  let runNumber = UInt32.random(in: 0 ... .max)
  private let names = Guarded(Names())

  private struct Names: Sendable {
    var byName: [NamespaceName: Namespace] = [:]
    var inOrder: [Namespace] = []
  }

  /// Makes an empty pool over `arena`, whose capacity and the fixed index must fit the cap, and
  /// with a tier also those of `staging` and the write queue.
  ///
  /// `tier`: where objects that `admission` lets in are written, and read from when RAM lacks them;
  /// nil for RAM alone. `staging`: a small arena for such reads when RAM is full.
  package convenience init(
    configuration: PoolConfiguration, arena: Arena, clock: any MonotonicClock,
    wallClock: any WallClock = SystemWallClock(), tier: (any Tier)? = nil, staging: Arena? = nil,
    admission: any AdmissionPolicy = AdmitAll()
  ) {
    self.init(
      configuration: configuration, arena: arena, clock: clock, wallClock: wallClock, tier: tier,
      staging: staging, admission: admission
    ) { ChainAwarePolicy() }
  }

  /// Makes an empty pool over `arena` that evicts by the policy that `policy` makes.
  package init(
    configuration: PoolConfiguration, arena: Arena, clock: any MonotonicClock,
    wallClock: any WallClock = SystemWallClock(), tier: (any Tier)? = nil, staging: Arena? = nil,
    admission: any AdmissionPolicy = AdmitAll(), policy: () -> some EvictionPolicy
  ) {
    precondition(configuration.indexStripes > 0, "an index has stripes")
    self.configuration = configuration
    self.arena = arena
    times = PoolTimes(configuration)
    self.clock = clock
    backing = tier.map { tier in
      Backing(
        tier: tier, staging: staging, wallClock: wallClock, admission: admission, configuration)
    }
    budget = MemoryBudget(
      bytesMax: configuration.memoryBytesMax,
      fixedBytes: arena.statistics.capacityBytes + configuration.fixedBytes
        + (backing?.fixedBytes(configuration) ?? 0))
    documents = DocumentBook(configuration, budget: budget)
    let ghosts = configuration.ghostsPerStripe
    stripes = (0..<configuration.indexStripes).map { _ in Stripe(ghosts: ghosts) }
    let policy = policy()
    policyAgeBits = Atomic(policy.age.bitPattern)
    residency = Guarded(Residency(policy: policy))
  }

  /// Finds a namespace, or makes it, with the generation and layouts that the slower tier knows.
  ///
  /// - Throws: `limit` beyond `namespacesMax`.
  package func namespace(_ name: NamespaceName) throws(PoolRefusal) -> Namespace {
    let known = names.withLock { $0.byName[name] }
    if let known { return known }
    let tier = backing?.tier
    return try make(
      name, generation: tier?.generation(of: name) ?? 0, layouts: tier?.layouts(of: name) ?? [])
  }

  private func make(
    _ name: NamespaceName, generation: UInt64, layouts: [Layout]
  ) throws(PoolRefusal) -> Namespace {
    let limit = configuration.namespacesMax
    let layoutsMax = configuration.layoutsPerNamespaceMax
    let found = names.withLock { names -> Namespace? in
      if let known = names.byName[name] { return known }
      guard names.inOrder.count < limit else { return nil }
      let made = Namespace(
        name: name, number: UInt32(names.inOrder.count), generation: generation)
      // Those beyond a limit that was lowered since must be registered anew.
      for layout in layouts.prefix(layoutsMax) {
        _ = try? made.register(layout, countMax: layoutsMax)
      }
      names.byName[name] = made
      names.inOrder.append(made)
      residency.withLock { $0.addNamespace() }
      return made
    }
    guard let found else {
      throw .limit(FieldFault("namespace", value: limit, limit: limit, "too many namespaces"))
    }
    return found
  }

  /// A namespace that was made before; nil if there is none of that name.
  package func namespaceIfKnown(_ name: NamespaceName) -> Namespace? {
    names.withLock { $0.byName[name] }
  }

  /// All namespaces, in the order in which they were made.
  package var namespaces: [Namespace] { names.withLock { $0.inOrder } }

  /// Registers a layout in a namespace, across restarts if there is a slower tier; again is no
  /// fault.
  ///
  /// - Throws: `fault` if the id belongs to other facts, `limit` beyond `layoutsPerNamespaceMax`.
  package func register(
    _ layout: Layout, in namespace: Namespace
  ) throws(PoolRefusal) -> LayoutID {
    let countMax = configuration.layoutsPerNamespaceMax
    if try namespace.register(layout, countMax: countMax) {
      backing?.tier.register(layout, in: namespace.name)
    }
    return layout.id
  }

  /// The geometry of a layout registered in a namespace; nil if it is not.
  package func geometry(of layout: LayoutID, in namespace: Namespace) -> LayoutGeometry? {
    namespace.geometry(of: layout)
  }

  /// Charges memory of connections to the pool's cap; false, and nothing charged, if it is over.
  package func chargeBuffers(_ bytes: Int) -> Bool {
    guard budget.charge(bytes) else { return false }
    bufferBytes.wrappingAdd(bytes, ordering: .relaxed)
    return true
  }

  /// Takes back a charge of `chargeBuffers`.
  package func refundBuffers(_ bytes: Int) {
    bufferBytes.wrappingSubtract(bytes, ordering: .relaxed)
    budget.refund(bytes)
  }

  func stripe(of place: ChunkPlace) -> Stripe {
    stripes[Int(place.stripeBits) % stripes.count]
  }

  func stripe(of object: StoredObject) -> (stripe: Stripe, place: ChunkPlace) {
    let place = ChunkPlace(object.key.hash, in: object.namespace.number)
    return (stripe(of: place), place)
  }

  func nextUse() -> UInt64 { useCount.wrappingAdd(1, ordering: .relaxed).newValue }

  var presentSecond: UInt32 { tickSecond.load(ordering: .relaxed) }

  var policyAge: Double { Double(bitPattern: policyAgeBits.load(ordering: .relaxed)) }
}

/// A shared number of things that are open.
final class Counter: Sendable {
  private let number = Atomic<Int>(0)

  /// How many are open.
  var count: Int { number.load(ordering: .relaxed) }

  func add(_ difference: Int) { number.wrappingAdd(difference, ordering: .relaxed) }
}

/// Counts as open while it lives.
struct OpenCount: ~Copyable, Sendable {
  private let counter: Counter

  init(in counter: Counter) {
    self.counter = counter
    counter.add(1)
  }

  deinit { counter.add(-1) }
}
