internal import KDNCore
internal import KDNMemory

extension LogState {
  /// Takes in the directories as they were opened, and begins to read their segments.
  mutating func begin(_ opened: [DirectoryState], _ entries: [JournalEntry], now: Instant) {
    directories = opened
    for entry in entries { nextSequence = max(nextSequence, tenants.apply(entry) + 1) }
    for directory in directories.indices {
      directories[directory].startedAt = now
      directories[directory].segmentsToRead = directories[directory].unread.count
      if directories[directory].isDistrusted {
        report(.distrusted(path: directories[directory].storage.path))
      }
      readSegment(directory, now: now)
    }
    endRecovery(now: now, wall: wall)
  }

  private mutating func readSegment(_ directory: Int, now: Instant) {
    guard let slot = directories[directory].unread.popLast() else {
      return recovered(directory, now: now)
    }
    let file = directories[directory].slots[slot].file
    let id = directories[directory].id
    let box = ResultBox<SegmentReader.Outcome>()
    submit(
      directory,
      .run { () throws(DiskError) in
        box.put(try SegmentReader.read(file, in: id))
      }, .segmentRead(directory: directory, slot: slot, box))
  }

  /// One segment has been read.
  mutating func segmentRead(
    _ directory: Int, _ slot: Int, _ outcome: SegmentReader.Outcome?,
    _ result: Result<Void, DiskError>, now: Instant, wall: UInt64
  ) {
    directories[directory].segmentsRead += 1
    let path = directories[directory].storage.path
    if let outcome {
      if let fault = outcome.fault { directories[directory].recoveryFault = fault }
      take(outcome, directory, slot, wall: wall)
      if !outcome.wasSealed, !outcome.records.isEmpty {
        let file = directories[directory].slots[slot].file.name
        report(.tornTail(path: path, file: file, records: outcome.records.count))
      }
    } else {
      directories[directory].readErrors += 1
      directories[directory].slots[slot].state = .unusable
      // What it holds may be found at another start: no purge may be forgotten.
      directories[directory].slots[slot].durableFirstSequence = 0
      if case .failure(let error) = result { report(.error(path: path, error)) }
    }
    report(
      .recovering(
        path: path, segments: directories[directory].segmentsRead,
        of: directories[directory].segmentsToRead, objects: index.count))
    readSegment(directory, now: now)
    endRecovery(now: now, wall: wall)
  }

  private mutating func take(
    _ outcome: SegmentReader.Outcome, _ directory: Int, _ slot: Int, wall: UInt64
  ) {
    guard let header = outcome.header, !directories[directory].isDistrusted else { return }
    directories[directory].nextIncarnation = max(
      directories[directory].nextIncarnation, header.incarnation + 1)
    guard let last = outcome.records.map(\.sequence).max(),
      let first = outcome.records.map(\.sequence).min()
    else { return }
    nextSequence = max(nextSequence, last + 1)
    directories[directory].slots[slot].take(outcome, header, sequences: first...last)
    let stage: IndexEntry.Stage = outcome.fault == nil ? .durable : .written
    for record in outcome.records { take(record, directory, slot, stage, wall: wall) }
  }

  private mutating func take(
    _ record: RecordHeader, _ directory: Int, _ slot: Int, _ stage: IndexEntry.Stage,
    wall: UInt64
  ) {
    let key = DiskKey(
      namespace: tenants.number(of: record.facts.namespace), key: record.facts.key)
    let place = RecordPlace(
      directory: UInt16(directory), slot: UInt32(slot), block: UInt32(record.blockIndex))
    var entry = IndexEntry(
      record.facts, place: place, sequence: record.sequence, stage: stage,
      isPinned: tenants.pins[key] != nil)
    let isDead = tenants.isDead(key, generation: entry.generation, sequence: entry.sequence)
    guard
      !isDead,
      entry.generation <= tenants.generation(of: key.namespace),
      !entry.isExpired(atWallMilliseconds: wall), index[key]?.sequence ?? 0 < entry.sequence,
      index.count < configuration.objectsMax
    else {
      directories[directory].droppedInRecovery += 1
      if !isDead {
        noteShadow(of: key, sequence: entry.sequence, generation: entry.generation)
      }
      return
    }
    entry.uses = directories[directory].useCounts[record.sequence] ?? 0
    drop(key)
    index.insert(key, entry)
    count(entry, +1)
  }

