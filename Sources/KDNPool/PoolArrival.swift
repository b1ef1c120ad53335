internal import KDNCore
internal import KDNMemory
internal import KDNTier
internal import Synchronization

/// What a read from the slower tier brought.
extension Pool {
  func arrive(
    _ flight: Flight, _ room: FlightRoom, _ reading: TierReading, _ backing: Backing
  ) {
    switch reading {
    case .busy:
      backing.fetches.withLock { $0.stall(flight, room) }
      return
    case .missed(let cause):
      room.release()
      // Somebody may have stored it meanwhile.
      land(flight, inRAM(flight) ?? .missed(cause), backing)
    case .whole(let facts):
      let outcome = outcome(flight, room, facts, backing)
      room.release()
      let isMissed = outcome.hold == nil
      land(flight, flight.isBelow && isMissed ? inRAM(flight) ?? outcome : outcome, backing)
    }
    retryOneStalled(backing)
  }

  /// Ends a flight: tells all who wanted the object.
  func land(_ flight: Flight, _ outcome: Fetch.Outcome, _ backing: Backing) {
    let fetches = backing.fetches.withLock { $0.remove(flight) }
    settle(fetches, outcome, flight.key, backing)
  }

  func settle(
    _ fetches: [Fetch], _ outcome: Fetch.Outcome, _ key: ObjectKey, _ backing: Backing
  ) {
    if case .missed(let cause) = outcome, !fetches.isEmpty {
      backing.fetches.withLock {
        $0.counts.failed[cause, default: 0] += UInt64(fetches.count)
      }
    }
    for fetch in fetches {
      if let hold = outcome.hold, !fetch.accepted.contains(hold.body.form) {
        decode(own(outcome), for: fetch)
      } else {
        fetch.deliver(own(outcome), for: key)
      }
    }
    for fetch in fetches { pursue(fetch) }
  }

  /// Each fetch keeps the object by a lease of its own.
  func own(_ outcome: Fetch.Outcome) -> Fetch.Outcome {
    switch outcome {
    case .inRAM(let hold): .inRAM(Fetch.Hold(hold.object, hold.body))
    case .read(let hold): .read(Fetch.Hold(hold.object, hold.body))
    case .missed: outcome
    }
  }

  /// Makes an object of what was read, and puts it into RAM if it was read there.
  private func outcome(
    _ flight: Flight, _ room: FlightRoom, _ facts: ObjectFacts, _ backing: Backing
  ) -> Fetch.Outcome {
    guard facts.key == flight.key, facts.namespace == flight.namespace.name,
      facts.storedBytes == room.memory.byteCount
    else { return .missed(.corrupt) }
    let left = facts.ttlLeft(atWallMilliseconds: backing.wallClock.milliseconds())
    guard left != 0 else { return .missed(.expired) }
    guard let memory = room.memory.take(), let charge = room.charge.take() else {
      preconditionFailure("a read completed twice")
    }
    let now = clock.now()
    let object = StoredObject(
      StoreFacts(facts), checksum: facts.checksum, block: memory.seal(keeping: room.takeQuota()),
      form: facts.form, charge: charge, namespace: flight.namespace, generation: facts.generation,
      age: ObjectAge(
        expiry: left.map { now.advanced(milliseconds: $0) } ?? .never,
        storedAtMilliseconds: facts.storedAtMilliseconds),
      isHeld: true)
    // Held from before it can be found, so that nothing evicts it before the answer.
    let hold = Fetch.Hold(object)
    var replaced: StoredObject?
    let outcome = residency.withLock { residency in
      admit(flight, hold, room.isStaging, into: &residency, replacing: &replaced)
    }
    let isPromoted = !room.isStaging && outcome.hold === hold
    backing.fetches.withLock { table in
      table.counts.readBytes += UInt64(facts.storedBytes)
      guard case .read = outcome else { return }
      if isPromoted { table.counts.promoted += 1 } else { table.counts.staged += 1 }
    }
    if isPromoted { wake(flight.key, in: flight.namespace) }
    return outcome
  }

  /// Decides under the residency lock, as purges do, whether what was read may still be had.
  private func admit(
    _ flight: Flight, _ hold: Fetch.Hold, _ isStaging: Bool, into residency: inout Residency,
    replacing replaced: inout StoredObject?
  ) -> Fetch.Outcome {
    let object = hold.object
    let (stripe, place) = stripe(of: object)
    let now = clock.now()
    let known = stripe.withLock { state in
      state.live(object.key, at: place, now: now).map { Fetch.Hold($0) }
    }
    if let known {
      // Somebody stored it meanwhile: what RAM has is what others read.
      guard flight.isBelow, known.object.holds(object.checksum, object.byteCount) else {
        return .inRAM(known)
      }
      return .read(Fetch.Hold(known.object, hold.body))
    }
    guard object.generation == flight.namespace.generation,
      !flight.isPurged.load(ordering: .acquiring)
    else { return .missed(.purged) }
    if !isStaging { self.place(object, into: &residency, replacing: &replaced) }
    return .read(hold)
  }

  /// After a read, one that the tier was too busy for has its turn.
  private func retryOneStalled(_ backing: Backing) {
    while let next = backing.fetches.withLock({ $0.takeStalled() }) {
      if retry(next, backing) { return }
    }
  }

  /// Tries all reads again that the tier was too busy for; gives up those that waited too long.
  func retryStalled(now: Instant, _ backing: Backing) {
    for next in backing.fetches.withLock({ $0.takeAllStalled() }) {
      if next.flight.deadline <= now {
        next.room.release()
        land(next.flight, inRAM(next.flight) ?? .missed(.notReady), backing)
      } else {
        _ = retry(next, backing)
      }
    }
  }

  /// Tries a read again unless nobody waits for it any more; says whether it did.
  private func retry(_ stalled: FetchTable.Stalled, _ backing: Backing) -> Bool {
    let isWanted = backing.fetches.withLock { $0.isWanted(stalled.flight) }
    guard isWanted else {
      stalled.room.release()
      land(stalled.flight, .missed(.notReady), backing)
      return false
    }
    read(stalled.flight, into: stalled.room, backing)
    return true
  }
}

extension StoreFacts {
  fileprivate init(_ facts: ObjectFacts) {
    self.init(
      key: facts.key, parent: facts.parent, byteCount: facts.byteCount,
      firstToken: facts.firstToken, tokenCount: facts.tokenCount,
      ttlMilliseconds: facts.ttlMilliseconds,
      recomputeMicroseconds: facts.recomputeMicroseconds)
  }
}
