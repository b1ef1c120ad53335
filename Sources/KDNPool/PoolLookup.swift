package import KDNCore
internal import KDNMemory
internal import Synchronization

extension Pool {
  /// Whether an object can be had from either tier; not a use, and keeps nothing.
  package func contains(_ key: ObjectKey, in namespace: Namespace) -> Bool {
    let place = ChunkPlace(key.hash, in: namespace.number)
    let isInRAM = stripe(of: place).withLock { state in
      guard let object = state.table.find(key, at: place) else { return false }
      return isLive(object)
    }
    guard !isInRAM, let backing else { return isInRAM }
    return backing.held(key, in: namespace) != nil
  }

  /// Finds an object in RAM and leases its bytes, in their present form, to the caller; counts as a
  /// use.
  ///
  /// What only the slower tier holds is a miss, `notReady`: `fetch` it first. So is what RAM has in
  /// a form that is not `accepted`; `undecodable` if that cannot be decoded here either.
  package func lookup(
    _ key: ObjectKey, in namespace: Namespace, accepting accepted: CodecSet = .raw
  ) -> Lookup {
    let place = ChunkPlace(key.hash, in: namespace.number)
    let tier = backing
    var reconsidered: StoredObject?
    var unaccepted: StoredObject?
    let found = stripe(of: place).withLock { state -> Lookup in
      if let object = state.table.find(key, at: place), isLive(object) {
        let body = object.body
        guard accepted.contains(body.form) else {
          unaccepted = object
          return .miss(.notReady)
        }
        noteUse(of: object, reconsidered: &reconsidered)
        state.hits += 1
        namespace.counters.countRAMHit()
        return .hit(ReadLease(object, body))
      }
      let cause = state.missCause(key, at: place, now: clock.now())
      if tier == nil {
        state.misses[Int(cause.rawValue)] += 1
        namespace.counters.countMiss(cause)
      }
      return .miss(cause)
    }
    if let reconsidered { offer(reconsidered, isWanted: false) }
    if let unaccepted {
      let cause: MissCause = canDecode(unaccepted) ? .notReady : .undecodable
      countMiss(cause, at: place, namespace)
      return .miss(cause)
    }
    guard let tier else { return found }
    switch consume found {
    case .hit(let hit): return .hit(hit)
    case .miss(let inRAM):
      let cause = tier.missCause(key, in: namespace, inRAM: inRAM)
      countMiss(cause, at: place, namespace)
      return .miss(cause)
    }
  }

  /// Notes a use; the stripe lock must be held.
  ///
  /// At its second use an object that the admission policy declined is `reconsidered`: to be
  /// offered again once the lock is free.
  @inline(__always)
  func noteUse(of object: StoredObject, reconsidered: inout StoredObject?) {
    let uses = object.noteUse(order: nextUse(), age: policyAge, second: presentSecond)
    if uses == 2, object.writeState.isDeclined { reconsidered = object }
  }

  /// Counts the outcome of a fetch as the hit, use or miss that it is.
  func count(
    _ outcome: Fetch.Outcome, of key: ObjectKey, in namespace: Namespace
  ) -> Lookup {
    let place = ChunkPlace(key.hash, in: namespace.number)
    switch outcome {
    case .missed(let cause):
      countMiss(cause, at: place, namespace)
      return .miss(cause)
    case .read(let hold):
      backing?.diskHits.wrappingAdd(1, ordering: .relaxed)
      namespace.counters.countDiskHit()
      return .hit(ReadLease(hold.object, hold.body))
    case .inRAM(let hold):
      var reconsidered: StoredObject?
      stripe(of: place).withLock { state in
        noteUse(of: hold.object, reconsidered: &reconsidered)
        state.hits += 1
      }
      namespace.counters.countRAMHit()
      if let reconsidered { offer(reconsidered, isWanted: false) }
      return .hit(ReadLease(hold.object, hold.body))
    }
  }

  private func countMiss(_ cause: MissCause, at place: ChunkPlace, _ namespace: Namespace) {
    stripe(of: place).withLock { $0.misses[Int(cause.rawValue)] += 1 }
    namespace.counters.countMiss(cause)
  }

  /// Reads the clock only for objects with a TTL.
  @inline(__always)
  func isLive(_ object: StoredObject) -> Bool {
    guard object.generation == object.namespace.generation else { return false }
    return object.expiry == .never || clock.now() < object.expiry
  }
}
