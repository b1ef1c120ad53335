internal import KDNCore
internal import KDNPool

/// What a connection became by HELLO: one of a tenant's.
struct Member {
  /// The tenant's key space.
  let namespace: Namespace
  /// Where its limits are kept.
  let gate: TenantGate
  /// What opened the namespace, looked at again while the connection stands.
  let pass: TenantPass
}

/// A HELLO that will be refused; until then its connection reads nothing.
struct PendingRefusal {
  /// The id of the HELLO.
  let id: UInt64
  /// When the HELLO came.
  let arrival: Instant
  /// When to answer.
  let due: Instant
}
