package import KDNCore

/// Pins of clients and administrators.
extension Pool {
  /// Keeps objects from eviction for a time, cut to the longest pin; says which are here.
  ///
  /// Pins belong to the namespace. A pin never shortens another; purges and TTLs beat pins. An
  /// object that the slower tier holds is pinned there too, across restarts; one that it does not
  /// hold is written whatever the admission policy says, and pinned there for the time left, if
  /// the tenant's pins there leave room for it then.
  /// - Throws: `overQuota`, and no pin has changed, if the tenant's pinned bytes would be beyond
  ///   its limit in RAM or in the slower tier; what is pinned already counts once.
  package func pin(
    _ keys: [ObjectKey], ttlMilliseconds: UInt64, in namespace: Namespace
  ) throws(PoolRefusal) -> [Bool] {
    let now = clock.now()
    let milliseconds = times.pinMilliseconds(for: ttlMilliseconds)
    let order = PinOrder(keys, until: now.advanced(milliseconds: milliseconds), namespace)
    do {
      let pins = try pinInRAM(order, now: now)
      guard let backing else { return pins.map { $0 != nil } }
      let below = try pinBelow(order, pins, milliseconds: milliseconds, backing)
      for pin in pins {
        if let object = pin?.object, !object.isHeld { offer(object, isWanted: true) }
      }
      return zip(keys, pins).map { key, pin in pin != nil || below.contains(key) }
    } catch {
      namespace.counters.countQuotaRefusal()
      throw error
    }
  }

  /// Ends the pins of objects, in both tiers; says which had one.
  package func unpin(_ keys: [ObjectKey], in namespace: Namespace) -> [Bool] {
    let now = clock.now()
    let unpinned = residency.withLock { residency in
      _ = residency.endPins(by: now)
      return keys.map { key in
        guard let object = live(key, in: namespace, now: now) else { return false }
        return residency.unpin(object)
      }
    }
    guard let backing else { return unpinned }
    return zip(keys, unpinned).map { key, isUnpinned in
      let isUnpinnedBelow = backing.tier.unpin(key, in: namespace.name)
      return isUnpinned || isUnpinnedBelow
    }
  }

  /// What is to be pinned, and until when.
  private struct PinOrder {
    let keys: [ObjectKey]
    let end: Instant
    let namespace: Namespace

    init(_ keys: [ObjectKey], until end: Instant, _ namespace: Namespace) {
      self.keys = keys
      self.end = end
      self.namespace = namespace
    }
  }

  /// A pin that was just set, and the end of the one before it.
  private struct NewPin: Sendable {
    let object: StoredObject
    let previousEnd: Instant?
  }

  private func pinInRAM(_ order: PinOrder, now: Instant) throws(PoolRefusal) -> [NewPin?] {
    let limit = order.namespace.limits.pinnedBytesMax ?? .max
    let pins = residency.withLock { residency -> Result<[NewPin?], PoolRefusal> in
      _ = residency.endPins(by: now)
      let objects = order.keys.map { live($0, in: order.namespace, now: now) }
      let pinnedBytes = residency.pinnedBytes(of: order.namespace, with: objects)
      guard pinnedBytes <= limit else {
        return .failure(overPinQuota(pinnedBytes, limit: limit))
      }
      return .success(
        objects.map { object in
          guard let object else { return nil }
          let previousEnd = residency.pinEnd(of: object)
          residency.pin(object, until: order.end)
          return NewPin(object: object, previousEnd: previousEnd)
        })
    }
    return try pins.get()
  }

  /// Pins what the slower tier holds or may hold, and says which it does; takes the pins in RAM
  /// back if its quota refuses.
  private func pinBelow(
    _ order: PinOrder, _ pins: [NewPin?], milliseconds: UInt64, _ backing: Backing
  ) throws(PoolRefusal) -> Set<ObjectKey> {
    let keys = zip(order.keys, pins).filter { $1?.object.isHeld ?? true }.map(\.0)
    guard !keys.isEmpty else { return [] }
    switch backing.tier.pin(keys, in: order.namespace.name, milliseconds: milliseconds) {
    case .success(let answers):
      return Set(zip(keys, answers).filter(\.1).map(\.0))
    case .failure(.overQuota(let limit)):
      residency.withLock { residency in
        for pin in pins.reversed() {
          if let pin { residency.undoPin(pin.object, until: order.end, to: pin.previousEnd) }
        }
      }
      let usage = backing.tier.usage(of: order.namespace.name)
      throw overPinQuota(usage.pinnedBytes, limit: limit)
    case .failure: return []
    }
  }

  private func overPinQuota(_ bytes: Int, limit: Int) -> PoolRefusal {
    .overQuota(
      FieldFault("pinnedBytes", value: bytes, limit: limit, "the quota of pins is used up"))
  }
}

extension Residency {
  /// Bytes that a tenant has pinned, and would have with these objects.
  fileprivate func pinnedBytes(of namespace: Namespace, with objects: [StoredObject?]) -> Int {
    var bytes = shares[Int(namespace.number)].pinnedBytes
    var counted: Set<Int32> = []
    for case let object? in objects
    where !pins.contains(object.slot) && counted.insert(object.slot).inserted {
      bytes += object.storedBytes
    }
    return bytes
  }

  /// Takes a pin back that was set until `end`, unless a longer one came since.
  fileprivate mutating func undoPin(
    _ object: StoredObject, until end: Instant, to previousEnd: Instant?
  ) {
    guard pinEnd(of: object) == end else { return }
    guard let previousEnd else {
      _ = unpin(object)
      return
    }
    pins.set(object.slot, of: object.namespace.number, previousEnd)
  }
}
