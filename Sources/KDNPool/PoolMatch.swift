internal import KDNCore

extension Pool {
  /// Finds the longest prefix of a chain that is present in all parts; a chunk is a hit only if
  /// all chunks before it are.
  ///
  /// Each part may be in RAM or in the slower tier. Not a use. A lease keeps what matched from
  /// eviction until it is released, its owner ends, or its time is over; in the slower tier until
  /// its time is over. A purge or the end of a TTL takes an object away all the same.
  ///
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
    let duration = query.leaseMilliseconds.map(times.leaseMilliseconds)
    var matching = Matching(
      query: query, namespace: namespace, now: now,
      leaseEnd: duration.map { now.advanced(milliseconds: $0) })
    for hash in query.hashes {
      matching.answer.missCause = match(hash, &matching)
      guard matching.answer.missCause == nil else { break }
      matching.answer.matchedChunks += 1
    }
    var answer = matching.answer
    guard let duration, let leaseEnd = matching.leaseEnd, answer.matchedChunks > 0 else {
      return answer
    }
    answer.leaseMilliseconds = duration
    answer.leaseNumber = try addLease(
      matching.leased, in: namespace, owner: owner, deadline: leaseEnd)
    return answer
  }

  /// A match under way.
  private struct Matching {
    let query: MatchQuery
    let namespace: Namespace
    let now: Instant
    /// nil: only a probe.
    let leaseEnd: Instant?
    var answer = MatchAnswer()
    var leased: [StoredObject] = []
  }

  /// A part of a chunk that RAM lacks.
  private struct Absence {
    let key: ObjectKey
    let cause: MissCause
  }

  /// Looks for all parts of a chunk; gives the miss cause of the first that neither tier has, or
  /// notes bytes and leases of all.
  private func match(_ hash: ChunkHash, _ matching: inout Matching) -> MissCause? {
    let start = matching.leased.count
    var bytes = 0
    let absences = matchInRAM(hash, &matching, &bytes)
    let ramBytes = bytes
    for absence in absences {
      guard let cause = matchBelow(absence, matching, &bytes) else { continue }
      endLeases(of: Array(matching.leased[start...]))
      matching.leased.removeSubrange(start...)
      return cause
    }
    matching.answer.matchedBytes += bytes
    matching.answer.diskBytes += bytes - ramBytes
    if absences.isEmpty {
      matching.answer.ramChunks += 1
    } else {
      matching.answer.diskChunks += 1
    }
    return nil
  }

  /// Looks at all parts of a chunk under one lock and leases those that are in RAM; without a
  /// slower tier, only if all are.
  private func matchInRAM(
    _ hash: ChunkHash, _ matching: inout Matching, _ bytes: inout Int
  ) -> [Absence] {
    let (query, now, isLeasing) = (matching.query, matching.now, matching.leaseEnd != nil)
    let place = ChunkPlace(hash, in: matching.namespace.number)
    var found: [StoredObject] = []
    let absences = stripe(of: place).withLock { state -> [Absence] in
      var absences: [Absence] = []
      for part in query.parts {
        let key = ObjectKey(hash: hash, layout: query.layout, part: part, variant: query.variant)
        if let object = state.live(key, at: place, now: now) {
          bytes += object.byteCount
          if isLeasing { found.append(object) }
        } else {
          let cause = state.missCause(key, at: place, now: now)
          absences.append(Absence(key: key, cause: cause))
          if backing == nil { return absences }
        }
      }
      for object in found { object.addLease() }
      return absences
    }
    if absences.isEmpty || backing != nil { matching.leased += found }
    return absences
  }

  /// Looks for a part in the slower tier; gives the miss cause if it is not there either.
  private func matchBelow(
    _ absence: Absence, _ matching: Matching, _ bytes: inout Int
  ) -> MissCause? {
    guard let backing else { return absence.cause }
    let (key, namespace) = (absence.key, matching.namespace)
    guard let held = backing.held(key, in: namespace) else {
      return backing.missCause(key, in: namespace, inRAM: absence.cause)
    }
    if let end = matching.leaseEnd, !backing.tier.hold(key, in: namespace.name, until: end) {
      return .evicted
    }
    bytes += held.byteCount
    return nil
  }
}
