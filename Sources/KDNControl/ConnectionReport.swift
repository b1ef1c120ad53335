/// All connections together.
package struct ConnectionReport: Codable, Sendable {
  package var open: Int
  package var acceptedTotal: UInt64
  package var refusedTotal: UInt64
  package var timedOutTotal: UInt64
  package var framingFaultsTotal: UInt64
  package var unauthorisedTotal: UInt64
  package var requestsTotal: UInt64
  package var errorsTotal: UInt64
  package var receivedBytesTotal: UInt64
  package var sentBytesTotal: UInt64
  package var openTransfers: Int
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
