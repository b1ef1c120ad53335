import KDNCore
import KDNTier

extension ToyTier {
  func setLimits(diskBytesMax: Int?, pinnedBytesMax: Int?, of namespace: NamespaceName) {
    limits[namespace] = (diskBytesMax, pinnedBytesMax)
    shrink()
  }

  /// Objects of a tenant that count, oldest first.
  private func own(_ namespace: NamespaceName) -> [(place: Place, entry: Entry)] {
    entries.filter { $0.key.namespace == namespace && !isOver($0.value.facts) }
      .map { ($0.key, $0.value) }.sorted { $0.entry.number < $1.entry.number }
  }

  func isPinned(_ place: Place) -> Bool { pins[place] ?? 0 > now }

  func usage(of namespace: NamespaceName) -> TierUsage {
    var usage = TierUsage()
    for (place, entry) in own(namespace) {
      usage.objects += 1
      usage.bytes += entry.facts.byteCount
      guard isPinned(place) else { continue }
      usage.pinnedObjects += 1
      usage.pinnedBytes += entry.facts.byteCount
    }
    if flaw == .miscounts, usage.objects > 4 { usage.bytes += 1 }
    return usage
  }

  func list(
    in namespace: NamespaceName, after cursor: TierCursor?, limit: Int
  ) -> (objects: [TierListing], next: TierCursor?) {
    let own = own(namespace)
    let start = cursor.map(\.number) ?? 0
    // Numbers in the order behind which nothing moves; places in a list that shrinks skip some.
    let rest =
      flaw == .listsByPlace
      ? Array(own.dropFirst(Int(start))) : own.filter { $0.entry.number + 1 > start }
    let page = rest.prefix(limit)
    let objects = page.map { place, entry in
      TierListing(
        key: place.key, byteCount: entry.facts.byteCount, tokenCount: entry.facts.tokenCount,
        firstToken: entry.facts.firstToken, uses: 0, isPinned: isPinned(place),
        ttlMilliseconds: entry.facts.ttlLeft(atWallMilliseconds: now))
    }
    guard page.count < rest.count, let last = page.last else { return (objects, nil) }
    let next = flaw == .listsByPlace ? Int(start) + limit : last.entry.number + 1
    return (objects, TierCursor(number: UInt64(next)))
  }

  func keys(of hashes: Set<ChunkHash>, in namespace: NamespaceName) -> [ObjectKey] {
    own(namespace).map(\.place.key).filter { hashes.contains($0.hash) }
  }

  /// Makes room for a write with the tenant's own oldest objects; nil if there is.
  func makeRoom(for facts: ObjectFacts) -> TierRefusal? {
    guard let limit = limits[facts.namespace]?.disk, flaw != .ignoresQuotas else { return nil }
    let before = entries
    guard shrink(facts.namespace, to: limit - facts.byteCount) else {
      entries = before
      return .overQuota(limit: limit)
    }
    return nil
  }

  func shrink() {
    guard flaw != .ignoresQuotas else { return }
    for (namespace, limit) in limits {
      if let limit = limit.disk { _ = shrink(namespace, to: limit) }
    }
  }

  /// Drops a tenant's oldest objects that may go; whether it has no more than `limit` then.
  private func shrink(_ namespace: NamespaceName, to limit: Int) -> Bool {
    let held = holds.filter { $0.value > setting.clock.now() }
    var bytes = own(namespace).reduce(0) { $0 + $1.entry.facts.byteCount }
    let awaited = Set(jobs.filter(\.isDurable).compactMap(\.place))
    var victims = own(namespace)
    if flaw == .robsOthers { victims = Set(entries.keys.map(\.namespace)).flatMap(own) }
    for (place, entry) in victims where bytes > limit {
      guard !isPinned(place), held[place] == nil, !awaited.contains(place) else { continue }
      entries[place] = nil
      bytes -= entry.facts.byteCount
    }
    return bytes <= limit
  }

  func pin(
    _ keys: [ObjectKey], in namespace: NamespaceName, milliseconds: UInt64
  ) -> Result<[Bool], TierRefusal> {
    let places = keys.map { Place(namespace: namespace, key: $0) }
    let added = Set(places).reduce(0) { sum, place in
      guard case .held(let facts) = find(place.key, in: namespace), !facts.isPinned else {
        return sum
      }
      return sum + facts.byteCount
    }
    if let limit = limits[namespace]?.pinned, added > 0,
      usage(of: namespace).pinnedBytes + added > limit
    {
      return .failure(.overQuota(limit: limit))
    }
    return .success(
      places.map { place in
        guard case .held = find(place.key, in: namespace) else { return false }
        pins[place] = now + milliseconds
        notePin(place, end: now + milliseconds)
        return true
      })
  }
}
