internal import KDNCore

/// What outlives records: tenants' names, generations and layouts, what was purged, what is pinned.
///
/// All of it is in every journal; `snapshot` is what a journal begins with when it is rewritten.
struct Tenants: Sendable {
  private struct Tenant: Sendable {
    let name: NamespaceName
    var generation: UInt64 = 0
    var layouts: [LayoutID: Layout] = [:]
  }

  private struct LayoutName: Hashable, Sendable {
    let namespace: UInt32
    let layout: LayoutID
  }

  private struct ChunkName: Hashable, Sendable {
    let namespace: UInt32
    let hash: ChunkHash
  }

  private var tenants: [Tenant] = []
  private var numbers: [NamespaceName: UInt32] = [:]
  /// Records of these names with a sequence up to this are dead.
  private var purgedKeys: [DiskKey: UInt64] = [:]
  private var purgedChunks: [ChunkName: UInt64] = [:]
  private var purgedLayouts: [LayoutName: UInt64] = [:]
  /// When pins end, by the wall clock.
  private(set) var pins: [DiskKey: UInt64] = [:]

  /// How many things are remembered as purged.
  var tombstoneCount: Int { purgedKeys.count + purgedChunks.count + purgedLayouts.count }

  /// The number of a tenant in this run.
  mutating func number(of name: NamespaceName) -> UInt32 {
    if let known = numbers[name] { return known }
    let number = UInt32(tenants.count)
    tenants.append(Tenant(name: name))
    numbers[name] = number
    return number
  }

  /// The number of a tenant; nil if nothing was ever heard of it.
  func knownNumber(of name: NamespaceName) -> UInt32? { numbers[name] }

  /// The name of a tenant.
  func name(of number: UInt32) -> NamespaceName { tenants[Int(number)].name }

  /// The generation of a tenant; 0 if unknown.
  func generation(of name: NamespaceName) -> UInt64 {
    numbers[name].map { tenants[Int($0)].generation } ?? 0
  }

  /// The generation of a tenant.
  func generation(of number: UInt32) -> UInt64 { tenants[Int(number)].generation }

  /// The layouts of a tenant.
  func layouts(of name: NamespaceName) -> [Layout] {
    numbers[name].map { Array(tenants[Int($0)].layouts.values) } ?? []
  }

  /// Whether a layout is remembered.
  func knows(_ layout: Layout, of name: NamespaceName) -> Bool {
    numbers[name].map { tenants[Int($0)].layouts[layout.id] != nil } ?? false
  }

  /// Whether a record is dead by generation or purge.
  func isDead(_ key: DiskKey, generation: UInt64, sequence: UInt64) -> Bool {
    if generation < tenants[Int(key.namespace)].generation { return true }
    return isPurged(key, sequence: sequence)
  }

  /// Whether a record was purged by name or layout.
  func isPurged(_ key: DiskKey, sequence: UInt64) -> Bool {
    if let limit = purgedKeys[key], sequence <= limit { return true }
    guard key.key.kind == .layout else { return false }
    let chunk = ChunkName(namespace: key.namespace, hash: key.key.hash)
    if let limit = purgedChunks[chunk], sequence <= limit { return true }
    let layout = LayoutName(namespace: key.namespace, layout: key.key.layout)
    return purgedLayouts[layout].map { sequence <= $0 } ?? false
  }

  /// The sequence up to which records of exactly this name are dead; nil if none was purged.
  func purgedThrough(_ key: DiskKey) -> UInt64? { purgedKeys[key] }

