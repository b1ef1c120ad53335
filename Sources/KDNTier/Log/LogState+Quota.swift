internal import KDNCore

/// A tenant's quotas; nil where there is none.
struct TenantLimits: Sendable, Equatable {
  var diskBytesMax: Int?
  var pinnedBytesMax: Int?
}

// A record dropped for a quota leaves the index, and its tenant's usage, at once; its bytes stay
// where they are until the segment is reclaimed. No journal says that it is gone: a start that
// comes before that finds it again, whole and honest, counts it, and drops for the quota anew:
// before anything is served where the quota is set by then, else as soon as it is set. What was
// purged stays away whatever was dropped before, since purges name keys, not records.
extension LogState {
  /// Sets a tenant's quotas.
  mutating func setLimits(_ new: TenantLimits, of namespace: NamespaceName) {
    let number = tenants.number(of: namespace)
    limits[number] = new == TenantLimits() ? nil : new
    // Until all is known, what is oldest is not.
    if isReady { shrink() }
  }

  /// Makes room under a tenant's quota for a write, with its own oldest objects.
  ///
  /// - Returns: why it may not be written; nil if there is room.
  mutating func makeRoom(
    for byteCount: Int, in number: UInt32, wall: UInt64
  ) -> TierRefusal? {
    guard let limit = limits[number]?.diskBytesMax else { return nil }
    index.expire(by: wall, most: Self.victimsMax)
    let used = index.usage(of: number).bytes
    guard byteCount > limit - used else { return nil }
    guard byteCount <= limit - index.boundBytes(of: number) else {
      return .overQuota(limit: limit)
    }
    let found = victims(number, bytes: used - (limit - byteCount))
    // More than one write may look at: what goes now is room for the next one.
    if found.areEnough || found.areCut { drop(found, number) }
    return found.areEnough ? nil : .overQuota(limit: limit)
  }

  /// Drops oldest objects of tenants that have more than their quota, a piece of each.
  ///
  /// - Returns: whether there is more to do that can be done at once.
  @discardableResult
  mutating func shrink() -> Bool {
    var isCut = false
    for (number, limits) in limits {
      guard let limit = limits.diskBytesMax else { continue }
      let used = index.usage(of: number).bytes
      guard used > limit else { continue }
      let found = victims(number, bytes: used - limit)
      drop(found, number)
      isCut = isCut || found.areCut
    }
    return isCut
  }

  /// What may go of a tenant's objects, oldest first.
  private struct Victims {
    var keys: [DiskKey] = []
    /// Bytes that are still to be found.
    var bytesLeft: Int
    /// Up to this rank all are pinned or held.
    var boundThrough: UInt64?
    /// Not all were looked at.
    var areCut = false

    var areEnough: Bool { bytesLeft <= 0 }
  }

  /// Objects that one write, or one tick for one tenant, looks at, and those that it drops.
  private static let visitsMax = 32_768
  private static let victimsMax = 4096

  private func victims(_ number: UInt32, bytes: Int) -> Victims {
    let share = index.share(of: number)
    var found = Victims(bytesLeft: bytes, boundThrough: share.boundThrough)
    var visits = 0
    var areAllBound = true
    share.places.visit(after: share.boundThrough) { place in
      guard !found.areEnough else { return false }
      guard visits < Self.visitsMax, found.keys.count < Self.victimsMax else {
        found.areCut = true
        return false
      }
      visits += 1
      let key = DiskKey(namespace: number, key: place.key)
      guard let entry = index[key], entry.order == place.rank else {
        preconditionFailure("an object has a place and is not here")
      }
      areAllBound = areAllBound && entry.isBound
      if areAllBound { found.boundThrough = place.rank }
      guard !entry.isBound, !isAwaited(entry) else { return true }
      found.keys.append(key)
      found.bytesLeft -= entry.storedBytes
      return true
    }
    return found
  }

  /// Whether somebody waits for a record to be durable: it is not dropped under their hands.
  private func isAwaited(_ entry: IndexEntry) -> Bool {
    entry.stage != .durable && writes[entry.sequence]?.whenDurable.isEmpty == false
  }

  private mutating func drop(_ found: Victims, _ number: UInt32) {
    if let rank = found.boundThrough { index.setBound(number, through: rank) }
    for key in found.keys { drop(key) }
    counters.dropped += UInt64(found.keys.count)
    counters.droppedForQuota += UInt64(found.keys.count)
  }
}
