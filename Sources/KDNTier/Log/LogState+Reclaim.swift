internal import KDNCore
internal import KDNMemory

extension LogState {
  /// Begins to reclaim the oldest segment when fewer than two could still be begun, and goes on
  /// with one that was begun.
  mutating func pumpReclaim(_ directory: Int) {
    guard directories[directory].isWritable else { return }
    if directories[directory].reclaim == nil { beginReclaim(directory) }
    guard let reclaim = directories[directory].reclaim, !reclaim.isReadingFooter else { return }
    if !reclaim.survivors.isEmpty {
      readSurvivor(directory)
    } else if reclaim.copiesLeft == 0, !reclaim.isReading {
      recycle(directory, reclaim.slot)
    }
  }

  private mutating func beginReclaim(_ directory: Int) {
    let state = directories[directory]
    guard isReady, state.available < 2, !state.isMaking,
      closing == nil || !state.queue.isEmpty,
      let slot = state.slots.indices.filter({
        state.slots[$0].state == .sealed && !state.spared.contains($0)
      })
      .min(by: { state.slots[$0].incarnation < state.slots[$1].incarnation })
    else { return }
    let victim = state.slots[slot]
    directories[directory].reclaim = Reclaim(
      slot: slot, nonce: victim.nonce, survivors: [], blocksLeft: victim.blockCount)
    directories[directory].slots[slot].state = .reclaimed
    let blocks = SegmentTrailer.footerBlocks(records: victim.recordCount)
    let buffer = PageBuffer(byteCount: max(1, blocks) * diskBlockBytes)
    submit(
      directory, .read(victim.file, at: victim.footerBlock * diskBlockBytes, into: [buffer.span]),
      .victimFooterRead(directory: directory, buffer))
  }

  /// The footer of the segment to be reclaimed is here: decide what survives.
  mutating func victimFooterRead(
    _ directory: Int, _ records: [RecordHeader], _ result: Result<Void, DiskError>, now: Instant,
    wall: UInt64
  ) {
    guard var reclaim = directories[directory].reclaim else { return }
    if case .failure(let error) = result {
      directories[directory].readErrors += 1
      report(.error(path: directories[directory].storage.path, error))
    }
    let candidates = candidates(records, wall: wall)
    let facts = facts(of: candidates)
    guard var room = room(directory, for: zip(candidates, facts)) else {
      return spare(directory, reclaim.slot, now: now)
    }
    let keeps = configuration.reclaim.survivors(
      of: facts, bytesMax: directories[directory].allowance.next())
    reclaim.isReadingFooter = false
    reclaim.blocksLeft = 0
    var survivingBytes = 0
    for (place, candidate) in candidates.enumerated() {
      let blocks = candidate.header.blocksInReclaim
      guard facts[place].isBound || keeps[place] && blocks <= room else {
        drop(candidate.key)
        counters.dropped += 1
        continue
      }
      if !facts[place].isBound { room -= blocks }
      survivingBytes += candidate.header.recordBytes
      reclaim.survivors.append(candidate)
      reclaim.copied.append(candidate.key)
      reclaim.blocksLeft += blocks
    }
    directories[directory].allowance.spend(survivingBytes)
    directories[directory].reclaim = reclaim
    if records.isEmpty { dropAll(directory, in: reclaim.slot) }
    pump(directory, now: now)
  }

  /// Blocks that survivors beside the bound ones may take; nil if not even those have room.
  ///
  /// A segment that can be begun holds all survivors of another one. Without one, as after a crash
  /// in the middle of reclaiming, there is but the rest of the open one.
  private func room(
    _ directory: Int,
    for records: some Sequence<((key: DiskKey, header: RecordHeader), ReclaimFacts)>
  ) -> Int? {
    let state = directories[directory]
    guard state.available == 0 else { return .max }
    let rest = state.open.map { state.slots[$0].blocksLeft } ?? 0
    let bound = records.reduce(0) { $0 + ($1.1.isBound ? $1.0.header.blocksInReclaim : 0) }
    return bound <= rest ? rest - bound : nil
  }

  /// Leaves a segment whose pinned records have no other place, and looks for another one.
  private mutating func spare(_ directory: Int, _ slot: Int, now: Instant) {
    directories[directory].slots[slot].state = .sealed
    directories[directory].spared.insert(slot)
    directories[directory].reclaim = nil
    pump(directory, now: now)
  }

