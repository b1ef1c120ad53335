package import KDNCore
internal import KDNTier

/// How much of the memory may be kept by name.
package struct KeepBounds: Sendable {
  /// How long, in milliseconds.
  package let milliseconds: UInt64
  /// Of the arena, and of the namespace's quota of RAM, in percent.
  package let sharePercent: Int

  /// Puts both together.
  package init(milliseconds: UInt64, sharePercent: Int) {
    self.milliseconds = milliseconds
    self.sharePercent = sharePercent
  }
}

/// What `Pool.keep` found.
package enum KeepAnswer: Equatable, Sendable {
  /// It is in no tier.
  case absent
  /// It is here, `byteCount` bytes long, and stays until the time is over.
  case kept(byteCount: Int)
  /// It is here, and may go: too much is kept.
  case present(byteCount: Int)
}

/// Leases by name: for a namespace, not for a connection.
///
/// Who asks on one connection may load on another. They end by time alone; a purge, a replacement
/// or the end of a TTL takes the object away all the same.
extension Pool {
  /// Most objects of all namespaces kept by name.
  package static let keepsMax = 65_536

  /// Looks for an object in both tiers and keeps it from eviction for a time; not a use.
  ///
  /// What only the slower tier has is kept there, and its promotion is begun. Asking again keeps it
  /// longer and counts once.
  package func keep(
    _ key: ObjectKey, in namespace: Namespace, within bounds: KeepBounds
  ) -> KeepAnswer {
    let now = clock.now()
    let place = ChunkPlace(key.hash, in: namespace.number)
    let object = stripe(of: place).withLock { state -> StoredObject? in
      guard let object = state.live(key, at: place, now: now) else { return nil }
      object.addLease()
      return object
    }
    guard let byteCount = object?.byteCount ?? backing?.held(key, in: namespace)?.byteCount
    else { return .absent }
    let name = WaitTable.Name(namespace: namespace.number, key: key)
    let end = now.advanced(milliseconds: bounds.milliseconds)
    let isKept = bounds.milliseconds > 0 && note(name, object, byteCount, namespace, bounds, end)
    guard isKept else {
      if let object { endLeases(of: [object]) }
      return .present(byteCount: byteCount)
    }
    guard object == nil, let backing else { return .kept(byteCount: byteCount) }
    guard backing.tier.hold(key, in: namespace.name, until: end) else { return .absent }
    _ = prefetch([key], in: namespace)
    return .kept(byteCount: byteCount)
  }

  /// Length of an object that is or was here and is kept by its name; nil if it is not kept.
  package func keptByteCount(of key: ObjectKey, in namespace: Namespace) -> Int? {
    let name = WaitTable.Name(namespace: namespace.number, key: key)
    let bytes = keeps.withLock { $0.bytes(of: name) }
    return bytes > 0 ? bytes : nil
  }

  /// How many objects are kept by name, and their bytes.
  package var keptByName: (objects: Int, bytes: Int) {
    keeps.withLock { ($0.count, $0.bytes) }
  }

  /// Adds a row or extends the one there is; false if that is over the bounds.
  private func note(
    _ name: WaitTable.Name, _ object: StoredObject?, _ byteCount: Int, _ namespace: Namespace,
    _ bounds: KeepBounds, _ end: Instant
  ) -> Bool {
    if keeps.withLock({ $0.extend(name, object, until: end) }) {
      // The lease that the row has is enough.
      if let object { endLeases(of: [object]) }
      return true
    }
    guard let charge = SharedCharge(KeepTable.bytesPerRow, to: budget) else { return false }
    let limit = share(bounds.sharePercent, of: arena.statistics.capacityBytes)
    let ownLimit = share(bounds.sharePercent, of: namespace.quota.bytesMax)
    let row = KeepTable.Row(name, object, byteCount: byteCount, charge: charge)
    let before = keeps.withLock { keeps -> KeepTable.Row?? in
      let own = keeps.bytes(of: name)
      guard keeps.count < Self.keepsMax, keeps.bytes - own + byteCount <= limit,
        keeps.bytes(of: namespace.number) - own + byteCount <= ownLimit
      else { return nil }
      return .some(keeps.add(row, until: end))
    }
    guard let before else { return false }
    if let before { endLeases(of: before.objects) }
    return true
  }

  private func share(_ percent: Int, of bytes: Int) -> Int {
    bytes / 100 * percent + bytes % 100 * percent / 100
  }
}
