import KDNCore

/// What the pool should do, said simply: lists and scans, no locks, no heaps, no slots.
struct Model {
  struct Name: Hashable {
    let namespace: Int
    let key: ObjectKey
  }

  struct Object {
    let id: Int
    let name: Name
    let parent: ChunkHash
    let byteCount: Int
    let firstToken: Int
    let tokenCount: Int
    let cost: UInt64
    let checksum: UInt64
    let expiry: UInt64
    let generation: UInt64
    var uses = 0
    var lastUse = 0
    var ageAtLastUse = 0.0
    var pinnedUntil: UInt64 = 0
    /// Which purge of a whole namespace ended it.
    var deathNumber: Int?
  }

  /// Owners number their leases each for itself.
  struct LeaseName: Hashable, Comparable {
    let owner: UInt64
    let number: UInt64

    static func < (left: LeaseName, right: LeaseName) -> Bool {
      (left.owner, left.number) < (right.owner, right.number)
    }
  }

  struct Lease {
    let deadline: UInt64
    let objects: [Int]
  }

  enum Drop: Equatable {
    case expired
    case dead
    case evicted
  }

  private(set) var objects: [Name: Object] = [:]
  private(set) var ghosts: [Name: MissCause] = [:]
  private(set) var generations: [UInt64]
  var leases: [LeaseName: Lease] = [:]
  var limits: [NamespaceLimits]
  /// Bytes reserved by each namespace.
  var openBytes: [Int]
  /// Whose every object that ever was is, and its length.
  private var known: [Int: (namespace: Int, byteCount: Int)] = [:]
  /// How far each namespace's age runs ahead.
  private var agings: [Double]
  /// Readers under way, by object.
  var readers: [Int: Int] = [:]
  private(set) var age = 0.0
  private var useCount = 0
  private var purgeCount = 0
  private var lastID = 0

  init(namespaces: Int) {
    generations = Array(repeating: 0, count: namespaces)
    limits = Array(repeating: .none, count: namespaces)
    openBytes = Array(repeating: 0, count: namespaces)
    agings = Array(repeating: 0, count: namespaces)
  }

  func isLive(_ object: Object, _ now: UInt64) -> Bool {
    object.deathNumber == nil && now < object.expiry
  }

  func live(_ name: Name, _ now: UInt64) -> Object? {
    objects[name].flatMap { isLive($0, now) ? $0 : nil }
  }

  func missCause(_ name: Name, _ now: UInt64) -> MissCause {
    if let object = objects[name] { return object.deathNumber == nil ? .expired : .purged }
    if let cause = ghosts[name] { return cause }
    let isElsewhere =
      name.key.kind == .layout
      && objects.values.contains {
        $0.name.namespace == name.namespace && $0.name.key.hash == name.key.hash
          && isLive($0, now)
      }
    return isElsewhere ? .wrongLayout : .neverStored
  }

  mutating func use(_ name: Name) {
    useCount += 1
    objects[name]?.uses += 1
    objects[name]?.lastUse = useCount
    objects[name]?.ageAtLastUse = age + agings[name.namespace]
  }

  /// Puts an object in the place of whatever is no more live under its name.
  mutating func publish(
    _ shape: StoreShape, _ name: Name, parent: ChunkHash, cost: UInt64, checksum: UInt64,
    expiry: UInt64
  ) {
    lastID += 1
    objects[name] = Object(
      id: lastID, name: name, parent: parent, byteCount: shape.byteCount,
      firstToken: shape.firstToken, tokenCount: shape.tokenCount, cost: cost,
      checksum: checksum, expiry: expiry, generation: generations[name.namespace])
    known[lastID] = (name.namespace, shape.byteCount)
    use(name)
  }

  mutating func pin(_ name: Name, until end: UInt64, _ now: UInt64) {
    guard let object = objects[name] else { return }
    objects[name]?.pinnedUntil =
      object.pinnedUntil > now ? max(end, object.pinnedUntil) : end
  }

  mutating func unpin(_ name: Name) { objects[name]?.pinnedUntil = 0 }

  mutating func endLeases(_ now: UInt64) { leases = leases.filter { $0.value.deadline > now } }

  mutating func purge(_ name: Name) {
    objects[name] = nil
    ghosts[name] = .purged
  }

  /// Ends a generation; what was in it is dead until dropped.
  mutating func purgeAll(of namespace: Int) -> (objects: Int, bytes: Int) {
    generations[namespace] += 1
    purgeCount += 1
    var count = (objects: 0, bytes: 0)
    for (name, object) in objects
    where name.namespace == namespace && object.deathNumber == nil {
      objects[name]?.deathNumber = purgeCount
      count.objects += 1
      count.bytes += object.byteCount
    }
    return count
  }

  /// Names of all objects of these chunks and of what builds on them.
  func descendants(of hashes: [ChunkHash], in namespace: Int) -> [Name] {
    let own = objects.values.filter {
      $0.name.namespace == namespace && $0.deathNumber == nil && $0.name.key.kind == .layout
    }
    var wanted = Set(hashes)
    while true {
      let more = own.filter { wanted.contains($0.parent) }.map(\.name.key.hash)
      let size = wanted.count
      wanted.formUnion(more)
      guard wanted.count > size else { break }
    }
    return own.filter { wanted.contains($0.name.key.hash) }.map(\.name)
  }
}

