package import KDNCore
internal import KDNMemory

extension Pool {
  /// Whether an object can be had; not a use, and keeps nothing.
  package func contains(_ key: ObjectKey, in namespace: Namespace) -> Bool {
    let place = ChunkPlace(key.hash, in: namespace.number)
    return stripe(of: place).withLock { state in
      guard let object = state.table.find(key, at: place) else { return false }
      return isLive(object)
    }
  }

  /// Finds an object and leases its bytes to the caller; counts as a use.
  package func lookup(_ key: ObjectKey, in namespace: Namespace) -> Lookup {
    let place = ChunkPlace(key.hash, in: namespace.number)
    return stripe(of: place).withLock { state -> Lookup in
      if let object = state.table.find(key, at: place), isLive(object) {
        object.noteUse(order: nextUse(), age: policyAge)
        state.hits += 1
        return .hit(ReadLease(object: object, lease: object.block.lease()))
      }
      let cause = state.missCause(key, at: place, now: clock.now())
      state.misses[Int(cause.rawValue)] += 1
      return .miss(cause)
    }
  }

  /// Finds the longest prefix of a chain that is present in all parts; a chunk is a hit only if
  /// all chunks before it are.
  ///
  /// Not a use. A lease keeps what matched from eviction until it is released, its owner ends, or
  /// its time is over; a purge or the end of a TTL takes an object away all the same.
  /// - Throws: `fault` without hashes or parts, `limit` beyond the owner's leases, `busy` if the
  ///   memory cap leaves no room to note the lease.
  package func match(
    _ query: MatchQuery, in namespace: Namespace, owner: OwnerID
  ) throws(PoolRefusal) -> MatchAnswer {
    guard !query.hashes.isEmpty else {
      throw .fault(FieldFault("hashCount", value: 0, limit: 1, "nothing to match"))
    }
    guard !query.parts.isEmpty else {
      throw .fault(FieldFault("partCount", value: 0, limit: 1, "a chunk has parts"))
    }
    let now = clock.now()
    var answer = MatchAnswer()
    var leased: [StoredObject] = []
    for hash in query.hashes {
      answer.missCause = matchChunk(
        hash, query, namespace, now: now, bytes: &answer.matchedBytes, leased: &leased)
      guard answer.missCause == nil else { break }
      answer.matchedChunks += 1
    }
    guard let wish = query.leaseMilliseconds, !leased.isEmpty else { return answer }
    answer.leaseMilliseconds = min(
      wish == 0 ? configuration.leaseDefaultMilliseconds : wish,
      configuration.leaseMaxMilliseconds)
    answer.leaseNumber = try addLease(
      leased, owner: owner, deadline: now.advanced(milliseconds: answer.leaseMilliseconds))
    return answer
  }

  /// Ends a lease before its time; false if there is none of that number and owner.
  package func release(lease: UInt64, owner: OwnerID) -> Bool {
    let record = leases.withLock { $0.remove(lease, owner: owner) }
    guard let record else { return false }
    endLeases(of: record.objects)
    return true
  }

  /// Ends all leases of an owner that is gone.
  package func ownerEnded(_ owner: OwnerID) {
    for record in leases.withLock({ $0.removeAll(of: owner) }) { endLeases(of: record.objects) }
  }

  /// Ends up to `countMax` leases whose time is over; says whether more may be due.
  func endDueLeases(now: Instant, countMax: Int = .max) -> Bool {
    let ended = leases.withLock { $0.removeEnded(by: now, countMax: countMax) }
    for record in ended { endLeases(of: record.objects) }
    return ended.count == countMax
  }

  /// Looks at all parts of a chunk under one lock; gives the miss cause of the first that is not
  /// here, or notes bytes and objects of all.
  private func matchChunk(
    _ hash: ChunkHash, _ query: MatchQuery, _ namespace: Namespace, now: Instant,
    bytes: inout Int, leased: inout [StoredObject]
  ) -> MissCause? {
    let place = ChunkPlace(hash, in: namespace.number)
    let isLeasing = query.leaseMilliseconds != nil
    let start = leased.count
    var sum = 0
    let missing = stripe(of: place).withLock { state -> MissCause? in
      for part in query.parts {
        let key = ObjectKey(
          hash: hash, layout: query.layout, part: part, variant: query.variant)
        guard let object = state.live(key, at: place, now: now) else {
          return state.missCause(key, at: place, now: now)
        }
        sum += object.byteCount
        if isLeasing { leased.append(object) }
      }
      for object in leased[start...] { object.addLease() }
      return nil
    }
    guard missing == nil else {
      leased.removeSubrange(start...)
      return missing
    }
    bytes += sum
    return nil
  }

  private func addLease(
    _ objects: [StoredObject], owner: OwnerID, deadline: Instant
  ) throws(PoolRefusal) -> UInt64 {
    guard let charge = IndexCharge(LeaseRecord.byteCount(objects: objects.count), to: budget)
    else {
      endLeases(of: objects)
      throw .busy(retryAfterMilliseconds: retryHint(now: clock.now()))
    }
    let limit = configuration.leasesPerOwnerMax
    var offer: IndexCharge? = consume charge
    let number = leases.withLock { leases -> UInt64? in
      guard leases.count(of: owner) < limit, let charge = offer.take() else { return nil }
      return leases.add(owner: owner, deadline: deadline, objects: objects, charge: charge)
    }
    guard let number else {
      endLeases(of: objects)
      throw .limit(FieldFault("leases", value: limit, limit: limit, "too many leases"))
    }
    return number
  }

  private func endLeases(of objects: [StoredObject]) {
    guard !objects.isEmpty else { return }
    residency.withLock { residency in
      for object in objects where object.endLease() { residency.unpark(object) }
    }
  }

  /// Reads the clock only for objects with a TTL.
  @inline(__always)
  func isLive(_ object: StoredObject) -> Bool {
    guard object.generation == object.namespace.generation else { return false }
    return object.expiry == .never || clock.now() < object.expiry
  }
}
