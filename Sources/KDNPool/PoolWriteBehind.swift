internal import KDNCore
internal import KDNMemory
internal import KDNTier

/// How objects in RAM get to the slower tier.
extension Pool {
  /// A picture of what is on its way to the slower tier; all zero without one.
  package var writeBehind: WriteBehindStatistics {
    guard let backing else { return WriteBehindStatistics() }
    return backing.writes.withLock { queue in
      WriteBehindStatistics(
        waitingObjects: queue.waitingObjects, waitingBytes: queue.waitingBytes,
        leasedObjects: queue.leasedObjects, leasedBytes: queue.leasedBytes,
        counts: queue.counts)
    }
  }

  /// Offers an object for writing: when it is published, at its second use, when it is pinned.
  ///
  /// If the policy admits it, it waits for its turn. Nothing happens if it waits already, or was
  /// written.
  func offer(_ object: StoredObject, isWanted: Bool) {
    guard let backing, !backing.isClosing, !object.isHeld, !object.isDerived else { return }
    let state = object.writeState.value
    switch state {
    case WriteState.unasked, WriteState.declined: break
    case WriteState.over where isWanted: break
    default: return
    }
    let facts = AdmissionFacts(
      byteCount: object.byteCount, uses: object.useCount, isWanted: isWanted)
    guard backing.admission.withLock({ $0 }).admits(facts) else {
      guard object.writeState.change(from: state, to: WriteState.declined) else { return }
      if state == WriteState.unasked { backing.writes.withLock { $0.counts.declined += 1 } }
      return
    }
    let isAdded = backing.writes.withLock { queue in
      let isAdded = queue.add(object, from: state, isWanted: isWanted)
      if !isAdded { queue.counts.overflows += 1 }
      return isAdded
    }
    guard isAdded else {
      _ = object.writeState.change(from: state, to: WriteState.declined)
      return
    }
    write(backing)
  }

  /// Counts an object that was evicted while it waited to be written.
  func noteEviction(of object: StoredObject) {
    guard let backing, let ticket = object.writeState.ticket,
      object.writeState.change(from: ticket, to: WriteState.over)
    else { return }
    backing.writes.withLock { queue in
      queue.withdraw(ticket)
      queue.counts.unwrittenEvictions += 1
    }
  }

  /// Does the jobs of the write queue, unless another thread is at it.
  func write(_ backing: Backing) {
    if backing.writes.withLock({ $0.begin() }) {
      while let job = backing.writes.withLock({ $0.next() }) {
        switch job {
        case .purge(let purge): purge()
        case .durable(let write): handOver(write, backing)
        case .prepared(let write): handOver(write, backing)
        case .write(let entry): handOver(entry, backing)
        }
      }
    }
    for closed in backing.writes.withLock({ $0.takeClosers() }) {
      backing.tier.close(completion: closed)
    }
  }

  /// The tier may have room again.
  func retryWrites(_ backing: Backing) {
    backing.writes.withLock { $0.retry() }
    write(backing)
  }

  private func handOver(_ entry: WriteQueue.Entry, _ backing: Backing) {
    let place = ChunkPlace(entry.key.hash, in: entry.namespace.number)
    let now = clock.now()
    // Nil if it was evicted, purged or ended while it waited, or goes another way.
    let found = stripe(of: place).withLock { state -> PreparedWrite? in
      guard let object = state.live(entry.key, at: place, now: now),
        object.writeState.change(from: entry.ticket, to: WriteState.writing)
      else { return nil }
      let body = object.body
      return PreparedWrite(
        object: object, body: body, bytes: TierBytes(body.block.lease()),
        leasedBytes: entry.byteCount)
    }
    guard var raw = found else {
      backing.writes.withLock { $0.endLease(entry.byteCount) }
      return
    }
    let paid = backing.writes.withLock { $0.pay(for: entry, now: now) }
    guard let paid else {
      _ = raw.object.writeState.change(from: WriteState.writing, to: WriteState.over)
      backing.writes.withLock { $0.endLease(entry.byteCount) }
      return
    }
    raw.paidBytes = paid
    if let encoded = entry.encoded { return hand(raw.encoded(encoded), backing) }
    if !encodeFirst(raw, backing) { hand(raw, backing) }
  }

  /// Hands over what was encoded since it left the queue, unless it was purged, replaced or written
  /// in another way meanwhile.
  private func handOver(_ write: PreparedWrite, _ backing: Backing) {
    let object = write.object
    guard live(object.key, in: object.namespace, now: clock.now()) === object,
      object.writeState.value == WriteState.writing
    else {
      var dropped = write
      backing.writes.withLock { queue in
        queue.settle(&dropped, isWritten: false)
        queue.endLease(write.leasedBytes)
      }
      return
    }
    hand(write, backing)
  }

  private func hand(_ write: PreparedWrite, _ backing: Backing) {
    let facts = write.object.tierFacts(write.body.form)
    backing.tier.write(facts, write.bytes, isDurable: false) { result in
      self.wrote(write, result, backing)
    }
  }

  private func wrote(
    _ write: PreparedWrite, _ result: Result<Void, TierRefusal>, _ backing: Backing
  ) {
    let object = write.object
    switch result {
    case .success: noteWritten(object, backing)
    case .failure(.busy): break
    case .failure: _ = object.writeState.change(from: WriteState.writing, to: WriteState.over)
    }
    backing.writes.withLock { queue in
      queue.endLease(write.leasedBytes)
      queue.note(write, result)
    }
    self.write(backing)
  }

  /// Notes that the tier holds an object, and passes its pin on.
  func noteWritten(_ object: StoredObject, _ backing: Backing) {
    let now = clock.now()
    let pinEnd = residency.withLock { residency -> Instant? in
      residency.setHeld(object, true)
      return residency.pinEnd(of: object)
    }
    object.writeState.set(WriteState.over)
    guard let pinEnd, pinEnd > now else { return }
    // Over the tier's quota of pins, RAM alone keeps it.
    _ = backing.tier.pin(
      [object.key], in: object.namespace.name, milliseconds: now.milliseconds(until: pinEnd))
  }
}

extension WriteQueue {
  fileprivate mutating func note(_ write: PreparedWrite, _ result: Result<Void, TierRefusal>) {
    switch result {
    case .success:
      counts.written += 1
      counts.writtenBytes += UInt64(write.bytes.byteCount)
      retry()
    case .failure(let refusal):
      counts.note(refusal)
      if refusal == .busy { putBack(write) } else { retry() }
    }
  }
}
