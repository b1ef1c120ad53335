internal import KDNCore

extension Pool {
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
}