extension Model {
  /// What goes next when room is needed; nil if nothing can.
  mutating func dropNext(_ now: UInt64) -> Drop? {
    let overdue = objects.values.filter { $0.expiry <= now }
    if let first = overdue.min(by: { $0.expiry < $1.expiry }) {
      remove(first, first.deathNumber == nil ? .expired : .purged)
      return first.deathNumber == nil ? .expired : .dead
    }
    let dead = objects.values.filter { $0.deathNumber != nil }
    if let first = dead.min(by: { ($0.deathNumber ?? 0, $0.id) < ($1.deathNumber ?? 0, $1.id) }) {
      remove(first, .purged)
      return .dead
    }
    if dropExcess(now) { return .evicted }
    let victims = victims(now)
    let first = victims.min {
      ($0.value.value - agings[$0.key], $0.value.object.lastUse)
        < ($1.value.value - agings[$1.key], $1.value.object.lastUse)
    }
    guard let (namespace, victim) = first else { return nil }
    age = max(age, victim.value - agings[namespace])
    remove(victim.object, .evicted)
    return .evicted
  }

  private mutating func remove(_ object: Object, _ cause: MissCause) {
    objects[object.name] = nil
    ghosts[object.name] = cause
  }

  /// What goes next of each namespace that has anything that can.
  private func victims(_ now: UInt64) -> [Int: (object: Object, value: Double)] {
    var covered: Set<Int> = []
    var linked: Set<Int> = []
    for object in objects.values {
      guard let parent = parent(of: object) else { continue }
      covered.insert(parent.id)
      linked.insert(object.id)
    }
    let leased = Set(leases.values.filter { $0.deadline > now }.flatMap(\.objects))
    var best: [Int: (object: Object, value: Double)] = [:]
    for object in objects.values
    where !covered.contains(object.id) && !leased.contains(object.id)
      && readers[object.id, default: 0] == 0 && object.pinnedUntil <= now
    {
      let value = value(object, isOrphan: object.parent != .none && !linked.contains(object.id))
      let namespace = object.name.namespace
      guard let known = best[namespace] else {
        best[namespace] = (object, value)
        continue
      }
      if (value, object.lastUse) < (known.value, known.object.lastUse) {
        best[namespace] = (object, value)
      }
    }
    return best
  }

  private func parent(of object: Object) -> Object? {
    guard object.parent != .none else { return nil }
    let key = object.name.key
    let name = Name(
      namespace: object.name.namespace,
      key: ObjectKey(
        hash: object.parent, layout: key.layout, part: key.part, variant: key.variant))
    guard let parent = objects[name], parent.generation == object.generation,
      parent.firstToken < object.firstToken
    else { return nil }
    return parent
  }

  private func value(_ object: Object, isOrphan: Bool) -> Double {
    if isOrphan { return object.ageAtLastUse }
    let cost: Double
    if object.cost > 0 {
      cost = Double(object.cost)
    } else if object.tokenCount > 0 {
      let middle = Double(object.firstToken) + Double(object.tokenCount) / 2
      cost = Double(object.tokenCount) * 100 * (1 + middle / 32_768)
    } else {
      cost = Double(object.byteCount) * 0.001
    }
    return object.ageAtLastUse + Double(object.uses) * cost / Double(object.byteCount)
  }
}

/// Quotas.
extension Model {
  /// What a namespace is charged for: all that is in memory, whether it can be found or not.
  func charged(_ namespace: Int) -> Int {
    var alive = Set(objects.values.filter { $0.name.namespace == namespace }.map(\.id))
    for id in leases.values.flatMap(\.objects) + readers.keys
    where known[id]?.namespace == namespace {
      alive.insert(id)
    }
    return alive.reduce(openBytes[namespace]) { $0 + (known[$1]?.byteCount ?? 0) }
  }

  /// Bytes that a namespace has pinned, and would have with these names.
  func pinnedBytes(of namespace: Int, with names: [Name], _ now: UInt64) -> Int {
    let added = Set(names)
    return objects.values.filter {
      $0.name.namespace == namespace && $0.deathNumber == nil
        && ($0.pinnedUntil > now || (added.contains($0.name) && isLive($0, now)))
    }.reduce(0) { $0 + $1.byteCount }
  }

  /// Drops what goes next of one namespace for its quota; nil if nothing can.
  mutating func dropOwnNext(_ namespace: Int, _ now: UInt64) -> Drop? {
    let own = objects.values.filter { $0.name.namespace == namespace }
    let dead = own.filter { $0.deathNumber != nil }
    let oldest = dead.min { ($0.deathNumber ?? 0, $0.id) < ($1.deathNumber ?? 0, $1.id) }
    let overdue = own.filter { $0.expiry <= now }.min { $0.expiry < $1.expiry }
    if let ended = overdue ?? oldest {
      remove(ended, ended.deathNumber == nil ? .expired : .purged)
      return ended.deathNumber == nil ? .expired : .dead
    }
    guard let victim = victims(now)[namespace] else { return nil }
    agings[namespace] = max(agings[namespace], victim.value - age)
    remove(victim.object, .evicted)
    return .evicted
  }

  /// Drops one object of a namespace above its quota; false if there is none that can go.
  mutating func dropExcess(_ now: UInt64) -> Bool {
    for (namespace, limit) in limits.enumerated()
    where charged(namespace) > limit.ramBytesMax ?? .max {
      guard let victim = victims(now)[namespace] else { continue }
      remove(victim.object, .evicted)
      return true
    }
    return false
  }
}
