package import KDNCore
package import KDNMemory
internal import Synchronization

/// The RAM tier: which objects are here, who may read them, and what makes room for what.
///
/// All operations may be called from any thread. Locks: `names`, then `residency`; `waiters` or
/// `residency`, then one stripe; `leases` alone. A stripe's lock is the innermost; under it nothing
/// is called but the block's lease counter. Blocks are dropped, and waiters told, after all locks
/// are free.
package final class Pool: Sendable {
  /// The limits.
  package let configuration: PoolConfiguration
  let arena: Arena
  let clock: any MonotonicClock
  let budget: MemoryBudget
  let stripes: [Stripe]
  let residency: Guarded<Residency>
  let leases = Guarded(LeaseTable())
  let waiters = Guarded(WaitTable())
  /// Numbers the uses of objects.
  let useCount = Atomic<UInt64>(0)
  /// The policy's age, for uses noted outside the residency lock.
  let policyAgeBits: Atomic<UInt64>
  let bufferBytes = Atomic<Int>(0)
  let refusals = Atomic<UInt64>(0)
  let openReservations = Counter()
  private let names = Guarded(Names())

  private struct Names: Sendable {
    var byName: [NamespaceName: Namespace] = [:]
    var inOrder: [Namespace] = []
  }

  /// Makes an empty pool over `arena`, whose capacity and the fixed index must fit the cap.
  package convenience init(
    configuration: PoolConfiguration, arena: Arena, clock: any MonotonicClock
  ) {
    self.init(configuration: configuration, arena: arena, clock: clock) { ChainAwarePolicy() }
  }

  /// Makes an empty pool over `arena` that evicts by the policy that `policy` makes.
  package init(
    configuration: PoolConfiguration, arena: Arena, clock: any MonotonicClock,
    policy: () -> some EvictionPolicy
  ) {
    precondition(configuration.indexStripes > 0, "an index has stripes")
    self.configuration = configuration
    self.arena = arena
    self.clock = clock
    budget = MemoryBudget(
      bytesMax: configuration.memoryBytesMax,
      fixedBytes: arena.statistics.capacityBytes + configuration.fixedBytes)
    let ghosts = configuration.ghostsPerStripe
    stripes = (0..<configuration.indexStripes).map { _ in Stripe(ghosts: ghosts) }
    let policy = policy()
    policyAgeBits = Atomic(policy.age.bitPattern)
    residency = Guarded(Residency(policy: policy))
  }

  /// Finds a namespace, or makes it.
  ///
  /// - Throws: `limit` beyond `namespacesMax`.
  package func namespace(_ name: NamespaceName) throws(PoolRefusal) -> Namespace {
    let limit = configuration.namespacesMax
    let found = names.withLock { names -> Namespace? in
      if let known = names.byName[name] { return known }
      guard names.inOrder.count < limit else { return nil }
      let made = Namespace(name: name, number: UInt32(names.inOrder.count))
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

  /// All namespaces, in the order in which they were made.
  package var namespaces: [Namespace] { names.withLock { $0.inOrder } }

  /// Registers a layout in a namespace; again is no fault.
  ///
  /// - Throws: `fault` if the id belongs to other facts, `limit` beyond `layoutsPerNamespaceMax`.
  package func register(
    _ layout: Layout, in namespace: Namespace
  ) throws(PoolRefusal) -> LayoutID {
    try namespace.register(layout, countMax: configuration.layoutsPerNamespaceMax)
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
