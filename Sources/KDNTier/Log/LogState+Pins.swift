internal import KDNCore

extension LogState {
  /// Pins records that are here, all or none of them if the tenant's quota is too small.
  mutating func pin(
    _ keys: [DiskKey], _ namespace: NamespaceName, until end: UInt64, wall: UInt64
  ) -> Result<[Bool], TierRefusal> {
    if let number = keys.first?.namespace, let limit = limits[number]?.pinnedBytesMax {
      let added = Set(keys).reduce(0) { sum, key in
        let entry = live(key, wall: wall)
        return sum + (entry?.isPinned == false ? entry?.storedBytes ?? 0 : 0)
      }
      let pinned = index.usage(of: number).pinnedBytes
      guard added == 0 || added <= limit - pinned else {
        return .failure(.overQuota(limit: limit))
      }
    }
    return .success(keys.map { pin($0, namespace, until: end, wall: wall) })
  }

  /// Pins a record that is here; false if it is not, or if too much is pinned.
  private mutating func pin(
    _ key: DiskKey, _ namespace: NamespaceName, until end: UInt64, wall: UInt64
  ) -> Bool {
    guard let entry = live(key, wall: wall) else { return false }
    if !entry.isPinned {
      guard index.pinnedBytes + entry.storedBytes <= capacityBytes / 4 else { return false }
    }
    guard end > tenants.pins[key] ?? 0 else { return true }
    remember([.pinned(namespace, key.key, endMilliseconds: end)])
    index.setPinned(key, true)
    return true
  }

  /// Ends a pin.
  mutating func unpin(_ key: DiskKey, _ namespace: NamespaceName) -> Bool {
    guard tenants.pins[key] != nil else { return false }
    remember([.unpinned(namespace, key.key)])
    index.setPinned(key, false)
    return true
  }

  /// Whether an object that comes now is pinned, by a pin of one of the same name that is gone; the
  /// pin ends if the tenant's quota has no room for it.
  mutating func isPinned(_ key: DiskKey, byteCount: Int) -> Bool {
    guard tenants.pins[key] != nil else { return false }
    guard let limit = limits[key.namespace]?.pinnedBytesMax,
      byteCount > limit - index.usage(of: key.namespace).pinnedBytes
    else { return true }
    remember([.unpinned(tenants.name(of: key.namespace), key.key)])
    return false
  }

  /// Keeps a record from being reclaimed until `end`; false if it is not here, or too much is held.
  mutating func hold(_ key: DiskKey, until end: Instant, wall: UInt64) -> Bool {
    guard let entry = live(key, wall: wall) else { return false }
    if let known = holds[key] {
      holds[key] = max(known, end)
      return true
    }
    guard index.heldBytes + entry.storedBytes <= capacityBytes / 4 else { return false }
    holds[key] = end
    index.setHeld(key, true)
    return true
  }

  private var capacityBytes: Int {
    directories.filter { $0.phase != .lost }.reduce(0) { $0 + $1.capacityBytes }
  }
}
