package import KDNCore
internal import KDNMemory

extension DiskTier: Tier {
  package var isReady: Bool { look { state, _ in state.isReady } }

  package func generation(of namespace: NamespaceName) -> UInt64 {
    look { state, _ in state.tenants.generation(of: namespace) }
  }

  package func layouts(of namespace: NamespaceName) -> [Layout] {
    look { state, _ in state.tenants.layouts(of: namespace) }
  }

  package func find(_ key: ObjectKey, in namespace: NamespaceName) -> TierFinding {
    look { state, wall in
      guard let number = state.tenants.knownNumber(of: namespace) else {
        return state.isReady ? .absent(nil) : .notReady
      }
      let key = DiskKey(namespace: number, key: key)
      guard let entry = state.live(key, wall: wall) else {
        // Until all is known, a newer record of the name may still be found.
        return state.isReady ? .absent(state.cause(key, wall: wall)) : .notReady
      }
      return .held(
        HeldFacts(
          byteCount: entry.byteCount, checksum: entry.checksum, form: entry.form,
          isDurable: entry.stage == .durable && state.isJournalDurable,
          isPinned: entry.isPinned, ttlMilliseconds: entry.ttlLeft(atWallMilliseconds: wall)))
    }
  }

  package func touch(_ key: ObjectKey, in namespace: NamespaceName) {
    change { state, _, wall in
      guard let key = state.known(key, namespace), state.live(key, wall: wall) != nil else {
        return
      }
      state.note(key)
    }
  }

  package func hold(_ key: ObjectKey, in namespace: NamespaceName, until end: Instant) -> Bool {
    change { state, _, wall in
      guard let key = state.known(key, namespace) else { return false }
      return state.hold(key, until: end, wall: wall)
    }
  }

  package func write(
    _ facts: ObjectFacts, _ bytes: TierBytes, isDurable: Bool,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    precondition(bytes.byteCount == facts.storedBytes, "the bytes of another object")
    change { state, now, wall in
      state.write(
        facts, bytes, isDurable: isDurable, now: now, wall: wall, completion: completion)
    }
  }

  package func rewrite(
    _ facts: ObjectFacts, _ bytes: TierBytes,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    precondition(bytes.byteCount == facts.storedBytes, "the bytes of another object")
    change { state, now, wall in
      state.rewrite(facts, bytes, now: now, wall: wall, completion: completion)
    }
  }

  package var forms: [UInt8: FormShare] { look { state, _ in state.index.forms } }

  package func makeDurable(
    _ key: ObjectKey, in namespace: NamespaceName,
    completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void
  ) {
    change { state, now, wall in
      guard let key = state.known(key, namespace) else {
        return state.finish { completion(.failure(.gone)) }
      }
      state.makeDurable(key, now: now, wall: wall, completion: completion)
    }
  }

  package func read(
    _ key: ObjectKey, in namespace: NamespaceName, into room: TierRoom,
    completion: @escaping @Sendable (TierReading) -> Void
  ) {
    let plan = change { state, now, wall -> LogState.ReadPlan in
      guard let key = state.known(key, namespace) else {
        return .ended(.missed(state.isReady ? .neverStored : .notReady))
      }
      return state.read(key, into: room, now: now, wall: wall, completion: completion)
    }
    switch plan {
    case .started: break
    case .ended(let reading): completion(reading)
    case .copy(let bytes, let facts):
      unsafe room.base.copyMemory(from: bytes.base, byteCount: facts.storedBytes)
      completion(.whole(facts))
    }
  }

  package func descendants(
    of hashes: Set<ChunkHash>, in namespace: NamespaceName
  ) -> Set<ChunkHash> {
    look { state, _ in
      guard let number = state.tenants.knownNumber(of: namespace) else { return [] }
      return state.index.descendants(of: hashes, in: number)
    }
  }

  package func mayReturn(_ key: ObjectKey, in namespace: NamespaceName) -> Bool {
    look { state, _ in
      guard let number = state.tenants.knownNumber(of: namespace) else {
        return !state.isReady || state.shadows.mayHaveAny
      }
      return state.mayReturn(DiskKey(namespace: number, key: key))
    }
  }

  package func purge(
    _ scope: TierPurge, in namespace: NamespaceName, counted: Set<ObjectKey>,
    completion: @escaping @Sendable (Result<(objects: Int, bytes: Int), TierRefusal>) -> Void
  ) {
    change { state, _, wall in
      state.purge(scope, in: namespace, counted: counted, wall: wall, completion: completion)
    }
  }

  package func unpin(_ key: ObjectKey, in namespace: NamespaceName) -> Bool {
    change { state, _, _ in
      guard let key = state.known(key, namespace) else { return false }
      return state.unpin(key, namespace)
    }
  }

  package func register(_ layout: Layout, in namespace: NamespaceName) {
    change { state, _, _ in
      // A larger one is legal and no use to anybody; its tenant registers it again.
      guard !state.tenants.knows(layout, of: namespace),
        layout.canonicalEncoding.count <= JournalEntry.layoutBytesMax
      else { return }
      state.remember([.layout(namespace, layout)])
    }
  }

  package func settle(completion: @escaping @Sendable (Result<Void, TierRefusal>) -> Void) {
    change { state, _, _ in
      state.whenJournalIsDurable(completion)
    }
  }

  package func tick(now: Instant) {
    change { state, _, wall in state.tick(now: now, wall: wall) }
  }
}

extension LogState {
  /// The full name of an object of a tenant that was heard of.
  fileprivate func known(_ key: ObjectKey, _ namespace: NamespaceName) -> DiskKey? {
    tenants.knownNumber(of: namespace).map { DiskKey(namespace: $0, key: key) }
  }
}
