import KDNCore
import KDNTier

/// What the pool asks of tenants.
extension ScriptedTier {
  func setLimits(diskBytesMax: Int?, pinnedBytesMax: Int?, of namespace: NamespaceName) {
    state.withLock {
      $0.limits[namespace] = NamespaceLimits(
        diskBytesMax: diskBytesMax, pinnedBytesMax: pinnedBytesMax)
    }
  }

  func usage(of namespace: NamespaceName) -> TierUsage {
    state.withLock { state in
      var usage = TierUsage()
      for (name, stored) in state.stored where name.namespace == namespace {
        usage.objects += 1
        usage.bytes += stored.facts.storedBytes
        guard state.pins[name] != nil else { continue }
        usage.pinnedObjects += 1
        usage.pinnedBytes += stored.facts.storedBytes
      }
      return usage
    }
  }

  func list(
    in namespace: NamespaceName, after cursor: TierCursor?, limit: Int
  ) -> (objects: [TierListing], next: TierCursor?) {
    state.withLock { state in
      let own = state.stored.filter { $0.key.namespace == namespace }
      let left = own.filter { $0.value.number > cursor?.number ?? 0 }
        .sorted { $0.value.number < $1.value.number }
      let page = left.prefix(limit)
      let objects = page.map { name, stored in
        TierListing(
          key: name.key, byteCount: stored.facts.byteCount, form: stored.facts.form,
          tokenCount: stored.facts.tokenCount, firstToken: stored.facts.firstToken, uses: 0,
          isPinned: state.pins[name] != nil,
          ttlMilliseconds: nil)
      }
      guard page.count < left.count, let last = page.last else { return (objects, nil) }
      return (objects, TierCursor(number: last.value.number))
    }
  }

  func keys(of hashes: Set<ChunkHash>, in namespace: NamespaceName) -> [ObjectKey] {
    state.withLock { state in
      state.stored.keys.filter { $0.namespace == namespace && hashes.contains($0.key.hash) }
        .map(\.key)
    }
  }
}

extension ScriptedTier.State {
  /// Puts an object in at the end of the list.
  mutating func add(_ stored: ScriptedTier.Stored) {
    lastNumber += 1
    var stored = stored
    stored.number = lastNumber
    self.stored[ScriptedTier.Name(namespace: stored.facts.namespace, key: stored.facts.key)] =
      stored
  }
}
