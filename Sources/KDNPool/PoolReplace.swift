package import KDNCore
internal import KDNMemory
internal import KDNTier

/// When a store that replaces does so.
package enum ReplaceCondition: Sendable {
  case always
  /// Only if the key is in no tier.
  case ifAbsent
  /// Only if it is in one.
  case ifPresent
}

/// What came of a store that replaces.
package enum ReplaceAnswer: Equatable, Sendable {
  /// The new object is visible, and no crash brings an older one of its key back.
  case stored
  /// The same bytes, without a TTL now as before, were here already.
  case present
  /// The condition did not hold; nothing has changed.
  case unchanged
}

/// How long an object lives on.
package enum TimeToLive: Equatable, Sendable {
  /// It is in no tier.
  case absent
  /// It has no TTL.
  case endless
  case milliseconds(UInt64)
}

/// Stores that replace what is under their key, unlike those of `publish`.
///
/// With a slower tier they are jobs of the write queue: no hand-over of an older object of the key
/// is half done meanwhile, and none comes after. Where a crash could bring an older record back,
/// that is purged first, durably, and only then is the new object made visible: until then the old
/// one can be read as far as RAM has it, and a crash in between leaves the key absent, never old.
extension Pool {
  typealias ReplaceCompletion = @Sendable (Result<ReplaceAnswer, PoolRefusal>) -> Void

  /// Makes room for an object that replaces what is under its key.
  ///
  /// - Throws: as `reserve` does.
  package func reserveReplacing(
    _ facts: StoreFacts, in namespace: Namespace
  ) throws(PoolRefusal) -> StoreReservation {
    try check(facts, namespace)
    let now = clock.now()
    do {
      let quota = try chargeStore(of: facts.byteCount, namespace, now: now)
      return try takeRoom(for: facts, namespace, quota, now: now)
    } catch {
      refusals.wrappingAdd(1, ordering: .relaxed)
      throw error
    }
  }

  /// Makes a written object visible in the place of what is under its key, whole and at once.
  ///
  /// Pins of the old object end with it; who reads it keeps its bytes. `completion` is called once,
  /// on any thread, perhaps before this returns; fails with `notFound` naming `generation` if the
  /// namespace was purged since `reserveReplacing`, `busy` or `unavailable` if the slower tier
  /// cannot note that the old record is gone.
  package func replace(
    _ reservation: consuming StoreReservation, _ facts: StoreFacts, checksum: Checksum,
    in namespace: Namespace, condition: ReplaceCondition,
    completion: @escaping @Sendable (Result<ReplaceAnswer, PoolRefusal>) -> Void
  ) {
    precondition(reservation.byteCount == facts.byteCount, "reserved for other facts")
    let object = reservation.seal(
      facts, checksum: checksum, in: namespace, isHeld: false, age: newAge(facts))
    replace(
      Replacement(
        key: facts.key, namespace: namespace, condition: condition, completion: completion,
        object: object
      ) { _ in object })
  }

  /// Gives an object that is in RAM another TTL, from now on; 0 for none.
  ///
  /// It becomes another object of the same bytes, written to the slower tier anew. Completes as
  /// `replace` does, with `unchanged` if RAM does not have it; `busy` if there is no index memory.
  package func setTTL(
    _ milliseconds: UInt64, of key: ObjectKey, in namespace: Namespace,
    completion: @escaping @Sendable (Result<ReplaceAnswer, PoolRefusal>) -> Void
  ) {
    let now = clock.now()
    guard let charge = takeSharedCharge(for: namespace, now: now) else {
      let retry = retryHint(for: namespace, now: now)
      return completion(.failure(.busy(retryAfterMilliseconds: retry)))
    }
    replace(
      Replacement(
        key: key, namespace: namespace, condition: .ifPresent, completion: completion,
        object: nil
      ) { known in
        guard let known, let charge = charge.take() else { return nil }
        let body = known.body
        let facts = StoreFacts(
          key: key, parent: known.parent, byteCount: known.byteCount,
          firstToken: known.firstToken, tokenCount: known.tokenCount,
          ttlMilliseconds: milliseconds, recomputeMicroseconds: known.recomputeMicroseconds)
        return StoredObject(
          facts, checksum: known.checksum, block: body.block, form: body.form,
          charge: charge, namespace: namespace, generation: known.generation,
          age: self.newAge(facts))
      })
  }

  /// How long an object lives on, in whichever tier it is; not a use.
  package func timeToLive(of key: ObjectKey, in namespace: Namespace) -> TimeToLive {
    let now = clock.now()
    if let object = live(key, in: namespace, now: now) {
      return object.expiry == .never
        ? .endless : .milliseconds(now.milliseconds(until: object.expiry))
    }
    guard let held = backing?.held(key, in: namespace) else { return .absent }
    return held.ttlMilliseconds.map { .milliseconds($0) } ?? .endless
  }

  /// Length of an object in whichever tier it is; nil if it is in none; not a use.
  package func byteCount(of key: ObjectKey, in namespace: Namespace) -> Int? {
    live(key, in: namespace, now: clock.now())?.byteCount
      ?? backing?.held(key, in: namespace)?.byteCount
  }

  // MARK: The job

