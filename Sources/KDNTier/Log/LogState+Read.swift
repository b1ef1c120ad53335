internal import KDNCore
internal import KDNMemory

extension LogState {
  /// How a read is to be made.
  enum ReadPlan: Sendable {
    /// It is under way.
    case started
    /// The object is still in memory, on its way to disk.
    case copy(TierBytes, ObjectFacts)
    /// It ends at once.
    case ended(TierReading)
  }

  /// Begins to read an object into `room`.
  mutating func read(
    _ key: DiskKey, into room: TierRoom, now: Instant, wall: UInt64,
    completion: @escaping @Sendable (TierReading) -> Void
  ) -> ReadPlan {
    guard let entry = live(key, wall: wall) else {
      return .ended(.missed(isReady ? cause(key, wall: wall) ?? .evicted : .notReady))
    }
    // Purged and stored anew, at another length, since the caller looked.
    guard room.byteCount == entry.storedBytes else { return .ended(.missed(.purged)) }
    note(key)
    counters.hits += 1
    if entry.stage == .writing {
      guard let write = writes[entry.sequence], case .object(let bytes) = write.source else {
        return .ended(.missed(.evicted))
      }
      return .copy(bytes, write.facts)
    }
    let directory = Int(entry.place.directory)
    guard directories[directory].phase != .lost else { return .ended(.missed(.corrupt)) }
    guard directories[directory].reads.count < configuration.queuedReadsMax else {
      return .ended(.busy)
    }
    let slot = Int(entry.place.slot)
    directories[directory].slots[slot].readers += 1
    directories[directory].reads.append(
      PendingRead(
        key: key, sequence: entry.sequence, place: entry.place, byteCount: entry.storedBytes,
        checksum: entry.storedChecksum, nonce: directories[directory].slots[slot].nonce,
        incarnation: directories[directory].slots[slot].incarnation,
        isPaged: entry.storedBytes >= PendingWrite.pagedBytesMin, room: room,
        completion: completion))
    pump(directory, now: now)
    return .started
  }

  /// Counts a use of a record.
  mutating func note(_ key: DiskKey) {
    index.update(key) { $0.uses = $0.uses == .max ? .max : $0.uses + 1 }
  }

  /// Why a record is not here, if that is known.
  func cause(_ key: DiskKey, wall: UInt64) -> MissCause? {
    if let entry = index[key] {
      return entry.isExpired(atWallMilliseconds: wall) ? .expired : .purged
    }
    return tenants.isPurged(key, sequence: 0) ? .purged : nil
  }

  /// Submits waiting reads, as many as may be under way; neighbours in a segment go as one.
  mutating func pumpReads(_ directory: Int) {
    while directories[directory].readsInFlight < configuration.readsInFlight,
      let first = directories[directory].reads.popFirst()
    {
      var reads = [first]
      var end = Int(first.place.block) + first.blocks
      var blocks = first.blocks
      while reads.count < Self.coalescedReadsMax, blocks < Self.coalescedBlocksMax,
        let next = directories[directory].reads.prefix(Self.lookAheadMax).firstIndex(where: {
          $0.place.slot == first.place.slot && Int($0.place.block) == end
        })
      {
        let read = directories[directory].reads.remove(at: next)
        reads.append(read)
        end += read.blocks
        blocks += read.blocks
      }
      submit(directory, reads)
    }
  }

  /// Most reads, blocks, and places in the queue that are looked at, for one work of the device.
  private static let coalescedReadsMax = 32
  private static let coalescedBlocksMax = 1024
  private static let lookAheadMax = 64

  private mutating func submit(_ directory: Int, _ reads: [PendingRead]) {
    var pieces: [BlockSpan] = []
    var buffers: [ReadBuffer] = []
    for read in reads {
      let isInPlace = read.isPaged && read.room.ownsWholePages
      let total = read.blocks * diskBlockBytes
      let buffer = PageBuffer(byteCount: isInPlace ? RecordHeader.pagedPayloadOffset : total)
      pieces.append(buffer.span)
      if isInPlace {
        unsafe pieces.append(
          BlockSpan(base: read.room.base, byteCount: total - RecordHeader.pagedPayloadOffset))
      }
      buffers.append(ReadBuffer(buffer: buffer, isInPlace: isInPlace))
    }
    directories[directory].readsInFlight += 1
    counters.reads += UInt64(reads.count)
    counters.readBytes += reads.reduce(0) { $0 + UInt64($1.blocks * diskBlockBytes) }
    let slot = directories[directory].slots[Int(reads[0].place.slot)]
    submit(
      directory,
      .read(slot.file, at: Int(reads[0].place.block) * diskBlockBytes, into: pieces),
      .read(directory: directory, reads, buffers))
  }

  /// Reads have ended; `facts` are those of the records whose bytes are right.
  mutating func readEnded(
    _ directory: Int, _ reads: [PendingRead], _ facts: [ObjectFacts?],
    _ result: Result<Void, DiskError>, now: Instant
  ) {
    directories[directory].readsInFlight -= 1
    if case .failure(let error) = result {
      directories[directory].readErrors += 1
      directories[directory].readErrorsInARow += 1
      report(.error(path: directories[directory].storage.path, error))
    } else {
      directories[directory].readErrorsInARow = 0
    }
    for (read, facts) in zip(reads, facts) { ended(directory, read, facts) }
    if directories[directory].readErrorsInARow >= configuration.readErrorsMax {
      abandon(directory, now: now)
    }
    pump(directory, now: now)
  }

  private mutating func ended(_ directory: Int, _ read: PendingRead, _ facts: ObjectFacts?) {
    directories[directory].slots[Int(read.place.slot)].readers -= 1
    guard let facts else {
      counters.corrupt += 1
      dropDamaged(read)
      return finish { read.completion(.missed(.corrupt)) }
    }
    let isDead = tenants.isDead(
      read.key, generation: facts.generation, sequence: read.sequence)
    finish { read.completion(isDead ? .missed(.purged) : .whole(facts)) }
  }

  /// A record that is not what was stored must not be found again, in later runs neither.
  private mutating func dropDamaged(_ read: PendingRead) {
    let directory = Int(read.place.directory)
    report(
      .corrupt(
        path: directories[directory].storage.path,
        file: directories[directory].slots[Int(read.place.slot)].file.name,
        block: Int(read.place.block)))
    guard index[read.key]?.sequence == read.sequence else { return }
    drop(read.key)
    counters.dropped += 1
    // Nobody hears when that is durable.
    if read.key.key.kind == .opaque { doubts.add(.key(read.key), ticket: .max) }
    remember(
      [
        .purgedKeys(
          tenants.name(of: read.key.namespace), sequence: read.sequence, keys: [read.key.key])
      ])
  }
}
