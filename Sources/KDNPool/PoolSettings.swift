internal import KDNCore
package import KDNTier
internal import Synchronization

/// How long leases and pins may last; may change while the pool is in use.
final class PoolTimes: Sendable {
  let leaseDefaultMilliseconds: Atomic<UInt64>
  let leaseMaxMilliseconds: Atomic<UInt64>
  let pinMaxMilliseconds: Atomic<UInt64>

  init(_ configuration: PoolConfiguration) {
    leaseDefaultMilliseconds = Atomic(configuration.leaseDefaultMilliseconds)
    leaseMaxMilliseconds = Atomic(configuration.leaseMaxMilliseconds)
    pinMaxMilliseconds = Atomic(configuration.pinMaxMilliseconds)
  }

  /// The time that a lease lasts for which `wish` was asked; 0 asks for the default.
  func leaseMilliseconds(for wish: UInt64) -> UInt64 {
    min(
      wish == 0 ? leaseDefaultMilliseconds.load(ordering: .relaxed) : wish,
      leaseMaxMilliseconds.load(ordering: .relaxed))
  }

  /// The time that a pin lasts for which `wish` was asked.
  func pinMilliseconds(for wish: UInt64) -> UInt64 {
    min(wish, pinMaxMilliseconds.load(ordering: .relaxed))
  }
}

/// What may change while the pool is in use; any thread, at once.
extension Pool {
  /// Sets how long leases and pins last that are asked for from now on, as `PoolConfiguration`
  /// says it for the start.
  package func setTimes(
    leaseDefaultMilliseconds: UInt64, leaseMaxMilliseconds: UInt64, pinMaxMilliseconds: UInt64
  ) {
    times.leaseDefaultMilliseconds.store(leaseDefaultMilliseconds, ordering: .relaxed)
    times.leaseMaxMilliseconds.store(leaseMaxMilliseconds, ordering: .relaxed)
    times.pinMaxMilliseconds.store(pinMaxMilliseconds, ordering: .relaxed)
  }

  /// Sets how many bytes a day may be written to the slower tier unasked; 0 for no limit.
  package func setWriteBudget(bytesPerDay: Int) {
    let now = clock.now()
    backing?.writes.withLock { $0.setBudget(bytesPerDay: bytesPerDay, now: now) }
  }

  /// Sets what is written to the slower tier of what is offered from now on.
  package func setAdmission(_ policy: any AdmissionPolicy) {
    backing?.admission.withLock { $0 = policy }
  }
}