  /// A replacement under way.
  private struct Replacement: Sendable {
    let key: ObjectKey
    let namespace: Namespace
    let condition: ReplaceCondition
    let completion: ReplaceCompletion
    /// What is stored; nil if it is made of what is there.
    let object: StoredObject?
    /// Makes the new object, once, given the live one in RAM; nil: nothing can be made of that.
    let make: @Sendable (StoredObject?) -> StoredObject?
  }

  /// Purges of one replacement, after each of which an older object came up anew.
  private static let roundsMax = 8

  private func replace(_ order: Replacement) {
    guard let backing else {
      let known = live(order.key, in: order.namespace, now: clock.now())
      return order.completion(swap(order, known, isHeld: false))
    }
    enqueue(order, round: 0, backing)
  }

  private func enqueue(_ order: Replacement, round: Int, _ backing: Backing) {
    backing.writes.withLock { queue in
      queue.add { self.replace(order, round: round, backing) }
    }
    write(backing)
  }

  private func replace(_ order: Replacement, round: Int, _ backing: Backing) {
    let known = live(order.key, in: order.namespace, now: clock.now())
    let held = backing.held(order.key, in: order.namespace)
    if round == 0 {
      let isPresent = known != nil || held != nil
      switch order.condition {
      case .ifAbsent where isPresent, .ifPresent where !isPresent:
        return order.completion(.success(.unchanged))
      default: break
      }
      if let known, let object = order.object, known.expiry == .never, object.expiry == .never,
        known.holds(object.checksum, object.byteCount)
      {
        return order.completion(.success(.present))
      }
      if let held, held.ttlMilliseconds == nil, let object = order.object,
        object.holds(held.checksum, held.byteCount), object.expiry == .never
      {
        return order.completion(swap(order, known, isHeld: true))
      }
    }
    guard backing.tier.mayReturn(order.key, in: order.namespace.name) else {
      return order.completion(swap(order, known, isHeld: false))
    }
    guard round < Self.roundsMax else {
      let retry = configuration.durabilityRetryMilliseconds
      return order.completion(.failure(.busy(retryAfterMilliseconds: retry)))
    }
    purgeOlder(order, known, round: round, backing)
  }

  /// Has the slower tier forget the key for good, then goes on.
  private func purgeOlder(
    _ order: Replacement, _ known: StoredObject?, round: Int, _ backing: Backing
  ) {
    if let known {
      withdraw(known, backing)
      residency.withLock { $0.setHeld(known, false) }
    }
    let key = order.key
    let number = backing.fetches.withLock {
      $0.beginPurge(in: order.namespace.number) { $0 == key }
    }
    backing.tier.purge(.keys([key]), in: order.namespace.name, counted: []) { result in
      switch result {
      case .success: self.enqueue(order, round: round + 1, backing)
      case .failure(let refusal):
        // RAM alone has the old object now.
        if let known { self.offerAgain(known) }
        let retry = self.configuration.durabilityRetryMilliseconds
        let isPassing = refusal == .busy || refusal == .closing
        order.completion(
          .failure(isPassing ? .busy(retryAfterMilliseconds: retry) : .unavailable))
      }
    }
    backing.fetches.withLock { $0.endPurge(number) }
  }

  /// Keeps an object that waits to be written from being so.
  private func withdraw(_ object: StoredObject, _ backing: Backing) {
    let state = object.writeState.value
    guard state != WriteState.writing, object.writeState.change(from: state, to: WriteState.over)
    else { return }
    backing.writes.withLock { $0.withdraw(state) }
  }

  /// Lets an object be written after all that was kept from it.
  private func offerAgain(_ object: StoredObject) {
    guard object.writeState.change(from: WriteState.over, to: WriteState.unasked) else { return }
    offer(object, isWanted: false)
  }

  /// Puts the new object into the index in the place of the old one.
  private func swap(
    _ order: Replacement, _ known: StoredObject?, isHeld: Bool
  ) -> Result<ReplaceAnswer, PoolRefusal> {
    guard let object = order.make(known) else { return .success(.unchanged) }
    object.isHeld = isHeld
    var replaced: StoredObject?
    let answer = residency.withLock { residency in
      insert(object, order, into: &residency, replacing: &replaced)
    }
    if case .success(.stored) = answer {
      wake(order.key, in: order.namespace)
      if backing != nil { offer(object, isWanted: false) }
    }
    return answer
  }

  private func insert(
    _ object: StoredObject, _ order: Replacement, into residency: inout Residency,
    replacing replaced: inout StoredObject?
  ) -> Result<ReplaceAnswer, PoolRefusal> {
    guard object.generation == object.namespace.generation else {
      return .failure(.notFound(what: "generation", number: object.generation))
    }
    let known = live(order.key, in: order.namespace, now: clock.now())
    if backing == nil {
      switch order.condition {
      case .ifAbsent where known != nil, .ifPresent where known == nil:
        return .success(.unchanged)
      default: break
      }
    }
    if let known, known.expiry == .never, object.expiry == .never,
      known.holds(object.checksum, object.byteCount)
    {
      return .success(.present)
    }
    place(object, into: &residency, replacing: &replaced)
    residency.stores += 1
    object.namespace.counters.countStore(bytes: object.byteCount)
    return .success(.stored)
  }
}
