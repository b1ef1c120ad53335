internal import KDNCore

/// All objects in the pool: chains, order of eviction, pins, ends of TTLs, and counts.
///
/// The slow half of the index, behind one lock; lookups never take it. It knows places by slot
/// number; what it drops it returns, so that memory is freed after the lock is.
struct Residency: Sendable {
  var chains = Chains()
  /// Ranks in the order of one's own tenant, lowered by the tenant's aging among all tenants.
  var candidates = TenantHeap<EvictionRank> { rank, aging in
    EvictionRank(value: rank.value - aging, order: rank.order)
  }
  var pins = TenantHeap<Instant>()
  private var expiries = TenantHeap<Instant>()
  /// Candidates set aside because they were leased when their turn came.
  private var parked: Set<Int32> = []
  /// How many of them each namespace has.
  private var parkedCounts: [Int] = []
  var policy: any EvictionPolicy
  /// Tenants that may be above their quotas because those were lowered, by number.
  var lowered: [Namespace] = []

  /// Live objects of each namespace, by its number.
  private(set) var shares: [ResidencyCensus] = []
  private(set) var total = (objects: 0, bytes: 0)
  private(set) var deadObjects = 0
  /// How many objects ever came; the number of the youngest.
  private(set) var arrivals: UInt64 = 0
  var evictions: UInt64 = 0
  var evictedBytes: UInt64 = 0
  var stores: UInt64 = 0
  var conflicts: UInt64 = 0
  var expired: UInt64 = 0
  var purged: UInt64 = 0

  init(policy: any EvictionPolicy) { self.policy = policy }

  /// Makes room to count a namespace; its number must be the next one.
  mutating func addNamespace() {
    shares.append(ResidencyCensus())
    parkedCounts.append(0)
    chains.addNamespace()
  }

  /// Adds an object, which must be of its namespace's present generation; `parent` is its
  /// parent if that is here.
  mutating func insert(_ object: StoredObject, parent: StoredObject?) {
    arrivals += 1
    object.arrival = arrivals
    let change = chains.insert(object, under: parent)
    let slot = object.slot
    if let covered = change.covered, policy.keepsParents {
      candidates.remove(covered, of: object.namespace.number)
    }
    offer(slot)
    if object.expiry != .never { expiries.set(slot, of: object.namespace.number, object.expiry) }
    count(object, +1)
  }

  /// Drops an object that is here; its children become orphans, its parent may become a
  /// candidate.
  mutating func remove(_ object: StoredObject) {
    let (slot, tenant) = (object.slot, object.namespace.number)
    endPin(of: object)
    let change = chains.remove(object)
    candidates.remove(slot, of: tenant)
    expiries.remove(slot, of: tenant)
    endParking(of: slot, tenant)
    count(object, -1)
    if let uncovered = change.uncovered { offer(uncovered) }
    for orphan in change.orphans where candidates.contains(orphan) { offer(orphan) }
  }

  /// Ends a namespace's generation in constant time; its objects wait to be reclaimed.
  mutating func endGeneration(of namespace: Namespace) -> ResidencyCensus {
    let share = shares[Int(namespace.number)]
    shares[Int(namespace.number)] = ResidencyCensus()
    total.objects -= share.objects
    total.bytes -= share.bytes
    deadObjects += share.objects
    purged += UInt64(share.objects)
    namespace.endGeneration()
    chains.endGeneration(of: namespace.number)
    return share
  }

  /// Puts an object among the candidates for eviction, unless a child or a pin keeps it.
  mutating func offer(_ slot: Int32) {
    guard !pins.contains(slot), !parked.contains(slot),
      !(policy.keepsParents && chains.hasChildren(slot))
    else { return }
    candidates.set(slot, of: chains[slot].namespace.number, rank(slot))
  }

  func rank(_ slot: Int32) -> EvictionRank {
    policy.rank(chains[slot].evictionFacts(isOrphan: chains.isOrphan(slot)))
  }

  private mutating func count(_ object: StoredObject, _ sign: Int) {
    guard object.generation == object.namespace.generation else {
      deadObjects += sign
      return
    }
    shares[Int(object.namespace.number)].count(object, sign)
    if object.isHeld { shares[Int(object.namespace.number)].countHeld(object, sign) }
    total.objects += sign
    total.bytes += sign * object.storedBytes
  }

