internal import KDNCore
internal import KDNMemory

extension LogState {
  /// An open segment with room for a record, begun anew if that may be; nil: later.
  mutating func slotWithRoom(_ directory: Int, for write: PendingWrite, isCopy: Bool) -> Int? {
    let blocks = write.recordBytes / diskBlockBytes
    let state = directories[directory]
    if let open = state.open {
      // The last segment's room belongs to what is being copied out of a reclaimed one.
      let kept = !isCopy && state.available == 0 ? state.reclaim?.blocksLeft ?? 0 : 0
      if state.slots[open].fits(blocks: blocks + kept) {
        return state.slots[open].awaitsHeader ? nil : open
      }
    }
    guard state.available >= (isCopy ? 1 : 2) else { return nil }
    guard !state.free.isEmpty else {
      makeSegment(directory)
      return nil
    }
    if let open = state.open { directories[directory].slots[open].state = .sealing }
    let slot = beginSegment(directory)
    return directories[directory].slots[slot].awaitsHeader ? nil : slot
  }

  private mutating func beginSegment(_ directory: Int) -> Int {
    let slot = directories[directory].free.removeFirst()
    let incarnation = directories[directory].nextIncarnation
    directories[directory].nextIncarnation += 1
    let nonce = configuration.random()
    directories[directory].slots[slot].begin(incarnation: incarnation, nonce: nonce)
    directories[directory].open = slot
    directories[directory].busy.append(slot)
    let header = SegmentHeader(
      incarnation: incarnation, nonce: nonce, segmentBytes: directories[directory].segmentBytes,
      directoryID: directories[directory].id, openedAtMilliseconds: wall)
    let buffer = PageBuffer(byteCount: SegmentHeader.byteCount)
    unsafe header.write(to: buffer.bytes)
    directories[directory].slots[slot].writesInFlight += 1
    submit(
      directory,
      .write(directories[directory].slots[slot].file, at: 0, from: [buffer.span]),
      .headerWritten(directory: directory, slot: slot, buffer))
    if directories[directory].free.isEmpty { makeSegment(directory) }
    return slot
  }

  private mutating func makeSegment(_ directory: Int) {
    let state = directories[directory]
    guard !state.isMaking, state.isWritable, !state.isFull, state.fileCount < state.segmentsMax
    else { return }
    directories[directory].isMaking = true
    directories[directory].nextFileNumber += 1
    let name = DirectoryLayout.segmentName(state.nextFileNumber)
    let (storage, bytes) = (state.storage, state.segmentBytes)
    let box = ResultBox<any BlockFile>()
    submit(
      directory,
      .run { () throws(DiskError) in box.put(try storage.create(name, byteCount: bytes)) },
      .segmentMade(directory: directory, box))
  }

  /// A new file is there, or the device has no room for it.
  mutating func segmentMade(
    _ directory: Int, _ file: (any BlockFile)?, _ result: Result<Void, DiskError>, now: Instant
  ) {
    directories[directory].isMaking = false
    if let file {
      directories[directory].free.append(directories[directory].slots.count)
      directories[directory].slots.append(SegmentSlot(file: file, isFresh: true))
      directories[directory].fileCount += 1
    } else if case .failure(let error) = result {
      directories[directory].isFull = true
      let path = directories[directory].storage.path
      report(.error(path: path, error))
      report(.full(path: path, segments: directories[directory].fileCount))
      if directories[directory].isTooSmall {
        quarantine(directory, error, now: now)
      }
    }
    pump(directory, now: now)
  }

  /// The header of a segment's new life is written, and not durable yet.
  mutating func headerWritten(
    _ directory: Int, _ slot: Int, _ result: Result<Void, DiskError>, now: Instant
  ) {
    guard case .success = result, directories[directory].slots[slot].awaitsHeader else {
      return headerDone(directory, slot, result, isSync: false, now: now)
    }
    guard directories[directory].isWritable else {
      directories[directory].slots[slot].writesInFlight -= 1
      return pump(directory, now: now)
    }
    submit(
      directory, .synchronise(directories[directory].slots[slot].file),
      .headerSynchronised(directory: directory, slot: slot))
  }

  /// The header of a segment's new life is durable: its earlier life cannot be found any more.
  mutating func headerSynchronised(
    _ directory: Int, _ slot: Int, _ result: Result<Void, DiskError>, now: Instant
  ) {
    if case .success = result {
      directories[directory].slots[slot].awaitsHeader = false
      directories[directory].slots[slot].durableFirstSequence = .max
    }
    headerDone(directory, slot, result, isSync: true, now: now)
  }

  private mutating func headerDone(
    _ directory: Int, _ slot: Int, _ result: Result<Void, DiskError>, isSync: Bool, now: Instant
  ) {
    directories[directory].slots[slot].writesInFlight -= 1
    switch result {
    case .success: directories[directory].slots[slot].isHeaderWritten = true
    case .failure(let error):
      if isSync {
        directories[directory].syncErrors += 1
      } else {
        directories[directory].writeErrors += 1
      }
      quarantine(directory, error, now: now)
    }
    pump(directory, now: now)
  }

  // MARK: Group commit

