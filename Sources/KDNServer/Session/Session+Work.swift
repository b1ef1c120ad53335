internal import KDNCore
internal import KDNPool
internal import KDNTransport
internal import KDNWire

extension Session {
  /// A job's deadline and attempts where its submitter names none.
  private static let jobDeadlineMilliseconds: UInt32 = 600_000
  private static let jobAttempts: UInt8 = 3

  /// WORK: answers at once, but for a take that waits for a job.
  func work(_ request: WorkRequest, _ call: Call, on loop: isolated Loop) throws(Refusal) {
    let now = loop.now()
    if case .take(let kinds, let wait, let lease) = request {
      return try take(
        kinds, waitMilliseconds: UInt64(wait), leaseMilliseconds: UInt64(lease), call, on: loop)
    }
    respond(.work(try answer(request, call.namespace, now: now)), call, now: now)
  }

  private func answer(
    _ request: WorkRequest, _ namespace: Namespace, now: Instant
  ) throws(Refusal) -> WorkResponse {
    let work = context.work
    switch request {
    case .submit(let kind, let payload, let deadline, let attempts):
      let time = deadline == 0 ? Self.jobDeadlineMilliseconds : deadline
      return .submitted(
        id: try work.submit(
          kind: kind, payload: payload, deadline: now.advanced(milliseconds: UInt64(time)),
          attemptsMax: Int(attempts == 0 ? Self.jobAttempts : attempts), in: namespace, now: now))
    case .renew(let holding, let progress):
      takesWork = true
      return .renewed(
        work.renew(
          holding, by: owner, progressPermille: progress, in: namespace, now: now))
    case .finish(let holding, let result):
      return .finished(try work.finish(holding, result: result, in: namespace, now: now))
    case .fail(let holding, let reason, let again):
      return .failed(work.fail(holding, reason: reason, again: again, in: namespace, now: now))
    case .status(let id):
      guard let job = work.status(of: id, in: namespace, now: now) else { throw Self.noJob(id) }
      return .status(JobFacts(job), reason: job.reason, result: job.result)
    case .cancel(let id):
      guard let job = work.cancel(id, in: namespace, now: now) else { throw Self.noJob(id) }
      return .cancelled(JobFacts(job).state)
    case .list(let after, let limit):
      return .listed(
        work.list(after: after, limit: limit, in: namespace, now: now).map { JobFacts($0) })
    case .take: preconditionFailure("a take may have to wait")
    }
  }

  private static func noJob(_ id: UInt64) -> Refusal {
    .unknown("id", id, "no job of this number, or it has been over for long")
  }

  // MARK: Waiting for a job

  private func take(
    _ kinds: [String], waitMilliseconds: UInt64, leaseMilliseconds: UInt64, _ call: Call,
    on loop: isolated Loop
  ) throws(Refusal) {
    let now = loop.now()
    takesWork = true
    guard waitMilliseconds > 0, !context.isDraining else {
      let job = context.isDraining ? nil : takeNow(kinds, leaseMilliseconds, call, now)
      return respond(.work(.taken(job)), call, now: now)
    }
    let id = call.id
    let signal = LoopSignal(loop: loop, session: self)
    let taking = try context.work.takeOrWait(
      kinds, for: owner, leaseMilliseconds: leaseMilliseconds, in: call.namespace, now: now
    ) {
      signal.raise { session, loop in session.retake(id, now: loop.now()) }
    }
    switch taking {
    case .job(let job): respond(.work(.taken(WorkResponse.Job(job))), call, now: now)
    case .waiting(let ticket):
      let ends = min(call.deadline, now.advanced(milliseconds: waitMilliseconds))
      pendingTakes[id] = PendingTake(
        call: call, kinds: kinds, leaseMilliseconds: leaseMilliseconds, ticket: ticket,
        since: now, ends: ends)
      loop.wake(at: ends)
    }
  }

  private func takeNow(
    _ kinds: [String], _ leaseMilliseconds: UInt64, _ call: Call, _ now: Instant
  ) -> WorkResponse.Job? {
    context.work.take(
      kinds, for: owner, leaseMilliseconds: leaseMilliseconds, in: call.namespace, now: now
    ).map { WorkResponse.Job($0) }
  }

  /// A job has come that a waiting take may have, unless another was quicker.
  private func retake(_ id: UInt64, now: Instant) {
    guard let take = pendingTakes[id],
      let job = takeNow(take.kinds, take.leaseMilliseconds, take.call, now)
    else { return }
    finish(take, job, now: now)
  }

  private func finish(_ take: PendingTake, _ job: WorkResponse.Job?, now: Instant) {
    pendingTakes[take.call.id] = nil
    context.work.cancel(take.ticket)
    respond(.work(.taken(job)), take.ended(now: now), now: now)
  }

  /// Tells those that have waited long enough, or all, that there is no job.
  func expireTakes(_ now: Instant, all: Bool = false) {
    for take in Array(pendingTakes.values) where all || take.ends <= now {
      finish(take, nil, now: now)
    }
  }

  /// Ends the waits of a connection that is over, and gives back the jobs that it took.
  func endWork(now: Instant) {
    for take in pendingTakes.values { context.work.cancel(take.ticket) }
    pendingTakes.removeAll()
    guard takesWork, let member else { return }
    context.work.ownerEnded(owner, in: member.namespace, now: now)
  }
}

extension JobFacts {
  fileprivate init(_ job: Job) {
    let state: JobState =
      switch job.state {
      case .queued: .queued
      case .running: .running
      case .ended(.done, _): .done
      case .ended(.failed, _): .failed
      case .ended(.cancelled, _): .cancelled
      case .ended(.expired, _): .expired
      }
    self.init(
      id: job.id, kind: job.kind, state: state, attempts: job.attempts,
      progress: job.progressPermille)
  }
}

extension WorkResponse.Job {
  fileprivate init(_ job: Job) {
    self.init(
      holding: WorkRequest.Holding(id: job.id, attempt: job.attempts), kind: job.kind,
      payload: job.payload)
  }
}
