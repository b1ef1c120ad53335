import KDNCore
import KDNMemory
import KDNTier

/// What the records of a toy's log stand for; only their numbers are on the device.
// Safe because: one thread plays a whole simulation.
final class ToyCatalogue: @unchecked Sendable {
  enum Event {
    case object(ObjectFacts)
    case purge(TierPurge, NamespaceName)
    case layout(Layout, NamespaceName)
    case pin(ObjectKey, NamespaceName, end: UInt64)
  }

  private(set) var events: [Event] = []

  func add(_ event: Event) -> Int {
    events.append(event)
    return events.count - 1
  }
}

/// The smallest tier that keeps its promises: one file, one record at a time, each naming the
/// checksum of the one before. With a flaw it keeps them not, and the simulation has to see it.
// Safe because: one thread plays a whole simulation.
final class ToyTier: Tier, @unchecked Sendable {
  /// A promise that is broken.
  enum Flaw: CaseIterable {
    case acknowledgesBeforeSynchronise
    case synchronisesOnlyOnce
    case recoversWithoutSynchronise
    case forgetsPurges
    case forgetsGenerations
    case trustsBytes
    case believesAnyRecord
    case answersTwice
    case answersNever
    case givesUpNothing
    case writesOverItself
    case overflows
    case losesRamObjects
    case ignoresTimes
    case ignoresQuotas
    case robsOthers
    case miscounts
    case listsByPlace
  }

  struct Entry {
    let facts: ObjectFacts
    let number: Int
    let offset: Int
    var isWritten = false
    var isDurable = false
  }

  struct Place: Hashable {
    let namespace: NamespaceName
    let key: ObjectKey
  }

  /// Something to write, and whom to tell.
  struct Job {
    let number: Int
    let offset: Int
    let buffer: PageBuffer
    let place: Place?
    let isDurable: Bool
    let tell: @Sendable (Result<Void, TierRefusal>) -> Void
  }

  static let fileName = "segment-toy"
  static let fileBytes = 2 << 20
  static let magic: UInt64 = 0x594F_5459_4F54_5451

  let catalogue: ToyCatalogue
  let flaw: Flaw?
  let setting: DiskSetting
  var file: any BlockFile
  var entries: [Place: Entry] = [:]
  var generations: [NamespaceName: UInt64] = [:]
  var registered: [NamespaceName: [Layout]] = [:]
  var pins: [Place: UInt64] = [:]
  var holds: [Place: Instant] = [:]
  var limits: [NamespaceName: (disk: Int?, pinned: Int?)] = [:]
  var jobs: [Job] = []
  var offset = 0
  var chain: UInt64 = 0
  var isBroken = false
  var isClosed = false
  private(set) var isReady = false

  init(_ setting: DiskSetting, catalogue: ToyCatalogue, flaw: Flaw?) throws {
    self.setting = setting
    self.catalogue = catalogue
    self.flaw = flaw
    let directory = setting.disk.directories[0]
    let bytes = flaw == .overflows ? directory.capacityBytes + 4096 : Self.fileBytes
    let known = try directory.list().first { $0.name == Self.fileName }
    // Made only in part: nothing was ever written to it.
    if let known, known.byteCount < bytes { try directory.remove(Self.fileName) }
    let isThere = known?.byteCount == bytes
    file =
      isThere
      ? try directory.open(Self.fileName) : try directory.create(Self.fileName, byteCount: bytes)
  }

  var engine: SimulatedEngine { setting.engines[0] }
  var now: UInt64 { setting.wallClock.milliseconds() }

  func start() {
    do {
      try replay()
      if flaw != .recoversWithoutSynchronise { try file.synchronise() }
    } catch {
      isBroken = true
    }
    isReady = true
    shrink()
  }

  // MARK: Questions

  func generation(of namespace: NamespaceName) -> UInt64 { generations[namespace] ?? 0 }

  func layouts(of namespace: NamespaceName) -> [Layout] { registered[namespace] ?? [] }

  func isOver(_ facts: ObjectFacts) -> Bool {
    flaw != .ignoresTimes && facts.ttlLeft(atWallMilliseconds: now) == 0
  }

  func find(_ key: ObjectKey, in namespace: NamespaceName) -> TierFinding {
    guard let entry = entries[Place(namespace: namespace, key: key)] else { return .absent(nil) }
    guard !isOver(entry.facts) else { return .absent(.expired) }
    return .held(
      HeldFacts(
        byteCount: entry.facts.byteCount, checksum: entry.facts.checksum,
        isDurable: entry.isDurable,
        isPinned: isPinned(Place(namespace: namespace, key: key))))
  }

  func touch(_ key: ObjectKey, in namespace: NamespaceName) {}

  func hold(_ key: ObjectKey, in namespace: NamespaceName, until end: Instant) -> Bool {
    guard case .held = find(key, in: namespace) else { return false }
    let place = Place(namespace: namespace, key: key)
    holds[place] = max(end, holds[place] ?? end)
    return true
  }

  func descendants(of hashes: Set<ChunkHash>, in namespace: NamespaceName) -> Set<ChunkHash> {
    let own = entries.values.filter { $0.facts.namespace == namespace && !isOver($0.facts) }
    var found = hashes
    while true {
      let more = own.filter { found.contains($0.facts.parent) }.map(\.facts.key.hash)
      let count = found.count
      found.formUnion(more)
      guard found.count > count else { return found.subtracting(hashes) }
    }
  }

  func tick(now: Instant) { shrink() }
}
