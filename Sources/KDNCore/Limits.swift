/// What one connection may ask for, as HELLO announces it; each limit has a documented default.
package struct Limits: Equatable, Sendable {
  /// Longest body of a frame.
  package var maxBodyBytes = 1 << 20
  /// Most payload bytes in one frame; larger payloads go over several frames.
  package var maxFramePayloadBytes = 4 << 20
  /// Largest object.
  package var maxObjectBytes = 512 << 20
  /// Most keys, hashes or items in one request.
  package var maxKeysPerRequest = 4096
  /// Most requests not yet answered on one connection.
  package var maxRequestsInFlight = 256
  /// Most bytes of open PUT transfers, and of GET bytes queued, on one connection.
  package var creditBytes = 256 << 20
  /// Deadline of a request that names none.
  package var defaultDeadlineMilliseconds = 30_000
  /// Longest deadline that a request may name.
  package var maxDeadlineMilliseconds = 600_000
  /// A connection without a request for this long is closed.
  package var idleTimeoutMilliseconds = 600_000
  /// HELLO must be complete this soon after the connection was accepted.
  package var handshakeTimeoutMilliseconds = 5_000
  /// A client that takes no byte of a waiting answer for this long is closed.
  package var writeStallMilliseconds = 30_000
  /// A transfer that receives nothing for this long is reaped.
  package var reservationTimeoutMilliseconds = 30_000
  /// Lease granted when MATCH names none.
  package var defaultLeaseMilliseconds = 10_000
  /// Longest lease.
  package var maxLeaseMilliseconds = 60_000
  /// Most leases held by one connection.
  package var maxLeasesPerConnection = 1024
  /// Longest TTL of a pin.
  package var maxPinMilliseconds: UInt64 = 30 * 24 * 3_600_000

  /// Longest body before HELLO is answered: who has not said who he is gets little memory.
  package static let handshakeBodyBytesMax = 64 << 10
  /// Most ranges of one GET item.
  package static let rangesPerItemMax = 256
  /// Most parts in one MATCH.
  package static let partsPerMatchMax = 64

  /// Creates the default limits.
  package init() {}
}
