package import KDNCore
package import KDNWire

/// The verbs of the protocol over one connection.
///
/// Each throws what `Connection.request` throws; a deadline of 0 is the server's default.
package struct Client {
  /// The connection, used by one thread at a time.
  package let connection: Connection

  /// Speaks over `connection`.
  package init(_ connection: Connection) { self.connection = connection }

  /// Registers a layout in the namespace; objects of it can be stored from then on.
  package func register(
    _ layout: Layout, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> LayoutResponse {
    let request = Request.layout(LayoutRequest(layout: layout))
    guard case .layout(let answer) = try ask(request, deadlineMilliseconds) else { mismatch() }
    return answer
  }

  /// Finds the longest stored prefix of a chain of chunks.
  package func match(
    _ match: MatchRequest, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> MatchResponse {
    guard case .match(let answer) = try ask(.match(match), deadlineMilliseconds) else {
      mismatch()
    }
    return answer
  }

  /// Tells which keys are present: one bit per key.
  package func exists(
    _ keys: [ObjectKey], deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> Bitmap {
    let request = Request.exists(KeysRequest(keys: keys))
    guard case .exists(let answer) = try ask(request, deadlineMilliseconds) else { mismatch() }
    return answer.present
  }

  /// Waits for a sign of life.
  package func ping(deadlineMilliseconds: UInt32 = 0) throws(ClientError) {
    _ = try exists([], deadlineMilliseconds: deadlineMilliseconds)
  }

  /// Ends a lease that MATCH gave on this connection.
  package func release(lease: UInt64, deadlineMilliseconds: UInt32 = 0) throws(ClientError) {
    let request = Request.release(ReleaseRequest(leaseID: lease))
    guard case .release = try ask(request, deadlineMilliseconds) else { mismatch() }
  }

  /// Counts as a use of `keys`; returns how many of them are there.
  package func touch(
    _ keys: [ObjectKey], deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> Int {
    let request = Request.touch(KeysRequest(keys: keys))
    guard case .touch(let answer) = try ask(request, deadlineMilliseconds) else { mismatch() }
    return answer.touched
  }

  /// Keeps `keys` from eviction for `ttlMilliseconds`; one bit per key tells which are there.
  package func pin(
    _ keys: [ObjectKey], ttlMilliseconds: UInt64, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> Bitmap {
    let request = Request.pin(PinRequest(keys: keys, ttlMilliseconds: ttlMilliseconds))
    guard case .pin(let answer) = try ask(request, deadlineMilliseconds) else { mismatch() }
    return answer.changed
  }

  /// Ends the pins of `keys`; one bit per key tells which were pinned.
  package func unpin(
    _ keys: [ObjectKey], deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> Bitmap {
    let request = Request.unpin(KeysRequest(keys: keys))
    guard case .unpin(let answer) = try ask(request, deadlineMilliseconds) else { mismatch() }
    return answer.changed
  }

  /// Has `keys` brought to RAM.
  package func prefetch(
    _ keys: [ObjectKey], deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> PrefetchResponse {
    let request = Request.prefetch(KeysRequest(keys: keys))
    guard case .prefetch(let answer) = try ask(request, deadlineMilliseconds) else { mismatch() }
    return answer
  }

  /// Drops objects; returns how many, and their bytes.
  package func purge(
    _ scope: PurgeRequest.Scope, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> PurgeResponse {
    let request = Request.purge(PurgeRequest(scope: scope))
    guard case .purge(let answer) = try ask(request, deadlineMilliseconds) else { mismatch() }
    return answer
  }

  /// The server's statistics, in JSON.
  package func stats(deadlineMilliseconds: UInt32 = 0) throws(ClientError) -> String {
    guard case .stats(let answer) = try ask(.stats, deadlineMilliseconds) else { mismatch() }
    return answer.json
  }

  func ask(
    _ request: Request, _ deadlineMilliseconds: UInt32
  ) throws(ClientError) -> Response {
    try connection.request(request, deadlineMilliseconds: deadlineMilliseconds)
  }

  func mismatch() -> Never {
    preconditionFailure("the machine admits only answers to what was asked")
  }
}
