package import KDNCore
internal import KDNTier

extension Pool {
  /// Drops objects on request from both tiers, and tells how many could still be had; leases and
  /// pins do not keep them, but who reads one by now keeps its bytes.
  ///
  /// Blends that were made of them go too.
  /// `completion` is called once: before this returns if there is only RAM, else when no crash can
  /// bring the objects back, on any thread. A namespace goes from RAM in constant time, and its
  /// memory follows in `sweep` or when room is needed; of its objects, those that were in RAM and
  /// of which the slower tier made room since it wrote them are not counted. Prefixes reach what
  /// builds on them through chunks that are in either tier. Layouts take time linear in the
  /// namespace's objects. Fails with `busy` or `unavailable` if the slower tier cannot note it:
  /// then the objects are gone, but may come back with the next start.
  package func purge(
    _ scope: PurgeScope, in namespace: Namespace,
    completion: @escaping @Sendable (Result<PurgeCount, PoolRefusal>) -> Void
  ) {
    guard let backing else {
      let count = purgeRAM(scope, namespace)
      dropBlends(of: scope, in: namespace)
      dropEdited(of: scope, in: namespace)
      return completion(.success(count))
    }
    // A job of the write queue: no hand-over is half done meanwhile, and none brings back an
    // object that was just dropped.
    backing.writes.withLock { queue in
      queue.add { self.purge(scope, namespace, backing, completion) }
    }
    write(backing)
  }

  /// Calls `body` when all objects of a namespace are purged, on the thread that does it.
  package func onPurge(_ body: @escaping @Sendable (NamespaceName) -> Void) {
    purgeListener.withLock { $0 = body }
  }

  /// To be called once the old generation has ended.
  func tellPurged(_ namespace: Namespace) {
    purgeListener.withLock { $0 }?(namespace.name)
  }

  func purgeRAM(_ scope: PurgeScope, _ namespace: Namespace) -> PurgeCount {
    let now = clock.now()
    var dropped: [StoredObject] = []
    switch scope {
    case .keys(let keys):
      residency.withLock { residency in
        drop(keys, namespace, now, from: &residency, &dropped)
      }
    case .prefixes(let hashes):
      residency.withLock { residency in
        var chunks = Set(hashes)
        addDescendants(of: hashes, to: &chunks, namespace, residency)
        drop(chunks, namespace, from: &residency, &dropped)
      }
    case .layouts(let layouts):
      residency.withLock { residency in
        drop(layouts: Set(layouts), namespace, from: &residency, &dropped)
      }
    case .namespace:
      forgetDocuments(of: namespace)
      let share = residency.withLock { $0.endGeneration(of: namespace) }
      tellPurged(namespace)
      return PurgeCount(objects: share.objects, bytes: share.bytes)
    }
    return PurgeCount(dropped, now: now)
  }

  // MARK: What is dropped; the residency lock must be held

  func drop(
    _ keys: [ObjectKey], _ namespace: Namespace, _ now: Instant,
    from residency: inout Residency, _ dropped: inout [StoredObject]
  ) {
    for key in keys {
      guard let object = live(key, in: namespace, now: now) else { continue }
      purge([object], from: &residency, &dropped)
    }
  }

  func drop(
    _ chunks: Set<ChunkHash>, _ namespace: Namespace, from residency: inout Residency,
    _ dropped: inout [StoredObject]
  ) {
    for hash in chunks {
      purge(layoutObjects(of: hash, namespace), from: &residency, &dropped)
    }
  }

  func drop(
    layouts: Set<LayoutID>, _ namespace: Namespace, from residency: inout Residency,
    _ dropped: inout [StoredObject]
  ) {
    let found = residency.chains.objects(of: namespace.number) {
      $0.key.kind == .layout && layouts.contains($0.key.layout)
    }
    purge(found, from: &residency, &dropped)
  }

  /// Adds the hashes of all chunks that build on `hashes` through chunks in RAM.
  func addDescendants(
    of hashes: [ChunkHash], to chunks: inout Set<ChunkHash>, _ namespace: Namespace,
    _ residency: Residency
  ) {
    var open = hashes
    while let hash = open.popLast() {
      let objects = layoutObjects(of: hash, namespace)
      for child in residency.chains.childHashes(of: objects, hash: hash, in: namespace)
      where chunks.insert(child).inserted {
        open.append(child)
      }
    }
  }

  private func layoutObjects(of hash: ChunkHash, _ namespace: Namespace) -> [StoredObject] {
    let place = ChunkPlace(hash, in: namespace.number)
    return stripe(of: place).withLock { $0.table.all(at: place) }.filter {
      $0.key.kind == .layout && $0.generation == namespace.generation
    }
  }

  private func purge(
    _ objects: [StoredObject], from residency: inout Residency, _ dropped: inout [StoredObject]
  ) {
    for object in objects {
      drop(object, from: &residency, .purged)
      residency.purged += 1
      dropped.append(object)
    }
  }
}

extension PurgeCount {
  /// Counts those of `objects` whose TTL has not ended.
  init(_ objects: [StoredObject], now: Instant) {
    self.init(objects: 0, bytes: 0)
    for object in objects where now < object.expiry {
      self.objects += 1
      bytes += object.storedBytes
    }
  }
}
