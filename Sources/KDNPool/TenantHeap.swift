/// Numbered slots of many tenants, least key first, in each tenant and over all of them.
///
/// A heap for each tenant under a heap of the tenants' firsts. `set` and `remove` take time
/// logarithmic in a tenant's slots and in the number of tenants. A slot is of one tenant at a time.
struct TenantHeap<Key: Comparable & Sendable>: Sendable {
  private struct Entry: Sendable {
    var key: Key
    var slot: Int32
  }

  private struct Tenant: Sendable {
    var entries: [Entry] = []
    /// How far its keys are lowered when tenants are compared.
    var offset = 0.0
  }

  private var tenants: [Tenant] = []
  /// Place of each slot in its tenant's heap; -1 when it has none.
  private var places: [Int32] = []
  private var firsts = IndexedHeap<Key>()
  private let lower: @Sendable (_ key: Key, _ offset: Double) -> Key
  /// How many slots are in the heaps.
  private(set) var count = 0

  /// An empty heap; `lower` lowers a key by its tenant's offset when tenants are compared.
  init(lower: @escaping @Sendable (_ key: Key, _ offset: Double) -> Key = { key, _ in key }) {
    self.lower = lower
  }

  /// The slot with the least key of all, and its tenant.
  var first: (key: Key, slot: Int32, tenant: UInt32)? {
    guard let tenant = firsts.first.map({ UInt32($0.slot) }), let first = first(of: tenant) else {
      return nil
    }
    return (first.key, first.slot, tenant)
  }

  /// The slot with a tenant's least key.
  func first(of tenant: UInt32) -> (key: Key, slot: Int32)? {
    guard Int(tenant) < tenants.count else { return nil }
    return tenants[Int(tenant)].entries.first.map { ($0.key, $0.slot) }
  }

  /// Whether `slot` is in.
  func contains(_ slot: Int32) -> Bool { Int(slot) < places.count && places[Int(slot)] >= 0 }

  /// The key of a tenant's slot; nil if it is not in.
  func key(of slot: Int32, _ tenant: UInt32) -> Key? {
    contains(slot) ? tenants[Int(tenant)].entries[Int(places[Int(slot)])].key : nil
  }

  /// How far a tenant's keys are lowered.
  func offset(of tenant: UInt32) -> Double {
    Int(tenant) < tenants.count ? tenants[Int(tenant)].offset : 0
  }

  /// Lowers a tenant's keys in comparison with others' by `offset`.
  mutating func setOffset(of tenant: UInt32, _ offset: Double) {
    makePlace(for: tenant)
    tenants[Int(tenant)].offset = offset
    rankFirst(of: tenant)
  }

  /// Puts a tenant's slot in with `key`, or moves it there.
  mutating func set(_ slot: Int32, of tenant: UInt32, _ key: Key) {
    makePlace(for: tenant)
    while places.count <= Int(slot) { places.append(-1) }
    let place = Int(places[Int(slot)])
    if place < 0 {
      tenants[Int(tenant)].entries.append(Entry(key: key, slot: slot))
      let last = tenants[Int(tenant)].entries.count - 1
      places[Int(slot)] = Int32(last)
      count += 1
      rise(from: last, Int(tenant))
    } else {
      tenants[Int(tenant)].entries[place].key = key
      sink(from: rise(from: place, Int(tenant)), Int(tenant))
    }
    rankFirst(of: tenant)
  }

  /// Takes a tenant's slot out, if it is in.
  mutating func remove(_ slot: Int32, of tenant: UInt32) {
    guard contains(slot) else { return }
    let place = Int(places[Int(slot)])
    places[Int(slot)] = -1
    count -= 1
    let last = tenants[Int(tenant)].entries.removeLast()
    if place < tenants[Int(tenant)].entries.count {
      tenants[Int(tenant)].entries[place] = last
      places[Int(last.slot)] = Int32(place)
      sink(from: rise(from: place, Int(tenant)), Int(tenant))
    }
    rankFirst(of: tenant)
  }
}

extension TenantHeap {
  private mutating func makePlace(for tenant: UInt32) {
    while tenants.count <= Int(tenant) { tenants.append(Tenant()) }
  }

  private mutating func rankFirst(of tenant: UInt32) {
    guard let key = first(of: tenant)?.key else { return firsts.remove(Int32(tenant)) }
    firsts.set(Int32(tenant), lower(key, tenants[Int(tenant)].offset))
  }

  @discardableResult
  private mutating func rise(from start: Int, _ tenant: Int) -> Int {
    var place = start
    while place > 0 {
      let above = (place - 1) / 2
      guard tenants[tenant].entries[place].key < tenants[tenant].entries[above].key else { break }
      exchange(place, above, tenant)
      place = above
    }
    return place
  }

  private mutating func sink(from start: Int, _ tenant: Int) {
    var place = start
    while true {
      var least = place
      for below in [2 * place + 1, 2 * place + 2]
      where below < tenants[tenant].entries.count
        && tenants[tenant].entries[below].key < tenants[tenant].entries[least].key
      {
        least = below
      }
      guard least != place else { return }
      exchange(place, least, tenant)
      place = least
    }
  }

  private mutating func exchange(_ one: Int, _ other: Int, _ tenant: Int) {
    tenants[tenant].entries.swapAt(one, other)
    places[Int(tenants[tenant].entries[one].slot)] = Int32(one)
    places[Int(tenants[tenant].entries[other].slot)] = Int32(other)
  }
}
