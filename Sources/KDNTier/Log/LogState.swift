internal import KDNCore
internal import KDNMemory

/// Everything that the log decides: no I/O, no clock, no threads.
///
/// Each call leaves in `actions` what is to be done once the lock is free.
struct LogState: Sendable {
  let configuration: DiskConfiguration
  var directories: [DirectoryState] = []
  var index = DiskIndex()
  var tenants = Tenants()
  /// Records that are not in the index and lie on a device still.
  var shadows = ShadowTable()
  /// Purges of which no journal has said yet that they are durable.
  var doubts = PurgeDoubts()
  /// Records on their way, by their sequence.
  var writes: [UInt64: PendingWrite] = [:]
  var nextSequence: UInt64 = 1
  /// Sequences below are never given again, whatever of the segments can be read.
  var reservedSequence: UInt64 = 0
  var queuedBytes = 0
  /// Works that engines were given and have not ended.
  var worksUnderWay = 0
  /// Until when, in this run, records are kept from being reclaimed.
  var holds: [DiskKey: Instant] = [:]
  /// Quotas, by the tenant's number; those without any are not here.
  var limits: [UInt32: TenantLimits] = [:]
  var tickets: [UInt64: JournalTicket] = [:]
  var nextTicket: UInt64 = 1
  /// Something was taken in that no journal has, or will have in this run.
  var hasForgotten = false
  /// Purges that came before everything was known.
  var waitingPurges: [WaitingPurge] = []
  var isReady = false
  var closing: Closing?
  var actions: [LogAction] = []
  var counters = DiskCounters()
  /// The wall clock at the latest call, in milliseconds since 1970.
  var wall: UInt64 = 0
  /// Directory that the next write of equal load goes to.
  var turn = 0

  init(_ configuration: DiskConfiguration) { self.configuration = configuration }

  /// Forgets everything, so that files and locks are given back.
  mutating func release() {
    directories = []
    index = DiskIndex()
    writes = [:]
  }

  /// Gives away what is to be done.
  mutating func takeActions() -> [LogAction] {
    defer { actions = [] }
    return actions
  }

  /// What is known of a record that counts at `wall`; nil if it is not here, dead or expired.
  func live(_ key: DiskKey, wall: UInt64) -> IndexEntry? {
    guard let entry = index[key], !entry.isExpired(atWallMilliseconds: wall),
      entry.generation >= tenants.generation(of: key.namespace)
    else { return nil }
    return entry
  }

  /// Takes a record out of the index and out of its directory's census.
  mutating func drop(_ key: DiskKey) {
    guard let entry = index.remove(key) else { return }
    // A copy of it may be on its way, under a later sequence than the index knows.
    noteShadow(
      of: key, sequence: max(entry.sequence, nextSequence - 1), generation: entry.generation)
    if entry.stage != .writing { count(entry, -1) }
    holds[key] = nil
  }

  /// Puts a record, which can be read, into the census of its directory, or takes it out.
  mutating func count(_ entry: IndexEntry, _ sign: Int) {
    let directory = Int(entry.place.directory)
    directories[directory].objects += sign
    directories[directory].bytes += sign * entry.storedBytes
  }

  mutating func submit(_ directory: Int, _ work: DiskWork, _ event: LogEvent) {
    worksUnderWay += 1
    actions.append(.submit(directory: directory, work, event))
  }

  mutating func finish(_ work: @escaping @Sendable () -> Void) { actions.append(.finish(work)) }

  mutating func report(_ event: DiskEvent) { actions.append(.report(event)) }

  /// Goes on with whatever can be begun in a directory.
  mutating func pump(_ directory: Int, now: Instant) {
    pumpReclaim(directory)
    pumpWrites(directory)
    pumpReads(directory)
    pumpSyncs(directory, now: now)
    pumpJournal(directory)
    pumpClosing(now: now)
  }

  /// Does what is due by the clock.
  mutating func tick(now: Instant, wall: UInt64) {
    for (key, end) in holds where end <= now {
      holds[key] = nil
      index.setHeld(key, false)
    }
    index.expire(by: wall, most: Self.expiriesPerTick)
    endPins(wall: wall)
    if isReady { shrink() }
    for directory in directories.indices {
      directories[directory].spared = []
      pump(directory, now: now)
    }
  }

  /// TTLs that are noticed to be over at once.
  private static let expiriesPerTick = 4096

  /// Ends pins that are over, and those of what is not here.
  mutating func endPins(wall: UInt64) {
    guard isReady else { return }
    for key in tenants.endPins(by: wall, isGone: { index[$0] == nil }) {
      index.setPinned(key, false)
    }
  }
}

/// Who waits for journal entries to be durable in all directories.
struct JournalTicket: Sendable {
  var left: Int
  var isWritten: Bool
  let completion: @Sendable (Bool) -> Void
}

/// A purge that waits until everything that is here is known.
struct WaitingPurge: Sendable {
  let scope: TierPurge
  let namespace: NamespaceName
  let counted: Set<ObjectKey>
  let completion: @Sendable (Result<(objects: Int, bytes: Int), TierRefusal>) -> Void
}

/// How far the closing has come.
struct Closing: Sendable {
  var completion: (@Sendable () -> Void)?
  var isSealing = false
  var checkpointsLeft: Int?
}
