internal import KDNCore
internal import KDNPool
internal import Synchronization

/// The gates of all tenants that are or were connected.
final class Admission: Sendable {
  private let gates = Guarded<[NamespaceName: TenantGate]>([:])
  private let limits: @Sendable (NamespaceName) -> NamespaceLimits
  private let changes = Atomic<UInt64>(0)

  /// Asks `limits` what holds for a tenant, at its first connection and at each `apply`.
  init(limits: @escaping @Sendable (NamespaceName) -> NamespaceLimits) {
    self.limits = limits
  }

  /// The gate of a tenant, the same for all its connections.
  func gate(of namespace: Namespace, now: Instant) -> TenantGate {
    gates.withLock { gates in
      if let gate = gates[namespace.name] { return gate }
      let gate = TenantGate(namespace.counters, limits: limits(namespace.name), now: now)
      gates[namespace.name] = gate
      return gate
    }
  }

  /// Grows whenever tenants may have changed.
  var generation: UInt64 { changes.load(ordering: .acquiring) }

  /// Takes over tenants that have changed, for open connections too.
  func apply(now: Instant = SystemClock().now()) {
    gates.withLock { gates in
      for (name, gate) in gates { gate.setLimits(limits(name), now: now) }
    }
    changes.add(1, ordering: .releasing)
  }
}

/// What one tenant may do: connections at once, requests and bytes a second; shared by its
/// connections on all loops.
///
/// Without a limit nothing is locked; counting is relaxed.
final class TenantGate: Sendable {
  /// Where the tenant's requests, bytes and refusals are counted.
  let counters: NamespaceCounters
  private let connections = Guarded(Connections())
  private let requests: RateGate
  private let bytes: RateGate

  init(_ counters: NamespaceCounters, limits: NamespaceLimits, now: Instant) {
    self.counters = counters
    requests = RateGate(perSecond: limits.requestsPerSecond, now: now)
    bytes = RateGate(perSecond: limits.bytesPerSecond, now: now)
    setLimits(limits, now: now)
  }

  /// Changes the limits at once; connections above a lowered number stay.
  func setLimits(_ limits: NamespaceLimits, now: Instant) {
    connections.withLock { $0.max = limits.connectionsMax }
    requests.setRate(perSecond: limits.requestsPerSecond, now: now)
    bytes.setRate(perSecond: limits.bytesPerSecond, now: now)
  }

  /// Takes a place for one more connection.
  ///
  /// - Returns: nil if there was one, else how many there may be.
  func enter() -> Int? {
    let full = connections.withLock { connections -> Int? in
      if let limit = connections.max, connections.count >= limit { return limit }
      connections.count += 1
      return nil
    }
    guard full == nil else {
      counters.countRateRefusal()
      return full
    }
    counters.countConnections(1)
    return nil
  }

  /// Gives a place back.
  func leave() {
    connections.withLock { $0.count -= 1 }
    counters.countConnections(-1)
  }

  /// Lets a request through, or says by what it is not.
  func takeRequest(now: Instant) -> RateExcess? { counted(requests.take(1, now: now)) }

  /// Counts a request that ends something and is therefore never refused.
  func chargeRequest(now: Instant) { requests.charge(1, now: now) }

  /// Lets `count` bytes of payload through, or says by what they are not; 0 bytes pass unless some
  /// are owed.
  func takeBytes(_ count: Int, now: Instant) -> RateExcess? { counted(bytes.take(count, now: now)) }

  /// Counts bytes of payload that came unasked.
  func chargeBytes(_ count: Int, now: Instant) { bytes.charge(count, now: now) }

  /// Gives back bytes that need not be moved.
  func refundBytes(_ count: Int) { bytes.refund(count) }

  private func counted(_ excess: RateExcess?) -> RateExcess? {
    if excess != nil { counters.countRateRefusal() }
    return excess
  }

  private struct Connections {
    var count = 0
    var max: Int?
  }
}

/// A rate is used up for now.
struct RateExcess: Equatable {
  /// In how many milliseconds asking again may help.
  let milliseconds: UInt64
  /// What the rate is.
  let perSecond: Int
}

/// A token bucket that loops share, if there is a limit at all.
private final class RateGate: Sendable {
  private let bucket: Guarded<TokenBucket?>
  /// Spares the lock where there is no limit; a loop that reads it late errs for one request.
  private let isLimited: Atomic<Bool>

  init(perSecond: Int?, now: Instant) {
    bucket = Guarded(perSecond.map { TokenBucket(perSecond: $0, now: now) })
    isLimited = Atomic(perSecond != nil)
  }

  func setRate(perSecond: Int?, now: Instant) {
    bucket.withLock { bucket in
      guard let perSecond else {
        bucket = nil
        return
      }
      if bucket == nil { bucket = TokenBucket(perSecond: perSecond, now: now) }
      bucket?.setRate(perSecond: perSecond, now: now)
    }
    isLimited.store(perSecond != nil, ordering: .relaxed)
  }

  func take(_ amount: Int, now: Instant) -> RateExcess? {
    guard isLimited.load(ordering: .relaxed) else { return nil }
    return bucket.withLock { bucket in
      guard let wait = bucket?.take(amount, now: now), let perSecond = bucket?.perSecond else {
        return nil
      }
      return RateExcess(milliseconds: wait, perSecond: perSecond)
    }
  }

  func charge(_ amount: Int, now: Instant) {
    guard isLimited.load(ordering: .relaxed) else { return }
    bucket.withLock { bucket in bucket?.charge(amount, now: now) }
  }

  func refund(_ amount: Int) {
    guard isLimited.load(ordering: .relaxed) else { return }
    bucket.withLock { bucket in bucket?.refund(amount) }
  }
}
