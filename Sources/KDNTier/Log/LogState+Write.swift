internal import KDNCore
internal import KDNMemory

extension LogState {
  /// Takes a record in; its completion comes when it can be read back, or is durable.
  mutating func write(
    _ facts: ObjectFacts, _ bytes: TierBytes, isDurable: Bool, now: Instant, wall: UInt64,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    if let refusal = refusal(of: facts) { return finish { completion(.failure(refusal)) } }
    let key = DiskKey(namespace: tenants.number(of: facts.namespace), key: facts.key)
    guard facts.generation >= tenants.generation(of: key.namespace) else {
      return finish { completion(.failure(.gone)) }
    }
    if let present = live(key, wall: wall) {
      note(key)
      return join(present, isDurable: isDurable, now: now, completion: completion)
    }
    guard queuedBytes + facts.storedBytes <= configuration.queuedWriteBytesMax || queuedBytes == 0
    else { return finish { completion(.failure(.busy)) } }
    guard let directory = leastLoaded(for: facts.storedBytes) else {
      return finish { completion(.failure(.failed)) }
    }
    drop(key)
    if let refusal = makeRoom(for: facts.storedBytes, in: key.namespace, wall: wall) {
      return finish { completion(.failure(refusal)) }
    }
    var write = PendingWrite(
      key: key, facts: facts, source: .object(bytes), directory: directory,
      isPaged: facts.storedBytes >= PendingWrite.pagedBytesMin)
    if isDurable { write.whenDurable = [completion] } else { write.whenWritten = [completion] }
    let sequence = takeSequence()
    let place = RecordPlace(directory: UInt16(directory), slot: 0, block: 0)
    index.insert(
      key,
      IndexEntry(
        facts, place: place, sequence: sequence, stage: .writing,
        isPinned: isPinned(key, byteCount: facts.storedBytes)))
    enqueue(sequence, write)
    pump(directory, now: now)
  }

  /// Waits until a record that is here, or on its way, is durable.
  mutating func makeDurable(
    _ key: DiskKey, now: Instant, wall: UInt64,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    guard let entry = live(key, wall: wall) else {
      return finish { completion(.failure(.gone)) }
    }
    note(key)
    join(entry, isDurable: true, now: now, completion: completion)
  }

  private mutating func join(
    _ entry: IndexEntry, isDurable: Bool, now: Instant,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    if entry.stage == .durable, isDurable { return whenJournalIsDurable(completion) }
    guard entry.stage != .durable, isDurable || entry.stage == .writing else {
      return finish { completion(.success(())) }
    }
    guard var write = writes[entry.sequence] else {
      return finish { completion(.failure(.failed)) }
    }
    if isDurable {
      write.whenDurable.append(completion)
      if let placed = write.placed, entry.stage == .written {
        directories[write.directory].slots[placed.slot].isSyncWanted = true
      }
    } else {
      write.whenWritten.append(completion)
    }
    writes[entry.sequence] = write
    pump(write.directory, now: now)
  }

  private func refusal(of facts: ObjectFacts) -> TierRefusal? {
    guard closing == nil else { return .closing }
    guard isReady else { return .busy }
    let writable = directories.filter(\.isWritable)
    guard let limit = writable.map(\.payloadBytesMax).max() else { return .failed }
    guard facts.storedBytes <= limit else { return .tooLarge(limit: limit) }
    return index.count < configuration.objectsMax ? nil : .notAdmitted
  }

  mutating func takeSequence() -> UInt64 {
    defer { nextSequence += 1 }
    if nextSequence + Self.sequencesAhead / 2 > reservedSequence { reserveSequences() }
    return nextSequence
  }

  /// Has the journals remember that sequences up to far beyond the next one may be in use.
  mutating func reserveSequences() {
    reservedSequence = nextSequence + Self.sequencesAhead
    remember([.sequenceReserved(reservedSequence)])
  }

