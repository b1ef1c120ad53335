/// Something to do on a device.
package enum DiskWork: Sendable {
  /// Read `pieces` from `offset` on.
  case read(any BlockFile, at: Int, into: [BlockSpan])
  /// Write `pieces` from `offset` on.
  case write(any BlockFile, at: Int, from: [BlockSpan])
  /// Make durable what was written and completed before.
  case synchronise(any BlockFile)
  /// Anything else that blocks: making and removing files.
  case run(@Sendable () throws(DiskError) -> Void)
}

/// Does I/O for one device without blocking who asks.
///
/// Reads never wait behind writes: each kind has its own places. How many works are submitted at
/// once is the caller's business; every one is taken.
package protocol DiskEngine: AnyObject, Sendable {
  /// For the log and statistics: `io_uring`, `threads` and so on.
  var name: String { get }
  /// Starts `work`; `completion` is called once, on any thread, never before this returns.
  func submit(
    _ work: DiskWork, completion: @escaping @Sendable (Result<Void, DiskError>) -> Void)
  /// Waits for all that was submitted, then ends. Nothing may be submitted afterwards.
  func shutDown()
}
