internal import KDNCore
internal import KDNMemory

// An object that is kept in another form from now on is a record more, with a sequence of its own.
// Until that is durable the index knows the old one, and a crash leaves it; from then on the new
// one has the larger sequence, and a crash leaves that. The old record lies where it is until its
// segment is reclaimed: a start may find it again if the new one was dropped, whole and honest.
extension LogState {
  /// Takes another form of a record in; its completion comes when that has taken its place.
  mutating func rewrite(
    _ facts: ObjectFacts, _ bytes: TierBytes, now: Instant, wall: UInt64,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    let key = DiskKey(namespace: tenants.number(of: facts.namespace), key: facts.key)
    let entry: IndexEntry
    switch rewritable(facts, key, wall: wall) {
    case .success(let found): entry = found
    case .failure(let refusal): return finish { completion(.failure(refusal)) }
    }
    guard entry.form != facts.form else { return finish { completion(.success(())) } }
    guard queuedBytes == 0 || queuedBytes + facts.storedBytes <= rewriteBytesMax else {
      return finish { completion(.failure(.busy)) }
    }
    guard let directory = leastLoaded(for: facts.storedBytes) else {
      return finish { completion(.failure(.failed)) }
    }
    var write = PendingWrite(
      key: key, facts: facts, source: .object(bytes), directory: directory,
      isPaged: facts.storedBytes >= PendingWrite.pagedBytesMin, original: entry.sequence)
    write.whenDurable = [completion]
    enqueue(takeSequence(), write)
    pump(directory, now: now)
  }

  /// What waits to be written before a rewrite has its turn: stores come first.
  private var rewriteBytesMax: Int { configuration.queuedWriteBytesMax / 2 }

  /// The record that a rewrite replaces, or why it may not.
  private func rewritable(
    _ facts: ObjectFacts, _ key: DiskKey, wall: UInt64
  ) -> Result<IndexEntry, TierRefusal> {
    guard closing == nil else { return .failure(.closing) }
    guard isReady else { return .failure(.busy) }
    let limit = directories.filter(\.isWritable).map(\.payloadBytesMax).max()
    guard let limit else { return .failure(.failed) }
    guard facts.storedBytes <= limit else { return .failure(.tooLarge(limit: limit)) }
    guard let entry = live(key, wall: wall), entry.isSame(as: facts) else {
      return .failure(.gone)
    }
    guard entry.stage == .durable else { return .failure(.busy) }
    if let limit = exceededQuota(entry, facts, key.namespace) {
      return .failure(.overQuota(limit: limit))
    }
    return .success(entry)
  }

  /// The quota that a larger form would exceed; nothing is dropped for it.
  private func exceededQuota(
    _ entry: IndexEntry, _ facts: ObjectFacts, _ number: UInt32
  ) -> Int? {
    let growth = facts.storedBytes - entry.storedBytes
    guard growth > 0, !entry.hasEnded, let limits = limits[number] else { return nil }
    let usage = index.usage(of: number)
    if let limit = limits.diskBytesMax, growth > limit - usage.bytes { return limit }
    if entry.isPinned, let limit = limits.pinnedBytesMax, growth > limit - usage.pinnedBytes {
      return limit
    }
    return nil
  }

  /// A new form is durable: it takes the place of the old one if that is still here.
  mutating func rewritten(
    _ write: PendingWrite, _ sequence: UInt64, _ original: UInt64,
    _ placed: (slot: Int, incarnation: UInt64, block: Int)
  ) {
    var result: Result<Void, TierRefusal> = .failure(.gone)
    if let entry = index[write.key], entry.sequence == original {
      if let limit = exceededQuota(entry, write.facts, write.key.namespace) {
        result = .failure(.overQuota(limit: limit))
      } else {
        count(entry, -1)
        let place = RecordPlace(
          directory: UInt16(write.directory), slot: UInt32(placed.slot),
          block: UInt32(placed.block))
        index.move(write.key, to: place, sequence: sequence, form: write.facts.form)
        if let moved = index[write.key] { count(moved, +1) }
        counters.rewritten += 1
        result = .success(())
      }
    }
    for completion in write.whenDurable { finish { [result] in completion(result) } }
  }
}
