internal import KDNCore
internal import KDNPool
internal import KDNWire

/// A GET with WAIT that misses something: answered when it is there, or at the deadline.
struct PendingGet {
  /// What was asked.
  let request: GetRequest
  /// When waiting ends.
  let deadline: Instant
  /// The waits in the pool that will wake it.
  let tickets: [WaitTicket]

  /// Takes the waits back.
  func cancel(in pool: Pool) {
    for ticket in tickets { pool.cancel(ticket) }
  }
}
