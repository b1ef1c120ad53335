internal import KDNCore
internal import KDNMemory
internal import KDNTier
internal import Synchronization

/// One read from the slower tier, for all who want the object.
final class Flight: Sendable {
  struct Name: Hashable, Sendable {
    let object: WaitTable.Name
    let isBelow: Bool
  }

  let namespace: Namespace
  let key: ObjectKey
  let isPrefetch: Bool
  /// Whether it is wanted in the slower tier's form though RAM may have it in another.
  let isBelow: Bool
  /// When the read is given up if the tier has been busy all the time.
  let deadline: Instant
  /// Set under the residency lock by purges that drop the object while it is being read.
  let isPurged = Atomic<Bool>(false)

  init(
    _ key: ObjectKey, in namespace: Namespace, isPrefetch: Bool, isBelow: Bool, deadline: Instant
  ) {
    self.namespace = namespace
    self.key = key
    self.isPrefetch = isPrefetch
    self.isBelow = isBelow
    self.deadline = deadline
  }

  var name: Name {
    Name(object: WaitTable.Name(namespace: namespace.number, key: key), isBelow: isBelow)
  }
}

/// Room that a flight reads into.
final class FlightRoom: Sendable {
  let memory: TierRoom
  let charge: SharedCharge
  private let quota: Guarded<QuotaCharge?>

  /// Room in RAM if `quota` is given, else staging memory.
  init(_ memory: consuming Reservation, charge: SharedCharge, quota: QuotaCharge?) {
    self.memory = TierRoom(memory)
    self.charge = charge
    self.quota = Guarded(quota)
    isStaging = quota == nil
  }

  /// Whether what is read does not stay.
  let isStaging: Bool

  /// Takes the charge to the tenant's quota, once.
  func takeQuota() -> QuotaCharge? {
    quota.withLock { quota in
      defer { quota = nil }
      return quota
    }
  }

  /// Gives back what was not taken, though others may still hold a reference; only once the tier
  /// is through with it.
  func release() {
    _ = memory.take()
    _ = charge.take()
    _ = takeQuota()
  }
}

/// All reads from the slower tier that are under way; at most one of each object for those who want
/// it in any form, and one for those who want that tier's.
struct FetchTable: Sendable {
  /// What is being purged just now, so that no read brings it back.
  struct Purge: Sendable {
    let namespace: UInt32
    let covers: @Sendable (ObjectKey) -> Bool
  }

  /// A flight that the tier was too busy for.
  struct Stalled: Sendable {
    let flight: Flight
    let room: FlightRoom
  }

  /// A fetch that waits.
  struct Parked: Sendable {
    weak let fetch: Fetch?
  }

  /// How `join` went.
  enum Joining {
    /// The caller has to read.
    case first(Flight)
    case joined
    /// Too many prefetches are under way.
    case full
    /// The object is being purged.
    case purged
  }

  private struct Row: Sendable {
    let flight: Flight
    var fetches: [Fetch]
  }

  private var rows: [Flight.Name: Row] = [:]
  private var stalled = FIFO<Stalled>()
  private var purges: [UInt64: Purge] = [:]
  private var lastPurge: UInt64 = 0
  /// How many flights of prefetches each namespace has.
  private var prefetches: [UInt32: Int] = [:]
  /// Fetches that wait until others give back memory, as long as somebody wants them.
  var parked: [Parked] = []
  var counts = FetchStatistics()

  /// How many reads are under way.
  var count: Int { rows.count }

  /// Adds `fetch`, or a prefetch if that is nil, to those who want an object.
  mutating func join(
    _ key: ObjectKey, in namespace: Namespace, _ fetch: Fetch?, prefetchesMax: Int,
    deadline: Instant
  ) -> Joining {
    let isBelow = fetch?.below.contains(key) == true
    let name = Flight.Name(
      object: WaitTable.Name(namespace: namespace.number, key: key), isBelow: isBelow)
    guard !purges.values.contains(where: { $0.namespace == namespace.number && $0.covers(key) })
    else { return .purged }
    if rows[name] != nil {
      if let fetch { rows[name]?.fetches.append(fetch) }
      counts.joined += 1
      return .joined
    }
    let ahead = prefetches[namespace.number] ?? 0
    guard fetch != nil || ahead < prefetchesMax else { return .full }
    let flight = Flight(
      key, in: namespace, isPrefetch: fetch == nil, isBelow: isBelow, deadline: deadline)
    if flight.isPrefetch { prefetches[namespace.number] = ahead + 1 }
    rows[name] = Row(flight: flight, fetches: fetch.map { [$0] } ?? [])
    return .first(flight)
  }

  /// Takes a flight out, and returns who wanted the object.
  mutating func remove(_ flight: Flight) -> [Fetch] {
    guard let row = rows[flight.name], row.flight === flight else { return [] }
    rows[flight.name] = nil
    if flight.isPrefetch {
      let left = (prefetches[flight.namespace.number] ?? 1) - 1
      prefetches[flight.namespace.number] = left > 0 ? left : nil
    }
    return row.fetches
  }

  /// Whether a prefetch or a fetch that was not cancelled waits for a flight.
  func isWanted(_ flight: Flight) -> Bool {
    flight.isPrefetch || rows[flight.name]?.fetches.contains { !$0.isCancelled } == true
  }

  mutating func stall(_ flight: Flight, _ room: FlightRoom) {
    counts.busy += 1
    stalled.append(Stalled(flight: flight, room: room))
  }

  mutating func takeStalled() -> Stalled? { stalled.popFirst() }

  /// Takes out all that are stalled.
  mutating func takeAllStalled() -> [Stalled] {
    var taken: [Stalled] = []
    while let next = stalled.popFirst() { taken.append(next) }
    return taken
  }

  /// Marks the flights that a purge drops, and those that begin until `endPurge`.
  mutating func beginPurge(
    in namespace: UInt32, covers: @escaping @Sendable (ObjectKey) -> Bool
  ) -> UInt64 {
    lastPurge += 1
    purges[lastPurge] = Purge(namespace: namespace, covers: covers)
    for row in rows.values
    where row.flight.namespace.number == namespace && covers(row.flight.key) {
      row.flight.isPurged.store(true, ordering: .releasing)
    }
    return lastPurge
  }

  mutating func endPurge(_ number: UInt64) { purges[number] = nil }
}
