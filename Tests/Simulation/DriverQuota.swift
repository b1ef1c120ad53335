import KDNCore

@testable import KDNPool

/// How a quota may refuse a store.
enum QuotaRefusal {
  case busy
  case overQuota
  case tooLarge
}

extension Driver {
  func setLimits() {
    let number = random.number(below: Self.namespaceCount)
    let limits = NamespaceLimits(
      ramBytesMax: random.isOne(in: 3) ? nil : (100 + random.number(below: 3000)) << 10,
      pinnedBytesMax: random.isOne(in: 2) ? nil : random.number(below: 400) << 10)
    pool.setLimits(limits, of: namespaces[number])
    model.limits[number] = limits
  }

  /// Lets the model make room in a tenant's quota; gives what it dropped, and how the store may be
  /// refused, nothing if it may not.
  func followQuota(_ namespace: Int, _ byteCount: Int) -> (Counts, [QuotaRefusal]) {
    let limit = model.limits[namespace].ramBytesMax ?? .max
    var done = Counts()
    while model.charged(namespace) > limit - byteCount {
      guard byteCount <= limit else { return (done, [.tooLarge]) }
      model.endLeases(now)
      switch model.dropOwnNext(namespace, now) {
      case .expired: done.expired += 1
      case .dead: done.dead += 1
      case .evicted: done.evicted += 1
      case nil:
        let pinned = model.pinnedBytes(of: namespace, with: [], now)
        if pinned + byteCount > limit { return (done, [.overQuota]) }
        return (done, pinned == 0 ? [.busy] : [.busy, .overQuota])
      }
    }
    return (done, [])
  }

  /// Pins as the model says, all or nothing.
  func pin(_ keys: [ObjectKey], milliseconds: UInt64, _ number: Int) throws {
    let names = keys.map { Model.Name(namespace: number, key: $0) }
    let expected = names.map { model.live($0, now) != nil }
    let limit = model.limits[number].pinnedBytesMax ?? .max
    let isOver = model.pinnedBytes(of: number, with: names, now) > limit
    do {
      let found = try pool.pin(keys, ttlMilliseconds: milliseconds, in: namespaces[number])
      try expect(!isOver, "pinned beyond the limit")
      try expect(found == expected, "pin differs")
    } catch PoolRefusal.overQuota {
      return try expect(isOver, "a pin within the limit was refused")
    }
    for (name, isHere) in zip(names, expected) where isHere {
      model.pin(name, until: now + milliseconds * 1_000_000, now)
    }
  }

  /// What is charged to each tenant, and pinned, is what the model says.
  func compareQuotas(_ picture: PoolStatistics) throws {
    for (number, share) in picture.namespaces.enumerated() {
      let charged = model.charged(number)
      try expect(share.ramBytes == charged, "charged \(share.ramBytes), not \(charged)")
      try expect(share.limits == model.limits[number], "limits of \(share.name)")
    }
  }
}