  /// Gives an object, which must be here, its bytes in another form; the stripe lock must be held.
  mutating func setBody(_ body: StoredBody, of object: StoredObject) {
    let isPinned = pins.contains(object.slot)
    if isPinned { countPinned(object, -1) }
    count(object, -1)
    object.body = body
    count(object, +1)
    if isPinned { countPinned(object, +1) }
    if candidates.contains(object.slot) { offer(object.slot) }
  }

  /// Notes whether the slower tier holds an object, which may be gone from here by now.
  mutating func setHeld(_ object: StoredObject, _ isHeld: Bool) {
    guard object.isHeld != isHeld else { return }
    object.isHeld = isHeld
    guard object.slot >= 0, object.generation == object.namespace.generation else { return }
    shares[Int(object.namespace.number)].countHeld(object, isHeld ? +1 : -1)
  }

  /// An object whose TTL has ended; it stays until `remove`.
  func nextExpired(by now: Instant) -> StoredObject? {
    guard let first = expiries.first, first.key <= now else { return nil }
    return chains[first.slot]
  }

  /// An object of one namespace whose TTL has ended; it stays until `remove`.
  func nextExpired(of namespace: UInt32, by now: Instant) -> StoredObject? {
    guard let first = expiries.first(of: namespace), first.key <= now else { return nil }
    return chains[first.slot]
  }
}

extension Residency {
  /// Sets a candidate aside until its leases end.
  mutating func park(_ slot: Int32, _ tenant: UInt32) {
    candidates.remove(slot, of: tenant)
    guard parked.insert(slot).inserted else { return }
    parkedCounts[Int(tenant)] += 1
  }

  /// Whether any candidate of a tenant, or of all, is set aside.
  func isAnyParked(of tenant: UInt32?) -> Bool {
    tenant.map { parkedCounts[Int($0)] > 0 } ?? !parked.isEmpty
  }

  /// Hears that the last lease of `object` ended.
  mutating func unpark(_ object: StoredObject) {
    guard object.slot >= 0, endParking(of: object.slot, object.namespace.number) else { return }
    offer(object.slot)
  }

  @discardableResult
  private mutating func endParking(of slot: Int32, _ tenant: UInt32) -> Bool {
    guard parked.remove(slot) != nil else { return false }
    parkedCounts[Int(tenant)] -= 1
    return true
  }

  /// How many pins there are.
  var pinCount: Int { pins.count }

  /// Pins an object that is here until `end`; a pin never shortens another.
  mutating func pin(_ object: StoredObject, until end: Instant) {
    let (slot, tenant) = (object.slot, object.namespace.number)
    let known = pins.key(of: slot, tenant)
    pins.set(slot, of: tenant, max(end, known ?? end))
    candidates.remove(slot, of: tenant)
    endParking(of: slot, tenant)
    if known == nil { countPinned(object, +1) }
  }

  /// When the pin of an object ends; nil without one.
  func pinEnd(of object: StoredObject) -> Instant? {
    object.slot >= 0 ? pins.key(of: object.slot, object.namespace.number) : nil
  }

  /// Ends the pin of an object and says whether there was one.
  mutating func unpin(_ object: StoredObject) -> Bool {
    guard object.slot >= 0, endPin(of: object) else { return false }
    offer(object.slot)
    return true
  }

  /// Ends up to `countMax` pins whose time is over; says whether more are due.
  mutating func endPins(by now: Instant, countMax: Int = .max) -> Bool {
    var left = countMax
    while let first = pins.first, first.key <= now {
      guard left > 0 else { return true }
      left -= 1
      _ = unpin(chains[first.slot])
    }
    return false
  }

  @discardableResult
  private mutating func endPin(of object: StoredObject) -> Bool {
    guard pins.contains(object.slot) else { return false }
    pins.remove(object.slot, of: object.namespace.number)
    countPinned(object, -1)
    return true
  }

  private mutating func countPinned(_ object: StoredObject, _ sign: Int) {
    guard object.generation == object.namespace.generation else { return }
    shares[Int(object.namespace.number)].countPinned(object, sign)
  }
}
