internal import KDNCore

/// What makes room.
///
/// The policy's age grows by evictions that make room for all. What a tenant evicts to stay within
/// its own quota ages only itself: its aging runs ahead of the policy's age, and its ranks are
/// lowered by as much in comparison with others', so that its turnover makes nobody else's objects
/// look old. What goes because a quota was lowered ages nobody: nothing new comes for it.
extension Residency {
  /// What an eviction found of a candidate.
  enum Verdict {
    case removed
    /// Leases of matches keep it; `unpark` hears of their end.
    case leased
    /// A reader keeps it for a moment.
    case read
  }

  /// For whose sake something is evicted.
  enum Cause {
    /// Room for anybody.
    case room
    /// A tenant's quota.
    case quota
    /// A quota that was lowered.
    case loweredQuota
  }

  /// How a search for something to evict ended.
  enum Eviction: Sendable {
    case evicted(StoredObject)
    /// Nothing can go, but something could if it were not being used.
    case inUse
    /// Nothing can go.
    case none

    var object: StoredObject? {
      if case .evicted(let object) = self { object } else { nil }
    }
  }

  /// Evicts the candidate of least rank, among all or of one tenant, that `take` removes from the
  /// index.
  ///
  /// Ranks grow by use without being told, so the first is ranked anew until it stays first.
  mutating func evict(
    of tenant: UInt32?, for cause: Cause, _ take: (StoredObject) -> Verdict
  ) -> Eviction {
    var read: [Int32] = []
    defer { for slot in read { offer(slot) } }
    while let (known, slot, owner) = firstCandidate(of: tenant) {
      let present = rank(slot)
      guard present <= known else {
        candidates.set(slot, of: owner, present)
        continue
      }
      let object = chains[slot]
      switch take(object) {
      case .leased: park(slot, owner)
      case .read:
        candidates.remove(slot, of: owner)
        read.append(slot)
      case .removed:
        grow(by: present, object.namespace, cause)
        remove(object)
        evictions += 1
        evictedBytes += UInt64(object.storedBytes)
        object.namespace.counters.countEviction(bytes: object.storedBytes)
        return .evicted(object)
      }
    }
    return isAnyParked(of: tenant) || !read.isEmpty ? .inUse : .none
  }

  private func firstCandidate(
    of tenant: UInt32?
  ) -> (rank: EvictionRank, slot: Int32, tenant: UInt32)? {
    guard let tenant else { return candidates.first.map { ($0.key, $0.slot, $0.tenant) } }
    return candidates.first(of: tenant).map { ($0.key, $0.slot, tenant) }
  }

  /// Lets the policy, or one tenant, age by what an evicted object was worth.
  private mutating func grow(by rank: EvictionRank, _ namespace: Namespace, _ cause: Cause) {
    let aging = candidates.offset(of: namespace.number)
    switch cause {
    case .room: policy.evicted(EvictionRank(value: rank.value - aging, order: rank.order))
    case .quota:
      let ahead = rank.value - policy.age
      guard ahead > aging else { return }
      candidates.setOffset(of: namespace.number, ahead)
      namespace.aging = ahead
    case .loweredQuota: break
    }
  }

  /// Notes that a tenant's quota was lowered below what it has.
  mutating func noteLowered(_ namespace: Namespace) {
    guard !lowered.contains(where: { $0 === namespace }) else { return }
    let place = lowered.firstIndex { $0.number > namespace.number } ?? lowered.endIndex
    lowered.insert(namespace, at: place)
  }
}
