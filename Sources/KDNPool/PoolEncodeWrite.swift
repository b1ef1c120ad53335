internal import KDNCore
internal import KDNMemory
internal import KDNTier

/// Encoding on the way to the slower tier.
///
/// What nobody waits for is encoded first and written once. What somebody wants durable is written
/// as it is, at once: it may be replaced by its encoded form later, when that is itself durable.
extension Pool {
  /// Lets an object be encoded before it is written; false if it is to be written as it is.
  func encodeFirst(_ raw: PreparedWrite, _ backing: Backing) -> Bool {
    guard raw.body.form == nil, !backing.isClosing, let coding = coding.withLock({ $0 }),
      let codec = codec(for: raw.object, .disk, coding.policy)
    else { return false }
    let job = EncodeJob(
      name: raw.object.waitName, codec: codec, purpose: .write(raw),
      deadline: clock.now().advanced(milliseconds: coding.settings.writeWaitMilliseconds))
    let isAdded = coding.state.withLock { state in
      let isAdded = state.add(job)
      if !isAdded { state.counts.overflows += 1 }
      return isAdded
    }
    if isAdded { pumpEncodes(coding) }
    return isAdded
  }

  /// Encodes an object that is on its way, and hands it on in any case.
  func write(_ raw: PreparedWrite, as codec: UInt8, _ coding: Coding) {
    guard let backing else { return }
    let object = raw.object
    var prepared = raw
    let isWanted =
      !backing.isClosing && live(object.key, in: object.namespace, now: clock.now()) === object
    if isWanted {
      switch encode(raw.body, CodingSubject(object), object.namespace, as: codec, coding) {
      case .success(let encoded): prepared = raw.encoded(encoded)
      case .failure(let fault): if fault != .withoutRoom { object.decline(codec) }
      }
    }
    let ready = prepared
    backing.writes.withLock { $0.add(ready) }
    write(backing)
  }

  /// Hands on as it is what has waited too long to be encoded: no lack of CPU keeps objects from
  /// the slower tier.
  func writeOverdue(now: Instant, _ coding: Coding) {
    guard let backing else { return }
    let overdue = coding.state.withLock { $0.takeOverdue(now: now) }
    guard !overdue.isEmpty else { return }
    backing.writes.withLock { queue in
      for write in overdue { queue.add(write) }
    }
    write(backing)
  }

  /// Has an object that was written durably as it was encoded and written again.
  func encodeBelow(_ object: StoredObject) {
    guard object.body.form == nil, let coding = coding.withLock({ $0 }),
      let codec = codec(for: object, .disk, coding.policy)
    else { return }
    let job = EncodeJob(
      name: object.waitName, codec: codec,
      purpose: .replace(object.key, object.namespace, inRAM: false, below: true))
    if coding.state.withLock({ $0.add(job) }) { pumpEncodes(coding) }
  }

  /// Lets go what waits to be encoded, for the slower tier closes: writes go there as they are.
  func closeCoding() {
    guard let coding = coding.withLock({ $0 }) else { return }
    let jobs = coding.state.withLock { state in
      state.isClosing = true
      return state.materialisations
    }
    for job in jobs { job.cancel() }
    pumpEncodes(coding)
  }
}

/// An object on its way to the slower tier, in the form in which it is to be written.
struct PreparedWrite: Sendable {
  let object: StoredObject
  let body: StoredBody
  /// Its bytes in that form.
  let bytes: TierBytes
  /// What the write queue counts as leased for it.
  let leasedBytes: Int
  /// What it has paid of the day's budget.
  var paidBytes = 0

  /// The same write in another form.
  func encoded(_ body: StoredBody) -> PreparedWrite {
    PreparedWrite(
      object: object, body: body, bytes: TierBytes(body.block.lease()), leasedBytes: leasedBytes,
      paidBytes: paidBytes)
  }
}
