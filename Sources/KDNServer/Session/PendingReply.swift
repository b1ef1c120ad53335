internal import KDNCore
internal import KDNWire

/// A request whose answer comes from another thread: a PUT that waits for the disk, or a PURGE.
struct PendingReply {
  /// Tells this request from a later one that its client gave the same id.
  let serial: UInt64
  /// What is to be answered; at its deadline the client is told `deadline`, and what was begun goes
  /// on.
  private let call: Call
  /// When waiting began.
  private let since: Instant
  /// The transfer whose credit this request still holds, if any.
  let transferID: UInt64?

  init(serial: UInt64, _ call: Call, since: Instant, transferID: UInt64?) {
    self.serial = serial
    self.call = call
    self.since = since
    self.transferID = transferID
  }

  /// When the client is told `deadline`.
  var deadline: Instant { call.deadline }

  /// The request, with the wait put down to the disk.
  func ended(now: Instant) -> Call {
    var call = call
    call.diskNanoseconds += now.nanoseconds(since: since)
    return call
  }
}
