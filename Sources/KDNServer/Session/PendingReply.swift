internal import KDNCore
internal import KDNWire

/// A request whose answer comes from another thread: a PUT that waits for the disk, or a PURGE.
struct PendingReply {
  /// Tells this request from a later one that its client gave the same id.
  let serial: UInt64
  /// What was asked.
  let operation: Operation
  /// When the client is told `deadline`; what was begun goes on.
  let deadline: Instant
  /// The transfer whose credit this request still holds, if any.
  let transferID: UInt64?
}
