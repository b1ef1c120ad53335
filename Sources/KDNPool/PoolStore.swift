package import KDNCore
internal import KDNMemory

extension Pool {
  /// Makes room for an object, evicting by policy as needed, unless its key is in RAM or in the
  /// slower tier already.
  ///
  /// A tenant at its quota evicts its own objects only. What that tier does not know yet counts as
  /// absent.
  /// - Throws: `fault` if a fact is outside its limit or does not fit the layout, `notFound` if the
  ///   layout is not registered, `tooLarge` if it can never fit the memory or the tenant's quota,
  ///   `overQuota` if the quota is full of pins, `busy` if all that could go is leased, pinned,
  ///   being read or being written.
  package func reserve(
    _ facts: StoreFacts, in namespace: Namespace
  ) throws(PoolRefusal) -> StoreAnswer {
    try check(facts, namespace)
    let now = clock.now()
    let place = ChunkPlace(facts.key.hash, in: namespace.number)
    let present = stripe(of: place).withLock { $0.live(facts.key, at: place, now: now) }
    if let present { return .present(present.checksum) }
    if let held = backing?.held(facts.key, in: namespace) { return .present(held.checksum) }
    do {
      let quota = try chargeStore(of: facts.byteCount, namespace, now: now)
      return .reserved(try takeRoom(for: facts, namespace, quota, now: now))
    } catch {
      refusals.wrappingAdd(1, ordering: .relaxed)
      throw error
    }
  }

  func chargeStore(
    of byteCount: Int, _ namespace: Namespace, now: Instant
  ) throws(PoolRefusal) -> QuotaCharge {
    do {
      return try takeQuota(byteCount, namespace, now: now)
    } catch {
      namespace.counters.countQuotaRefusal()
      throw error
    }
  }

  func takeRoom(
    for facts: StoreFacts, _ namespace: Namespace, _ quota: QuotaCharge, now: Instant
  ) throws(PoolRefusal) -> StoreReservation {
    let generation = namespace.generation
    let charge = try takeIndexRoom(for: namespace, now: now)
    let memory = try takeMemory(facts.byteCount, namespace, now: now)
    return StoreReservation(
      memory: memory, charge: charge, quota: quota,
      open: OpenCount(in: namespace.openReservations), generation: generation)
  }

  /// Makes a written object visible, whole and at once, then tells those who wait for it and offers
  /// it to the slower tier.
  ///
  /// Keys are written once: the same bytes again are `present`. Counts as the object's first use.
  /// - Throws: `conflict` if the key holds other bytes, `notFound` naming `generation` if the
  ///   namespace was purged since `reserve`; the bytes are dropped.
  package func publish(
    _ reservation: consuming StoreReservation, _ facts: StoreFacts, checksum: Checksum,
    in namespace: Namespace
  ) throws(PoolRefusal) -> PublishAnswer {
    precondition(reservation.byteCount == facts.byteCount, "reserved for other facts")
    let below = backing?.held(facts.key, in: namespace)
    let object = reservation.seal(
      facts, checksum: checksum, in: namespace, isHeld: below != nil, age: newAge(facts))
    if let below, object.generation == namespace.generation {
      guard object.holds(below.checksum, below.byteCount) else {
        throw conflict(found: below.checksum, given: checksum)
      }
    }
    var replaced: StoredObject?
    let answer = residency.withLock { residency in
      insert(object, into: &residency, replacing: &replaced)
    }
    if case .success(.published) = answer {
      wake(facts.key, in: namespace)
      if backing != nil { offer(object, isWanted: false) }
    }
    return try answer.get()
  }

  /// Compares a store whose key was `present` at `reserve` with what is here, in either tier.
  ///
  /// - Throws: `conflict` if the key holds other bytes, `notFound` naming `object` if it is gone
  ///   by now.
  package func confirm(
    _ facts: StoreFacts, checksum: Checksum, in namespace: Namespace
  ) throws(PoolRefusal) -> PublishAnswer {
    let now = clock.now()
    let place = ChunkPlace(facts.key.hash, in: namespace.number)
    let object = stripe(of: place).withLock { $0.live(facts.key, at: place, now: now) }
    let below = object == nil ? backing?.held(facts.key, in: namespace) : nil
    guard let found = object?.checksum ?? below?.checksum,
      let byteCount = object?.byteCount ?? below?.byteCount
    else { throw .notFound(what: "object", number: 0) }
    guard found == checksum, byteCount == facts.byteCount else {
      throw conflict(found: found, given: checksum)
    }
    return .present(found)
  }

  func newAge(_ facts: StoreFacts) -> ObjectAge {
    let ttl = facts.ttlMilliseconds
    return ObjectAge(
      expiry: ttl == 0 ? .never : clock.now().advanced(milliseconds: ttl),
      storedAtMilliseconds: backing?.wallClock.milliseconds() ?? 0)
  }

