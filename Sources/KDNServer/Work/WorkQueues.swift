internal import KDNControl
internal import KDNCore
internal import KDNPool
internal import KDNWire

/// A request that waits for work; hand it back to end the wait.
struct WorkTicket: Sendable {
  fileprivate let number: UInt64
  fileprivate let namespace: UInt32
}

/// The work of all namespaces, and who waits for it.
///
/// It is kept in RAM alone and ends with the daemon. What it takes is charged to the daemon's
/// memory budget.
final class WorkQueues: Sendable {
  /// What a wait for work begins with.
  enum Taking {
    case job(Job)
    /// Nothing there: the ticket's call comes when there may be.
    case waiting(WorkTicket)
  }

  typealias Notify = @Sendable () -> Void

  private struct Waiter {
    let ticket: WorkTicket
    let kinds: [String]
    let notify: Notify
  }

  /// The work of one namespace.
  private struct Queue {
    var table: JobTable
    var waiters: [Waiter] = []
    /// What is charged for the table.
    var chargedBytes = 0
  }

  private struct State {
    var queues: [UInt32: Queue] = [:]
    var lastTicket: UInt64 = 0
  }

  private let limits: WorkLimits
  private let pool: Pool
  private let state = Guarded(State())

  /// Queues that charge `pool` for what they keep.
  init(pool: Pool, limits: WorkLimits = WorkLimits()) {
    self.pool = pool
    self.limits = limits
  }

  // MARK: Whoever wants work done

  /// Queues a job and wakes those who wait for its kind.
  func submit(
    kind: String, payload: [UInt8], deadline: Instant, attemptsMax: Int, in namespace: Namespace,
    now: Instant
  ) throws(Refusal) -> UInt64 {
    let bytes = Job.fixedBytes + payload.count
    guard pool.chargeBuffers(bytes) else { throw .noMemory("payload") }
    let submitted = change(namespace.number, reserved: bytes) { queue in
      Result { () throws(FieldFault) in
        try queue.table.submit(
          kind: kind, payload: payload, deadline: deadline, attemptsMax: attemptsMax, now: now)
      }
    }
    switch submitted {
    case .success(let id): return id
    case .failure(let fault): throw Refusal(.busy, fault, retryAfterMilliseconds: 1000)
    }
  }

  /// What is known of a job; nil for one that there is not.
  func status(of id: UInt64, in namespace: Namespace, now: Instant) -> Job? {
    change(namespace.number) { $0.table.status(of: id, now: now) }
  }

  /// Ends a job unless it is over; returns what is then known of it.
  func cancel(_ id: UInt64, in namespace: Namespace, now: Instant) -> Job? {
    change(namespace.number) { queue in
      _ = queue.table.cancel(id, now: now)
      return queue.table.status(of: id, now: now)
    }
  }

  /// Up to `limit` jobs with numbers above `id`.
  func list(after id: UInt64, limit: Int, in namespace: Namespace, now: Instant) -> [Job] {
    change(namespace.number) { $0.table.list(after: id, limit: limit, now: now) }
  }

  // MARK: Workers

  /// Takes the first job of one of `kinds`.
  func take(
    _ kinds: [String], for owner: OwnerID, leaseMilliseconds: UInt64, in namespace: Namespace,
    now: Instant
  ) -> Job? {
    change(namespace.number) { queue in
      queue.table.take(kinds, for: owner, leaseMilliseconds: leaseMilliseconds, now: now)
    }
  }

