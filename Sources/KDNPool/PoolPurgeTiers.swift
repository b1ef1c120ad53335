internal import KDNCore
internal import KDNTier

/// Purges of two tiers; jobs of the write queue: one at a time, and no hand-over meanwhile.
extension Pool {
  typealias PurgeCompletion = @Sendable (Result<PurgeCount, PoolRefusal>) -> Void

  /// What a purge covers, in the terms of each tier.
  private struct Extent {
    let below: TierPurge
    let covers: @Sendable (ObjectKey) -> Bool
    /// Drops it from RAM; the residency lock must be held.
    let drop: (inout Residency, inout [StoredObject]) -> Void
  }

  func purge(
    _ scope: PurgeScope, _ namespace: Namespace, _ backing: Backing,
    _ completion: @escaping PurgeCompletion
  ) {
    let now = clock.now()
    switch scope {
    case .namespace: endGeneration(of: namespace, backing, completion)
    case .keys(let keys):
      let all = Set(keys)
      let extent = Extent(
        below: .keys(Array(all)), covers: { all.contains($0) },
        drop: { self.drop(keys, namespace, now, from: &$0, &$1) })
      purge(extent, namespace, now, backing, completion)
    case .layouts(let layouts):
      let all = Set(layouts)
      let extent = Extent(
        below: .layouts(Array(all)), covers: { $0.kind == .layout && all.contains($0.layout) },
        drop: { self.drop(layouts: all, namespace, from: &$0, &$1) })
      purge(extent, namespace, now, backing, completion)
    case .prefixes(let hashes):
      let all = descendants(of: hashes, namespace, backing)
      let extent = Extent(
        below: .chunks(all), covers: { $0.kind == .layout && all.contains($0.hash) },
        drop: { self.drop(all, namespace, from: &$0, &$1) })
      purge(extent, namespace, now, backing, completion)
    }
    // What was read of it before is in a blend by now; what is read after was stopped.
    dropBlends(of: scope, in: namespace)
    dropEdited(of: scope, in: namespace)
  }

  /// The chunks themselves and all that build on them, through chunks of either tier in turn.
  private func descendants(
    of hashes: [ChunkHash], _ namespace: Namespace, _ backing: Backing
  ) -> Set<ChunkHash> {
    var chunks = Set(hashes)
    var open = hashes
    while !open.isEmpty {
      let known = chunks
      chunks = residency.withLock { residency in
        var chunks = known
        addDescendants(of: open, to: &chunks, namespace, residency)
        return chunks
      }
      let below = backing.tier.descendants(of: chunks, in: namespace.name)
      open = Array(below.subtracting(chunks))
      chunks.formUnion(open)
    }
    return chunks
  }

  private func purge(
    _ extent: Extent, _ namespace: Namespace, _ now: Instant, _ backing: Backing,
    _ completion: @escaping PurgeCompletion
  ) {
    var dropped: [StoredObject] = []
    // From here until the tier has dropped them too, what reads of them bring is dropped.
    let number = residency.withLock { residency in
      extent.drop(&residency, &dropped)
      return backing.fetches.withLock {
        $0.beginPurge(in: namespace.number, covers: extent.covers)
      }
    }
    let inRAM = dropped.filter { now < $0.expiry }
    let count = PurgeCount(inRAM, now: now)
    backing.tier.purge(extent.below, in: namespace.name, counted: Set(inRAM.map(\.key))) {
      completion(self.answer($0, count))
    }
    backing.fetches.withLock { $0.endPurge(number) }
  }

  private func endGeneration(
    of namespace: Namespace, _ backing: Backing, _ completion: @escaping PurgeCompletion
  ) {
    let both = PurgeOfBoth(completion)
    forgetDocuments(of: namespace) { both.namesAreGone($0) }
    let (share, generation) = residency.withLock { residency in
      (residency.endGeneration(of: namespace), namespace.generation)
    }
    tellPurged(namespace)
    // The tier counts what it holds; here counts what it does not.
    let count = PurgeCount(
      objects: share.objects - share.heldObjects, bytes: share.bytes - share.heldBytes)
    backing.tier.purge(.before(generation: generation), in: namespace.name, counted: []) {
      both.objectsAreGone(self.answer($0, count))
    }
  }

  private func answer(
    _ result: Result<(objects: Int, bytes: Int), TierRefusal>, _ inRAM: PurgeCount
  ) -> Result<PurgeCount, PoolRefusal> {
    switch result {
    case .success(let below):
      .success(
        PurgeCount(objects: inRAM.objects + below.objects, bytes: inRAM.bytes + below.bytes))
    case .failure(.busy), .failure(.closing):
      .failure(.busy(retryAfterMilliseconds: configuration.durabilityRetryMilliseconds))
    case .failure: .failure(.unavailable)
    }
  }
}

/// Answers a purge when both objects and names are gone for good, with the first thing that failed.
private final class PurgeOfBoth: Sendable {
  private struct State: Sendable {
    var names: Result<Void, PoolRefusal>?
    var objects: Result<PurgeCount, PoolRefusal>?
  }

  private let state = Guarded(State())
  private let completion: Pool.PurgeCompletion

  init(_ completion: @escaping Pool.PurgeCompletion) { self.completion = completion }

  func namesAreGone(_ result: Result<Void, PoolRefusal>) {
    answer { $0.names = result }
  }

  func objectsAreGone(_ result: Result<PurgeCount, PoolRefusal>) {
    answer { $0.objects = result }
  }

  /// Each of both is told once, so that both are there once.
  private func answer(_ note: (inout State) -> Void) {
    let (names, objects) = state.withLock { state in
      note(&state)
      return (state.names, state.objects)
    }
    guard let names, let objects else { return }
    completion(names.flatMap { objects })
  }
}
