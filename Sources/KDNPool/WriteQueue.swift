internal import KDNCore
internal import KDNTier

/// What is to be written to the slower tier, in which order; decides, and does no I/O.
///
/// One thread at a time takes jobs out and does them (`begin`, `next`), so that a purge, which is
/// a job too, never meets a hand-over half done. Waiting objects are known by name and ticket
/// only: waiting keeps nobody from evicting them.
struct WriteQueue: Sendable {
  /// An object that waits for its turn.
  struct Entry: Sendable {
    let namespace: Namespace
    let key: ObjectKey
    let byteCount: Int
    let ticket: UInt64
    /// Whether the day's budget is no concern of it: it is wanted, or has paid before.
    let isExempt: Bool
    /// What it has paid.
    var paidBytes = 0
    /// What it was encoded to before the tier was too busy for it.
    var encoded: StoredBody?
  }

  /// An object that somebody waits for to be durable; its bytes stay.
  struct Urgent: Sendable {
    let object: StoredObject
    /// The form of its bytes; nil: not encoded.
    let form: StoredForm?
    let bytes: TierBytes
    let completion: @Sendable (PoolRefusal?) -> Void
  }

  /// Something to do.
  enum Job: Sendable {
    case purge(@Sendable () -> Void)
    case durable(Urgent)
    /// It left the queue before, and was encoded meanwhile.
    case prepared(PreparedWrite)
    case write(Entry)
  }

  typealias Closed = @Sendable () -> Void

  /// Bytes of memory that an entry may take.
  static let bytesPerEntry = 192

  let objectsMax: Int
  let bytesMax: Int
  private var entries = FIFO<Entry>()
  private var urgent = FIFO<Urgent>()
  private var purges = FIFO<@Sendable () -> Void>()
  private var prepared = FIFO<PreparedWrite>()
  /// Bytes of the entries whose objects still wait, by their tickets.
  private var tickets: [UInt64: Int] = [:]
  private var lastTicket = WriteState.firstTicket
  private var isRunning = false
  private(set) var isClosing = false
  private var closers: [Closed] = []
  /// The tier was busy; entries wait for a completion or the next tick.
  private var isStalled = false
  private(set) var waitingBytes = 0
  private(set) var leasedBytes = 0
  private(set) var leasedObjects = 0
  private var budget: WriteBudget
  var counts = WriteCounts()

  init(objectsMax: Int, bytesMax: Int, bytesPerDay: Int) {
    self.objectsMax = objectsMax
    self.bytesMax = bytesMax
    budget = WriteBudget(bytesPerDay: bytesPerDay)
  }

  /// How many objects wait.
  var waitingObjects: Int { tickets.count }

  /// Lets an object wait for its turn, if its state is still `state`; false if the queue is full.
  mutating func add(_ object: StoredObject, from state: UInt64, isWanted: Bool) -> Bool {
    guard !isClosing, hasPlace() else { return false }
    let ticket = nextTicket()
    guard object.writeState.change(from: state, to: ticket) else { return true }
    let entry = entry(object, ticket, isWanted)
    entries.append(entry)
    tickets[ticket] = entry.byteCount
    waitingBytes += entry.byteCount
    return true
  }

  /// Puts an object that the tier was too busy for back to the front; its bytes are paid for.
  mutating func putBack(_ write: PreparedWrite) {
    let ticket = nextTicket()
    guard write.object.writeState.change(from: WriteState.writing, to: ticket) else { return }
    var entry = entry(write.object, ticket, true)
    entry.paidBytes = write.paidBytes
    // Raw bytes are found again, and may be evicted meanwhile.
    if write.body.form != nil { entry.encoded = write.body }
    entries.prepend(entry)
    tickets[ticket] = entry.byteCount
    waitingBytes += entry.byteCount
    isStalled = true
  }

  /// Forgets an entry whose object is gone or goes another way.
  mutating func withdraw(_ ticket: UInt64) {
    guard let byteCount = tickets.removeValue(forKey: ticket) else { return }
    waitingBytes -= byteCount
  }

  /// Leases bytes to a write that somebody waits for; false if that is over the bound.
  mutating func lease(_ byteCount: Int) -> Bool {
    guard !isClosing, hasLeases(for: byteCount) else { return false }
    leasedBytes += byteCount
    leasedObjects += 1
    return true
  }