  /// The records of a segment that could survive; the others are dropped.
  private mutating func candidates(
    _ records: [RecordHeader], wall: UInt64
  ) -> [(key: DiskKey, header: RecordHeader)] {
    records.compactMap { header in
      guard let number = tenants.knownNumber(of: header.facts.namespace) else { return nil }
      let key = DiskKey(namespace: number, key: header.facts.key)
      guard index[key]?.sequence == header.sequence else { return nil }
      let isBound = tenants.pins[key] != nil || holds[key] != nil
      if live(key, wall: wall) != nil,
        isBound || header.recordBytes <= configuration.reinsertedBytesMax
      {
        return (key, header)
      }
      drop(key)
      counters.dropped += 1
      return nil
    }
  }

  private func facts(of records: [(key: DiskKey, header: RecordHeader)]) -> [ReclaimFacts] {
    let places = Dictionary(
      records.enumerated().map { ($0.element.key, $0.offset) },
      uniquingKeysWith: { _, last in last })
    return records.map { key, header in
      let parent = header.facts.parent
      let before = DiskKey(
        namespace: key.namespace,
        key: ObjectKey(
          hash: parent, layout: key.key.layout, part: key.key.part, variant: key.key.variant))
      return ReclaimFacts(
        byteCount: header.recordBytes, uses: index[key]?.uses ?? 0,
        isPinned: tenants.pins[key] != nil, isHeld: holds[key] != nil,
        children: index.childCount(of: key), parent: parent == .none ? nil : places[before],
        isOrphan: parent != .none && index[before] == nil,
        firstToken: header.facts.firstToken,
        recomputeMicroseconds: header.facts.recomputeMicroseconds)
    }
  }

  /// Drops everything in a segment whose footer cannot be read any more.
  private mutating func dropAll(_ directory: Int, in slot: Int) {
    let gone = index.all.filter { _, entry in
      Int(entry.place.directory) == directory && Int(entry.place.slot) == slot
        && entry.stage != .writing
    }
    for key in gone.keys { drop(key) }
    counters.dropped += UInt64(gone.count)
  }

  private mutating func readSurvivor(_ directory: Int) {
    guard var reclaim = directories[directory].reclaim, !reclaim.isReading,
      reclaim.copiesLeft < Self.copiesMax
    else { return }
    let (key, header) = reclaim.survivors.removeFirst()
    reclaim.isReading = true
    directories[directory].reclaim = reclaim
    let buffer = PageBuffer(byteCount: header.recordBytes)
    submit(
      directory,
      .read(
        directories[directory].slots[reclaim.slot].file, at: header.blockIndex * diskBlockBytes,
        into: [buffer.span]),
      .victimRecordRead(directory: directory, key, header, buffer))
  }

  /// Copies in memory at once.
  private static let copiesMax = 2

  /// A survivor is in memory; `isRight` says whether its bytes are those that were stored.
  mutating func victimRecordRead(
    _ directory: Int, _ key: DiskKey, _ header: RecordHeader, _ buffer: PageBuffer,
    isRight: Bool, now: Instant
  ) {
    guard var reclaim = directories[directory].reclaim else { return }
    reclaim.isReading = false
    let isHere = index[key]?.sequence == header.sequence
    if isHere, isRight {
      reclaim.copiesLeft += 1
      directories[directory].reclaim = reclaim
      enqueue(
        takeSequence(),
        PendingWrite(
          key: key, facts: header.facts, source: .copy(buffer), directory: directory,
          isPaged: header.isPaged, original: header.sequence))
    } else {
      reclaim.blocksLeft -= header.blocksInReclaim
      directories[directory].reclaim = reclaim
      if isHere {
        drop(key)
        counters.corrupt += 1
        counters.dropped += 1
      }
    }
    pump(directory, now: now)
  }

  /// A copy is durable, or was given up.
  mutating func copyEnded(_ directory: Int) {
    directories[directory].reclaim?.copiesLeft -= 1
  }

  /// All survivors are elsewhere: the file can be begun anew once its last reader has ended.
  private mutating func recycle(_ directory: Int, _ slot: Int) {
    for key in directories[directory].reclaim?.copied ?? [] {
      guard let entry = index[key], entry.stage != .writing,
        Int(entry.place.directory) == directory, Int(entry.place.slot) == slot
      else { continue }
      drop(key)
      counters.dropped += 1
    }
    directories[directory].reclaim?.copied = []
    guard directories[directory].slots[slot].readers == 0 else { return }
    directories[directory].reclaim = nil
    directories[directory].spared = []
    if directories[directory].hasFullSize(slot) {
      directories[directory].slots[slot].state = .free
      directories[directory].free.append(slot)
    } else {
      removeFile(directory, slot)
    }
    counters.reclaimedSegments += 1
  }
}

extension RecordHeader {
  /// Blocks to keep free for a survivor: its own, and one for its line in the footer.
  var blocksInReclaim: Int { recordBytes / diskBlockBytes + 1 }
}
