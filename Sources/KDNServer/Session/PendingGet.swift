internal import KDNCore
internal import KDNPool
internal import KDNWire

/// A GET that cannot be answered yet; at its deadline it is answered with what is there.
struct PendingGet {
  /// What it waits for.
  enum Cause {
    /// Objects that nobody has stored yet, by waits in the pool.
    case commits([WaitTicket])
    /// Objects that are being read from disk.
    case reads(Fetch)
  }

  /// What was asked.
  let request: GetRequest
  /// The request that is to be answered, with its deadline and the time it has waited before.
  private let call: Call
  /// What it waits for.
  let cause: Cause
  /// When this wait began.
  private let since: Instant

  init(_ request: GetRequest, _ call: Call, cause: Cause, since: Instant) {
    self.request = request
    self.call = call
    self.cause = cause
    self.since = since
  }

  /// When waiting ends: with the client's time, or for one who adapts with half of it, since what
  /// was read must travel in the rest.
  var deadline: Instant {
    guard request.adaptation != nil, case .reads = cause else { return call.deadline }
    return since.advanced(milliseconds: call.deadline.nanoseconds(since: since) / 2_000_000)
  }

  /// What was read, if anything was.
  var fetch: Fetch? {
    if case .reads(let fetch) = cause { fetch } else { nil }
  }

  /// How long this wait has lasted, in nanoseconds.
  func waited(now: Instant) -> UInt64 { now.nanoseconds(since: since) }

  /// The request, with the time of this wait put down to what it waited for.
  func ended(now: Instant) -> Call {
    var call = call
    switch cause {
    case .commits: call.waitNanoseconds += waited(now: now)
    case .reads: call.diskNanoseconds += waited(now: now)
    }
    return call
  }

  /// Takes waits and reads back.
  func cancel(in pool: Pool) {
    switch cause {
    case .commits(let tickets): for ticket in tickets { pool.cancel(ticket) }
    case .reads(let fetch): fetch.cancel()
    }
  }
}
