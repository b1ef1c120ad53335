package import KDNCore

extension DiskTier {
  /// Sets a tenant's quotas, as `Tier` tells.
  package func setLimits(
    diskBytesMax: Int?, pinnedBytesMax: Int?, of namespace: NamespaceName
  ) {
    change { state, _, _ in
      state.setLimits(
        TenantLimits(diskBytesMax: diskBytesMax, pinnedBytesMax: pinnedBytesMax), of: namespace)
    }
  }

  /// What a tenant has here.
  package func usage(of namespace: NamespaceName) -> TierUsage {
    look { state, _ in
      state.tenants.knownNumber(of: namespace).map { state.index.usage(of: $0) } ?? TierUsage()
    }
  }

  /// A page of a tenant's objects; the lock is held for a bounded number of them.
  package func list(
    in namespace: NamespaceName, after cursor: TierCursor?, limit: Int
  ) -> (objects: [TierListing], next: TierCursor?) {
    let page = look { state, wall -> (objects: [TierListing], next: UInt64?) in
      guard let number = state.tenants.knownNumber(of: namespace) else { return ([], nil) }
      return state.list(number, after: cursor?.number, limit: max(1, limit), wall: wall)
    }
    return (page.objects, page.next.map { TierCursor(number: $0) })
  }

  /// Keys of all objects here of these hashes; looks at all of the tenant, in pieces.
  package func keys(of hashes: Set<ChunkHash>, in namespace: NamespaceName) -> [ObjectKey] {
    var keys: [ObjectKey] = []
    var after: UInt64?
    // The lock is free between pieces, for there may be many objects.
    repeat {
      let start = after
      let piece = look { state, wall -> (keys: [ObjectKey], next: UInt64?) in
        guard let number = state.tenants.knownNumber(of: namespace) else { return ([], nil) }
        return state.keys(of: hashes, number, after: start, wall: wall)
      }
      keys += piece.keys
      after = piece.next
    } while after != nil
    return keys
  }

  /// Pins objects that are here, or none of them.
  package func pin(
    _ keys: [ObjectKey], in namespace: NamespaceName, milliseconds: UInt64
  ) -> Result<[Bool], TierRefusal> {
    change { state, _, wall in
      guard let number = state.tenants.knownNumber(of: namespace) else {
        return .success(keys.map { _ in false })
      }
      let (end, isOver) = wall.addingReportingOverflow(milliseconds)
      return state.pin(
        keys.map { DiskKey(namespace: number, key: $0) }, namespace, until: isOver ? .max : end,
        wall: wall)
    }
  }
}
