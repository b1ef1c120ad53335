package import KDNCore
internal import KDNMemory

/// Reads of several objects from the slower tier, for one caller.
///
/// What was found stays readable, in RAM or in staging memory, until it is taken, the fetch is
/// cancelled, or the last reference to it is dropped.
package final class Fetch: Sendable {
  /// Keeps an object's bytes of one form readable until an outcome is taken.
  final class Hold: Sendable {
    let object: StoredObject
    let body: StoredBody
    private let lease: Lease

    /// Holds `body`, or the object's bytes in their present form.
    init(_ object: StoredObject, _ body: StoredBody? = nil) {
      let body = body ?? object.body
      self.object = object
      self.body = body
      lease = body.block.lease()
    }

    /// Length of the bytes.
    var byteCount: Int { body.block.byteCount }
  }

  /// How it went for one object.
  enum Outcome: Sendable {
    /// It was in RAM when the fetch began, or was stored there before its read ended.
    case inRAM(Hold)
    /// It came from the slower tier.
    case read(Hold)
    case missed(MissCause)

    var hold: Hold? {
      switch self {
      case .inRAM(let hold), .read(let hold): hold
      case .missed: nil
      }
    }
  }

  /// What `pursue` does next.
  enum Step: Sendable {
    /// Starts reads of these.
    case begin([ObjectKey])
    /// Nothing of this fetch is under way that could give room: these cannot be had.
    case giveUp([ObjectKey], heldBytes: Int)
    /// Waits, or is over; calls this if it just became so.
    case rest((@Sendable () -> Void)?)
  }

  fileprivate struct State: Sendable {
    var outcomes: [ObjectKey: Outcome] = [:]
    /// How often each key may still be taken.
    var takesLeft: [ObjectKey: Int] = [:]
    /// Keys whose reads wait for room, or to be started.
    var deferred: [ObjectKey] = []
    var reading = 0
    var heldBytes = 0
    var readBytes = 0
    var isPursued = false
    /// Nothing can be done before others give back memory.
    var isParked = false
    /// When waiting for that ends.
    var roomDeadline: Instant?
    /// Something ended since the deferred were tried last.
    var hasNews = true
    var isCancelled = false
    var notify: (@Sendable () -> Void)?

    var isDone: Bool { reading == 0 && deferred.isEmpty && !isPursued }
  }

  let namespace: Namespace
  /// Forms that the caller takes; others are decoded for it.
  let accepted: CodecSet
  /// Objects that are read from the slower tier though RAM has them.
  let below: Set<ObjectKey>
  private let pool: Pool
  private let state: Guarded<State>

  init(
    _ pool: Pool, _ namespace: Namespace, accepting accepted: CodecSet, below: Set<ObjectKey>,
    reads: [ObjectKey], takes: [ObjectKey: Int], inRAM: [Hold], decodes: Int,
    notify: @escaping @Sendable () -> Void
  ) {
    self.pool = pool
    self.namespace = namespace
    self.accepted = accepted
    self.below = below
    var state = State()
    state.deferred = reads
    state.reading = decodes
    state.takesLeft = takes
    state.notify = notify
    for hold in inRAM {
      state.outcomes[hold.object.key] = .inRAM(hold)
      state.heldBytes += hold.byteCount
    }
    self.state = Guarded(state)
  }

  /// Whether the last read is over.
  package var isDone: Bool { state.withLock { $0.isDone } }

  /// Bytes that came from the slower tier so far.
  package var readBytes: Int { state.withLock { $0.readBytes } }

  /// The outcome for a key: a lease on its bytes, or why there are none.
  ///
  /// Nil if the fetch did not concern it or has none yet. A key may be taken as often as it was
  /// asked for; then it is nil too.
  package func take(_ key: ObjectKey) -> Lookup? {
    guard let outcome = state.withLock({ $0.take(key) }) else { return nil }
    return pool.count(outcome, of: key, in: namespace)
  }

  /// Gives up: nothing can be taken any more.
  ///
  /// `notify` is not called after this, unless it is being called at this moment. Reads under way
  /// finish, and what they read is kept as objects in RAM.
  package func cancel() {
    // Leases and closure are dropped after the lock: what they hold may call the pool.
    let dropped = state.withLock { state -> State in
      let dropped = state
      state.isCancelled = true
      state.outcomes = [:]
      state.takesLeft = [:]
      state.deferred = []
      state.notify = nil
      return dropped
    }
    withExtendedLifetime(dropped) {}
  }
}

extension Fetch {
  var isCancelled: Bool { state.withLock { $0.isCancelled } }

  /// Notes that a read or a decoding is under way.
  func noteReading() { state.withLock { $0.reading += 1 } }

  /// Notes that there is no room for `key` now.
  func deferRead(of key: ObjectKey) { state.withLock { $0.postpone(key) } }

  /// Notes the outcome of a read that was under way.
  func deliver(_ outcome: Outcome, for key: ObjectKey) {
    state.withLock { $0.deliver(outcome, for: key) }
  }

  /// Lets reads wait until others give back memory; false if that has taken too long already.
  func park(_ keys: [ObjectKey], until deadline: Instant, now: Instant) -> Bool {
    state.withLock { state in
      let end = state.roomDeadline ?? deadline
      guard now < end else { return false }
      state.roomDeadline = end
      state.isParked = true
      if !state.isCancelled { state.deferred += keys }
      return true
    }
  }

  /// Lets reads that were parked be tried again.
  func unpark() {
    state.withLock { state in
      state.isParked = false
      state.hasNews = true
    }
  }

  /// What to do next; the caller does it and asks again until it may rest.
  ///
  /// A thread that comes first to it while another is at it may rest at once.
  func nextStep(isFirst: Bool) -> Step {
    state.withLock { $0.nextStep(isFirst: isFirst) }
  }
}

extension Fetch.State {
  fileprivate mutating func take(_ key: ObjectKey) -> Fetch.Outcome? {
    guard let outcome = outcomes[key], let left = takesLeft[key], left > 0 else { return nil }
    takesLeft[key] = left - 1
    if left == 1 {
      outcomes[key] = nil
      heldBytes -= outcome.hold?.byteCount ?? 0
    }
    return outcome
  }

  fileprivate mutating func postpone(_ key: ObjectKey) {
    reading -= 1
    if !isCancelled { deferred.append(key) }
  }

  fileprivate mutating func deliver(_ outcome: Fetch.Outcome, for key: ObjectKey) {
    reading -= 1
    hasNews = true
    guard !isCancelled else { return }
    outcomes[key] = outcome
    if case .read(let hold) = outcome { readBytes += hold.byteCount }
    heldBytes += outcome.hold?.byteCount ?? 0
  }

  fileprivate mutating func nextStep(isFirst: Bool) -> Fetch.Step {
    if isFirst, isPursued { return .rest(nil) }
    isPursued = true
    if hasNews, !deferred.isEmpty {
      hasNews = false
      defer { deferred = [] }
      return .begin(deferred)
    }
    if reading == 0, !deferred.isEmpty, !isParked {
      defer { deferred = [] }
      return .giveUp(deferred, heldBytes: heldBytes)
    }
    isPursued = false
    guard isDone, !isCancelled, let notify else { return .rest(nil) }
    self.notify = nil
    return .rest(notify)
  }
}