  /// Has an entry pay with the day's budget, for its bytes as they are now; what it has paid, or
  /// nil if there is not so much left.
  mutating func pay(for entry: Entry, now: Instant) -> Int? {
    if entry.isExempt { return entry.paidBytes }
    if pay(entry.byteCount, now: now) { return entry.byteCount }
    counts.overBudget += 1
    return nil
  }

  /// Pays with the day's budget; false if there is not so much left.
  mutating func pay(_ byteCount: Int, now: Instant) -> Bool {
    budget.take(byteCount, now: now)
  }

  /// Gives back what a write has paid beyond the bytes that are written; all, if none are.
  mutating func settle(_ write: inout PreparedWrite, isWritten: Bool) {
    let owed = isWritten ? min(write.paidBytes, write.bytes.byteCount) : 0
    budget.giveBack(write.paidBytes - owed)
    write.paidBytes = owed
  }

  /// Changes how much may be written a day; 0 for no limit.
  mutating func setBudget(bytesPerDay: Int, now: Instant) {
    budget.change(bytesPerDay: bytesPerDay, now: now)
  }

  mutating func add(_ write: Urgent) { urgent.append(write) }

  /// Takes back a write whose bytes have been leased since `next` gave its entry.
  mutating func add(_ write: PreparedWrite) {
    var write = write
    settle(&write, isWritten: true)
    prepared.append(write)
  }

  mutating func add(purge: @escaping @Sendable () -> Void) { purges.append(purge) }

  /// Ends a lease of bytes.
  mutating func endLease(_ byteCount: Int) {
    leasedBytes -= byteCount
    leasedObjects -= 1
  }

  /// The tier may have room again.
  mutating func retry() { isStalled = false }

  /// Takes no more work; `closed` is handed out by `takeClosers` when all is written.
  mutating func close(_ closed: @escaping Closed) {
    isClosing = true
    closers.append(closed)
  }

  /// Who waits for the end, once nothing is left to do.
  mutating func takeClosers() -> [Closed] {
    guard isClosing, !isRunning, leasedObjects == 0, entries.isEmpty, urgent.isEmpty,
      purges.isEmpty, prepared.isEmpty
    else { return [] }
    defer { closers = [] }
    return closers
  }

  private func hasLeases(for byteCount: Int) -> Bool {
    leasedBytes == 0 || leasedBytes + byteCount <= bytesMax
  }

  /// Entries of the dead are swept out only when they are many, so that it costs little each.
  private mutating func hasPlace() -> Bool {
    guard entries.count >= objectsMax else { return true }
    guard tickets.count < objectsMax - objectsMax / 4 else { return false }
    let tickets = tickets
    entries.removeAll { tickets[$0.ticket] == nil }
    return true
  }

  private mutating func nextTicket() -> UInt64 {
    lastTicket += 1
    return lastTicket
  }

  private func entry(_ object: StoredObject, _ ticket: UInt64, _ isExempt: Bool) -> Entry {
    Entry(
      namespace: object.namespace, key: object.key, byteCount: object.storedBytes, ticket: ticket,
      isExempt: isExempt)
  }
}

extension WriteQueue {
  /// Makes the caller the one who takes jobs; false if another thread is at it, and will see all.
  mutating func begin() -> Bool {
    guard !isRunning else { return false }
    isRunning = true
    return true
  }

  /// The next job; nil, and the caller is relieved, if there is none that can be done now.
  ///
  /// Bytes of a `write` have been leased.
  mutating func next() -> Job? {
    if let purge = purges.popFirst() { return .purge(purge) }
    if let write = urgent.popFirst() { return .durable(write) }
    if let write = prepared.popFirst() { return .prepared(write) }
    if let entry = nextEntry() { return .write(entry) }
    isRunning = false
    return nil
  }

  private mutating func nextEntry() -> Entry? {
    while let entry = entries.first {
      guard let byteCount = tickets[entry.ticket] else {
        _ = entries.popFirst()
        continue
      }
      guard !isStalled, hasLeases(for: entry.byteCount) else { return nil }
      _ = entries.popFirst()
      tickets[entry.ticket] = nil
      waitingBytes -= byteCount
      leasedBytes += entry.byteCount
      leasedObjects += 1
      return entry
    }
    return nil
  }
}
