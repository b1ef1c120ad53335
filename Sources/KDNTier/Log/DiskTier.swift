package import KDNCore
internal import KDNMemory

/// The disk tier: a segment log in one or several directories.
///
/// `LogState` decides, under one short lock; engines work; this carries messages between them and
/// checks bytes, outside the lock.
package final class DiskTier: Sendable {
  private let state: Guarded<LogState>
  private let engines: [any DiskEngine]
  private let opened: Guarded<(directories: [DirectoryState], entries: [JournalEntry])?>
  private let clock: any MonotonicClock
  private let wallClock: any WallClock
  private let report: @Sendable (DiskEvent) -> Void

  /// Opens the directories, or makes them, and reads their journals; `start` reads the rest.
  ///
  /// - Throws: which directory cannot be used, and why.
  package init(
    _ configuration: DiskConfiguration, directories: [DiskDirectoryConfiguration],
    clock: any MonotonicClock, wallClock: any WallClock,
    report: @escaping @Sendable (DiskEvent) -> Void
  ) throws(DiskTierFault) {
    var states: [DirectoryState] = []
    var entries: [JournalEntry] = []
    for directory in directories {
      let opened = try DirectoryOpening.open(
        directory, configuration, wall: wallClock.milliseconds())
      guard !states.contains(where: { $0.id == opened.state.id }) else {
        throw .twice(path: directory.directory.path)
      }
      states.append(opened.state)
      entries += opened.entries
    }
    var log = LogState(configuration)
    // Generations and layouts are known before anything is served.
    for entry in entries { _ = log.tenants.apply(entry) }
    state = Guarded(log)
    engines = directories.map(\.engine)
    opened = Guarded((states, entries))
    self.clock = clock
    self.wallClock = wallClock
    self.report = report
  }

  /// The largest object that a segment of a working directory holds, in bytes; 0 if none works.
  package var objectBytesMax: Int {
    opened.withLock { $0?.directories.map(\.payloadBytesMax).max() }
      ?? look { state, _ in
        state.directories.filter { $0.phase == .serving || $0.phase == .recovering }
          .map(\.payloadBytesMax).max() ?? 0
      }
  }

  /// The numbers now.
  package var statistics: DiskStatistics { state.withLock { $0.statistics } }

  /// Runs `body` under the lock with the clocks read, then does what it left to be done.
  func change<Result: Sendable>(
    _ body: (inout LogState, _ now: Instant, _ wall: UInt64) -> Result
  ) -> Result {
    let now = clock.now()
    let wall = wallClock.milliseconds()
    let (result, actions) = state.withLock { state -> (Result, [LogAction]) in
      state.wall = wall
      let result = body(&state, now, wall)
      return (result, state.takeActions())
    }
    for action in actions { perform(action) }
    return result
  }

  /// Runs `body` under the lock; it must leave nothing to be done.
  func look<Result: Sendable>(_ body: (LogState, _ wall: UInt64) -> Result) -> Result {
    let wall = wallClock.milliseconds()
    return state.withLock { body($0, wall) }
  }

  private func perform(_ action: LogAction) {
    switch action {
    case .submit(let directory, let work, let event):
      engines[directory].submit(work) { self.ended(event, $0) }
    case .finish(let completion): completion()
    case .report(let event): report(event)
    }
  }

  /// Takes in the directories and begins recovery.
  package func start() {
    let opened = self.opened.withLock { opened in
      defer { opened = nil }
      return opened
    }
    guard let opened else { return }
    change { state, now, _ in state.begin(opened.directories, opened.entries, now: now) }
  }

  /// Ends all writing, leaves a checkpoint, and shuts the engines down.
  package func close(completion: @escaping @Sendable () -> Void) {
    change { state, now, _ in
      state.close(now: now) { [self] in
        // Not on an engine's own thread, which would wait for itself.
        EngineShutdown.run(engines) { [self] in
          self.state.withLock { $0.release() }
          completion()
        }
      }
    }
  }

  // MARK: What engines did

  /// Runs `body` with a work counted as ended.
  private func hear(_ body: (inout LogState, _ now: Instant, _ wall: UInt64) -> Void) {
    change { state, now, wall in
      state.worksUnderWay -= 1
      body(&state, now, wall)
    }
  }

  private func ended(_ event: LogEvent, _ result: Result<Void, DiskError>) {
    switch event {
    case .read(let directory, let reads, let buffers):
      let facts = zip(reads, buffers).map { read, buffer in
        result.isSuccess ? RecordCheck.facts(of: read, buffer) : nil
      }
      hear { state, now, _ in state.readEnded(directory, reads, facts, result, now: now) }
    case .victimFooterRead(let directory, let buffer):
      victimFooterRead(directory, buffer, result)
    case .victimRecordRead(let directory, let key, let header, let buffer):
      let nonce = look { state, _ in state.directories[directory].reclaim?.nonce }
      let isRight =
        result.isSuccess
        && nonce.map { RecordCheck.isWhole(header, nonce: $0, in: buffer) } == true
      hear { state, now, _ in
        state.victimRecordRead(directory, key, header, buffer, isRight: isRight, now: now)
      }
    default:
      hear { state, now, wall in state.ended(event, result, now: now, wall: wall) }
    }
  }

  private func victimFooterRead(
    _ directory: Int, _ buffer: PageBuffer, _ result: Result<Void, DiskError>
  ) {
    let victim = look { state, _ -> SegmentSlot? in
      state.directories[directory].reclaim.map { state.directories[directory].slots[$0.slot] }
    }
    guard let victim else { return hear { state, now, _ in state.pumpClosing(now: now) } }
    let records =
      result.isSuccess
      ? SegmentReader.headers(in: buffer, count: victim.recordCount, nonce: victim.nonce) {
        $0.incarnation == victim.incarnation
      } : nil
    hear { state, now, wall in
      state.victimFooterRead(directory, records ?? [], result, now: now, wall: wall)
    }
  }
}

extension LogState {
  /// Hears of everything whose bytes need no check first.
  fileprivate mutating func ended(
    _ event: LogEvent, _ result: Result<Void, DiskError>, now: Instant, wall: UInt64
  ) {
    switch event {
    case .segmentMade(let directory, let box):
      segmentMade(directory, box.take(), result, now: now)
    case .headerWritten(let directory, let slot, _):
      headerWritten(directory, slot, result, now: now)
    case .headerSynchronised(let directory, let slot):
      headerSynchronised(directory, slot, result, now: now)
    case .recordWritten(let sequence, _, _): recordWritten(sequence, result, now: now)
    case .synchronised(let directory, let slot, let records):
      synchronised(directory, slot, records, result, now: now)
    case .footerWritten(let directory, let slot, _):
      footerWritten(directory, slot, result, now: now)
    case .footerSynchronised(let directory, let slot):
      footerSynchronised(directory, slot, result, now: now)
    case .journalWritten(let directory, _), .journalSynchronised(let directory):
      journalStepEnded(directory, result, now: now)
    case .segmentRead(let directory, let slot, let box):
      segmentRead(directory, slot, box.take(), result, now: now, wall: wall)
    case .fileRemoved(let directory):
      if case .failure(let error) = result {
        report(.error(path: directories[directory].storage.path, error))
      }
    case .checkpointTaken(let directory): checkpointTaken(directory, result, now: now)
    case .read, .victimFooterRead, .victimRecordRead:
      preconditionFailure("bytes are checked before the log hears of them")
    }
  }
}
