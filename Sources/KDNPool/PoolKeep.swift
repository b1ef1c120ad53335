package import KDNCore

extension Pool {
  /// Counts a use of each object that is in RAM or else in the slower tier; returns how many are.
  package func touch(_ keys: [ObjectKey], in namespace: Namespace) -> Int {
    keys.count { key in
      let place = ChunkPlace(key.hash, in: namespace.number)
      var reconsidered: StoredObject?
      let isInRAM = stripe(of: place).withLock { state in
        guard let object = state.table.find(key, at: place), isLive(object) else { return false }
        noteUse(of: object, reconsidered: &reconsidered)
        return true
      }
      if let reconsidered { offer(reconsidered, isWanted: false) }
      guard !isInRAM, let backing else { return isInRAM }
      guard backing.held(key, in: namespace) != nil else { return false }
      backing.tier.touch(key, in: namespace.name)
      return true
    }
  }

  /// Asks to be told when an object is published; nil if it is here already, in either tier, or is
  /// a layer of a blend that was given up.
  ///
  /// `notify` is called at most once, outside all locks, on the thread that publishes, after the
  /// object has become visible, or on the one that gave its blend up. It may call the pool. The
  /// object may be gone again when it runs.
  /// - Throws: `busy` beyond `waitersMax`.
  package func wait(
    for key: ObjectKey, in namespace: Namespace, notify: @escaping @Sendable () -> Void
  ) throws(PoolRefusal) -> WaitTicket? {
    let now = clock.now()
    let limit = configuration.waitersMax
    // Publish makes visible first and takes the waiters after: one of the two sees the other.
    let ticket = waiters.withLock { waiters -> Result<WaitTicket?, PoolRefusal> in
      guard live(key, in: namespace, now: now) == nil else { return .success(nil) }
      guard waiters.count(of: namespace.number) < limit else {
        return .failure(.busy(retryAfterMilliseconds: 1000))
      }
      let name = WaitTable.Name(namespace: namespace.number, key: key)
      return .success(waiters.add(name, notify))
    }
    guard let ticket = try ticket.get() else { return nil }
    if isGivenUp(key, in: namespace), cancel(ticket) { return nil }
    // Told already, it stays a wait that was told.
    guard let backing, backing.held(key, in: namespace) != nil, cancel(ticket) else {
      return ticket
    }
    return nil
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
