internal import KDNCore
internal import KDNPool
internal import KDNWire

/// A GET that cannot be answered yet; at its deadline it is answered with what is there.
struct PendingGet {
  /// What it waits for.
  enum Cause {
    /// Objects that nobody has stored yet, by waits in the pool.
    case commits([WaitTicket])
    /// Objects that are being read from disk, since an instant.
    case reads(Fetch, since: Instant)
  }

  /// What was asked.
  let request: GetRequest
  /// When waiting ends.
  let deadline: Instant
  /// What it waits for.
  let cause: Cause

  /// What was read, if anything was.
  var fetch: Fetch? {
    if case .reads(let fetch, _) = cause { fetch } else { nil }
  }

  /// Takes waits and reads back.
  func cancel(in pool: Pool) {
    switch cause {
    case .commits(let tickets): for ticket in tickets { pool.cancel(ticket) }
    case .reads(let fetch, _): fetch.cancel()
    }
  }
}
