internal import KDNCore
internal import KDNPool
internal import KDNWire

/// The work of one namespace: jobs that wait, that a connection has, and that are over.
///
/// Pure: the time is an argument, so that tests play it. One attempt at a job is under way at a
/// time, and only words of that attempt are taken. When the connection that took it, or renewed its
/// lease last, ends or lets the lease run out, the job goes back, until its attempts are used up.
/// No job outlives its deadline.
struct JobTable: Sendable {
  private let limits: WorkLimits
  private var jobs: [UInt64: Job] = [:]
  /// Jobs that are over, in the order in which they ended.
  private var ended: [UInt64] = []
  private var lastID: UInt64
  private var lastPlace: UInt64 = 0
  /// What happened so far.
  private(set) var counts = WorkCounts()
  /// Memory of all jobs, about.
  private(set) var byteCount = 0
  private var payloadBytes = 0
  /// Kinds of jobs that have come to wait since somebody asked.
  private var arrivedKinds: Set<String> = []

  /// An empty table, whose first job gets the number behind `lastID`.
  init(limits: WorkLimits = WorkLimits(), lastID: UInt64 = 0) {
    self.limits = limits
    self.lastID = lastID
  }

  /// Whether there is nothing to remember.
  var isEmpty: Bool { jobs.isEmpty }

  /// Jobs that wait.
  var queuedCount: Int { jobs.values.count { $0.state == .queued } }

  /// Jobs that a connection has.
  var runningCount: Int { jobs.count - ended.count - queuedCount }

  // MARK: Whoever wants work done

  /// Puts a job behind all others.
  ///
  /// - Throws: a fault that names `jobs` or `payloadBytes` where the namespace has its fill.
  mutating func submit(
    kind: String, payload: [UInt8], deadline: Instant, attemptsMax: Int, now: Instant
  ) throws(FieldFault) -> UInt64 {
    expire(now: now)
    let live = jobs.count - ended.count
    guard live < limits.jobsMax else {
      throw FieldFault("jobs", value: live + 1, limit: limits.jobsMax, "as much work as is kept")
    }
    guard payloadBytes + payload.count <= limits.payloadBytesMax else {
      throw FieldFault(
        "payloadBytes", value: payloadBytes + payload.count, limit: limits.payloadBytesMax,
        "as much work as is kept")
    }
    lastID += 1
    lastPlace += 1
    let job = Job(
      id: lastID, kind: kind, deadline: deadline, attemptsMax: max(1, attemptsMax),
      place: lastPlace, payload: payload)
    jobs[lastID] = job
    byteCount += job.byteCount
    payloadBytes += payload.count
    arrivedKinds.insert(kind)
    counts.submitted += 1
    return lastID
  }

  /// What is known of a job; nil for one that there is not, or that has been forgotten.
  mutating func status(of id: UInt64, now: Instant) -> Job? {
    expire(now: now)
    return jobs[id]
  }

  /// Ends a job, whoever has it; false if it was over already, nil if there is none.
  mutating func cancel(_ id: UInt64, now: Instant) -> Bool? {
    expire(now: now)
    guard let job = jobs[id] else { return nil }
    guard !job.isOver else { return false }
    end(id, .cancelled, now: now)
    return true
  }

  /// Up to `limit` jobs with numbers above `id`, in the order of their numbers.
  mutating func list(after id: UInt64, limit: Int, now: Instant) -> [Job] {
    expire(now: now)
    return jobs.keys.filter { $0 > id }.sorted().prefix(limit).compactMap { jobs[$0] }
  }

  // MARK: Workers

  /// Gives the first job of one of `kinds` to `owner` for `leaseMilliseconds`; nil if none waits.
  mutating func take(
    _ kinds: [String], for owner: OwnerID, leaseMilliseconds: UInt64, now: Instant
  ) -> Job? {
    expire(now: now)
    let waiting = jobs.values.filter { $0.state == .queued && kinds.contains($0.kind) }
    guard let first = waiting.min(by: { $0.place < $1.place }) else { return nil }
    let leaseEnds = now.advanced(milliseconds: leaseMilliseconds)
    change(first.id) { job in
      job.attempts += 1
      job.progressPermille = 0
      job.state = .running(owner, leaseEnds: leaseEnds, leaseMilliseconds: leaseMilliseconds)
    }
    return jobs[first.id]
  }

