/// How much one side of an RDMA connection is ready to receive.
package struct RDMASettings: Hashable, Sendable {
  /// Messages that the other side may send ahead, `RDMAGreeting.receivesRange`.
  package var receives = 32
  /// Longest message with its prefix, `RDMAGreeting.messageBytesRange`.
  package var messageBytes = 4096
  /// Receives that the connections of one listener and device share.
  package var sharedReceives = 512

  /// Creates the usual settings.
  package init() {}

  /// Messages that may wait for their acknowledgement at once.
  static let sendSlots = 8
  /// Work requests that may be under way at once.
  static let sendDepth = 64
}
