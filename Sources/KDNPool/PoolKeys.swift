package import KDNCore
internal import KDNTier

extension Pool {
  /// Keys of all objects under these hashes in either tier: every layout, part and variant, and
  /// the opaque ones; what the slower tier does not know yet is left out.
  package func keys(of hashes: [ChunkHash], in namespace: Namespace) -> [ObjectKey] {
    let now = clock.now()
    var found: Set<ObjectKey> = []
    for hash in hashes {
      let place = ChunkPlace(hash, in: namespace.number)
      let objects = stripe(of: place).withLock { $0.table.all(at: place) }
      for object in objects where object.isLive(at: now) { found.insert(object.key) }
    }
    guard let backing else { return Array(found) }
    return Array(found.union(backing.tier.keys(of: Set(hashes), in: namespace.name)))
  }
}