  /// Begins the lease of an attempt anew, and notes how far the worker has come; from then on
  /// `owner` has the job.
  mutating func renew(
    _ id: UInt64, attempt: Int, by owner: OwnerID, progressPermille: Int, now: Instant
  ) -> JobHold {
    let standing = standing(of: id, attempt: attempt, now: now)
    guard standing == .held else { return standing }
    change(id) { job in
      guard case .running(_, _, let milliseconds) = job.state else { return }
      job.progressPermille = progressPermille
      job.state = .running(
        owner, leaseEnds: now.advanced(milliseconds: milliseconds), leaseMilliseconds: milliseconds)
    }
    return .held
  }

  /// Ends a job well, with what its worker made of it.
  mutating func finish(
    _ id: UInt64, attempt: Int, result: [UInt8], now: Instant
  ) -> JobHold {
    let standing = standing(of: id, attempt: attempt, now: now)
    guard standing == .held else { return standing }
    change(id) { job in
      job.result = result
      job.progressPermille = 1000
      job.reason = ""
    }
    end(id, .done, now: now)
    return .held
  }

  /// Takes a job back from its worker, to be tried again behind all others if that is of use and
  /// attempts are left.
  mutating func fail(
    _ id: UInt64, attempt: Int, reason: String, again: Bool, now: Instant
  ) -> JobHold {
    let standing = standing(of: id, attempt: attempt, now: now)
    guard standing == .held else { return standing }
    lastPlace += 1
    let place = lastPlace
    change(id) { job in
      job.place = place
      job.reason = reason
    }
    giveBack(id, again: again, now: now)
    return .held
  }

  /// Gives back all that a connection had that is over.
  mutating func ownerEnded(_ owner: OwnerID, now: Instant) {
    expire(now: now)
    for job in Array(jobs.values) {
      guard case .running(owner, _, _) = job.state else { continue }
      lose(job.id, "the worker's connection ended", now: now)
    }
  }

  /// Kinds of which jobs have come to wait since this was asked last.
  mutating func takeArrivedKinds() -> Set<String> {
    defer { arrivedKinds = [] }
    return arrivedKinds
  }

  // MARK: Time

  /// Ends jobs whose deadline has passed, gives back those whose lease has, and forgets what has
  /// been over for long.
  mutating func expire(now: Instant) {
    for job in Array(jobs.values) where !job.isOver {
      if job.deadline <= now {
        end(job.id, .expired, now: now)
      } else if case .running(_, let leaseEnds, _) = job.state, leaseEnds <= now {
        lose(job.id, "the worker's lease ran out", now: now)
      }
    }
    while let first = ended.first, let job = jobs[first],
      case .ended(_, let at) = job.state,
      ended.count > limits.endedMax || at.advanced(milliseconds: limits.endedMilliseconds) <= now
    {
      ended.removeFirst()
      jobs[first] = nil
      byteCount -= job.byteCount
    }
  }

  // MARK: Within

  private mutating func standing(of id: UInt64, attempt: Int, now: Instant) -> JobHold {
    expire(now: now)
    switch jobs[id]?.state {
    case .running where jobs[id]?.attempts == attempt: return .held
    case .ended(.cancelled, _): return .cancelled
    default: return .lost
    }
  }

  /// Takes a job from a worker who will not be heard of again; it keeps its place in the queue.
  private mutating func lose(_ id: UInt64, _ reason: String, now: Instant) {
    counts.lost += 1
    change(id) { $0.reason = reason }
    giveBack(id, again: true, now: now)
  }

  private mutating func giveBack(_ id: UInt64, again: Bool, now: Instant) {
    guard let job = jobs[id], again, job.attempts < job.attemptsMax else {
      return end(id, .failed, now: now)
    }
    counts.givenBack += 1
    arrivedKinds.insert(job.kind)
    change(id) { job in
      job.state = .queued
      job.progressPermille = 0
    }
  }

  private mutating func end(_ id: UInt64, _ outcome: Job.Outcome, now: Instant) {
    counts.ended[outcome, default: 0] += 1
    payloadBytes -= jobs[id]?.payload.count ?? 0
    change(id) { job in
      job.payload = []
      job.state = .ended(outcome, at: now)
    }
    ended.append(id)
  }

  private mutating func change(_ id: UInt64, _ body: (inout Job) -> Void) {
    guard var job = jobs[id] else { return }
    byteCount -= job.byteCount
    body(&job)
    byteCount += job.byteCount
    jobs[id] = job
  }
}
