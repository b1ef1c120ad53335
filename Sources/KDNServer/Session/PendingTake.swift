internal import KDNCore

/// A WORK take that waits for a job; at its end it is told that there is none.
struct PendingTake {
  /// The request that is to be answered.
  let call: Call
  /// What the worker can do.
  let kinds: [String]
  /// How long it may have the job without a word.
  let leaseMilliseconds: UInt64
  /// The wait in the queue.
  let ticket: WorkTicket
  /// When waiting began.
  let since: Instant
  /// When it ends: with the time that was asked for, or the request's own.
  let ends: Instant

  /// The request, with the wait put down as such.
  func ended(now: Instant) -> Call {
    var call = call
    call.waitNanoseconds += now.nanoseconds(since: since)
    return call
  }
}