  private mutating func recovered(_ directory: Int, now: Instant) {
    guard directories[directory].phase == .recovering else { return }
    directories[directory].phase = .serving
    directories[directory].useCounts = [:]
    let state = directories[directory]
    counters.recoveredRecords += state.objects
    counters.recoveryDropped += state.droppedInRecovery
    let milliseconds = now.nanoseconds(since: state.startedAt) / 1_000_000
    counters.recoveryMilliseconds = max(counters.recoveryMilliseconds, milliseconds)
    report(
      .recovered(
        path: state.storage.path, objects: state.objects, dropped: state.droppedInRecovery,
        milliseconds: milliseconds))
    if let fault = state.recoveryFault { quarantine(directory, fault, now: now) }
  }

  /// Begins to serve once all directories are known.
  private mutating func endRecovery(now: Instant, wall: UInt64) {
    guard !isReady, directories.allSatisfy({ $0.phase != .recovering }) else { return }
    // Before segments are sorted: one of which nothing is left is free at once.
    while shrink() {}
    noteUnreadShadows()
    for directory in directories.indices {
      sortSegments(directory)
      guard directories[directory].isTooSmall else { continue }
      let error = DiskError(call: "recovery", file: "segments", code: 0)
      quarantine(directory, error, now: now)
    }
    isReady = true
    // Journals name pins that are over, too: they must not keep old segments in place of new ones.
    endPins(wall: wall)
    reserveSequences()
    let purges = waitingPurges
    waitingPurges = []
    for purge in purges {
      self.purge(
        purge.scope, in: purge.namespace, counted: purge.counted, wall: wall,
        completion: purge.completion)
    }
    for directory in directories.indices { pump(directory, now: now) }
  }

  /// Frees segments of which nothing counts any more, goes on with the one that was open last, and
  /// removes the oldest beyond the cap.
  private mutating func sortSegments(_ directory: Int) {
    var isUsed = [Bool](repeating: false, count: directories[directory].slots.count)
    for entry in index.all.values where Int(entry.place.directory) == directory {
      isUsed[Int(entry.place.slot)] = true
    }
    for slot in directories[directory].slots.indices {
      let state = directories[directory].slots[slot].state
      guard state == .free || state == .sealed && !isUsed[slot] else {
        if state == .sealing { directories[directory].busy.append(slot) }
        continue
      }
      guard directories[directory].hasFullSize(slot) else {
        removeFile(directory, slot)
        continue
      }
      directories[directory].slots[slot].state = .free
      directories[directory].free.append(slot)
    }
    let last = directories[directory].busy.max {
      directories[directory].slots[$0].incarnation < directories[directory].slots[$1].incarnation
    }
    if let last, directories[directory].isWritable { goOn(with: last, directory) }
    while directories[directory].fileCount > directories[directory].segmentsMax {
      guard let slot = removable(directory) else { break }
      for (key, entry) in index.all
      where Int(entry.place.directory) == directory && Int(entry.place.slot) == slot {
        drop(key)
      }
      removeFile(directory, slot)
    }
  }

  /// Opens a segment of an earlier run again.
  ///
  /// A trailer that was begun there and never made durable must not outlive what is written now:
  /// with the sectors of a later footer it could look whole. So it is overwritten first, in the
  /// place of the header's write: nothing in the segment counts as durable before that is.
  private mutating func goOn(with slot: Int, _ directory: Int) {
    directories[directory].slots[slot].state = .open
    directories[directory].slots[slot].isHeaderWritten = false
    directories[directory].slots[slot].writesInFlight += 1
    directories[directory].open = slot
    let file = directories[directory].slots[slot].file
    let zeros = PageBuffer(byteCount: diskBlockBytes)
    submit(
      directory, .write(file, at: file.byteCount - diskBlockBytes, from: [zeros.span]),
      .headerWritten(directory: directory, slot: slot, zeros))
  }

  /// Has a file removed; its slot is used no more.
  mutating func removeFile(_ directory: Int, _ slot: Int) {
    directories[directory].free.removeAll { $0 == slot }
    directories[directory].slots[slot].state = .unusable
    directories[directory].slots[slot].durableFirstSequence = .max
    directories[directory].slots[slot].lifeFirstSequence = 0
    directories[directory].fileCount -= 1
    let (storage, name) = (
      directories[directory].storage, directories[directory].slots[slot].file.name
    )
    submit(
      directory, .run { () throws(DiskError) in try storage.remove(name) },
      .fileRemoved(directory: directory))
  }

  /// A free segment, else the oldest.
  private func removable(_ directory: Int) -> Int? {
    let state = directories[directory]
    return state.free.last
      ?? state.slots.indices.filter { state.slots[$0].state == .sealed }
      .min { state.slots[$0].incarnation < state.slots[$1].incarnation }
  }
}
