/// All connections together.
package struct ConnectionReport: Codable, Sendable {
  /// Connections served now.
  package var open: Int
  /// Connections admitted.
  package var acceptedTotal: UInt64
  /// Connections told that there are too many.
  package var refusedTotal: UInt64
  /// Connections closed because they were silent, or took no byte, for too long.
  package var timedOutTotal: UInt64
  /// Connections closed because what came was no frame.
  package var framingFaultsTotal: UInt64
  /// HELLOs with a wrong token or namespace.
  package var unauthorisedTotal: UInt64
  /// Requests carried out.
  package var requestsTotal: UInt64
  /// Answers that were errors.
  package var errorsTotal: UInt64
  /// Bytes that came in.
  package var receivedBytesTotal: UInt64
  /// Bytes that went out.
  package var sentBytesTotal: UInt64
  /// Stores under way.
  package var openTransfers: Int
  /// GETs that wait for disk or for a writer.
  package var waitingGets: Int

  /// Puts the values together.
  package init(
    open: Int, acceptedTotal: UInt64, refusedTotal: UInt64, timedOutTotal: UInt64,
    framingFaultsTotal: UInt64, unauthorisedTotal: UInt64, requestsTotal: UInt64,
    errorsTotal:
      UInt64, receivedBytesTotal: UInt64, sentBytesTotal: UInt64, openTransfers: Int,
    waitingGets:
      Int
  ) {
    self.open = open
    self.acceptedTotal = acceptedTotal
    self.refusedTotal = refusedTotal
    self.timedOutTotal = timedOutTotal
    self.framingFaultsTotal = framingFaultsTotal
    self.unauthorisedTotal = unauthorisedTotal
    self.requestsTotal = requestsTotal
    self.errorsTotal = errorsTotal
    self.receivedBytesTotal = receivedBytesTotal
    self.sentBytesTotal = sentBytesTotal
    self.openTransfers = openTransfers
    self.waitingGets = waitingGets
  }
}