  private func conflict(found: Checksum, given: Checksum) -> PoolRefusal {
    residency.withLock { $0.conflicts += 1 }
    return .conflict(found: found, given: given)
  }

  /// Makes an object visible unless its key is taken; the residency lock must be held.
  func insert(
    _ object: StoredObject, into residency: inout Residency, replacing replaced: inout StoredObject?
  ) -> Result<PublishAnswer, PoolRefusal> {
    guard object.generation == object.namespace.generation else {
      return .failure(.notFound(what: "generation", number: object.generation))
    }
    let (stripe, place) = stripe(of: object)
    let known = stripe.withLock { $0.table.find(object.key, at: place) }
    if let known, known.isLive(at: clock.now()) {
      guard known.holds(object.checksum, object.byteCount) else {
        residency.conflicts += 1
        return .failure(.conflict(found: known.checksum, given: object.checksum))
      }
      return .success(.present(known.checksum))
    }
    self.place(object, into: &residency, replacing: &replaced)
    residency.stores += 1
    object.namespace.counters.countStore(bytes: object.byteCount)
    return .success(.published(object))
  }

  /// Makes an object visible; what was there under its key, live or not, is `replaced`.
  func place(
    _ object: StoredObject, into residency: inout Residency,
    replacing replaced: inout StoredObject?
  ) {
    let (stripe, place) = stripe(of: object)
    let known = stripe.withLock { $0.table.find(object.key, at: place) }
    if let known {
      let isOver = known.expiry <= clock.now()
      if isOver, known.generation == object.generation { residency.expired += 1 }
      residency.remove(known)
      replaced = known
    }
    let parent = parent(of: object)
    object.noteUse(order: nextUse(), age: residency.policy.age, second: presentSecond)
    residency.insert(object, parent: parent)
    stripe.withLock { state in
      if let known { state.table.remove(known, at: place) }
      state.table.insert(object, at: place)
    }
  }

  private func parent(of object: StoredObject) -> StoredObject? {
    guard object.key.kind == .layout, object.parent != .none else { return nil }
    let place = ChunkPlace(object.parent, in: object.namespace.number)
    return stripe(of: place).withLock {
      $0.table.find(
        place, layout: object.key.layout, part: object.key.part, variant: object.key.variant)
    }
  }

  func check(_ facts: StoreFacts, _ namespace: Namespace) throws(PoolRefusal) {
    guard facts.byteCount > 0 else {
      throw .fault(
        FieldFault("totalBytes", value: facts.byteCount, limit: 1, "an object has bytes"))
    }
    guard facts.firstToken >= 0 else {
      throw .fault(FieldFault("firstToken", value: 0, limit: 0, "must not be negative"))
    }
    switch facts.key.kind {
    case .layout: try checkGeometry(facts, namespace)
    case .opaque:
      guard facts.tokenCount == 0 else {
        throw .fault(
          FieldFault("tokenCount", value: facts.tokenCount, limit: 0, "opaque objects have none"))
      }
      guard facts.parent == .none else {
        throw .fault(FieldFault("parent", value: 1, limit: 0, "opaque objects have none"))
      }
    }
    guard arena.canEverHold(byteCount: facts.byteCount) else {
      throw .tooLarge(bytes: facts.byteCount, limit: arena.statistics.capacityBytes)
    }
  }

  private func checkGeometry(_ facts: StoreFacts, _ namespace: Namespace) throws(PoolRefusal) {
    guard let geometry = namespace.geometry(of: facts.key.layout) else {
      throw .notFound(what: "layout", number: 0)
    }
    let expected: Int
    do {
      expected = try geometry.byteCount(of: facts.key.part, tokens: facts.tokenCount)
    } catch {
      throw .fault(error)
    }
    // Other forms of the KV (quantised, fewer tokens) have lengths that the layout cannot tell.
    guard facts.key.variant != 0 || facts.byteCount == expected else {
      throw .fault(
        FieldFault(
          "totalBytes", value: facts.byteCount, limit: expected,
          "is not tokens x bytes per token of the part"))
    }
  }
}

extension StoreReservation {
  /// Ends the writing: the bytes become a block, and block and charge an object.
  consuming func seal(
    _ facts: StoreFacts, checksum: Checksum, in namespace: Namespace, isHeld: Bool,
    age: ObjectAge
  ) -> StoredObject {
    let generation = generation
    return StoredObject(
      facts, checksum: checksum, block: memory.seal(keeping: quota), charge: charge,
      namespace: namespace, generation: generation, age: age, isHeld: isHeld)
  }
}
