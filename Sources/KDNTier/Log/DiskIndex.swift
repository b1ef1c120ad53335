internal import KDNCore

/// The full name of an object in all tenants.
struct DiskKey: Hashable, Sendable {
  let namespace: UInt32
  let key: ObjectKey
}

/// Where a record lies.
struct RecordPlace: Equatable, Sendable {
  /// The directory's number.
  let directory: UInt16
  /// The segment's slot in it.
  let slot: UInt32
  /// Where the record starts, in blocks from the file's start.
  let block: UInt32
}

/// What is known of a record without reading it.
struct IndexEntry: Sendable {
  /// How far the record has come.
  enum Stage: UInt8, Sendable {
    /// Being written; its bytes are still in memory.
    case writing
    /// Written, and lost if power is.
    case written
    /// Survives a loss of power.
    case durable
  }

  var place: RecordPlace
  var stage: Stage
  var sequence: UInt64
  var byteCount: Int
  var checksum: Checksum
  var generation: UInt64
  var storedAtMilliseconds: UInt64
  var ttlMilliseconds: UInt64
  /// The parent chunk's fingerprint; 0 without one.
  var parent: UInt64
  /// Uses since it came to this segment.
  var uses: UInt32 = 0

  init(_ facts: ObjectFacts, place: RecordPlace, sequence: UInt64, stage: Stage) {
    self.place = place
    self.stage = stage
    self.sequence = sequence
    byteCount = facts.byteCount
    checksum = facts.checksum
    generation = facts.generation
    storedAtMilliseconds = facts.storedAtMilliseconds
    ttlMilliseconds = facts.ttlMilliseconds
    parent = facts.parent == .none ? 0 : facts.parent.fingerprint
  }

  /// Whether the TTL is over at `now`; a clock set back never makes a TTL longer.
  func isExpired(atWallMilliseconds now: UInt64) -> Bool {
    guard ttlMilliseconds > 0, now > storedAtMilliseconds else { return false }
    return now - storedAtMilliseconds >= ttlMilliseconds
  }
}

/// All records that are here, by full name.
struct DiskIndex: Sendable {
  private var entries: [DiskKey: IndexEntry] = [:]
  /// How many records name a chunk, in one layout, part and variant, as their parent.
  private var children: [UInt64: UInt32] = [:]
  /// Bytes of all objects.
  private(set) var bytes = 0

  /// How many records.
  var count: Int { entries.count }

  /// A record; read only.
  subscript(key: DiskKey) -> IndexEntry? { entries[key] }

  /// All records, in no order.
  var all: [DiskKey: IndexEntry] { entries }

  /// Puts a record in, in the place of an older one of the same name.
  mutating func insert(_ key: DiskKey, _ entry: IndexEntry) {
    _ = remove(key)
    entries[key] = entry
    bytes += entry.byteCount
    guard entry.parent != 0 else { return }
    children[Self.family(entry.parent, key), default: 0] += 1
  }

  /// Takes a record out.
  mutating func remove(_ key: DiskKey) -> IndexEntry? {
    guard let entry = entries.removeValue(forKey: key) else { return nil }
    bytes -= entry.byteCount
    guard entry.parent != 0 else { return entry }
    let family = Self.family(entry.parent, key)
    let count = children[family] ?? 0
    children[family] = count > 1 ? count - 1 : nil
    return entry
  }

  /// Changes what may change of a record without its being another one; nothing if it is gone.
  mutating func update(_ key: DiskKey, _ change: (inout IndexEntry) -> Void) {
    guard let position = entries.index(forKey: key) else { return }
    change(&entries.values[position])
  }

  /// How many records build on this one.
  func childCount(of key: DiskKey) -> Int {
    Int(children[Self.family(key.key.hash.fingerprint, key)] ?? 0)
  }

  /// Hashes of all chunks of a tenant that build on one of `hashes`, at any distance.
  func descendants(of hashes: Set<ChunkHash>, in namespace: UInt32) -> Set<ChunkHash> {
    var byParent: [UInt64: [ChunkHash]] = [:]
    for (key, entry) in entries where key.namespace == namespace && entry.parent != 0 {
      byParent[entry.parent, default: []].append(key.key.hash)
    }
    var found: Set<ChunkHash> = []
    var open = Array(hashes)
    while let hash = open.popLast() {
      for child in byParent[hash.fingerprint] ?? [] where found.insert(child).inserted {
        open.append(child)
      }
    }
    return found
  }

  private static func family(_ parent: UInt64, _ key: DiskKey) -> UInt64 {
    var hasher = Hasher()
    hasher.combine(key.namespace)
    hasher.combine(parent)
    hasher.combine(key.key.layout)
    hasher.combine(key.key.part)
    hasher.combine(key.key.variant)
    return UInt64(bitPattern: Int64(hasher.finalize()))
  }
}