  /// Sequences that are reserved at once.
  static let sequencesAhead: UInt64 = 1 << 24

  /// The writable directory with the least waiting that has segments large enough.
  mutating func leastLoaded(for byteCount: Int) -> Int? {
    turn += 1
    let count = directories.count
    return (0..<count).map { ($0 + turn) % count }.filter {
      directories[$0].isWritable && byteCount <= directories[$0].payloadBytesMax
    }.min { directories[$0].queuedBytes < directories[$1].queuedBytes }
  }

  mutating func enqueue(_ sequence: UInt64, _ write: PendingWrite) {
    directories[write.directory].queuedBytes += write.facts.storedBytes
    queuedBytes += write.facts.storedBytes
    if write.isCopy {
      directories[write.directory].copies.append(sequence)
    } else {
      directories[write.directory].queue.append(sequence)
    }
    writes[sequence] = write
  }

  /// Places and submits waiting records, as many as may be under way.
  mutating func pumpWrites(_ directory: Int) {
    while directories[directory].isWritable,
      directories[directory].writesInFlight < configuration.writesInFlight
    {
      let isCopy = !directories[directory].copies.isEmpty
      let first =
        isCopy ? directories[directory].copies.first : directories[directory].queue.first
      guard let sequence = first else { return }
      guard let write = writes[sequence], isWanted(write, sequence) else {
        forget(directory, isCopy: isCopy)
        discard(sequence)
        continue
      }
      guard let slot = slotWithRoom(directory, for: write, isCopy: isCopy) else { return }
      forget(directory, isCopy: isCopy)
      submit(write, sequence, into: slot)
    }
  }

  /// Whether a waiting record is still what the index wants written.
  private func isWanted(_ write: PendingWrite, _ sequence: UInt64) -> Bool {
    index[write.key]?.sequence == write.original ?? sequence
  }

  /// Gives up a record that was never placed.
  private mutating func discard(_ sequence: UInt64) {
    guard let write = writes.removeValue(forKey: sequence) else { return }
    directories[write.directory].queuedBytes -= write.facts.storedBytes
    queuedBytes -= write.facts.storedBytes
    for completion in write.whenWritten + write.whenDurable {
      finish { completion(.failure(.gone)) }
    }
    guard write.isCopy else { return }
    directories[write.directory].reclaim?.blocksLeft -= write.recordBytes / diskBlockBytes + 1
    copyEnded(write.directory)
  }

  private mutating func forget(_ directory: Int, isCopy: Bool) {
    if isCopy {
      directories[directory].copies.removeFirst()
    } else {
      directories[directory].queue.removeFirst()
    }
  }

  private mutating func submit(_ write: PendingWrite, _ sequence: UInt64, into slot: Int) {
    var write = write
    let directory = write.directory
    let blocks = write.recordBytes / diskBlockBytes
    let block = directories[directory].slots[slot].place(blocks: blocks, sequence: sequence)
    let incarnation = directories[directory].slots[slot].incarnation
    let nonce = directories[directory].slots[slot].nonce
    let header = RecordHeader(
      facts: write.facts, incarnation: incarnation, sequence: sequence, blockIndex: block,
      isPaged: write.isPaged)
    directories[directory].slots[slot].footer += header.encoded(nonce: nonce)
    directories[directory].slots[slot].writesInFlight += 1
    directories[directory].writesInFlight += 1
    write.placed = (slot, incarnation, block)
    if write.isCopy {
      directories[directory].reclaim?.blocksLeft -= header.blocksInReclaim
    }
    let (pieces, buffer) = write.pieces(header, nonce: nonce)
    writes[sequence] = write
    if write.original == nil {
      index.update(write.key) { entry in
        guard entry.sequence == sequence else { return }
        entry.place = RecordPlace(
          directory: UInt16(directory), slot: UInt32(slot), block: UInt32(block))
      }
    }
    var bytes: TierBytes?
    if case .object(let object) = write.source { bytes = object }
    submit(
      directory,
      .write(directories[directory].slots[slot].file, at: block * diskBlockBytes, from: pieces),
      .recordWritten(sequence: sequence, bytes, buffer))
  }

