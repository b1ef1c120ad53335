package import KDNCore
internal import Synchronization

extension Pool {
  /// Most things of one kind that one call of `sweep` does.
  package static let sweepCountMax = 256

  /// Drops objects on request and returns how many of them could still be had; leases and pins do
  /// not keep them, but who reads one by now keeps its bytes.
  ///
  /// A namespace goes in constant time, and its memory follows in `sweep` or when room is needed.
  /// Prefixes reach what builds on them through chunks that are here. Layouts take time linear in
  /// the namespace's objects.
  package func purge(
    _ scope: PurgeScope, in namespace: Namespace
  ) -> (objects: Int, bytes: Int) {
    let now = clock.now()
    var dropped: [StoredObject] = []
    switch scope {
    case .keys(let keys):
      residency.withLock { residency in
        for key in keys {
          guard let object = live(key, in: namespace, now: now) else { continue }
          purge([object], from: &residency, dropped: &dropped)
        }
      }
    case .prefixes(let hashes):
      residency.withLock { residency in
        purge(below: hashes, namespace, from: &residency, dropped: &dropped)
      }
    case .layouts(let layouts):
      let layouts = Set(layouts)
      residency.withLock { residency in
        let found = residency.chains.objects(of: namespace.number) {
          $0.key.kind == .layout && layouts.contains($0.key.layout)
        }
        purge(found, from: &residency, dropped: &dropped)
      }
    case .namespace:
      let share = residency.withLock { $0.endGeneration(of: namespace) }
      return (share.objects, share.bytes)
    }
    let counted = dropped.filter { now < $0.expiry }
    return (counted.count, counted.reduce(0) { $0 + $1.byteCount })
  }

  private func purge(
    below hashes: [ChunkHash], _ namespace: Namespace, from residency: inout Residency,
    dropped: inout [StoredObject]
  ) {
    var seen = Set(hashes)
    var open = Array(seen)
    while let hash = open.popLast() {
      let place = ChunkPlace(hash, in: namespace.number)
      let found = stripe(of: place).withLock { $0.table.all(at: place) }.filter {
        $0.key.kind == .layout && $0.generation == namespace.generation
      }
      for child in residency.chains.childHashes(of: found, hash: hash, in: namespace)
      where seen.insert(child).inserted {
        open.append(child)
      }
      purge(found, from: &residency, dropped: &dropped)
    }
  }

  private func purge(
    _ objects: [StoredObject], from residency: inout Residency, dropped: inout [StoredObject]
  ) {
    for object in objects {
      drop(object, from: &residency, .purged)
      residency.purged += 1
      dropped.append(object)
    }
  }

  /// Ends leases, pins and TTLs that are due at `now` and reclaims ended generations: at most
  /// `sweepCountMax` of each; says whether more is left to do.
  package func sweep(now: Instant) -> Bool {
    var isMore = endDueLeases(now: now, countMax: Self.sweepCountMax)
    var dropped: [StoredObject] = []
    dropped.reserveCapacity(2 * Self.sweepCountMax)
    residency.withLock { residency in
      let isMorePins = residency.endPins(by: now, countMax: Self.sweepCountMax)
      var left = Self.sweepCountMax
      while left > 0, let object = dropExpired(&residency, now: now) {
        dropped.append(object)
        left -= 1
      }
      var deadLeft = Self.sweepCountMax
      while deadLeft > 0, let object = dropDead(&residency) {
        dropped.append(object)
        deadLeft -= 1
      }
      isMore = isMore || isMorePins || left == 0 || deadLeft == 0
    }
    return isMore
  }

  /// A picture of the counters; each is right, but they are read one after the other.
  package var statistics: PoolStatistics {
    var picture = PoolStatistics(arena: arena.statistics)
    var misses = [UInt64](repeating: 0, count: MissCause.allCases.count + 1)
    for stripe in stripes {
      let (hits, missed) = stripe.withLock { ($0.hits, $0.misses) }
      picture.hits += hits
      for (cause, count) in missed.enumerated() { misses[cause] += count }
    }
    for cause in MissCause.allCases { picture.misses[cause] = misses[Int(cause.rawValue)] }
    picture.memoryBytesMax = configuration.memoryBytesMax
    picture.chargedBytes = budget.chargedBytes
    picture.bufferBytes = bufferBytes.load(ordering: .relaxed)
    picture.indexBytes =
      picture.chargedBytes - picture.bufferBytes - picture.arena.capacityBytes
    picture.reservations = openReservations.count
    picture.refusals = refusals.load(ordering: .relaxed)
    picture.leases = leases.withLock { $0.count }
    picture.waiters = waiters.withLock { $0.count }
    let namespaces = namespaces
    residency.withLock { $0.fill(&picture, namespaces) }
    return picture
  }
}

extension Residency {
  fileprivate func fill(_ picture: inout PoolStatistics, _ namespaces: [Namespace]) {
    picture.objects = total.objects
    picture.bytes = total.bytes
    picture.deadObjects = deadObjects
    picture.pins = pinCount
    picture.evictions = evictions
    picture.evictedBytes = evictedBytes
    picture.stores = stores
    picture.conflicts = conflicts
    picture.expired = expired
    picture.purged = purged
    picture.namespaces = namespaces.map { namespace in
      let share = shares[Int(namespace.number)]
      return PoolStatistics.NamespaceShare(
        name: namespace.name, objects: share.objects, bytes: share.bytes,
        generation: namespace.generation)
    }
  }
}
