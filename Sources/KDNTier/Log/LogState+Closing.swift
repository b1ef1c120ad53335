internal import KDNCore
internal import KDNMemory

extension LogState {
  /// Takes nothing new; `completion` comes when all is on disk and a checkpoint lies there.
  mutating func close(now: Instant, completion: @escaping @Sendable () -> Void) {
    guard closing == nil else { return finish(completion) }
    closing = Closing(completion: completion)
    for purge in waitingPurges { finish { purge.completion(.failure(.closing)) } }
    waitingPurges = []
    for directory in directories.indices { pump(directory, now: now) }
    pumpClosing(now: now)
  }

  /// Goes on with the closing.
  mutating func pumpClosing(now: Instant) {
    guard var state = closing, state.completion != nil else { return }
    guard directories.allSatisfy({ $0.phase != .recovering }), writes.isEmpty,
      directories.allSatisfy({ $0.readsInFlight == 0 && $0.reads.isEmpty && !$0.isMaking }),
      // What was begun is ended: the next start must find a segment that it can begin.
      directories.allSatisfy({ !$0.isWritable || $0.reclaim == nil })
    else { return }
    if !state.isSealing {
      state.isSealing = true
      closing = state
      for directory in directories.indices where directories[directory].isWritable {
        guard let open = directories[directory].open else { continue }
        directories[directory].slots[open].state = .sealing
        pumpSyncs(directory, now: now)
      }
    }
    let isSettled = directories.allSatisfy {
      !$0.isWritable || $0.busy.isEmpty && $0.journal.step == .idle && $0.journal.pending.isEmpty
    }
    guard isSettled, worksUnderWay == 0 else { return }
    if state.checkpointsLeft == nil {
      let targets = directories.indices.filter { directories[$0].isWritable }
      state.checkpointsLeft = targets.count
      closing = state
      for directory in targets { takeCheckpoint(directory) }
    }
    guard closing?.checkpointsLeft == 0, let completion = state.completion else { return }
    closing?.completion = nil
    finish(completion)
  }

  /// The use counts of one directory are on disk, or could not be written.
  mutating func checkpointTaken(
    _ directory: Int, _ result: Result<Void, DiskError>, now: Instant
  ) {
    if case .failure(let error) = result {
      report(.error(path: directories[directory].storage.path, error))
    }
    let left = closing?.checkpointsLeft ?? 1
    closing?.checkpointsLeft = left - 1
    pumpClosing(now: now)
  }

  private mutating func takeCheckpoint(_ directory: Int) {
    let slots = directories[directory].slots
    let entries = index.all.values.filter {
      Int($0.place.directory) == directory && $0.stage == .durable && $0.uses > 0
    }.map {
      CheckpointEntry(
        incarnation: slots[Int($0.place.slot)].incarnation, block: Int($0.place.block),
        uses: $0.uses, sequence: $0.sequence)
    }
    let capacity = directories[directory].capacityBytes
    let limit = DirectoryLayout.checkpointBytesMax(capacityBytes: capacity)
    let isSmall = Checkpoint.byteCount(entries: entries.count) <= limit
    let checkpoint = Checkpoint(
      directoryID: directories[directory].id, entries: isSmall ? entries : [])
    let storage = directories[directory].storage
    submit(
      directory, .run { () throws(DiskError) in try checkpoint.save(in: storage) },
      .checkpointTaken(directory: directory))
  }
}

extension Checkpoint {
  /// Writes the checkpoint in the place of an older one; blocks.
  fileprivate func save(in directory: any BlockDirectory) throws(DiskError) {
    let buffer = PageBuffer(byteCount: Self.byteCount(entries: entries.count))
    unsafe write(to: buffer.bytes)
    try directory.remove(DirectoryLayout.checkpointDraft)
    let file = try directory.create(
      DirectoryLayout.checkpointDraft, byteCount: buffer.byteCount)
    try file.write(at: 0, from: [buffer.span])
    try file.synchronise()
    try directory.rename(DirectoryLayout.checkpointDraft, to: DirectoryLayout.checkpoint)
  }
}
