import KDNCore
import KDNPool
import KDNWire
import Testing

@testable import KDNServer

/// Random submitters and workers of one table, with a plain book of what must be true beside it.
struct JobSimulation {
  /// What the book says of a job.
  private struct Entry {
    let deadline: Instant
    let attemptsMax: Int
    var attempts = 0
    /// Who has it, and until when.
    var holder: (owner: OwnerID, ends: Instant, lease: UInt64)?
    var outcome: Job.Outcome?
    var endedAt = Instant(nanoseconds: 0)
  }

  private var table = JobTable()
  private var book: [UInt64: Entry] = [:]
  private var now = Instant(nanoseconds: 1_000_000_000)
  private var state: UInt64
  private static let owners = (1...4).map { OwnerID(number: UInt64($0)) }
  private static let kinds = ["learn", "blend"]

  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 }

  private mutating func random(_ bound: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int(state >> 33) % bound
  }

  /// Does one random thing and compares.
  mutating func step() throws {
    now = now.advanced(milliseconds: UInt64(random(300)))
    passTime()
    switch random(9) {
    case 0, 1: try submit()
    case 2, 3, 4: take()
    case 5: renew()
    case 6:
      speak { table, id, attempt, now in
        table.finish(id, attempt: attempt, result: [1], now: now)
      } then: { entry, now in
        Self.end(&entry, .done, now)
      }
    case 7: endOwner()
    default: failOrCancel()
    }
    try compare()
  }

  /// Lets the time of all jobs pass: each must be over, and then forgotten.
  mutating func finish() throws {
    now = now.advanced(milliseconds: 20_000)
    passTime()
    table.expire(now: now)
    for id in book.keys {
      let job = table.status(of: id, now: now)
      #expect(job.map(\.isOver) ?? true)
    }
    #expect(table.queuedCount == 0 && table.runningCount == 0)
    let ended = table.counts.ended.values.reduce(0, +)
    #expect(ended == table.counts.submitted && ended == UInt64(book.count))
    for outcome in Job.Outcome.allCases {
      #expect(
        table.counts.ended[outcome, default: 0]
          == UInt64(book.values.count { $0.outcome == outcome }))
    }
    now = now.advanced(milliseconds: 600_000)
    table.expire(now: now)
    #expect(table.isEmpty && table.byteCount == 0)
  }

  // MARK: What may happen

  private mutating func submit() throws {
    let deadline = now.advanced(milliseconds: UInt64(500 + random(8000)))
    let attempts = 1 + random(4)
    let id = try table.submit(
      kind: Self.kinds[random(2)], payload: [1], deadline: deadline, attemptsMax: attempts,
      now: now)
    #expect(book[id] == nil)
    book[id] = Entry(deadline: deadline, attemptsMax: attempts)
  }

  private mutating func take() {
    let owner = Self.owners[random(4)]
    let lease = UInt64(100 + random(2000))
    let kinds = random(3) == 0 ? Self.kinds : [Self.kinds[random(2)]]
    guard let job = table.take(kinds, for: owner, leaseMilliseconds: lease, now: now) else {
      return
    }
    #expect(kinds.contains(job.kind))
    #expect(book[job.id]?.holder == nil && book[job.id]?.outcome == nil)
    book[job.id]?.attempts += 1
    #expect(job.attempts == book[job.id]?.attempts)
    book[job.id]?.holder = (owner, now.advanced(milliseconds: lease), lease)
  }

  /// Says something of a random job, of this attempt or a former one.
  private mutating func speak(
    _ say: (inout JobTable, UInt64, Int, Instant) -> JobHold,
    then note: (inout Entry, Instant) -> Void
  ) {
    guard let id = anyJob(), var entry = book[id] else { return }
    let attempt = max(1, entry.attempts - random(4) / 3)
    let isCurrent = entry.holder != nil && attempt == entry.attempts
    let isKnown = entry.endedAt.advanced(milliseconds: 600_000) > now
    let expected: JobHold =
      isCurrent ? .held : entry.outcome == .cancelled && isKnown ? .cancelled : .lost
    let standing = say(&table, id, attempt, now)
    #expect(standing == expected)
    guard isCurrent else { return }
    note(&entry, now)
    book[id] = entry
  }

  private mutating func renew() {
    let owner = Self.owners[random(4)]
    speak { table, id, attempt, now in
      table.renew(id, attempt: attempt, by: owner, progressPermille: 5, now: now)
    } then: { entry, now in
      guard let lease = entry.holder?.lease else { return }
      entry.holder = (owner, now.advanced(milliseconds: lease), lease)
    }
  }

  private mutating func endOwner() {
    let owner = Self.owners[random(4)]
    table.ownerEnded(owner, now: now)
    for id in book.keys where book[id]?.holder?.owner == owner { drop(id, at: now) }
  }

  private mutating func failOrCancel() {
    let now = now
    if random(2) == 0 {
      guard let id = anyJob(), let entry = book[id] else { return }
      let isOpen = entry.outcome == nil
      let isCancelled = table.cancel(id, now: now)
      #expect(isCancelled == isOpen)
      if isOpen { update(id) { Self.end(&$0, .cancelled, now) } }
    } else {
      let again = random(2) == 0
      speak { table, id, attempt, now in
        table.fail(id, attempt: attempt, reason: "so", again: again, now: now)
      } then: { entry, now in
        Self.lose(&entry, again: again, now)
      }
    }
  }

  private mutating func anyJob() -> UInt64? {
    let ids = book.keys.sorted()
    return ids.isEmpty ? nil : ids[ids.count - 1 - random(min(ids.count, 8))]
  }

  // MARK: The book

  private mutating func passTime() {
    let now = now
    for id in book.keys {
      guard let entry = book[id], entry.outcome == nil else { continue }
      // The table acts when it is asked: what came first by then is the deadline.
      if entry.deadline <= now {
        update(id) { Self.end(&$0, .expired, now) }
      } else if let holder = entry.holder, holder.ends <= now {
        drop(id, at: now)
      }
    }
  }

  private mutating func drop(_ id: UInt64, at now: Instant) {
    update(id) { Self.lose(&$0, again: true, now) }
  }

  private mutating func update(_ id: UInt64, _ body: (inout Entry) -> Void) {
    guard var entry = book[id] else { return }
    body(&entry)
    book[id] = entry
  }

  private static func lose(_ entry: inout Entry, again: Bool, _ now: Instant) {
    entry.holder = nil
    if !again || entry.attempts >= entry.attemptsMax { end(&entry, .failed, now) }
  }

  private static func end(_ entry: inout Entry, _ outcome: Job.Outcome, _ now: Instant) {
    entry.holder = nil
    entry.outcome = outcome
    entry.endedAt = now
  }

  private mutating func compare() throws {
    table.expire(now: now)
    for (id, entry) in book {
      guard let job = table.status(of: id, now: now) else {
        Issue.record("job \(id) is gone")
        continue
      }
      #expect(job.attempts == entry.attempts && job.attempts <= entry.attemptsMax)
      switch job.state {
      case .queued: #expect(entry.holder == nil && entry.outcome == nil)
      case .running(let owner, let ends, _):
        #expect(entry.holder?.owner == owner && entry.holder?.ends == ends)
        #expect(job.deadline > now && ends > now)
      case .ended(let outcome, _): #expect(entry.outcome == outcome)
      }
    }
    #expect(table.runningCount == book.values.count { $0.holder != nil })
  }
}
