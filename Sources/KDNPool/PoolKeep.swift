package import KDNCore

extension Pool {
  /// Counts a use of each object that is here; returns how many are.
  package func touch(_ keys: [ObjectKey], in namespace: Namespace) -> Int {
    keys.count { key in
      let place = ChunkPlace(key.hash, in: namespace.number)
      return stripe(of: place).withLock { state in
        guard let object = state.table.find(key, at: place), isLive(object) else { return false }
        object.noteUse(order: nextUse(), age: policyAge)
        return true
      }
    }
  }

  /// Keeps objects from eviction for a time, cut to `pinMaxMilliseconds`; says which are here.
  ///
  /// Pins belong to the namespace. A pin never shortens another; purges and TTLs beat pins.
  package func pin(
    _ keys: [ObjectKey], ttlMilliseconds: UInt64, in namespace: Namespace
  ) -> [Bool] {
    let now = clock.now()
    let end = now.advanced(
      milliseconds: min(ttlMilliseconds, configuration.pinMaxMilliseconds))
    return residency.withLock { residency in
      _ = residency.endPins(by: now)
      return keys.map { key in
        guard let object = live(key, in: namespace, now: now) else { return false }
        residency.pin(object, until: end)
        return true
      }
    }
  }

  /// Ends the pins of objects; says which had one.
  package func unpin(_ keys: [ObjectKey], in namespace: Namespace) -> [Bool] {
    let now = clock.now()
    return residency.withLock { residency in
      _ = residency.endPins(by: now)
      return keys.map { key in
        guard let object = live(key, in: namespace, now: now) else { return false }
        return residency.unpin(object)
      }
    }
  }

  /// How many of the objects are in RAM, and how many reads from slower tiers were started; there
  /// is no slower tier, so the second is 0.
  package func prefetch(
    _ keys: [ObjectKey], in namespace: Namespace
  ) -> (present: Int, started: Int) {
    (keys.count { contains($0, in: namespace) }, 0)
  }

  /// Asks to be told when an object is published; nil if it is here already.
  ///
  /// `notify` is called at most once, outside all locks, on the thread that publishes, after the
  /// object has become visible. It may call the pool. The object may be gone again when it runs.
  /// - Throws: `busy` beyond `waitersMax`.
  package func wait(
    for key: ObjectKey, in namespace: Namespace, notify: @escaping @Sendable () -> Void
  ) throws(PoolRefusal) -> WaitTicket? {
    let now = clock.now()
    let limit = configuration.waitersMax
    // Publish makes visible first and takes the waiters after: one of the two sees the other.
    let ticket = waiters.withLock { waiters -> Result<WaitTicket?, PoolRefusal> in
      guard live(key, in: namespace, now: now) == nil else { return .success(nil) }
      guard waiters.count < limit else {
        return .failure(.busy(retryAfterMilliseconds: 1000))
      }
      let name = WaitTable.Name(namespace: namespace.number, key: key)
      return .success(waiters.add(name, notify))
    }
    return try ticket.get()
  }

  /// Ends a wait.
  ///
  /// - Returns: true if `notify` was not called and never will be; false if it was called, or is
  ///   being called on another thread at this moment.
  @discardableResult
  package func cancel(_ ticket: WaitTicket) -> Bool {
    // The closure is dropped after the lock: what it holds may call the pool when it goes.
    let removed = waiters.withLock { $0.remove(ticket) }
    return removed != nil
  }

  func wake(_ key: ObjectKey, in namespace: Namespace) {
    let name = WaitTable.Name(namespace: namespace.number, key: key)
    for notify in waiters.withLock({ $0.take(name) }) { notify() }
  }

  func live(_ key: ObjectKey, in namespace: Namespace, now: Instant) -> StoredObject? {
    let place = ChunkPlace(key.hash, in: namespace.number)
    return stripe(of: place).withLock { $0.live(key, at: place, now: now) }
  }
}
