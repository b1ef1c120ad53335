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
  /// Whether a client pinned it.
  fileprivate(set) var isPinned = false
  /// Whether someone needs it just now.
  fileprivate(set) var isHeld = false
  /// Its TTL was over once: no clock set back brings it back, and it counts no more.
  fileprivate(set) var hasEnded = false
  var sequence: UInt64
  /// Its place among its tenant's objects: the sequence that it had when it came into the index.
  fileprivate(set) var order: UInt64
  let byteCount: Int
  let checksum: Checksum
  /// The form that its bytes are kept in; boxed, for most records have none.
  fileprivate(set) var box: FormBox?
  var generation: UInt64
  var storedAtMilliseconds: UInt64
  var ttlMilliseconds: UInt64
  /// The parent chunk's fingerprint; 0 without one.
  var parent: UInt64
  /// Uses since it came to this segment.
  var uses: UInt32 = 0
  /// Tokens, and the position of the first one.
  let tokenCount: UInt32
  let firstToken: UInt32

  init(
    _ facts: ObjectFacts, place: RecordPlace, sequence: UInt64, stage: Stage,
    isPinned: Bool = false
  ) {
    self.place = place
    self.stage = stage
    self.isPinned = isPinned
    self.sequence = sequence
    order = sequence
    tokenCount = UInt32(clamping: facts.tokenCount)
    firstToken = UInt32(clamping: facts.firstToken)
    byteCount = facts.byteCount
    checksum = facts.checksum
    box = facts.form.map(FormBox.init)
    generation = facts.generation
    storedAtMilliseconds = facts.storedAtMilliseconds
    ttlMilliseconds = facts.ttlMilliseconds
    parent = facts.parent == .none ? 0 : facts.parent.fingerprint
  }

  /// The form that its bytes are kept in; nil: as they were stored.
  var form: StoredForm? { box?.form }
  /// Length and checksum of the bytes that are kept.
  var storedBytes: Int { form?.byteCount ?? byteCount }
  var storedChecksum: Checksum { form?.checksum ?? checksum }

  /// Whether `facts` are of the same object, in whatever form.
  func isSame(as facts: ObjectFacts) -> Bool {
    byteCount == facts.byteCount && checksum == facts.checksum && generation == facts.generation
      && storedAtMilliseconds == facts.storedAtMilliseconds
      && ttlMilliseconds == facts.ttlMilliseconds
  }

  /// Whether the TTL is over at `now`; a clock set back never makes a TTL longer.
  func isExpired(atWallMilliseconds now: UInt64) -> Bool {
    if hasEnded { return true }
    guard ttlMilliseconds > 0, now > storedAtMilliseconds else { return false }
    return now - storedAtMilliseconds >= ttlMilliseconds
  }

  /// Whether it stays whatever else goes.
  var isBound: Bool { isPinned || isHeld }

  /// Milliseconds of the TTL that are left; nil without one.
  func ttlLeft(atWallMilliseconds now: UInt64) -> UInt64? {
    guard ttlMilliseconds > 0 else { return nil }
    guard !isExpired(atWallMilliseconds: now) else { return 0 }
    return ttlMilliseconds - (now > storedAtMilliseconds ? now - storedAtMilliseconds : 0)
  }

  /// When the TTL is over; nil without one.
  fileprivate func end(in namespace: UInt32) -> ObjectEnd? {
    guard ttlMilliseconds > 0 else { return nil }
    let (end, isOver) = storedAtMilliseconds.addingReportingOverflow(ttlMilliseconds)
    return ObjectEnd(
      rank: .init(milliseconds: isOver ? .max : end, namespace: namespace, order: order))
  }
}

/// A form on the heap.
final class FormBox: Sendable {
  let form: StoredForm

  init(_ form: StoredForm) { self.form = form }
}

/// All records that are here, by full name.
struct DiskIndex: Sendable {
  private var entries: [DiskKey: IndexEntry] = [:]
  /// How many records name a chunk, in one layout, part and variant, as their parent.
  private var children: [UInt64: UInt32] = [:]
  /// What each tenant has, by the tenant's number.
  private var shares: [TenantShare] = []
  /// When TTLs are over that were not noticed to be.
  private var ends = RankedList<ObjectEnd>()
  /// Bytes of all objects, of those pinned and of those held.
  private(set) var bytes = 0
  private(set) var pinnedBytes = 0
  private(set) var heldBytes = 0
  /// What objects take, by their form's codec.
  private(set) var forms: [UInt8: FormShare] = [:]

  /// How many records.
  var count: Int { entries.count }

  /// A record; read only.
  subscript(key: DiskKey) -> IndexEntry? { entries[key] }

  /// All records, in no order.
  var all: [DiskKey: IndexEntry] { entries }

  /// Puts a record in, in the place of an older one of the same name.
  mutating func insert(_ key: DiskKey, _ entry: IndexEntry) {
    _ = remove(key)
    var entry = entry
    let number = Int(key.namespace)
    while shares.count <= number { shares.append(TenantShare()) }
    // Directories that were filled apart may have the same sequences.
    while shares[number].places[entry.order] != nil { entry.order += 1 }
    shares[number].places.insert(TenantShare.Place(rank: entry.order, key: key.key))
    if let end = entry.end(in: key.namespace) { ends.insert(end) }
    entries[key] = entry
    count(entry, key.namespace, +1)
    if !entry.isBound { shares[number].unbind(entry.order) }
    guard entry.parent != 0 else { return }
    children[Self.family(entry.parent, key), default: 0] += 1
  }

