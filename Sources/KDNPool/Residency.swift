internal import KDNCore

/// All objects in the pool: chains, order of eviction, pins, ends of TTLs, and counts.
///
/// The slow half of the index, behind one lock; lookups never take it. It knows places by slot
/// number; what it drops it returns, so that memory is freed after the lock is.
struct Residency: Sendable {
  /// What an eviction found of a candidate.
  enum Verdict {
    case removed
    /// Leases of matches keep it; `unpark` hears of their end.
    case leased
    /// A reader keeps it for a moment.
    case read
  }

  /// How many objects and bytes are somewhere.
  struct Census: Sendable {
    var objects = 0
    var bytes = 0
    /// Those of them that the slower tier holds too.
    var heldObjects = 0
    var heldBytes = 0
  }

  var chains = Chains()
  private var candidates = IndexedHeap<EvictionRank>()
  private var pins = IndexedHeap<Instant>()
  private var expiries = IndexedHeap<Instant>()
  /// Candidates set aside because they were leased when their turn came.
  private var parked: Set<Int32> = []
  private(set) var policy: any EvictionPolicy

  /// Live objects of each namespace, by its number.
  private(set) var shares: [Census] = []
  private(set) var total = Census()
  private(set) var deadObjects = 0
  var evictions: UInt64 = 0
  var evictedBytes: UInt64 = 0
  var stores: UInt64 = 0
  var conflicts: UInt64 = 0
  var expired: UInt64 = 0
  var purged: UInt64 = 0

  init(policy: any EvictionPolicy) { self.policy = policy }

  /// How many objects are pinned.
  var pinCount: Int { pins.count }
  /// When the next pin ends.
  var nextPinEnd: Instant? { pins.first?.key }

  /// Makes room to count a namespace; its number must be the next one.
  mutating func addNamespace() {
    shares.append(Census())
    chains.addNamespace()
  }

  /// Adds an object, which must be of its namespace's present generation; `parent` is its
  /// parent if that is here.
  mutating func insert(_ object: StoredObject, parent: StoredObject?) {
    let change = chains.insert(object, under: parent)
    let slot = object.slot
    if let covered = change.covered, policy.keepsParents { candidates.remove(covered) }
    offer(slot)
    if object.expiry != .never { expiries.set(slot, object.expiry) }
    count(object, +1)
  }

  /// Drops an object that is here; its children become orphans, its parent may become a
  /// candidate.
  mutating func remove(_ object: StoredObject) {
    let slot = object.slot
    let change = chains.remove(object)
    candidates.remove(slot)
    pins.remove(slot)
    expiries.remove(slot)
    parked.remove(slot)
    count(object, -1)
    if let uncovered = change.uncovered { offer(uncovered) }
    for orphan in change.orphans where candidates.contains(orphan) { offer(orphan) }
  }

  /// Ends a namespace's generation in constant time; its objects wait to be reclaimed.
  mutating func endGeneration(of namespace: Namespace) -> Census {
    let share = shares[Int(namespace.number)]
    shares[Int(namespace.number)] = Census()
    total.objects -= share.objects
    total.bytes -= share.bytes
    deadObjects += share.objects
    purged += UInt64(share.objects)
    namespace.endGeneration()
    chains.endGeneration(of: namespace.number)
    return share
  }

  /// Puts an object among the candidates for eviction, unless a child or a pin keeps it.
  private mutating func offer(_ slot: Int32) {
    guard !pins.contains(slot), !parked.contains(slot),
      !(policy.keepsParents && chains.hasChildren(slot))
    else { return }
    candidates.set(slot, rank(slot))
  }

  private func rank(_ slot: Int32) -> EvictionRank {
    policy.rank(chains[slot].evictionFacts(isOrphan: chains.isOrphan(slot)))
  }

  private mutating func count(_ object: StoredObject, _ sign: Int) {
    guard object.generation == object.namespace.generation else {
      deadObjects += sign
      return
    }
    shares[Int(object.namespace.number)].objects += sign
    shares[Int(object.namespace.number)].bytes += sign * object.byteCount
    if object.isHeld { countHeld(object, sign) }
    total.objects += sign
    total.bytes += sign * object.byteCount
  }

  private mutating func countHeld(_ object: StoredObject, _ sign: Int) {
    shares[Int(object.namespace.number)].heldObjects += sign
    shares[Int(object.namespace.number)].heldBytes += sign * object.byteCount
  }

  /// Notes whether the slower tier holds an object, which may be gone from here by now.
  mutating func setHeld(_ object: StoredObject, _ isHeld: Bool) {
    guard object.isHeld != isHeld else { return }
    object.isHeld = isHeld
    guard object.slot >= 0, object.generation == object.namespace.generation else { return }
    countHeld(object, isHeld ? +1 : -1)
  }
}

extension Residency {
  /// Evicts the candidate of least rank that `take` removes from the index; nil if none can go.
  ///
  /// Ranks grow by use without being told, so the first is ranked anew until it stays first.
  mutating func evict(_ take: (StoredObject) -> Verdict) -> StoredObject? {
    var read: [Int32] = []
    defer { for slot in read { offer(slot) } }
    while let (known, slot) = candidates.first {
      let present = rank(slot)
      guard present <= known else {
        candidates.set(slot, present)
        continue
      }
      let object = chains[slot]
      switch take(object) {
      case .leased:
        candidates.remove(slot)
        parked.insert(slot)
      case .read:
        candidates.remove(slot)
        read.append(slot)
      case .removed:
        policy.evicted(present)
        remove(object)
        evictions += 1
        evictedBytes += UInt64(object.byteCount)
        return object
      }
    }
    return nil
  }

  /// Hears that the last lease of `object` ended.
  mutating func unpark(_ object: StoredObject) {
    guard object.slot >= 0, parked.remove(object.slot) != nil else { return }
    offer(object.slot)
  }

  /// Pins an object that is here until `end`; a pin never shortens another.
  mutating func pin(_ object: StoredObject, until end: Instant) {
    let slot = object.slot
    pins.set(slot, max(end, pins.key(of: slot) ?? end))
    candidates.remove(slot)
    parked.remove(slot)
  }

  /// When the pin of an object ends; nil without one.
  func pinEnd(of object: StoredObject) -> Instant? {
    object.slot >= 0 ? pins.key(of: object.slot) : nil
  }

  /// Ends the pin of an object and says whether there was one.
  mutating func unpin(_ object: StoredObject) -> Bool {
    guard object.slot >= 0, pins.contains(object.slot) else { return false }
    pins.remove(object.slot)
    offer(object.slot)
    return true
  }

  /// Ends up to `countMax` pins whose time is over; says whether more are due.
  mutating func endPins(by now: Instant, countMax: Int = .max) -> Bool {
    var left = countMax
    while let (end, slot) = pins.first, end <= now {
      guard left > 0 else { return true }
      left -= 1
      pins.remove(slot)
      offer(slot)
    }
    return false
  }

  /// An object whose TTL has ended; it stays until `remove`.
  func nextExpired(by now: Instant) -> StoredObject? {
    guard let (end, slot) = expiries.first, end <= now else { return nil }
    return chains[slot]
  }
}
