package import KDNCore
internal import KDNTier

extension Pool {
  /// Most slots of RAM looked at under one lock.
  static let slotsPerLock = 2048
  /// Most slots of RAM, or pages of the slower tier, looked at for one page.
  static let slotsPerPage = 1 << 20
  static let tierPagesPerPage = 64

  /// A page of a tenant's objects: `limit` at most, those after `cursor`, first of RAM, then of the
  /// slower tier.
  ///
  /// - Throws: a fault that names `cursor` if that is of another kind or run, or `limit` if it is
  ///   not positive.
  package func objects(
    in namespace: Namespace, after cursor: String?, limit: Int
  ) throws(FieldFault) -> ObjectListing {
    guard limit > 0 else {
      throw FieldFault("limit", value: limit, limit: 1, "must be positive")
    }
    var position: ObjectCursor
    if let cursor {
      position = try ObjectCursor(cursor, run: runNumber)
    } else {
      position = ObjectCursor(
        run: runNumber, arrivals: residency.withLock { $0.arrivals }, place: .ram(slot: 0))
    }
    var page = ObjectListing()
    if case .ram(let slot) = position.place {
      let next = listRAM(of: namespace, from: slot, limit, into: &page)
      position.place = next.map { .ram(slot: $0) } ?? .below(after: nil)
    }
    if case .below(let number) = position.place {
      let (next, isEnd) = listBelow(
        namespace, after: number, limit, arrivals: position.arrivals, into: &page)
      guard !isEnd else { return page }
      position.place = .below(after: next)
    }
    page.next = position.text
    return page
  }

  /// Lists objects in RAM by their slots, which they keep as long as they stay; gives the slot to
  /// go on with, nil at the end.
  private func listRAM(
    of namespace: Namespace, from start: Int, _ limit: Int, into page: inout ObjectListing
  ) -> Int? {
    let now = clock.now()
    var slot: Int? = start
    var left = Self.slotsPerPage
    while let from = slot, page.objects.count < limit, left > 0 {
      let room = limit - page.objects.count
      let (found, next) = residency.withLock {
        $0.list(namespace, from: from, slotsMax: Self.slotsPerLock, limit: room, now: now)
      }
      for var item in found {
        if let held = backing?.held(item.key, in: namespace) {
          item.isOnDisk = true
          item.isPinned = item.isPinned || held.isPinned
        }
        page.objects.append(item)
      }
      left -= Self.slotsPerLock
      slot = next
    }
    return slot
  }

  /// Lists objects of the slower tier but for those that RAM has had since before the listing
  /// began, which were listed there; gives the place to go on with, and whether this was the end.
  private func listBelow(
    _ namespace: Namespace, after number: UInt64?, _ limit: Int, arrivals: UInt64,
    into page: inout ObjectListing
  ) -> (after: UInt64?, isEnd: Bool) {
    guard let backing else { return (nil, true) }
    let now = clock.now()
    var cursor = number.map(TierCursor.init)
    for _ in 0..<Self.tierPagesPerPage where page.objects.count < limit {
      let (found, next) = backing.tier.list(
        in: namespace.name, after: cursor, limit: limit - page.objects.count)
      for listing in found {
        let object = live(listing.key, in: namespace, now: now)
        if let object, object.arrival <= arrivals { continue }
        page.objects.append(ObjectListing.Item(listing, isInRAM: object != nil))
      }
      guard let next else { return (nil, true) }
      cursor = next
    }
    return (cursor?.number, false)
  }
}

extension Residency {
  /// Live objects of a namespace in at most `slotsMax` slots, and the slot to go on with; nil if
  /// there are no more.
  fileprivate func list(
    _ namespace: Namespace, from start: Int, slotsMax: Int, limit: Int, now: Instant
  ) -> ([ObjectListing.Item], next: Int?) {
    guard start < chains.slotCount else { return ([], nil) }
    let end = min(chains.slotCount, start + slotsMax)
    var items: [ObjectListing.Item] = []
    var slot = start
    while slot < end, items.count < limit {
      if let object = chains.object(in: slot, of: namespace), object.isLive(at: now) {
        items.append(ObjectListing.Item(object, isPinned: pins.contains(Int32(slot)), now: now))
      }
      slot += 1
    }
    return (items, slot < chains.slotCount ? slot : nil)
  }
}

extension ObjectListing.Item {
  fileprivate init(_ object: StoredObject, isPinned: Bool, now: Instant) {
    self.init(
      key: object.key, byteCount: object.byteCount, tokenCount: object.tokenCount,
      firstToken: object.firstToken, uses: object.useCount, isInRAM: true, isOnDisk: false,
      isPinned: isPinned,
      ttlMilliseconds: object.expiry == .never ? nil : now.milliseconds(until: object.expiry))
  }

  fileprivate init(_ listing: TierListing, isInRAM: Bool) {
    self.init(
      key: listing.key, byteCount: listing.byteCount, tokenCount: listing.tokenCount,
      firstToken: listing.firstToken, uses: listing.uses, isInRAM: isInRAM, isOnDisk: true,
      isPinned: listing.isPinned, ttlMilliseconds: listing.ttlMilliseconds)
  }
}