  /// Takes a record out.
  mutating func remove(_ key: DiskKey) -> IndexEntry? {
    guard let entry = entries.removeValue(forKey: key) else { return nil }
    count(entry, key.namespace, -1)
    if !entry.hasEnded {
      shares[Int(key.namespace)].places.remove(entry.order)
      if let end = entry.end(in: key.namespace) { ends.remove(end.rank) }
    }
    guard entry.parent != 0 else { return entry }
    let family = Self.family(entry.parent, key)
    let count = children[family] ?? 0
    children[family] = count > 1 ? count - 1 : nil
    return entry
  }

  private mutating func count(_ entry: IndexEntry, _ namespace: UInt32, _ sign: Int) {
    bytes += sign * entry.storedBytes
    if entry.isPinned { pinnedBytes += sign * entry.storedBytes }
    if entry.isHeld { heldBytes += sign * entry.storedBytes }
    let codec = entry.form?.codec ?? StoredForm.raw
    var form = forms[codec] ?? FormShare()
    form.objects += sign
    form.bytes += sign * entry.storedBytes
    form.rawBytes += sign * entry.byteCount
    forms[codec] = form.objects > 0 ? form : nil
    if !entry.hasEnded { shares[Int(namespace)].count(entry, sign) }
  }

  /// Changes what may change of a record without its being another one or counting otherwise;
  /// nothing if it is gone.
  mutating func update(_ key: DiskKey, _ change: (inout IndexEntry) -> Void) {
    guard let position = entries.index(forKey: key) else { return }
    change(&entries.values[position])
  }

  /// Notes that an object lies elsewhere, and in another form; nothing if it is gone.
  mutating func move(
    _ key: DiskKey, to place: RecordPlace, sequence: UInt64, form: StoredForm?
  ) {
    guard let position = entries.index(forKey: key) else { return }
    count(entries.values[position], key.namespace, -1)
    entries.values[position].place = place
    entries.values[position].sequence = sequence
    entries.values[position].uses = 0
    entries.values[position].box = form.map(FormBox.init)
    count(entries.values[position], key.namespace, +1)
  }

  // MARK: Tenants

  /// What a tenant has, in numbers.
  func usage(of namespace: UInt32) -> TierUsage {
    Int(namespace) < shares.count ? shares[Int(namespace)].usage : TierUsage()
  }

  /// Bytes of a tenant's objects that are pinned or held.
  func boundBytes(of namespace: UInt32) -> Int {
    Int(namespace) < shares.count ? shares[Int(namespace)].boundBytes : 0
  }

  /// What a tenant has; whoever changes the index meanwhile pays for a copy.
  func share(of namespace: UInt32) -> TenantShare {
    Int(namespace) < shares.count ? shares[Int(namespace)] : TenantShare()
  }

  /// Notes whether a record is pinned; nothing if it is gone.
  mutating func setPinned(_ key: DiskKey, _ isPinned: Bool) {
    rebind(key) { $0.isPinned = isPinned }
  }

  /// Notes whether a record is held; nothing if it is gone.
  mutating func setHeld(_ key: DiskKey, _ isHeld: Bool) { rebind(key) { $0.isHeld = isHeld } }

  private mutating func rebind(_ key: DiskKey, _ change: (inout IndexEntry) -> Void) {
    guard let position = entries.index(forKey: key) else { return }
    count(entries.values[position], key.namespace, -1)
    change(&entries.values[position])
    let entry = entries.values[position]
    count(entry, key.namespace, +1)
    if !entry.isBound { shares[Int(key.namespace)].unbind(entry.order) }
  }

  /// Notes that all of a tenant's objects up to a rank are pinned or held.
  mutating func setBound(_ namespace: UInt32, through rank: UInt64) {
    shares[Int(namespace)].boundThrough = rank
  }

  /// Takes off their tenants what records count whose TTL is over at `now`, at most `most` of them.
  mutating func expire(by now: UInt64, most: Int) {
    for _ in 0..<most {
      guard let end = ends.first?.rank, end.milliseconds <= now,
        let place = shares[Int(end.namespace)].places[end.order],
        let position = entries.index(
          forKey: DiskKey(namespace: end.namespace, key: place.key))
      else { return }
      count(entries.values[position], end.namespace, -1)
      entries.values[position].hasEnded = true
      count(entries.values[position], end.namespace, +1)
      shares[Int(end.namespace)].places.remove(end.order)
      ends.remove(end)
    }
  }

  /// All that `share` tells of a tenant, counted anew; for tests.
  func usageCounted(of namespace: UInt32) -> TierUsage {
    var share = TenantShare()
    for (key, entry) in entries where key.namespace == namespace && !entry.hasEnded {
      share.count(entry, +1)
    }
    return share.usage
  }

  // MARK: Chains

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