  /// A record's write has ended.
  mutating func recordWritten(_ sequence: UInt64, _ result: Result<Void, DiskError>, now: Instant) {
    guard var write = writes[sequence], let placed = write.placed else {
      preconditionFailure("a record was written that nobody wrote")
    }
    let directory = write.directory
    directories[directory].writesInFlight -= 1
    directories[directory].queuedBytes -= write.facts.storedBytes
    directories[directory].slots[placed.slot].writesInFlight -= 1
    queuedBytes -= write.facts.storedBytes
    if case .failure(let error) = result {
      directories[directory].writeErrors += 1
      quarantine(directory, error, now: now)
    }
    guard directories[directory].isWritable else {
      retry(sequence, now: now)
      return pump(directory, now: now)
    }
    counters.writes += 1
    counters.writtenBytes += UInt64(write.recordBytes)
    let waiting = write.whenWritten
    write.whenWritten = []
    if !write.isCopy { write.source = .none }
    if write.original == nil { markReadable(write.key, sequence) }
    let isHere = write.original != nil || index[write.key]?.sequence == sequence
    for completion in waiting { finish { completion(isHere ? .success(()) : .failure(.gone)) } }
    if directories[directory].slots[placed.slot].unsynced.isEmpty {
      directories[directory].slots[placed.slot].unsyncedSince = now
    }
    directories[directory].slots[placed.slot].unsynced.append(sequence)
    // Nobody waits for a rewrite: the next group commit has it.
    if write.isCopy || write.original == nil && !write.whenDurable.isEmpty {
      directories[directory].slots[placed.slot].isSyncWanted = true
    }
    writes[sequence] = write
    pump(directory, now: now)
  }

  private mutating func markReadable(_ key: DiskKey, _ sequence: UInt64) {
    var readable: IndexEntry?
    index.update(key) { entry in
      guard entry.sequence == sequence else { return }
      entry.stage = .written
      readable = entry
    }
    if let readable { count(readable, +1) }
  }
}

extension PendingWrite {
  /// Objects of at least this many bytes begin at a page of their own, so that they are written
  /// and read in place: smaller ones are copied, behind their header.
  static let pagedBytesMin = 64 << 10

  /// What is to be written, and the memory of ours that takes part.
  fileprivate func pieces(
    _ header: RecordHeader, nonce: UInt64
  ) -> (pieces: [BlockSpan], buffer: PageBuffer) {
    switch source {
    case .copy(let record):
      unsafe header.write(to: record.headerBytes, nonce: nonce)
      return ([record.span], record)
    case .object(let bytes) where isPaged && bytes.ownsWholePages:
      let first = PageBuffer(byteCount: RecordHeader.pagedPayloadOffset)
      unsafe header.write(to: first.headerBytes, nonce: nonce)
      let payload = unsafe BlockSpan(
        base: UnsafeMutableRawPointer(mutating: bytes.base),
        byteCount: recordBytes - RecordHeader.pagedPayloadOffset)
      return ([first.span, payload], first)
    case .object(let bytes):
      let record = PageBuffer(byteCount: recordBytes)
      unsafe header.write(to: record.headerBytes, nonce: nonce)
      unsafe record.base.advanced(by: header.payloadOffset).copyMemory(
        from: bytes.base, byteCount: facts.storedBytes)
      return ([record.span], record)
    case .none: preconditionFailure("a record is written once")
    }
  }
}

extension PageBuffer {
  /// The place of a record header at the beginning.
  @unsafe var headerBytes: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[0..<RecordHeader.byteCount])
  }
}

extension Result {
  var isSuccess: Bool {
    if case .success = self { return true }
    return false
  }
}
