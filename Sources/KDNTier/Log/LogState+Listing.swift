internal import KDNCore

extension LogState {
  /// Objects of a tenant behind a place, or the first; some of those that are looked at may not
  /// count any more, so that there may be fewer than `limit`, and more behind them.
  func list(
    _ number: UInt32, after rank: UInt64?, limit: Int, wall: UInt64
  ) -> (objects: [TierListing], next: UInt64?) {
    var objects: [TierListing] = []
    var visits = 0
    var last = rank
    var hasMore = false
    index.share(of: number).places.visit(after: rank) { place in
      guard visits < Self.visitsPerPage, objects.count < limit else {
        hasMore = true
        return false
      }
      visits += 1
      last = place.rank
      if let entry = live(DiskKey(namespace: number, key: place.key), wall: wall) {
        objects.append(TierListing(place.key, entry, wall: wall))
      }
      return true
    }
    return (objects, hasMore ? last : nil)
  }

  /// Keys of a tenant's objects of some hashes behind a place, or from the first on; a piece.
  func keys(
    of hashes: Set<ChunkHash>, _ number: UInt32, after rank: UInt64?, wall: UInt64
  ) -> (keys: [ObjectKey], next: UInt64?) {
    var keys: [ObjectKey] = []
    var visits = 0
    var last = rank
    var hasMore = false
    index.share(of: number).places.visit(after: rank) { place in
      guard visits < Self.visitsPerPage else {
        hasMore = true
        return false
      }
      visits += 1
      last = place.rank
      guard hashes.contains(place.key.hash),
        live(DiskKey(namespace: number, key: place.key), wall: wall) != nil
      else { return true }
      keys.append(place.key)
      return true
    }
    return (keys, hasMore ? last : nil)
  }

  /// Objects that are looked at while the lock is held.
  private static let visitsPerPage = 4096
}

extension TierListing {
  fileprivate init(_ key: ObjectKey, _ entry: IndexEntry, wall: UInt64) {
    self.init(
      key: key, byteCount: entry.byteCount, form: entry.form,
      tokenCount: Int(entry.tokenCount), firstToken: Int(entry.firstToken),
      uses: UInt64(entry.uses), isPinned: entry.isPinned,
      ttlMilliseconds: entry.ttlLeft(atWallMilliseconds: wall))
  }
}