  /// Makes durable what is wanted or has waited long enough, and ends segments that are full.
  mutating func pumpSyncs(_ directory: Int, now: Instant) {
    guard directories[directory].isWritable else { return }
    for slot in directories[directory].busy {
      let state = directories[directory].slots[slot]
      guard !state.isSyncing, state.isHeaderWritten, state.state != .closing else { continue }
      let isEnding = state.state == .sealing && state.writesInFlight == 0
      if state.unsynced.isEmpty {
        if isEnding { writeFooter(directory, slot) }
        continue
      }
      let due = state.unsyncedSince.advanced(milliseconds: configuration.syncDelayMilliseconds)
      if state.isSyncWanted || isEnding || now >= due || closing != nil {
        synchronise(directory, slot)
      }
    }
  }

  private mutating func synchronise(_ directory: Int, _ slot: Int) {
    let records = directories[directory].slots[slot].unsynced
    directories[directory].slots[slot].unsynced = []
    directories[directory].slots[slot].isSyncing = true
    directories[directory].slots[slot].isSyncWanted = false
    counters.syncs += 1
    submit(
      directory, .synchronise(directories[directory].slots[slot].file),
      .synchronised(directory: directory, slot: slot, records: records))
  }

  /// A group commit has ended: what it covered is durable, or nothing is known of it.
  mutating func synchronised(
    _ directory: Int, _ slot: Int, _ records: [UInt64], _ result: Result<Void, DiskError>,
    now: Instant
  ) {
    directories[directory].slots[slot].isSyncing = false
    switch result {
    case .success where directories[directory].isWritable:
      let first = directories[directory].slots[slot].lifeFirstSequence
      directories[directory].slots[slot].durableFirstSequence = first == 0 ? .max : first
      for sequence in records { durable(sequence) }
    case .success: for sequence in records { lose(sequence) }
    case .failure(let error):
      directories[directory].syncErrors += 1
      quarantine(directory, error, now: now)
      for sequence in records { lose(sequence) }
    }
    pump(directory, now: now)
  }

  private mutating func durable(_ sequence: UInt64) {
    guard let write = writes.removeValue(forKey: sequence), let placed = write.placed else {
      return
    }
    if let original = write.original, !write.isCopy {
      return rewritten(write, sequence, original, placed)
    }
    if let original = write.original {
      index.update(write.key) { entry in
        guard entry.sequence == original else { return }
        entry.sequence = sequence
        entry.place = RecordPlace(
          directory: UInt16(write.directory), slot: UInt32(placed.slot),
          block: UInt32(placed.block))
        entry.uses = 0
      }
      counters.reinserted += 1
      counters.reinsertedBytes += UInt64(write.recordBytes)
      return copyEnded(write.directory)
    }
    let isHere = index[write.key]?.sequence == sequence
    index.update(write.key) { if $0.sequence == sequence { $0.stage = .durable } }
    for completion in write.whenDurable {
      guard isHere else {
        finish { completion(.failure(.gone)) }
        continue
      }
      whenJournalIsDurable(completion)
    }
  }

  // MARK: The end of a segment

  private mutating func writeFooter(_ directory: Int, _ slot: Int) {
    let state = directories[directory].slots[slot]
    guard !state.footer.isEmpty else { return closed(directory, slot, as: .free) }
    let end = SegmentFooter(
      footer: state.footer, incarnation: state.incarnation, nonce: state.nonce,
      blockCount: state.blockCount, firstSequence: state.lifeFirstSequence,
      lastSequence: state.lifeLastSequence)
    directories[directory].slots[slot].state = .closing
    directories[directory].slots[slot].footerBlock = end.block
    directories[directory].slots[slot].recordCount = state.footer.count / RecordHeader.byteCount
    counters.writtenBytes += UInt64(end.buffer.byteCount)
    submit(
      directory, .write(state.file, at: end.block * diskBlockBytes, from: [end.buffer.span]),
      .footerWritten(directory: directory, slot: slot, end.buffer))
  }

  /// The footer is written: make it durable.
  mutating func footerWritten(
    _ directory: Int, _ slot: Int, _ result: Result<Void, DiskError>, now: Instant
  ) {
    if case .failure(let error) = result {
      directories[directory].writeErrors += 1
      quarantine(directory, error, now: now)
      return pump(directory, now: now)
    }
    guard directories[directory].isWritable else { return pumpClosing(now: now) }
    submit(
      directory, .synchronise(directories[directory].slots[slot].file),
      .footerSynchronised(directory: directory, slot: slot))
  }

  /// The segment is whole.
  mutating func footerSynchronised(
    _ directory: Int, _ slot: Int, _ result: Result<Void, DiskError>, now: Instant
  ) {
    if case .failure(let error) = result {
      directories[directory].syncErrors += 1
      quarantine(directory, error, now: now)
    } else {
      closed(directory, slot, as: .sealed)
    }
    pump(directory, now: now)
  }

  private mutating func closed(_ directory: Int, _ slot: Int, as state: SegmentSlot.State) {
    directories[directory].slots[slot].state = state
    directories[directory].slots[slot].footer = []
    directories[directory].busy.removeAll { $0 == slot }
    if directories[directory].open == slot { directories[directory].open = nil }
    if state == .free { directories[directory].free.append(slot) }
  }
}