  /// Takes in what a journal said, or what is about to be written to it.
  ///
  /// - Returns: the highest sequence that it names.
  mutating func apply(_ entry: JournalEntry) -> UInt64 {
    switch entry {
    case .generation(let name, let generation):
      let number = Int(number(of: name))
      tenants[number].generation = max(tenants[number].generation, generation)
      return 0
    case .purgedKeys(let name, let sequence, let keys):
      let number = number(of: name)
      for key in keys {
        let key = DiskKey(namespace: number, key: key)
        purgedKeys[key] = max(sequence, purgedKeys[key] ?? 0)
        pins[key] = nil
      }
      return sequence
    case .purgedLayouts(let name, let sequence, let layouts):
      let number = number(of: name)
      for layout in layouts {
        let name = LayoutName(namespace: number, layout: layout)
        purgedLayouts[name] = max(sequence, purgedLayouts[name] ?? 0)
      }
      return sequence
    case .purgedChunks(let name, let sequence, let hashes):
      let number = number(of: name)
      for hash in hashes {
        let name = ChunkName(namespace: number, hash: hash)
        purgedChunks[name] = max(sequence, purgedChunks[name] ?? 0)
      }
      return sequence
    case .layout(let name, let layout):
      tenants[Int(number(of: name))].layouts[layout.id] = layout
      return 0
    case .pinned(let name, let key, let end):
      pins[DiskKey(namespace: number(of: name), key: key)] = end
      return 0
    case .unpinned(let name, let key):
      pins[DiskKey(namespace: number(of: name), key: key)] = nil
      return 0
    case .sequenceReserved(let sequence): return sequence
    }
  }

  /// Ends pins that are over at `now` (wall clock), and those that `isGone` says have no object.
  ///
  /// - Returns: their names.
  mutating func endPins(by now: UInt64, isGone: (DiskKey) -> Bool) -> [DiskKey] {
    let ended = pins.filter { $0.value <= now || isGone($0.key) }.map(\.key)
    for key in ended { pins[key] = nil }
    return ended
  }

  /// Forgets purges that no record on any device can fall under any more: all have a sequence of
  /// at least `first`.
  mutating func forgetPurges(before first: UInt64) {
    if purgedKeys.contains(where: { $0.value < first }) {
      purgedKeys = purgedKeys.filter { $0.value >= first }
    }
    if purgedChunks.contains(where: { $0.value < first }) {
      purgedChunks = purgedChunks.filter { $0.value >= first }
    }
    if purgedLayouts.contains(where: { $0.value < first }) {
      purgedLayouts = purgedLayouts.filter { $0.value >= first }
    }
  }

  /// Everything, as journal entries.
  func snapshot(nextSequence: UInt64) -> [JournalEntry] {
    var entries: [JournalEntry] = [.sequenceReserved(nextSequence)]
    for tenant in tenants {
      if tenant.generation > 0 { entries.append(.generation(tenant.name, tenant.generation)) }
      for layout in tenant.layouts.values { entries.append(.layout(tenant.name, layout)) }
    }
    var keys: [Purge: [ObjectKey]] = [:]
    for (key, sequence) in purgedKeys {
      keys[Purge(namespace: key.namespace, sequence: sequence), default: []].append(key.key)
    }
    for (purge, keys) in keys {
      entries += Self.purged(keys, name(of: purge.namespace), sequence: purge.sequence)
    }
    var chunks: [Purge: [ChunkHash]] = [:]
    for (name, sequence) in purgedChunks {
      chunks[Purge(namespace: name.namespace, sequence: sequence), default: []].append(name.hash)
    }
    for (purge, hashes) in chunks {
      entries += Self.purged(hashes, name(of: purge.namespace), sequence: purge.sequence)
    }
    for (name, sequence) in purgedLayouts {
      entries.append(
        .purgedLayouts(
          self.name(of: name.namespace), sequence: sequence, layouts: [name.layout]))
    }
    for (key, end) in pins {
      entries.append(.pinned(name(of: key.namespace), key.key, endMilliseconds: end))
    }
    return entries
  }

  /// Purges of keys, in entries of at most as many as one may have.
  static func purged(
    _ keys: [ObjectKey], _ name: NamespaceName, sequence: UInt64
  ) -> [JournalEntry] {
    pieces(of: keys).map { .purgedKeys(name, sequence: sequence, keys: $0) }
  }

  /// Purges of chunks, in entries of at most as many as one may have.
  static func purged(
    _ hashes: [ChunkHash], _ name: NamespaceName, sequence: UInt64
  ) -> [JournalEntry] {
    pieces(of: hashes).map { .purgedChunks(name, sequence: sequence, hashes: $0) }
  }

  private static func pieces<Name>(of names: [Name]) -> [[Name]] {
    stride(from: 0, to: names.count, by: namesPerEntryMax).map {
      Array(names[$0..<min(names.count, $0 + namesPerEntryMax)])
    }
  }

  private static let namesPerEntryMax = 512

  private struct Purge: Hashable {
    let namespace: UInt32
    let sequence: UInt64
  }
}