  /// Takes a job as `take` does, or waits: `notify` is called, perhaps more than once and from any
  /// thread, when there may be one to be taken.
  func takeOrWait(
    _ kinds: [String], for owner: OwnerID, leaseMilliseconds: UInt64, in namespace: Namespace,
    now: Instant, _ notify: @escaping Notify
  ) throws(Refusal) -> Taking {
    let number = state.withLock { state in
      state.lastTicket += 1
      return state.lastTicket
    }
    let ticket = WorkTicket(number: number, namespace: namespace.number)
    let limit = limits.waitersMax
    let taking = change(namespace.number) { queue -> Taking? in
      let job = queue.table.take(
        kinds, for: owner, leaseMilliseconds: leaseMilliseconds, now: now)
      if let job { return .job(job) }
      guard queue.waiters.count < limit else { return nil }
      queue.waiters.append(Waiter(ticket: ticket, kinds: kinds, notify: notify))
      return .waiting(ticket)
    }
    guard let taking else {
      let fault = FieldFault("waiters", value: limit + 1, limit: limit, "as many as may wait")
      throw Refusal(.busy, fault, retryAfterMilliseconds: 1000)
    }
    return taking
  }

  /// Ends a wait.
  func cancel(_ ticket: WorkTicket) {
    change(ticket.namespace) { queue in
      queue.waiters.removeAll { $0.ticket.number == ticket.number }
    }
  }

  /// Begins a lease anew.
  func renew(
    _ holding: WorkRequest.Holding, by owner: OwnerID, progressPermille: Int,
    in namespace: Namespace, now: Instant
  ) -> JobHold {
    change(namespace.number) { queue in
      queue.table.renew(
        holding.id, attempt: holding.attempt, by: owner, progressPermille: progressPermille,
        now: now)
    }
  }

  /// Ends a job well.
  func finish(
    _ holding: WorkRequest.Holding, result: [UInt8], in namespace: Namespace, now: Instant
  ) throws(Refusal) -> JobHold {
    guard pool.chargeBuffers(result.count) else { throw .noMemory("result") }
    return change(namespace.number, reserved: result.count) { queue in
      queue.table.finish(holding.id, attempt: holding.attempt, result: result, now: now)
    }
  }

  /// Takes a job back from a worker that cannot do it.
  func fail(
    _ holding: WorkRequest.Holding, reason: String, again: Bool, in namespace: Namespace,
    now: Instant
  ) -> JobHold {
    change(namespace.number) { queue in
      queue.table.fail(
        holding.id, attempt: holding.attempt, reason: reason, again: again, now: now)
    }
  }

  /// Gives back all that a connection had that is over.
  func ownerEnded(_ owner: OwnerID, in namespace: Namespace, now: Instant) {
    change(namespace.number) { $0.table.ownerEnded(owner, now: now) }
  }

  /// Gives back and ends what is due by the clock.
  func sweep(now: Instant) {
    for number in state.withLock({ Array($0.queues.keys) }) {
      change(number) { $0.table.expire(now: now) }
    }
  }

  // MARK: Numbers

  /// All namespaces together.
  var report: WorkReport {
    state.withLock { state in
      var report = WorkReport()
      for queue in state.queues.values { report.add(queue.table, waiting: queue.waiters.count) }
      return report
    }
  }

  // MARK: Within

  /// Changes a namespace's queue, settles what it is charged, of which `reserved` bytes were
  /// charged before, and wakes those who wait for what may be taken since.
  @discardableResult
  private func change<Result: Sendable>(
    _ number: UInt32, reserved: Int = 0, _ body: (inout Queue) -> Result
  ) -> Result {
    let (result, refund, woken) = state.withLock { state -> (Result, Int, [Notify]) in
      // Numbers of jobs begin anywhere, so that those of a former daemon are not known by chance.
      var queue =
        state.queues.removeValue(forKey: number)
        ?? Queue(table: JobTable(limits: limits, lastID: .random(in: 1...(1 << 40))))
      let result = body(&queue)
      let refund = queue.chargedBytes + reserved - queue.table.byteCount
      queue.chargedBytes = queue.table.byteCount
      let kinds = queue.table.takeArrivedKinds()
      let woken = queue.waiters.filter { !kinds.isDisjoint(with: $0.kinds) }.map(\.notify)
      state.queues[number] = queue
      return (result, refund, woken)
    }
    pool.refundBuffers(refund)
    for notify in woken { notify() }
    return result
  }
}
