internal import KDNCore
internal import KDNMemory
internal import KDNTier

/// Coding of one pool: who does it, what waits, and what came of it.
final class Coding: Sendable {
  let coder: any ObjectCoder
  let decodes: any CodingExecutor
  let encodes: any CodingExecutor
  let settings: CodingSettings
  let state: Guarded<CodingState>

  init(
    _ coder: any ObjectCoder, decodes: any CodingExecutor, encodes: any CodingExecutor,
    _ settings: CodingSettings
  ) {
    self.coder = coder
    self.decodes = decodes
    self.encodes = encodes
    self.settings = settings
    state = Guarded(CodingState(settings))
  }

  var policy: EncodingPolicy { state.withLock { $0.policy } }

  var statistics: CodingStatistics {
    state.withLock { state in
      var counts = state.counts
      counts.queued = state.queued
      counts.encoding = state.running
      counts.decoding = state.flights.count
      counts.recodings = state.recodings.count
      return counts
    }
  }

  func count(_ change: (inout CodingStatistics) -> Void) {
    state.withLock { change(&$0.counts) }
  }
}

/// Something to encode.
struct EncodeJob: Sendable {
  enum Purpose: Sendable {
    /// It is on its way to the slower tier, and goes there raw if it cannot be encoded.
    case write(PreparedWrite)
    /// It is in RAM, and is kept in another form from now on; below too, if `below`.
    case replace(ObjectKey, Namespace, inRAM: Bool, below: Bool)
    /// All forms of it that are meant become this one.
    case recode(ObjectKey, Recoding)
    /// What edits make of it is kept.
    case materialise(Materialisation.Item, Materialisation)
    /// A piece of what a recoding is about is counted.
    case count(Recoding)
  }

  let name: WaitTable.Name
  let codec: UInt8
  let purpose: Purpose
  /// When what is on its way goes on as it is.
  var deadline = Instant.never
}

/// One decoding, for all who want the object.
final class DecodeFlight: Sendable {
  let hold: Fetch.Hold
  let name: CodingState.DecodeName

  init(_ hold: Fetch.Hold) {
    self.hold = hold
    name = CodingState.DecodeName(
      name: WaitTable.Name(namespace: hold.object.namespace.number, key: hold.object.key),
      body: ObjectIdentifier(hold.body))
  }
}

/// What waits to be encoded and decoded; decides, and does nothing itself.
struct CodingState: Sendable {
  struct DecodeName: Hashable, Sendable {
    let name: WaitTable.Name
    let body: ObjectIdentifier
  }

  struct Waiter: Sendable {
    let outcome: Fetch.Outcome
    let fetch: Fetch
  }

  struct Row: Sendable {
    let flight: DecodeFlight
    var waiters: [Waiter]
  }

  enum Joining {
    case first(DecodeFlight)
    case joined
    case full
  }

  private let settings: CodingSettings
  var policy = EncodingPolicy.off
  /// On their way to the slower tier, and all others.
  private var writes = FIFO<EncodeJob>()
  private var others = FIFO<EncodeJob>()
  /// Objects in RAM that wait to be replaced, so that none waits twice.
  private var replacing: Set<WaitTable.Name> = []
  private(set) var running = 0
  /// Time that encoding may take now; grows with the clock.
  private var allowance: Int64
  private var lastTick: Instant?
  /// Whether all must come to an end: nothing waits for CPU time or readers.
  var isClosing = false
  private(set) var flights: [DecodeName: Row] = [:]
  var recodings: [Recoding] = []
  var materialisations: [Materialisation] = []
  /// The slot of RAM where the search for cold objects goes on.
  var coldSlot = 0
  var counts = CodingStatistics()

  /// Time that may be saved up.
  private static let allowanceMax: Int64 = 1_000_000_000

  init(_ settings: CodingSettings) {
    self.settings = settings
    allowance = Self.allowanceMax
  }

  // MARK: Encoding

  /// Places that are left in the queue.
  var placesLeft: Int { max(0, settings.queuedMax - queued) }

  /// How many wait.
  var queued: Int { writes.count + others.count }

  /// Puts a job at the end; false if there are too many, or one for the same object.
  mutating func add(_ job: EncodeJob) -> Bool {
    guard !isClosing, placesLeft > 0 else { return false }
    switch job.purpose {
    case .write: writes.append(job)
    case .recode, .count, .materialise: others.append(job)
    case .replace:
      guard replacing.insert(job.name).inserted else { return false }
      others.append(job)
    }
    return true
  }

  /// The next job to begin; nil if there is none that may begin now.
  mutating func next(isServing: Bool) -> EncodeJob? {
    guard running < settings.workersMax, isClosing || allowance > 0 && !isServing,
      let job = writes.popFirst() ?? others.popFirst()
    else { return nil }
    running += 1
    return job
  }

  /// Takes out what has waited too long on its way.
  mutating func takeOverdue(now: Instant) -> [PreparedWrite] {
    var overdue: [PreparedWrite] = []
    while let first = writes.first, first.deadline <= now {
      _ = writes.popFirst()
      if case .write(let raw) = first.purpose { overdue.append(raw) }
    }
    counts.overflows += UInt64(overdue.count)
    return overdue
  }

  /// Notes the end of a job that took this long.
  mutating func end(_ job: EncodeJob, nanoseconds: UInt64) {
    running -= 1
    spend(nanoseconds)
    if case .replace = job.purpose { replacing.remove(job.name) }
  }

  /// Notes time that encoding took.
  mutating func spend(_ nanoseconds: UInt64) {
    allowance -= Int64(clamping: nanoseconds)
    counts.encodeNanoseconds &+= nanoseconds
  }

  /// Lets the time pass.
  mutating func tick(now: Instant) {
    defer { lastTick = now }
    guard let lastTick, now > lastTick else { return }
    let passed = Int64(clamping: now.nanoseconds(since: lastTick))
    let gained = passed / 100 * Int64(settings.cpuPercent)
    allowance = min(Self.allowanceMax, allowance + gained)
  }

  // MARK: Decoding

  /// Adds a reader to those who want an object decoded.
  mutating func join(_ waiter: Waiter, _ hold: Fetch.Hold) -> Joining {
    let flight = DecodeFlight(hold)
    if flights[flight.name] != nil {
      flights[flight.name]?.waiters.append(waiter)
      counts.decodesJoined += 1
      return .joined
    }
    guard flights.count < settings.decodesMax else { return .full }
    flights[flight.name] = Row(flight: flight, waiters: [waiter])
    return .first(flight)
  }

  /// Takes a flight out, and returns who wanted the object.
  mutating func remove(_ flight: DecodeFlight) -> [Waiter] {
    flights.removeValue(forKey: flight.name)?.waiters ?? []
  }
}
