internal import KDNControl
internal import KDNCore
internal import KDNPool

/// Jobs that keep objects in another codec: one of a namespace at a time, lost with the daemon.
final class RecodeJobs: Sendable {
  /// Most jobs under way: each has objects in memory.
  static let activeMax = 8
  /// Most jobs that are remembered, those under way among them.
  static let keptMax = 32

  fileprivate struct Job: Sendable {
    var report: RecodeReport
    let who: AdministratorName
    let recoding: Recoding
  }

  private struct State: Sendable {
    /// The oldest first.
    var jobs: [Job] = []
    var number: UInt64 = 0
  }

  private let state = Guarded(State())
  private let wallClock: any WallClock
  private let whenOver: @Sendable (RecodeReport, AdministratorName) -> Void

  /// Calls `whenOver` at the end of each job, on any thread.
  init(
    wallClock: any WallClock = SystemWallClock(),
    whenOver: @escaping @Sendable (RecodeReport, AdministratorName) -> Void
  ) {
    self.wallClock = wallClock
    self.whenOver = whenOver
  }

  /// All that are remembered, the newest first.
  var reports: [RecodeReport] {
    state.withLock { state in state.jobs.reversed().map(\.present) }
  }

  /// Begins a job.
  ///
  /// - Throws: `conflict` if the namespace has one, `busy` if there are too many, `unavailable` if
  ///   nothing is encoded here.
  func begin(
    _ target: RecodeTarget, in namespace: Namespace, of pool: Pool, by who: AdministratorName
  ) throws(ControlFault) -> RecodeReport {
    let now = wallClock.milliseconds()
    return try state.withLock { state -> Result<RecodeReport, ControlFault> in
      let active = state.jobs.filter { !$0.report.state.isOver }
      if let known = active.first(where: { $0.report.namespace == namespace.name.text }) {
        return .failure(
          ControlFault(
            .conflict, field: "namespace",
            "job \(known.report.id) of '\(namespace.name)' is under way; cancel it or let it end"))
      }
      guard active.count < Self.activeMax else {
        return .failure(ControlFault(.busy, "\(active.count) jobs are under way, the most"))
      }
      let id = state.number + 1
      let started = pool.recode(target.order, in: namespace) { [self] in end(id, $0) }
      guard let recoding = started else {
        return .failure(ControlFault(.unavailable, "nothing is encoded by this daemon"))
      }
      state.number = id
      let report = RecodeReport(
        id: id, namespace: namespace.name.text, codec: target.codec.name, scope: target.scope,
        tiers: target.tierNames, dryRun: target.order.isTrial, administrator: who.text,
        startedUnixMilliseconds: now)
      state.jobs.append(Job(report: report, who: who, recoding: recoding))
      while state.jobs.count > Self.keptMax,
        let oldest = state.jobs.firstIndex(where: { $0.report.state.isOver })
      {
        state.jobs.remove(at: oldest)
      }
      return .success(report)
    }.get()
  }

  /// Has the job of a namespace begin nothing more; nil if it has none.
  func cancel(of namespace: String) -> RecodeReport? {
    state.withLock { state in
      let job = state.jobs.first {
        $0.report.namespace == namespace && !$0.report.state.isOver
      }
      job?.recoding.cancel()
      return job?.present
    }
  }

  private func end(_ id: UInt64, _ progress: Recoding.Progress) {
    let now = wallClock.milliseconds()
    let ended = state.withLock { state -> (RecodeReport, AdministratorName)? in
      guard let place = state.jobs.firstIndex(where: { $0.report.id == id }) else { return nil }
      state.jobs[place].report.update(progress)
      state.jobs[place].report.endedUnixMilliseconds = now
      return (state.jobs[place].report, state.jobs[place].who)
    }
    if let (report, who) = ended { whenOver(report, who) }
  }
}

extension RecodeJobs.Job {
  /// As far as it is now.
  fileprivate var present: RecodeReport {
    guard !report.state.isOver else { return report }
    var present = report
    let progress = recoding.progress
    present.update(progress)
    // Its end is told once it is noted, with its time.
    if progress.isOver { present.state = progress.isCancelled ? .cancelling : .running }
    return present
  }
}

extension RecodeReport {
  /// Takes over how far a job is.
  mutating func update(_ progress: Recoding.Progress) {
    switch (progress.isOver, progress.isCancelled) {
    case (true, true): state = .cancelled
    case (true, false): state = .done
    case (false, true): state = .cancelling
    case (false, false): state = progress.isCounted ? .running : .counting
    }
    objectsDone = progress.objects
    objectsTotal = progress.objectsTotal
    bytesDone = progress.bytes
    bytesTotal = progress.bytesTotal
    recodableObjects = progress.recodable
    recodableBytes = progress.recodableBytes
    recodedObjects = progress.recoded
    bytesBefore = progress.bytesBefore
    bytesAfter = progress.bytesAfter
    declined = [:]
    for (obstacle, count) in progress.declined { declined[obstacle.rawValue] = count }
  }
}
