internal import KDNCore

/// Leases of matches.
extension Pool {
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
    let kept = keeps.withLock { $0.removeEnded(by: now, countMax: countMax) }
    for row in kept { endLeases(of: row.objects) }
    return ended.count == countMax || kept.count == countMax
  }

  func addLease(
    _ objects: [StoredObject], in namespace: Namespace, owner: OwnerID, deadline: Instant
  ) throws(PoolRefusal) -> UInt64 {
    guard let charge = IndexCharge(LeaseRecord.byteCount(objects: objects.count), to: budget)
    else {
      endLeases(of: objects)
      throw .busy(retryAfterMilliseconds: retryHint(for: namespace, now: clock.now()))
    }
    let limit = configuration.leasesPerOwnerMax
    var offer: IndexCharge? = consume charge
    let number = leases.withLock { leases -> UInt64? in
      guard leases.count(of: owner) < limit, let charge = offer.take() else { return nil }
      return leases.add(
        owner: owner, namespace: namespace.number, deadline: deadline, objects: objects,
        charge: charge)
    }
    guard let number else {
      endLeases(of: objects)
      throw .limit(FieldFault("leases", value: limit, limit: limit, "too many leases"))
    }
    return number
  }

  func endLeases(of objects: [StoredObject]) {
    guard !objects.isEmpty else { return }
    residency.withLock { residency in
      for object in objects where object.endLease() { residency.unpark(object) }
    }
  }
}
