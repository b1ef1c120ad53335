package import KDNCore
internal import KDNTier
internal import Synchronization

extension Pool {
  /// Starts the slower tier, which reads its journal before this returns.
  ///
  /// To be called before the first namespace is asked for, so that its generation and layouts are
  /// those of the run before.
  package func startTier() { backing?.tier.start() }

  /// Whether all that the slower tier holds is known; true without one.
  package var isTierReady: Bool { backing?.tier.isReady ?? true }

  /// Takes nothing more for the slower tier, writes all that waits, and closes it; then calls
  /// `completion`, at once without a tier.
  ///
  /// `tick` must go on until then; from the beginning nothing is read any more.
  package func closeTier(completion: @escaping @Sendable () -> Void) {
    closeBlending()
    guard let backing else { return completion() }
    backing.startClosing()
    closeCoding()
    backing.writes.withLock { $0.close(completion) }
    write(backing)
  }

  /// Calls back once pins and their ends that came before survive a loss of power, as far as the
  /// slower tier holds the objects; at once without one.
  package func settle(completion: @escaping @Sendable (PoolRefusal?) -> Void) {
    guard let backing else { return completion(nil) }
    backing.tier.settle { result in
      if case .success = result { completion(nil) } else { completion(.unavailable) }
    }
  }

  /// Does what is due in the slower tier, in blending and in coding at `now`, and tries again what
  /// was too busy.
  package func tick(now: Instant) {
    tickSecond.store(
      UInt32(truncatingIfNeeded: now.nanoseconds / 1_000_000_000), ordering: .relaxed)
    tickBlending(now: now)
    defer { tickCoding(now: now) }
    guard let backing else { return }
    backing.tier.tick(now: now)
    retryWrites(backing)
    retryStalled(now: now, backing)
    retryParked(backing)
    guard backing.tier.isReady, !backing.wasReady.exchange(true, ordering: .relaxed) else {
      return
    }
    wakeHeld(backing)
  }

  /// Tells those who wait for what the tier turned out to hold.
  private func wakeHeld(_ backing: Backing) {
    for name in waiters.withLock({ $0.names }) {
      let namespace = namespaces[Int(name.namespace)]
      if backing.held(name.key, in: namespace) != nil { wake(name.key, in: namespace) }
    }
  }
}
