package import KDNCore
internal import KDNMemory

extension Pool {
  /// Makes room for an object, evicting by policy as needed, unless its key is here already.
  ///
  /// - Throws: `fault` if a fact is outside its limit or does not fit the layout, `notFound` if the
  ///   layout is not registered, `tooLarge` if it can never fit, `busy` if all that could go is
  ///   leased, pinned, being read or being written.
  package func reserve(
    _ facts: StoreFacts, in namespace: Namespace
  ) throws(PoolRefusal) -> StoreAnswer {
    try check(facts, namespace)
    let now = clock.now()
    let place = ChunkPlace(facts.key.hash, in: namespace.number)
    let present = stripe(of: place).withLock { $0.live(facts.key, at: place, now: now) }
    if let present { return .present(present) }
    let generation = namespace.generation
    let charge = try takeIndexRoom(now: now)
    let memory = try takeMemory(facts.byteCount, namespace, now: now)
    return .reserved(
      StoreReservation(
        memory: memory, charge: charge, open: OpenCount(in: openReservations),
        generation: generation))
  }

  /// Makes a written object visible, whole and at once, then tells those who wait for it.
  ///
  /// Keys are written once: the same bytes again are `present`. Counts as the object's first use.
  /// - Throws: `conflict` if the key holds other bytes, `notFound` naming `generation` if the
  ///   namespace was purged since `reserve`; the bytes are dropped.
  package func publish(
    _ reservation: consuming StoreReservation, _ facts: StoreFacts, checksum: Checksum,
    in namespace: Namespace
  ) throws(PoolRefusal) -> PublishAnswer {
    precondition(reservation.byteCount == facts.byteCount, "reserved for other facts")
    let object = reservation.seal(facts, checksum: checksum, in: namespace, now: clock.now())
    var replaced: StoredObject?
    let answer = residency.withLock { residency in
      insert(object, into: &residency, replacing: &replaced)
    }
    if case .success(.published) = answer { wake(facts.key, in: namespace) }
    return try answer.get()
  }

  /// Compares a store whose key was `present` at `reserve` with what is here.
  ///
  /// - Throws: `conflict` if the key holds other bytes, `notFound` naming `object` if it is gone
  ///   by now.
  package func confirm(
    _ facts: StoreFacts, checksum: Checksum, in namespace: Namespace
  ) throws(PoolRefusal) -> PublishAnswer {
    let now = clock.now()
    let place = ChunkPlace(facts.key.hash, in: namespace.number)
    let present = stripe(of: place).withLock { $0.live(facts.key, at: place, now: now) }
    guard let present else { throw .notFound(what: "object", number: 0) }
    guard present.holds(checksum, facts.byteCount) else {
      residency.withLock { $0.conflicts += 1 }
      throw .conflict(found: present.checksum, given: checksum)
    }
    return .present(present)
  }

  private func insert(
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
      return .success(.present(known))
    }
    if let known {
      if known.generation == object.generation { residency.expired += 1 }
      residency.remove(known)
      replaced = known
    }
    let parent = parent(of: object)
    object.noteUse(order: nextUse(), age: residency.policy.age)
    residency.insert(object, parent: parent)
    stripe.withLock { state in
      if let known { state.table.remove(known, at: place) }
      state.table.insert(object, at: place)
    }
    return .success(.published(object))
  }

  private func parent(of object: StoredObject) -> StoredObject? {
    guard object.key.kind == .layout, object.parent != .none else { return nil }
    let place = ChunkPlace(object.parent, in: object.namespace.number)
    return stripe(of: place).withLock {
      $0.table.find(
        place, layout: object.key.layout, part: object.key.part, variant: object.key.variant)
    }
  }

  private func check(_ facts: StoreFacts, _ namespace: Namespace) throws(PoolRefusal) {
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
    _ facts: StoreFacts, checksum: Checksum, in namespace: Namespace, now: Instant
  ) -> StoredObject {
    let generation = generation
    return StoredObject(
      facts, checksum: checksum, block: memory.seal(), charge: charge, namespace: namespace,
      generation: generation, now: now)
  }
}

extension StoredObject {
  fileprivate func holds(_ checksum: Checksum, _ byteCount: Int) -> Bool {
    self.checksum == checksum && self.byteCount == byteCount
  }
}
